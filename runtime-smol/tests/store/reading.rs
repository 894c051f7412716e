//! Queries beside the writer, and the bound of the audit log.

use clawgate_core::store::Table;
use clawgate_smol::store::{OpenError, Reader, StoreOptions};

use super::*;

fn numbers(reader: &Reader, before: Option<u64>, limit: usize) -> (Vec<String>, Option<u64>) {
    let page = reader.audit(before, limit).unwrap();
    let texts = page
        .entries
        .iter()
        .map(|line| line.entry.as_str().to_owned());
    (texts.collect(), page.next)
}

#[test]
fn the_audit_log_is_read_from_its_end() {
    let place = Place::new();
    let mut running = place.run();
    for n in 1..=5 {
        running.commit(vec![audit(&n.to_string())]).unwrap();
    }
    // While the writer has it open, and after it has gone.
    for _ in 0..2 {
        let reader = Reader::open(&place.path()).unwrap();
        let (texts, next) = numbers(&reader, None, 2);
        assert_eq!(texts, ["5", "4"]);
        let (texts, next) = numbers(&reader, next, 2);
        assert_eq!(texts, ["3", "2"]);
        let (texts, next) = numbers(&reader, next, 2);
        assert_eq!((texts, next), (vec!["1".to_owned()], None));
        running.store.close();
    }
}

#[test]
fn the_audit_log_keeps_its_newest_lines() {
    let place = Place::new();
    for start in [0, 30] {
        let mut running = Running::start(place.open_with(StoreOptions {
            audit_rows: 10,
            ..StoreOptions::default()
        }));
        for n in 0..30 {
            running.submit(vec![audit(&(start + n).to_string()), audit("\"second\"")]);
        }
        running.store.close();
        assert!(
            running
                .outcomes
                .iter()
                .take(30)
                .all(|(_, outcome)| outcome.is_ok())
        );
    }
    let reader = Reader::open(&place.path()).unwrap();
    let page = reader.audit(None, 1_000).unwrap();
    assert_eq!(page.entries.len(), 10);
    assert_eq!(page.entries[1].entry.as_str(), "59");
    // Numbers go on: a cursor from before still means the same place.
    assert_eq!(page.entries[0].seq, 120);
}

#[test]
fn a_reader_makes_nothing_and_writes_nothing() {
    let place = Place::new();
    let error = Reader::open(&place.path()).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(!place.path().exists());
    place.open();
    fs::write(place.path(), "x").unwrap();
    let error = Reader::open(&place.path()).unwrap_err();
    assert_eq!(error.code(), "state_damaged");
    assert_eq!(
        fs::read(place.path()).unwrap(),
        b"x",
        "only the gateway sets files aside"
    );
}

#[test]
fn a_reader_never_holds_up_the_writer() {
    let place = Place::new();
    let mut running = place.run();
    running
        .commit(vec![put(Table::Meta, "a", "1"), audit("1")])
        .unwrap();
    let reader = rusqlite::Connection::open(place.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM audit").unwrap();
    for n in 0..200 {
        running
            .commit(vec![put(Table::Meta, "a", &n.to_string())])
            .unwrap();
    }
    let seen: String = reader
        .query_row("SELECT document FROM meta", [], |row| row.get(0))
        .unwrap();
    assert_eq!(seen, "1");
}

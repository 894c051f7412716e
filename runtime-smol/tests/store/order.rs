//! What is kept, in which order, and what fails with what.

use clawgate_core::store::{Commit, CommitId, Epoch, StoreFailure, Table, Write};
use clawgate_smol::store::{Found, Store, StoreFile, StoreOptions};

use super::*;

#[test]
fn rows_come_back_as_they_were_last_written() {
    let place = Place::new();
    let opened = place.open();
    assert_eq!(opened.found, Found::Nothing);
    let mut running = Running::start(opened);
    running
        .commit(vec![
            put(Table::Device, "d1", r#"{"v":1}"#),
            put(Table::Device, "d2", r#"{"v":1}"#),
            put(Table::Meta, "d1", r#""another table""#),
        ])
        .unwrap();
    running
        .commit(vec![
            put(Table::Device, "d1", r#"{"v":2}"#),
            Write::Delete {
                table: Table::Device,
                key: "d2".into(),
            },
            Write::Delete {
                table: Table::Invite,
                key: "never there".into(),
            },
        ])
        .unwrap();
    running.store.close();
    let opened = place.open();
    assert_eq!(
        opened.found,
        Found::Sound {
            migrated_from: None
        }
    );
    assert_eq!(
        opened.rows,
        [
            row(Table::Device, "d1", r#"{"v":2}"#),
            row(Table::Meta, "d1", r#""another table""#),
        ]
    );
    assert!(opened.unreadable.is_empty());
}

#[test]
fn outcomes_come_in_order_and_closing_waits_for_them() {
    let place = Place::new();
    let mut running = place.run();
    for n in 1..=5_000 {
        running.submit(vec![put(Table::Meta, "n", &n.to_string())]);
    }
    running.store.close();
    let heard: Vec<Outcome> = running.outcomes.try_iter().collect();
    let expected: Vec<Outcome> = (1..=5_000).map(|n| (CommitId(n), Ok(()))).collect();
    assert!(heard == expected, "{} outcomes", heard.len());
    assert_eq!(place.open().rows, [row(Table::Meta, "n", "5000")]);
    // Too late: dropped, and nothing is said.
    running.submit(vec![put(Table::Meta, "n", "0")]);
    running.store.close();
    assert_eq!(running.outcomes.try_iter().count(), 0);
}

#[test]
fn a_failure_fails_the_rest_of_its_epoch_and_nothing_after_it() {
    let place = Place::new();
    let mut running = place.run();
    running.commit(vec![put(Table::Meta, "a", "1")]).unwrap();
    // The way to make a write fail at will: the file is not where it was.
    let moved = place.path().with_extension("moved");
    fs::rename(place.path(), &moved).unwrap();
    let failure = running
        .commit(vec![put(Table::Meta, "a", "2")])
        .unwrap_err();
    assert!(matches!(failure, StoreFailure::Io(_)), "{failure}");
    fs::rename(&moved, place.path()).unwrap();
    let same = running
        .commit(vec![put(Table::Meta, "b", "2")])
        .unwrap_err();
    assert_eq!(same, failure, "the same epoch is not tried again");
    running.epoch = Epoch(1);
    running.commit(vec![put(Table::Meta, "c", "3")]).unwrap();
    running.store.close();
    assert_eq!(
        place.open().rows,
        [row(Table::Meta, "a", "1"), row(Table::Meta, "c", "3")]
    );
}

#[test]
fn a_database_that_was_replaced_is_not_written_to() {
    let place = Place::new();
    let mut running = place.run();
    let stranger = Place::new();
    stranger.open();
    fs::rename(stranger.path(), place.path()).unwrap();
    for epoch in 0..2 {
        running.epoch = Epoch(epoch);
        let failure = running
            .commit(vec![put(Table::Meta, "a", "1")])
            .unwrap_err();
        assert!(failure.to_string().contains("was replaced"), "{failure}");
    }
    running.store.close();
    assert!(place.open().rows.is_empty());
}

#[test]
fn a_journal_that_was_removed_costs_nothing_acknowledged() {
    let place = Place::new();
    let mut running = place.run();
    running.commit(vec![put(Table::Meta, "a", "1")]).unwrap();
    fs::remove_file(beside(&place.path(), "-wal")).unwrap();
    running
        .commit(vec![put(Table::Meta, "b", "1")])
        .unwrap_err();
    running.epoch = Epoch(1);
    running.commit(vec![put(Table::Meta, "c", "1")]).unwrap();
    running.store.close();
    assert_eq!(
        place.open().rows,
        [row(Table::Meta, "a", "1"), row(Table::Meta, "c", "1")]
    );
}

#[test]
fn what_does_not_fit_into_the_queue_fails_in_its_turn() {
    let place = Place::new();
    let opened = place.open_with(StoreOptions {
        max_waiting: 2,
        ..StoreOptions::default()
    });
    let (tell, outcomes) = mpsc::channel();
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let store = Store::start(opened.file, move |id, outcome| {
        if id == CommitId(1) {
            enter.send(()).unwrap();
            left.recv().unwrap();
        }
        tell.send((id, outcome)).unwrap();
    })
    .unwrap();
    let submit = |id| {
        store.submit(Commit {
            id: CommitId(id),
            epoch: Epoch(0),
            writes: vec![put(Table::Meta, &id.to_string(), "1")],
        });
    };
    submit(1);
    // The thread is held up in its report, so these wait.
    entered.recv().unwrap();
    (2..=5).for_each(submit);
    leave.send(()).unwrap();
    store.close();
    let verdicts: Vec<(u64, bool)> = outcomes
        .iter()
        .map(|(id, outcome)| (id.0, outcome.is_ok()))
        .collect();
    assert_eq!(
        verdicts,
        [(1, true), (2, true), (3, true), (4, false), (5, false)]
    );
    let kept = StoreFile::open(&place.path(), StoreOptions::default()).unwrap();
    assert_eq!(kept.rows.len(), 3);
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

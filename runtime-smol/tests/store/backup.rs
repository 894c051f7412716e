//! Copies of a database that is written to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clawgate_core::store::Table;
use clawgate_smol::store::{BackupError, Found, Reader, Replace, StoreFile, StoreOptions, back_up};

use super::*;

#[test]
fn a_copy_is_of_one_moment_while_the_writer_works() {
    let place = Place::new();
    let mut running = place.run();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                n += 1;
                // Three places that say the same in each commit.
                let text = n.to_string();
                running
                    .commit(vec![
                        put(Table::Meta, "n", &text),
                        put(Table::Dedupe, &text, &text),
                        audit(&text),
                    ])
                    .unwrap();
            }
            n
        });
        // A failed check must end the writer too.
        let ending = Ending(&done);
        for round in 0..8 {
            let to = place.folder.path().join(format!("copies/{round}.sqlite"));
            let backup = back_up(&place.path(), &to, Replace::Never).unwrap();
            assert_eq!(mode(&to), 0o600);
            assert_eq!(backup.bytes, fs::metadata(&to).unwrap().len());
            let opened = StoreFile::open(&to, StoreOptions::default()).unwrap();
            assert_eq!(
                opened.found,
                Found::Sound {
                    migrated_from: None
                }
            );
            let last = opened
                .rows
                .iter()
                .find(|row| row.table == Table::Meta)
                .map_or(0, |row| row.document.as_str().parse::<u64>().unwrap());
            assert_eq!(opened.rows.len() as u64, last + u64::from(last > 0));
            assert_eq!(backup.audit, last);
            assert!(backup.rows.contains(&(Table::Dedupe, last)));
        }
        drop(ending);
        assert!(writer.join().unwrap() > 0);
    });
    assert_eq!(mode(&place.folder.path().join("copies")), 0o700);
}

#[test]
fn a_copy_replaces_nothing_unasked() {
    let place = Place::new();
    let mut running = place.run();
    let to = place.folder.path().join("copy.sqlite");
    fs::write(&to, "precious").unwrap();
    let error = back_up(&place.path(), &to, Replace::Never).unwrap_err();
    assert!(matches!(error, BackupError::Exists(_)), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    running.commit(vec![audit("1")]).unwrap();
    let backup = back_up(&place.path(), &to, Replace::Existing).unwrap();
    assert_eq!(backup.audit, 1);
    let page = Reader::open(&to).unwrap().audit(None, 10).unwrap();
    assert_eq!(page.entries.len(), 1);
    assert!(!place.folder.path().join("copy.sqlite.new").exists());
}

#[test]
fn a_copy_that_fails_leaves_nothing_behind() {
    let place = Place::new();
    let to = place.folder.path().join("copy.sqlite");
    let error = back_up(&place.path(), &to, Replace::Never).unwrap_err();
    assert_eq!(error.code(), "state_missing");
    place.open();
    let mut bytes = fs::read(place.path()).unwrap();
    // The header and the schema stay, so that the damage is found by looking.
    bytes[4_096..].fill(0xff);
    fs::write(place.path(), &bytes).unwrap();
    back_up(&place.path(), &to, Replace::Never).unwrap_err();
    let names = fs::read_dir(place.folder.path()).unwrap().count();
    assert_eq!(names, 1, "only the gateway's own folder");
}

struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

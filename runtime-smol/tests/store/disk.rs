//! Whose files they are, and what happens when no room is left.

use clawgate_core::store::{Epoch, StoreFailure, Table, Write};
use clawgate_smol::store::{OpenError, StoreFile, StoreOptions};

use super::*;

#[test]
fn every_file_is_for_its_owner_only() {
    let place = Place::new();
    let mut running = place.run();
    running.commit(vec![put(Table::Meta, "a", "1")]).unwrap();
    assert_eq!(
        place.names(),
        ["state.sqlite", "state.sqlite-shm", "state.sqlite-wal"]
    );
    let folder = place.path().parent().unwrap().to_owned();
    for name in place.names() {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
    }
    assert_eq!(mode(&folder), 0o700);
    running.store.close();
    assert_eq!(
        place.names(),
        ["state.sqlite"],
        "the journal is folded back at the end"
    );
}

#[test]
fn a_file_that_others_may_read_is_taken_from_them() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.open();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o664)).unwrap();
    let mut running = place.run();
    running.commit(vec![put(Table::Meta, "a", "1")]).unwrap();
    let folder = place.path().parent().unwrap().to_owned();
    for name in place.names() {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn when_no_room_is_left_writes_fail_until_there_is_some() {
    let place = Place::new();
    let mut running = Running::start(place.open_with(StoreOptions {
        max_bytes: Some(256 * 1024),
        ..StoreOptions::default()
    }));
    let big = format!("\"{}\"", "x".repeat(20_000));
    let mut kept = 0;
    let failure = loop {
        match running.commit(vec![put(Table::Dedupe, &kept.to_string(), &big)]) {
            Ok(()) => kept += 1,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure, StoreFailure::Full);
    assert!((5..13).contains(&kept), "{kept}");
    let keys = |place: &Place| place.open().rows.len();
    running.epoch = Epoch(1);
    let too_much = running.commit(vec![
        Write::Delete {
            table: Table::Dedupe,
            key: "0".into(),
        },
        put(Table::Dedupe, "a", &big),
        put(Table::Dedupe, "b", &big),
    ]);
    assert_eq!(too_much, Err(StoreFailure::Full), "wholly or not at all");
    running.epoch = Epoch(2);
    running
        .commit(vec![Write::Delete {
            table: Table::Dedupe,
            key: "0".into(),
        }])
        .unwrap();
    running.commit(vec![put(Table::Dedupe, "a", &big)]).unwrap();
    running.store.close();
    assert_eq!(keys(&place), kept);
}

#[test]
fn a_lock_that_another_program_holds_is_an_error_in_the_end() {
    let place = Place::new();
    let opened = place.open_with(StoreOptions {
        busy: std::time::Duration::from_millis(1),
        ..StoreOptions::default()
    });
    let mut running = Running::start(opened);
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failure = running
        .commit(vec![put(Table::Meta, "a", "1")])
        .unwrap_err();
    assert!(failure.to_string().contains("another program"), "{failure}");
    other.execute_batch("ROLLBACK").unwrap();
    running.epoch = Epoch(1);
    running.commit(vec![put(Table::Meta, "a", "1")]).unwrap();
}

#[test]
fn a_folder_in_the_place_of_the_file_is_named() {
    let place = Place::new();
    fs::create_dir_all(place.path()).unwrap();
    let error = StoreFile::open(&place.path(), StoreOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error}");
    assert!(error.to_string().contains("state.sqlite"), "{error}");
}

#[test]
fn a_first_start_that_was_cut_off_leaves_nothing_behind() {
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    for leftover in [
        "state.sqlite.new",
        "state.sqlite.new-journal",
        "state.sqlite.new-wal",
    ] {
        fs::write(place.path().with_file_name(leftover), "half a file").unwrap();
    }
    let opened = place.open();
    assert!(opened.rows.is_empty());
    drop(opened);
    assert_eq!(place.names(), ["state.sqlite"]);
}

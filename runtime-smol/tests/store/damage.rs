//! Broken files are set aside and named; those of others are left alone.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write as _};

use clawgate_core::store::Table;
use clawgate_smol::store::{Found, OpenError, StoreFile, StoreOptions, set_aside_files};

use super::*;

/// A database of some hundred pages.
fn filled() -> Place {
    let place = Place::new();
    let mut running = place.run();
    let document = format!("\"{}\"", "x".repeat(300));
    let writes = (0..2_000)
        .map(|n| put(Table::Device, &n.to_string(), &document))
        .collect();
    running.commit(writes).unwrap();
    running.store.close();
    place
}

/// Opens a broken database, and checks everything that has to come of it.
fn is_set_aside(place: &Place, what: &str) {
    let broken = fs::read(place.path()).unwrap();
    let opened = place.open();
    let Found::Damaged(damage) = opened.found else {
        panic!("{what}: {:?}", opened.found);
    };
    assert!(opened.rows.is_empty(), "{what}");
    assert!(!damage.why.is_empty(), "{what}");
    let name = damage.set_aside.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("state.sqlite.corrupt-2"), "{what}: {name}");
    assert!(
        fs::read(&damage.set_aside).unwrap() == broken,
        "{what}: it was changed"
    );
    assert_eq!(mode(&damage.set_aside), 0o600, "{what}");
    assert_eq!(
        set_aside_files(&place.path()).unwrap(),
        [damage.set_aside],
        "{what}"
    );
    // The new one works, and is found sound the next time.
    let mut running = Running::start(Opened {
        found: Found::Nothing,
        ..opened
    });
    running.commit(vec![put(Table::Meta, "a", "1")]).unwrap();
    running.store.close();
    let again = place.open();
    assert_eq!(
        again.found,
        Found::Sound {
            migrated_from: None
        },
        "{what}"
    );
    assert_eq!(again.rows, [row(Table::Meta, "a", "1")], "{what}");
}

#[test]
fn garbage_at_the_start() {
    let place = filled();
    overwrite(&place, 0, b"this is not a database");
    is_set_aside(&place, "garbage header");
}

#[test]
fn no_database_at_all() {
    let place = filled();
    fs::write(place.path(), "{}").unwrap();
    is_set_aside(&place, "text");
}

#[test]
fn a_file_that_was_cut() {
    for keep in [0, 1, 100, 512, 4_096, 50_000] {
        let place = filled();
        let file = OpenOptions::new().write(true).open(place.path()).unwrap();
        file.set_len(keep).unwrap();
        is_set_aside(&place, &format!("cut to {keep}"));
    }
}

#[test]
fn pages_of_zeros_and_of_noise() {
    for (byte, page) in [(0, 1), (0, 60), (0xff, 3), (0x5a, 100)] {
        let place = filled();
        overwrite(&place, page * 4_096, &[byte; 4_096]);
        is_set_aside(&place, &format!("page {page} of {byte:#x}"));
    }
}

#[test]
fn a_flipped_bit_in_the_header_of_a_page() {
    let place = filled();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(place.path())
        .unwrap();
    let mut page = [0; 4_096];
    file.seek(SeekFrom::Start(40 * 4_096)).unwrap();
    file.read_exact(&mut page).unwrap();
    page[4] ^= 0x20;
    overwrite(&place, 40 * 4_096, &page);
    is_set_aside(&place, "flipped bit");
}

#[test]
fn a_journal_without_its_database() {
    let place = Place::new();
    let mut running = place.run();
    running.commit(vec![put(Table::Meta, "a", "1")]).unwrap();
    let journal = place.path().with_file_name("state.sqlite-wal");
    let kept = fs::read(&journal).unwrap();
    running.store.close();
    fs::remove_file(place.path()).unwrap();
    fs::write(&journal, &kept).unwrap();
    let Found::Damaged(damage) = place.open().found else {
        panic!("the journal was overlooked");
    };
    let mut moved = damage.set_aside.into_os_string();
    moved.push("-wal");
    assert!(fs::read(moved).unwrap() == kept);
}

#[test]
fn a_row_that_is_no_json_is_named_and_left() {
    let place = filled();
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    raw.execute("UPDATE device SET document = '{' WHERE key = '7'", [])
        .unwrap();
    drop(raw);
    let opened = place.open();
    assert_eq!(
        opened.found,
        Found::Sound {
            migrated_from: None
        }
    );
    assert_eq!(opened.unreadable, [(Table::Device, "7".to_owned())]);
    assert_eq!(opened.rows.len(), 1_999);
}

#[test]
fn a_sound_database_of_another_program_is_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    raw.execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1")
        .unwrap();
    drop(raw);
    let before = fs::read(place.path()).unwrap();
    let error = StoreFile::open(&place.path(), StoreOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(fs::read(place.path()).unwrap() == before, "it was changed");
    assert_eq!(place.names(), ["state.sqlite"]);
}

#[test]
fn a_newer_database_is_left_alone() {
    let place = filled();
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    raw.pragma_update(None, "user_version", 1_000).unwrap();
    drop(raw);
    let error = StoreFile::open(&place.path(), StoreOptions::default()).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 1_000, .. }),
        "{error}"
    );
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    let rows: u32 = raw
        .query_row("SELECT count(*) FROM device", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 2_000);
}

fn overwrite(place: &Place, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(place.path()).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

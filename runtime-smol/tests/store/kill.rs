//! A process that is killed loses nothing that it acknowledged.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::spin_loop;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use clawgate_core::rng::Rng;
use clawgate_core::store::Table;
use clawgate_smol::store::{Found, Reader, StoreFile, StoreOptions};

use super::*;

#[test]
fn kill_at_any_instant_loses_nothing_acknowledged() {
    const ROUNDS: u32 = 40;
    let seed = RandomState::new().hash_one(0);
    let mut dice = Rng::new([seed.to_le_bytes(); 4].concat().try_into().unwrap());
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(FILE_NAME);
    let mut first = true;
    for round in 0..ROUNDS {
        let acknowledged = one_life(place.path(), &mut dice);
        let at = format!("seed {seed}, round {round}, acknowledged {acknowledged:?}");
        if !path.exists() {
            assert!(first && acknowledged.is_none(), "{at}: the file is gone");
            continue;
        }
        first = false;
        let opened = StoreFile::open(&path, StoreOptions::default()).unwrap();
        assert!(
            !matches!(opened.found, Found::Damaged(_)),
            "{at}: {:?}",
            opened.found
        );
        let last = last(&opened);
        assert!(
            acknowledged.is_none_or(|acknowledged| acknowledged <= last),
            "{at}: kept {last}"
        );
        // All before it, and nothing else.
        let mut numbers: Vec<u64> = opened
            .rows
            .iter()
            .filter(|row| row.table == Table::Dedupe)
            .map(|row| row.key.parse().unwrap())
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=last), "{at}: gaps before {last}");
        let page = Reader::open(&path).unwrap().audit(None, 1).unwrap();
        let audited = page.entries.first().map_or(0, |line| line.seq);
        assert_eq!(audited, last, "{at}: the audit log");
    }
}

/// Lets a child count and kills it at some moment. Gives the last number that it acknowledged.
fn one_life(folder: &Path, dice: &mut Rng) -> Option<u64> {
    let mut child = child::command("count", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let patience = dice.u64() % 200;
    let mut last = None;
    let number = |line: String| line.strip_prefix("acknowledged ")?.parse().ok();
    // The first line comes from the harness, while the file is opened for the first time.
    for line in lines.by_ref().take(1 + patience as usize) {
        last = number(line.unwrap()).or(last);
    }
    for _ in 0..dice.u64() % 50_000 {
        spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        last = number(line.unwrap()).or(last);
    }
    last
}

fn last(opened: &Opened) -> u64 {
    let row = opened.rows.iter().find(|row| row.table == Table::Meta);
    row.map_or(0, |row| row.document.as_str().parse().unwrap())
}

//! This program in a process of its own, for what a test cannot do to itself.

use std::env;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use clawgate_core::store::{CommitId, Epoch, StoreFailure, Table, Write};
use clawgate_smol::store::{OpenError, Reader, StoreFile, StoreOptions};

use super::*;

/// What a child does, and the folder that it does it in.
const TASK: &str = "CLAWGATE_STORE_TEST_TASK";
const FOLDER: &str = "CLAWGATE_STORE_TEST_FOLDER";

/// The command that starts a child with a task.
pub(crate) fn command(task: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["child::works_when_it_is_told_to", "--exact", "--nocapture"])
        .env(TASK, task)
        .env(FOLDER, folder)
        .stdin(Stdio::null());
    command
}

/// Not a test by itself: without a task there is nothing to do.
#[test]
fn works_when_it_is_told_to() {
    let (Some(task), Some(folder)) = (env::var_os(TASK), env::var_os(FOLDER)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    match task.to_str() {
        Some("count") => count(&folder),
        Some("fill") => fill(&folder),
        _ => panic!("{task:?}"),
    }
}

/// Tells the parent. It fails when the parent is gone, and with it the child.
fn say(line: &str) {
    io::stdout()
        .write_all(format!("\n{line}\n").as_bytes())
        .unwrap();
}

/// Commits the numbers from the last one on, for as long as it lives, and tells which ones are on
/// disk. Each number stands in three places.
fn count(folder: &Path) {
    const AT_ONCE: u64 = 50;
    let opened = StoreFile::open(&folder.join(FILE_NAME), StoreOptions::default()).unwrap();
    let mut running = Running::start(Opened {
        rows: Vec::new(),
        ..opened
    });
    running.last = opened.rows.len().saturating_sub(1) as u64;
    let mut heard = running.last;
    loop {
        while running.last - heard < AT_ONCE {
            let text = (running.last + 1).to_string();
            running.submit(vec![
                put(Table::Dedupe, &text, &text),
                put(Table::Meta, "last", &text),
                audit(&text),
            ]);
        }
        let (id, outcome) = running.outcomes.recv().unwrap();
        outcome.unwrap();
        heard += 1;
        assert_eq!(id, CommitId(heard));
        say(&format!("acknowledged {heard}"));
    }
}

/// Fills a small disk, makes room again, and checks what is said and kept on the way.
fn fill(folder: &Path) {
    let path = folder.join("own").join(FILE_NAME);
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![1; 400_000]).unwrap();
    let options = StoreOptions::default;
    let mut running = Running::start(StoreFile::open(&path, options()).unwrap());
    let big = format!("\"{}\"", "x".repeat(30_000));
    let mut kept = Vec::new();
    let failure = loop {
        let key = format!("{:04}", kept.len());
        match running.commit(vec![put(Table::Dedupe, &key, &big)]) {
            Ok(()) => kept.push(key),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure, StoreFailure::Full);
    assert!(!kept.is_empty());
    running.epoch = Epoch(1);
    let again = running.commit(vec![put(Table::Dedupe, "again", &big)]);
    assert_eq!(again, Err(StoreFailure::Full));
    // Reading goes on.
    assert!(
        Reader::open(&path)
            .unwrap()
            .audit(None, 1)
            .unwrap()
            .entries
            .is_empty()
    );

    fs::remove_file(&ballast).unwrap();
    running.epoch = Epoch(2);
    running
        .commit(vec![put(Table::Dedupe, "later", &big)])
        .unwrap();
    kept.push("later".into());
    running
        .commit(vec![Write::Delete {
            table: Table::Dedupe,
            key: "0000".into(),
        }])
        .unwrap();
    kept.remove(0);
    running.store.close();
    let opened = StoreFile::open(&path, options()).unwrap();
    let keys: Vec<String> = opened.rows.iter().map(|row| row.key.clone()).collect();
    assert_eq!(keys, kept);
    drop(opened);

    let rest = fs::write(&ballast, vec![1; 4_000_000]);
    assert!(rest.is_err(), "the disk is not small");
    let elsewhere = folder.join("second.sqlite");
    let error = StoreFile::open(&elsewhere, options()).unwrap_err();
    assert!(
        error.code() == "state_disk_full" || matches!(error, OpenError::File { .. }),
        "{error}"
    );
    assert!(!elsewhere.exists());
    say("filled");
}

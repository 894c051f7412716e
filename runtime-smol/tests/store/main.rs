//! The state database as the gateway uses it.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod backup;
mod child;
mod damage;
mod disk;
mod full;
mod kill;
mod order;
mod reading;
mod transcripts;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver},
};

use clawgate_core::{
    frame::RawJson,
    store::{Commit, CommitId, Epoch, Row, StoreFailure, Table, Write},
};
use clawgate_smol::store::{FILE_NAME, Opened, Store, StoreFile, StoreOptions};
use tempfile::TempDir;

type Outcome = (CommitId, Result<(), StoreFailure>);

/// A folder with a database.
struct Place {
    folder: TempDir,
}

/// A running store that tells what became of each commit.
struct Running {
    store: Store,
    outcomes: Receiver<Outcome>,
    last: u64,
    epoch: Epoch,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("own").join(FILE_NAME)
    }

    fn open(&self) -> Opened {
        self.open_with(StoreOptions::default())
    }

    fn open_with(&self, options: StoreOptions) -> Opened {
        StoreFile::open(&self.path(), options).unwrap()
    }

    fn run(&self) -> Running {
        Running::start(self.open())
    }

    /// The names of the files, sorted.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Running {
    fn start(opened: Opened) -> Self {
        let (tell, outcomes) = mpsc::channel();
        let store = Store::start(opened.file, move |id, outcome| {
            tell.send((id, outcome)).unwrap();
        })
        .unwrap();
        Self {
            store,
            outcomes,
            last: 0,
            epoch: Epoch(0),
        }
    }

    fn submit(&mut self, writes: Vec<Write>) -> CommitId {
        self.last += 1;
        let id = CommitId(self.last);
        self.store.submit(Commit {
            id,
            epoch: self.epoch,
            writes,
        });
        id
    }

    /// Submits, and waits for the outcome.
    fn commit(&mut self, writes: Vec<Write>) -> Result<(), StoreFailure> {
        let id = self.submit(writes);
        let (heard, outcome) = self.outcomes.recv().unwrap();
        assert_eq!(heard, id);
        outcome
    }
}

fn put(table: Table, key: &str, document: &str) -> Write {
    Write::Put {
        table,
        key: key.into(),
        document: json(document),
    }
}

fn audit(entry: &str) -> Write {
    Write::Audit { entry: json(entry) }
}

fn row(table: Table, key: &str, document: &str) -> Row {
    Row {
        table,
        key: key.into(),
        document: json(document),
    }
}

fn json(text: &str) -> RawJson {
    RawJson::checked(text.to_owned()).unwrap()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

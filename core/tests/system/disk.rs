//! The gateway's disk: commits take their time, sometimes fail, and are lost with the process until
//! they are written. What leaves for a client is checked against what is written.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clawgate_core::{
    frame::RawJson,
    store::{Commit, Epoch, Row, StoreFailure, Table, Write},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::world::{Task, World};

/// How the disk behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DiskManner {
    Prompt,
    Slow,
    /// Slow, and now and then there is no space.
    Full,
}

#[derive(Default)]
pub struct Disk {
    rows: BTreeMap<(Table, String), RawJson>,
    waiting: VecDeque<Commit>,
    /// What builds on a lost commit is lost too.
    lost: Option<Epoch>,
}

impl Disk {
    pub fn rows(&self) -> Vec<Row> {
        let row = |((table, key), document): (&(Table, String), &RawJson)| Row {
            table: *table,
            key: key.clone(),
            document: document.clone(),
        };
        self.rows.iter().map(row).collect()
    }

    /// The process is gone, with what was not written.
    pub fn crash(&mut self) {
        self.waiting.clear();
        self.lost = None;
    }

    fn write(&mut self, commit: Commit, full: bool) -> Result<(), StoreFailure> {
        if full || self.lost == Some(commit.epoch) {
            self.lost = Some(commit.epoch);
            return Err(StoreFailure::Full);
        }
        for write in commit.writes {
            match write {
                Write::Append(_) | Write::Audit { .. } | Write::Forget { .. } => {}
                Write::Delete { table, key } => {
                    self.rows.remove(&(table, key));
                }
                Write::Put {
                    table,
                    key,
                    document,
                } => {
                    self.rows.insert((table, key), document);
                }
            }
        }
        Ok(())
    }

    /// A token that a client is told of has to be there after a crash.
    pub fn check_sent(&self, frame: &Value) {
        let Some(token) = frame["payload"]["auth"]["deviceToken"].as_str() else {
            return;
        };
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
        let kept = self
            .rows
            .iter()
            .filter(|((table, _), _)| *table == Table::Device)
            .any(|(_, document)| document.as_str().contains(&digest));
        assert!(kept, "a token was given out that is not on disk");
    }
}

impl World {
    /// The gateway hands over a commit. Gives it back as written, if the disk is prompt.
    pub fn take_commit(&mut self, commit: Commit) -> Option<(Commit, Result<(), StoreFailure>)> {
        if self.setting.disk == DiskManner::Prompt && self.disk.waiting.is_empty() {
            let outcome = self.disk.write(commit.clone(), false);
            return Some((commit, outcome));
        }
        self.disk.waiting.push_back(commit);
        let after = self.dice.millis(0..=200);
        self.schedule(after, Task::Written);
        None
    }

    /// The disk is through with the oldest commit.
    pub fn written(&mut self) {
        let Some(commit) = self.disk.waiting.pop_front() else {
            return;
        };
        let id = commit.id;
        let full = self.setting.disk == DiskManner::Full && self.dice.one_in(8);
        let outcome = self.disk.write(commit, full);
        if outcome.is_err() {
            self.saw("commit lost");
        }
        let now = self.now;
        if let Some(gateway) = &mut self.gateway {
            gateway.handle_committed(now, id, outcome);
        }
        self.carry();
    }

    /// The disk is prompt again, once it is through.
    pub fn mend_disk(&mut self) {
        self.setting.disk = DiskManner::Prompt;
        self.run_for(Duration::from_millis(200));
    }
}

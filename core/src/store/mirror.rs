//! Records in memory, with the way back for commits that fail.

use std::collections::{BTreeMap, VecDeque};

use serde::{Serialize, de::DeserializeOwned};

use super::{CommitId, Journal, Row, Table, Write};
use crate::frame::RawJson;

/// Something that is kept as one row.
pub trait Record: Clone + Serialize + DeserializeOwned {
    /// Where it is kept.
    const TABLE: Table;

    /// Its key.
    fn key(&self) -> &str;
}

/// All rows of one kind. Reads see every change at once; a failed commit takes its changes back.
#[derive(Debug)]
pub(crate) struct Mirror<R> {
    rows: BTreeMap<String, R>,
    /// What each change replaced, the oldest first, for commits that are not durable yet.
    undo: VecDeque<(CommitId, String, Option<R>)>,
    /// The last of those commits that changed a row.
    changed: BTreeMap<String, CommitId>,
}

impl<R> Default for Mirror<R> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            undo: VecDeque::new(),
            changed: BTreeMap::new(),
        }
    }
}

impl<R: Record> Mirror<R> {
    /// Takes this kind's rows. Gives the keys of those that cannot be read.
    pub(crate) fn restore(rows: &[Row]) -> (Self, Vec<String>) {
        let mut mirror = Self::default();
        let mut unreadable = Vec::new();
        for row in rows.iter().filter(|row| row.table == R::TABLE) {
            match row.document.parse::<R>() {
                Ok(record) if record.key() == row.key => {
                    mirror.rows.insert(row.key.clone(), record);
                }
                Ok(_) | Err(_) => unreadable.push(row.key.clone()),
            }
        }
        (mirror, unreadable)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&R> {
        self.rows.get(key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &R> {
        self.rows.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Inserts or replaces a record.
    pub(crate) fn put(&mut self, journal: &mut Journal, record: R) {
        let key = record.key().to_owned();
        // Records are plain data, which always has a JSON form.
        let Ok(document) = RawJson::encode(&record) else {
            return;
        };
        let before = self.rows.insert(key.clone(), record);
        self.remember(journal.next(), &key, before);
        let table = R::TABLE;
        journal.stage(Write::Put {
            table,
            key,
            document,
        });
    }

    /// Removes a record.
    pub(crate) fn remove(&mut self, journal: &mut Journal, key: &str) -> Option<R> {
        let record = self.rows.remove(key)?;
        let before = Some(record.clone());
        self.remember(journal.next(), key, before);
        journal.stage(Write::Delete {
            table: R::TABLE,
            key: key.to_owned(),
        });
        Some(record)
    }

    /// The last change of a record that is not durable yet.
    pub(crate) fn unsettled(&self, key: &str) -> Option<CommitId> {
        self.changed.get(key).copied()
    }

    fn remember(&mut self, commit: CommitId, key: &str, before: Option<R>) {
        self.undo.push_back((commit, key.to_owned(), before));
        self.changed.insert(key.to_owned(), commit);
    }

    /// Whether every change is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.undo.is_empty()
    }

    /// A commit is durable: there is no way back.
    pub(crate) fn settle(&mut self, commit: CommitId) {
        while let Some((id, key, _)) = self.undo.pop_front_if(|(id, _, _)| *id <= commit) {
            if self.changed.get(&key) == Some(&id) {
                self.changed.remove(&key);
            }
        }
    }

    /// A commit failed: it and everything after it did not happen.
    pub(crate) fn roll_back(&mut self, commit: CommitId) {
        while self.undo.back().is_some_and(|(id, _, _)| *id >= commit) {
            let Some((_, key, before)) = self.undo.pop_back() else {
                return;
            };
            match before {
                Some(record) => self.rows.insert(key, record),
                None => self.rows.remove(&key),
            };
        }
        let changes = self.undo.iter();
        self.changed = changes.map(|(id, key, _)| (key.clone(), *id)).collect();
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        name: String,
        text: String,
    }

    impl Record for Note {
        const TABLE: Table = Table::Meta;

        fn key(&self) -> &str {
            &self.name
        }
    }

    fn note(name: &str, text: &str) -> Note {
        Note {
            name: name.into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_failed_commit_and_its_followers_are_taken_back() {
        let mut journal = Journal::default();
        let mut notes = Mirror::default();
        notes.put(&mut journal, note("a", "1"));
        let first = journal.seal().unwrap();
        notes.put(&mut journal, note("a", "2"));
        notes.put(&mut journal, note("b", "2"));
        let second = journal.seal().unwrap();
        notes.remove(&mut journal, "a");
        let third = journal.seal().unwrap();
        assert_eq!((first.id.0, second.id.0, third.id.0), (1, 2, 3));
        assert_eq!(notes.unsettled("a"), Some(third.id));
        assert_eq!(notes.unsettled("b"), Some(second.id));
        notes.settle(first.id);
        assert_eq!(notes.unsettled("a"), Some(third.id));
        notes.roll_back(third.id);
        assert_eq!(notes.unsettled("a"), Some(second.id));
        notes.roll_back(second.id);
        assert_eq!(notes.unsettled("a"), None);
        assert_eq!(notes.get("a"), Some(&note("a", "1")));
        assert_eq!(notes.len(), 1);
        notes.roll_back(first.id);
        assert_eq!(notes.len(), 1, "what is durable stays");
    }

    #[test]
    fn rows_that_cannot_be_read_are_named() {
        let row = |key: &str, text: &'static str| Row {
            table: Table::Meta,
            key: key.into(),
            document: RawJson::checked(text).unwrap(),
        };
        let (notes, unreadable) = Mirror::<Note>::restore(&[
            row("a", r#"{"name":"a","text":"1"}"#),
            row("b", r#"{"name":"other","text":"1"}"#),
            row("c", "7"),
        ]);
        assert_eq!(notes.len(), 1);
        assert_eq!(unreadable, ["b", "c"]);
    }
}

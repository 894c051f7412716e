//! One connection that writes, and its way back after a failure.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clawgate_core::store::{Commit, StoreFailure, Write};
use rusqlite::{Connection, OpenFlags, params};

use super::{
    create::beside,
    failure::{OpenError, Trouble, of_write, trouble},
    open::StoreOptions,
};

/// The journal is folded back into the database when it has grown to this many pages of 4 KiB.
const CHECKPOINT_PAGES: u32 = 1_000;

/// What the journal is cut to afterwards.
const JOURNAL_BYTES: u64 = 16 * 1024 * 1024;

/// The file, as the writer uses it.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    options: StoreOptions,
    identity: Identity,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Ready to write. The journal must stay the one that the connection has open.
    Ready {
        connection: Connection,
        journal: Identity,
    },
    /// After a failure of the disk: the next write begins with a new connection.
    Lost,
    /// For good. The next start sets the file aside.
    Damaged(String),
}

/// Tells a file from another one under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Database {
    pub(super) fn new(
        path: PathBuf,
        options: StoreOptions,
        connection: Connection,
    ) -> io::Result<Self> {
        Ok(Self {
            identity: Identity::of(&path)?,
            state: State::Ready {
                journal: Identity::of(&beside(&path, "-wal"))?,
                connection,
            },
            path,
            options,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn max_waiting(&self) -> usize {
        self.options.max_waiting
    }

    /// Writes all of the commits, or none. When this succeeds, they are on disk.
    pub(super) fn write(&mut self, commits: &[Commit]) -> Result<(), StoreFailure> {
        let outcome = self.try_write(commits);
        match &outcome {
            Ok(()) | Err(StoreFailure::Full) => {}
            Err(StoreFailure::Corrupt(why)) => self.state = State::Damaged(why.clone()),
            Err(StoreFailure::Io(_)) => self.state = State::Lost,
        }
        outcome
    }

    fn try_write(&mut self, commits: &[Commit]) -> Result<(), StoreFailure> {
        let audit_rows = self.options.audit_rows;
        let connection = self.ready()?;
        let done = write_all(connection, commits, audit_rows);
        if done.is_err() && !connection.is_autocommit() {
            // Where this fails too, the connection is given up below.
            let _ = connection.execute_batch("ROLLBACK");
        }
        let stuck = !connection.is_autocommit();
        done.map_err(|error| match of_write(&self.path, &error) {
            // Only a new connection helps.
            StoreFailure::Full if stuck => StoreFailure::Io(error.to_string()),
            failure @ (StoreFailure::Corrupt(_) | StoreFailure::Full | StoreFailure::Io(_)) => {
                failure
            }
        })
    }

    /// The connection, opened again after a failure.
    fn ready(&mut self) -> Result<&Connection, StoreFailure> {
        match &self.state {
            State::Damaged(why) => return Err(StoreFailure::Corrupt(why.clone())),
            State::Ready { journal, .. } => {
                self.identity.check(&self.path)?;
                journal.check(&beside(&self.path, "-wal"))?;
            }
            State::Lost => {
                self.identity.check(&self.path)?;
                let connection =
                    connect(&self.path, &self.options).map_err(|error| match error {
                        Trouble::Damaged(why) => StoreFailure::Corrupt(why),
                        Trouble::Open(OpenError::Full { .. }) => StoreFailure::Full,
                        Trouble::Open(error) => StoreFailure::Io(error.to_string()),
                    })?;
                let journal = Identity::of(&beside(&self.path, "-wal"))
                    .map_err(|error| StoreFailure::Io(error.to_string()))?;
                self.state = State::Ready {
                    connection,
                    journal,
                };
            }
        }
        match &self.state {
            State::Ready { connection, .. } => Ok(connection),
            State::Lost | State::Damaged(_) => Err(StoreFailure::Io("not open".into())),
        }
    }
}

impl Identity {
    #[cfg(unix)]
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).map(|found| Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }

    #[cfg(not(unix))]
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|_| Self {})
    }

    /// What is written to a file without a name is lost when the process ends.
    fn check(self, path: &Path) -> Result<(), StoreFailure> {
        match Self::of(path) {
            Ok(found) if found == self => Ok(()),
            Ok(_) => Err(StoreFailure::Io(format!(
                "{} was replaced while the gateway runs; put it back, or restart the gateway",
                path.display()
            ))),
            Err(error) => Err(StoreFailure::Io(format!("{}: {error}", path.display()))),
        }
    }
}

/// Opens an existing file for writing, and reads a first page of it.
pub(super) fn connect(path: &Path, options: &StoreOptions) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = |error: rusqlite::Error| trouble(path, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    let mode = set_up(&connection, options).map_err(sql)?;
    if mode == "wal" {
        return Ok(connection);
    }
    Err(OpenError::Sqlite {
        path: path.to_owned(),
        message: format!("the journal mode is {mode} instead of wal; is it on a network drive?"),
    }
    .into())
}

/// Gives the journal mode.
fn set_up(connection: &Connection, options: &StoreOptions) -> rusqlite::Result<String> {
    connection.busy_timeout(options.busy)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    // Each commit is flushed before it is reported; on macOS, through the drive's cache too.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES)?;
    // Nothing in the file is run, and sizes are believed only after a look.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    if let Some(bytes) = options.max_bytes {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        connection.pragma_update(None, "max_page_count", (bytes / page).max(1))?;
    }
    // The journal is opened by the first reader.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(mode)
}

fn write_all(connection: &Connection, commits: &[Commit], audit_rows: u64) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut last_audit = None;
    for write in commits.iter().flat_map(|commit| &commit.writes) {
        match write {
            Write::Append(message) => {
                connection
                    .prepare_cached(
                        "INSERT INTO message (session, seq, id, author, at, text, document)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    )?
                    .execute(params![
                        message.session.as_str(),
                        message.seq,
                        message.id,
                        message.author.as_str(),
                        message.at.0,
                        message.text,
                        message.document.as_str(),
                    ])?;
            }
            Write::Audit { entry } => {
                connection
                    .prepare_cached("INSERT INTO audit (entry) VALUES (?1)")?
                    .execute([entry.as_str()])?;
                last_audit = Some(connection.last_insert_rowid());
            }
            Write::Delete { table, key } => {
                let table = table.name();
                connection
                    .prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1"))?
                    .execute([key])?;
            }
            Write::Forget { session, keep_from } => {
                let keep_from = keep_from.unwrap_or(i64::MAX as u64);
                connection
                    .prepare_cached("DELETE FROM message WHERE session = ?1 AND seq < ?2")?
                    .execute(params![session.as_str(), keep_from])?;
            }
            Write::Put {
                table,
                key,
                document,
            } => {
                let table = table.name();
                connection
                    .prepare_cached(&format!(
                        "INSERT INTO {table} (key, document) VALUES (?1, ?2)
                         ON CONFLICT (key) DO UPDATE SET document = excluded.document"
                    ))?
                    .execute(params![key, document.as_str()])?;
            }
        }
    }
    if let Some(last) = last_audit {
        // Numbers have no gaps, so those that are too many stand at the front.
        let kept = i64::try_from(audit_rows).unwrap_or(i64::MAX);
        connection
            .prepare_cached("DELETE FROM audit WHERE seq <= ?1")?
            .execute([last.saturating_sub(kept)])?;
    }
    connection.execute_batch("COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FILE_NAME, StoreFile};

    #[test]
    fn each_commit_is_flushed_before_it_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let opened = StoreFile::open(&path, StoreOptions::default()).unwrap();
        let State::Ready { connection, .. } = &opened.file.0.state else {
            panic!("not ready");
        };
        let value = |name| {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .unwrap()
        };
        // 2 is FULL. A crash of the machine, which no test can make, would lose what NORMAL reports.
        assert_eq!(value("synchronous"), 2.into());
        assert_eq!(value("fullfsync"), 1.into());
        assert_eq!(value("journal_mode"), "wal".to_owned().into());
    }
}

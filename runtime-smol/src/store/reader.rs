//! Queries beside the writer.

use std::{
    io,
    path::{Path, PathBuf},
};

use clawgate_core::frame::RawJson;
use rusqlite::{Connection, OpenFlags, params};
use thiserror::Error;

use super::{
    failure::{OpenError, Trouble, trouble},
    header::MIN_BYTES,
    migrations::{APPLICATION_ID, MIGRATIONS, version},
    open::{StoreOptions, quick_check},
};

/// The most entries of one page.
const MAX_PAGE: usize = 1_000;

/// Reads the database, in the gateway's process or in another one, whether it runs or not. It blocks,
/// so use it off the executor's threads. It sees what is on disk, and never holds up the writer.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    pub(super) connection: Connection,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number. Numbers count up and are never used again.
    pub seq: u64,
    /// What the core wrote.
    pub entry: RawJson,
}

/// Some lines of the audit log, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// The lines. Those that are no JSON are left out.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins, if there may be one.
    pub next: Option<u64>,
}

/// A query that failed.
#[derive(Debug, Error)]
#[error("cannot read {}: {message}", path.display())]
pub struct ReadError {
    path: PathBuf,
    message: String,
}

impl Reader {
    /// Opens the database for reading.
    ///
    /// # Errors
    /// When it is missing, broken, or of another version.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let path = std::path::absolute(path).map_err(OpenError::file("find", path))?;
        match std::fs::metadata(&path) {
            Ok(found) if found.len() >= MIN_BYTES => {}
            Ok(_) => {
                let message = "it is cut off; start the gateway once to set it aside".into();
                return Err(OpenError::Damaged { path, message });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing { path });
            }
            Err(error) => return Err(OpenError::file("find", &path)(error)),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = (|| {
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(StoreOptions::default().busy)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            let id: i64 =
                connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
            let version = version(&connection)?;
            Ok((connection, id, version))
        })();
        let (connection, id, version) = opened.map_err(|error| match trouble(&path, &error) {
            Trouble::Open(error) => error,
            Trouble::Damaged(message) => OpenError::Damaged {
                path: path.clone(),
                message,
            },
        })?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if id != APPLICATION_ID {
            return Err(OpenError::Foreign { path });
        }
        if version > known {
            return Err(OpenError::Newer {
                path,
                found: version,
                known,
            });
        }
        if version < known {
            return Err(OpenError::Sqlite {
                path,
                message: format!(
                    "its schema is {version}, and this version reads {known}; start the gateway \
                     once to bring it forward"
                ),
            });
        }
        Ok(Self { path, connection })
    }

    /// Writes everything that this connection sees at one moment into an empty file.
    pub(super) fn copy_into(&self, file: &Path) -> rusqlite::Result<()> {
        let name = file
            .to_str()
            .ok_or_else(|| rusqlite::Error::InvalidPath(file.to_owned()))?;
        self.connection.execute("VACUUM INTO ?1", [name])?;
        Ok(())
    }

    /// Walks through the whole file, and gives the first fault in words.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn check(&self) -> Result<Result<(), String>, ReadError> {
        match quick_check(&self.connection, "") {
            Ok(verdict) => Ok(verdict),
            Err(error) => match trouble(&self.path, &error) {
                Trouble::Damaged(why) => Ok(Err(why)),
                Trouble::Open(_) => Err(self.error(&error)),
            },
        }
    }

    /// What the tables look like, as statements, and the number of the last migration. No row is read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn schema(&self) -> Result<(i64, Vec<String>), ReadError> {
        let found = (|| {
            let mut query = self
                .connection
                .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?;
            let statements = query
                .query_map([], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((version(&self.connection)?, statements))
        })();
        found.map_err(|error: rusqlite::Error| self.error(&error))
    }

    /// The audit log, the newest lines first.
    ///
    /// `before` is [`AuditPage::next`] of the page before, `limit` the number of lines, at most
    /// 1,000.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn audit(&self, before: Option<u64>, limit: usize) -> Result<AuditPage, ReadError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let found = (|| {
            let mut query = self.connection.prepare_cached(
                "SELECT seq, entry FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
            )?;
            query
                .query_map(params![before, limit], |row| {
                    Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })();
        let found = found.map_err(|error: rusqlite::Error| self.error(&error))?;
        let next = (found.len() == limit)
            .then(|| found.last().map(|(seq, _)| *seq))
            .flatten();
        let entries = found
            .into_iter()
            .filter_map(|(seq, entry)| {
                RawJson::checked(entry)
                    .ok()
                    .map(|entry| AuditEntry { seq, entry })
            })
            .collect();
        Ok(AuditPage { entries, next })
    }

    pub(super) fn error(&self, error: &rusqlite::Error) -> ReadError {
        ReadError {
            path: self.path.clone(),
            message: error.to_string(),
        }
    }
}

/// How a database is, for a look from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// There is none.
    Absent,
    /// Every page is as it should be.
    Sound,
    /// It is broken: how.
    Damaged(String),
    /// It cannot be used: why.
    Unusable(String),
}

/// Looks at a database, whether its gateway runs or not. Nothing is changed.
pub fn check_database(path: &Path) -> Checked {
    match Reader::open(path) {
        Ok(reader) => match reader.check() {
            Ok(Ok(())) => Checked::Sound,
            Ok(Err(why)) => Checked::Damaged(why),
            Err(error) => Checked::Unusable(error.message),
        },
        Err(OpenError::Missing { .. }) => Checked::Absent,
        Err(OpenError::Damaged { message, .. }) => Checked::Damaged(message),
        Err(error) => Checked::Unusable(error.to_string()),
    }
}

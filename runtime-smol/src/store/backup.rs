//! A consistent copy of the database while the gateway writes to it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clawgate_core::store::Table;
use rusqlite::{Connection, OpenFlags};
use thiserror::Error;

use super::{
    create::{beside, make_folder, private_file, remove, sync_folder},
    failure::OpenError,
    open::quick_check,
    reader::Reader,
};

/// What to do with a file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Leave it, and fail.
    Never,
    /// Put the copy in its place, when it is complete.
    Existing,
}

/// A copy that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The version of its schema.
    pub schema: i64,
    /// How many rows each table has.
    pub rows: Vec<(Table, u64)>,
    /// Lines of the audit log.
    pub audit: u64,
}

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The copy does not hold together. It was removed.
    #[error(
        "the copy is damaged ({0}), so the database may be; stop the gateway and start it again"
    )]
    Damaged(String),
    /// Something is already there.
    #[error("{} exists; choose another name, or pass --force", .0.display())]
    Exists(PathBuf),
    /// A file cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database itself cannot be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The copying failed.
    #[error("cannot copy the state database: {0}")]
    Sqlite(String),
}

impl BackupError {
    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "backup_damaged",
            Self::Exists(_) => "backup_exists",
            Self::File { .. } | Self::Sqlite(_) => "backup_failed",
            Self::Source(error) => error.code(),
        }
    }
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.to_string())
    }
}

/// Copies the database at `path` into the file `to`: everything that was on disk at one moment. The
/// gateway goes on writing meanwhile. The copy is for its owner only, checked and flushed, and stands
/// under its name only when it is complete.
///
/// # Errors
/// When there is no sound database, or no place for the copy.
pub fn back_up(path: &Path, to: &Path, replace: Replace) -> Result<Backup, BackupError> {
    let file = |what| {
        move |source| BackupError::File {
            what,
            path: to.to_owned(),
            source,
        }
    };
    let to = &std::path::absolute(to).map_err(file("find"))?;
    let taken = fs::symlink_metadata(to).is_ok();
    if taken && replace == Replace::Never {
        return Err(BackupError::Exists(to.clone()));
    }
    let source = Reader::open(path)?;
    let folder = make_folder(to)?;
    let new = beside(to, ".new");
    let made = (|| {
        remove(&new).map_err(file("write"))?;
        let handle = private_file(&new).map_err(file("write"))?;
        source.copy_into(&new)?;
        let backup = describe(&new, to)?;
        handle.sync_all().map_err(file("write"))?;
        drop(handle);
        if replace == Replace::Never {
            // Takes the name, unless someone else did meanwhile.
            match private_file(to) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(BackupError::Exists(to.clone()));
                }
                Err(error) => return Err(file("write")(error)),
            }
        }
        fs::rename(&new, to)
            .and_then(|()| sync_folder(folder))
            .map_err(file("write"))?;
        Ok(backup)
    })();
    if made.is_err() {
        // The next attempt does it again.
        let _ = remove(&new);
    }
    made
}

/// Checks the copy and counts what is in it.
fn describe(new: &Path, to: &Path) -> Result<Backup, BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(new, flags)?;
    quick_check(&copy, "")?.map_err(BackupError::Damaged)?;
    let count = |table: &str| {
        copy.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get::<_, u64>(0)
        })
    };
    let rows = Table::ALL
        .into_iter()
        .map(|table| Ok((table, count(table.name())?)))
        .collect::<rusqlite::Result<_>>()?;
    Ok(Backup {
        file: to.to_owned(),
        bytes: fs::metadata(new).map_or(0, |found| found.len()),
        schema: super::migrations::version(&copy)?,
        rows,
        audit: count("audit")?,
    })
}

//! What SQLite's errors mean for the gateway.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clawgate_core::store::StoreFailure;
use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the state database cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another program keeps it locked.
    #[error("{} is locked by another program; end it, and start again", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// It is broken and could not be moved away either.
    #[error(
        "{} is damaged ({why}) and cannot be set aside: {source}; move it away, and start again",
        path.display()
    )]
    CannotSetAside {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is broken, and was only looked at.
    #[error("{} is damaged: {message}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file or folder cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A sound database that another program made.
    #[error(
        "{} is a database of another program; move it away, and start again",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// No room to open or migrate it.
    #[error("no space is left to open {}; free some, and start again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// There is none.
    #[error("{} does not exist; it is made when the gateway first runs", path.display())]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// A newer clawgate wrote it.
    #[error(
        "{} was written by a newer clawgate (schema {found}, this one knows {known}); run that \
         version, or restore a backup of this one",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Anything else that SQLite said.
    #[error("cannot use {}: {message}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What it said.
        message: String,
    },
}

impl OpenError {
    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "state_busy",
            Self::CannotSetAside { .. } | Self::Damaged { .. } => "state_damaged",
            Self::File { .. } | Self::Sqlite { .. } => "state_unusable",
            Self::Foreign { .. } => "state_foreign",
            Self::Full { .. } => "state_disk_full",
            Self::Missing { .. } => "state_missing",
            Self::Newer { .. } => "state_newer",
        }
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why a database is not ready: the file is at fault, or something around it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file is no sound database.
    Damaged(String),
    /// It may be sound.
    Open(OpenError),
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// What an error during the opening means.
pub(super) fn trouble(path: &Path, error: &rusqlite::Error) -> Trouble {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Trouble::Damaged(error.to_string())
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::Busy { path }.into()
        }
        Some(ErrorCode::DiskFull) => OpenError::Full { path }.into(),
        Some(_) | None => OpenError::Sqlite {
            path,
            message: error.to_string(),
        }
        .into(),
    }
}

/// What an error of a transaction means.
pub(super) fn of_write(path: &Path, error: &rusqlite::Error) -> StoreFailure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreFailure::Corrupt(error.to_string())
        }
        Some(ErrorCode::DiskFull) => StoreFailure::Full,
        // A used-up quota, and a full disk under the shared memory file, look like broken disks.
        Some(ErrorCode::SystemIoFailure) if no_space_beside(path) => StoreFailure::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreFailure::Io("another program keeps it locked".into())
        }
        Some(_) | None => StoreFailure::Io(error.to_string()),
    }
}

/// Tries to write a little in the same folder.
fn no_space_beside(path: &Path) -> bool {
    static ENOUGH: [u8; 64 * 1024] = [b'.'; 64 * 1024];
    let probe = path.with_extension("probe");
    let written = fs::write(&probe, ENOUGH);
    // A probe that was not made need not go.
    let _ = fs::remove_file(&probe);
    written.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::{Error, ffi};

    use super::*;

    fn failed(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn errors_of_a_write_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite");
        let failure = |code| of_write(&path, &failed(code));
        assert_eq!(failure(ffi::SQLITE_FULL), StoreFailure::Full);
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_VTAB,
            ffi::SQLITE_NOTADB,
        ] {
            assert!(matches!(failure(code), StoreFailure::Corrupt(_)), "{code}");
        }
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert!(matches!(failure(code), StoreFailure::Io(_)), "{code}");
        }
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "no probe is left"
        );
    }

    #[test]
    fn only_the_file_itself_is_called_damaged() {
        let path = Path::new("/s/state.sqlite");
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            assert!(matches!(trouble(path, &failed(code)), Trouble::Damaged(_)));
        }
        for (code, name) in [
            (ffi::SQLITE_BUSY, "state_busy"),
            (ffi::SQLITE_FULL, "state_disk_full"),
            (ffi::SQLITE_IOERR, "state_unusable"),
            (ffi::SQLITE_CANTOPEN, "state_unusable"),
        ] {
            let Trouble::Open(error) = trouble(path, &failed(code)) else {
                panic!("{code} would set the file aside");
            };
            assert_eq!(error.code(), name);
        }
    }
}

//! Whose file it is, told from its first bytes, before SQLite may change anything in it.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::migrations::APPLICATION_ID;

/// The header of SQLite's file format.
const HEADER_BYTES: usize = 100;

/// Where it keeps `PRAGMA application_id`, as four bytes with the highest first.
const APPLICATION_ID_AT: usize = 68;

/// The smallest page, and so the smallest file.
pub(super) const MIN_BYTES: u64 = 512;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A database of clawgate.
    Ours,
    /// A database of another program.
    Foreign,
    /// No database.
    Broken(&'static str),
}

impl Header {
    /// Reads it. No connection of this process may have the file open: closing a file drops the
    /// process's locks on it, those of SQLite too.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MIN_BYTES).read_to_end(&mut bytes)?;
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Self::Broken(if bytes.is_empty() {
                "the file is empty"
            } else {
                "the file is cut off"
            });
        };
        if !header.starts_with(b"SQLite format 3\0") {
            return Self::Broken("the file does not begin as a database");
        }
        let id = header
            .get(APPLICATION_ID_AT..)
            .and_then(|rest| rest.first_chunk())
            .map(|id| i64::from(u32::from_be_bytes(*id)));
        if id == Some(APPLICATION_ID) {
            Self::Ours
        } else {
            Self::Foreign
        }
    }
}

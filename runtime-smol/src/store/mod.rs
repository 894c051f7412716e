//! Durable state: the rows and the audit log of [`clawgate_core::store`], kept in one SQLite file.
//!
//! Nothing is decided here. The core says what to write, in commits; a thread of its own writes them
//! in order, and says of each whether it is on disk. Commits that wait together become one
//! transaction, so that the cost of a flush to disk is shared.
//!
//! | file | rule |
//! | --- | --- |
//! | `open` | what is checked before a database is used, and what becomes of a broken one |
//! | `header` | whose file it is |
//! | `create` | how a new file comes to be, whole or not at all |
//! | `migrations` | the tables, and the way to them from every older version |
//! | `writer` | order, groups, and what fails with what |
//! | `database` | one connection that writes, and its way back after a failure |
//! | `failure` | what SQLite's errors mean |
//! | `reader` | queries beside the writer |
//! | `readers` | connections that are kept for the next question |
//! | `transcripts` | questions about what was said |
//! | `backup` | a consistent copy |
//!
//! ```
//! use std::sync::mpsc;
//!
//! use clawgate_core::{
//!     frame::RawJson,
//!     store::{Commit, CommitId, Epoch, Table, Write},
//! };
//! use clawgate_smol::store::{Store, StoreFile, StoreOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("state.sqlite");
//! let opened = StoreFile::open(&path, StoreOptions::default())?;
//! assert!(opened.rows.is_empty());
//!
//! let (outcomes, heard) = mpsc::channel();
//! let store = Store::start(opened.file, move |id, outcome| {
//!     let _ = outcomes.send((id, outcome));
//! })?;
//! store.submit(Commit {
//!     id: CommitId(1),
//!     epoch: Epoch(0),
//!     writes: vec![Write::Put {
//!         table: Table::Meta,
//!         key: "motd".into(),
//!         document: RawJson::checked(r#"{"text":"hello"}"#)?,
//!     }],
//! });
//! assert_eq!(heard.recv()?, (CommitId(1), Ok(())));
//! store.close();
//!
//! let again = StoreFile::open(&path, StoreOptions::default())?;
//! assert_eq!(again.rows[0].key, "motd");
//! # Ok(())
//! # }
//! ```

mod backup;
mod create;
mod database;
mod failure;
mod header;
mod migrations;
mod open;
mod reader;
mod readers;
mod transcripts;
mod writer;

pub use backup::{Backup, BackupError, Replace, back_up};
pub use failure::OpenError;
pub use open::{Damage, Found, Opened, StoreFile, StoreOptions, set_aside_files};
pub use reader::{AuditEntry, AuditPage, Checked, ReadError, Reader, check_database};
pub(crate) use readers::Readers;
pub use writer::Store;

/// The file's name in the gateway's own folder.
pub const FILE_NAME: &str = "state.sqlite";

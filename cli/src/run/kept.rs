//! The gateway's database: opened before anything is served.

use std::path::Path;

use clawgate_smol::{
    State,
    store::{Damage, FILE_NAME, Found, Opened, StoreFile, StoreOptions, set_aside_files},
};
use tracing::{info, warn};

use super::{RunError, state::StateFolder};

/// What was kept.
pub(super) struct Kept {
    pub(super) state: State,
    /// What is wrong with it, for health.
    pub(super) problem: Option<String>,
}

/// Opens the database. A damaged one is set aside, and everybody who looks is told so.
pub(super) fn open(own: &StateFolder) -> Result<Kept, RunError> {
    let path = own.file(FILE_NAME);
    let Opened {
        file,
        rows,
        unreadable,
        found,
    } = StoreFile::open(&path, StoreOptions::default())?;
    for (table, key) in &unreadable {
        warn!(
            table = table.name(),
            key, "a kept row is no JSON and is left alone"
        );
    }
    let problem = match found {
        Found::Nothing
        | Found::Sound {
            migrated_from: None,
        } => left_aside(&path),
        Found::Sound {
            migrated_from: Some(version),
        } => {
            info!(
                version,
                "the state database was brought to the newest version"
            );
            left_aside(&path)
        }
        Found::Damaged(Damage { set_aside, why }) => {
            let problem = format!(
                "the state database was damaged ({why}) and lies now at {}; paired devices and \
                 join tokens in it are unknown until it is restored from a backup",
                set_aside.display()
            );
            warn!("{problem}");
            Some(problem)
        }
    };
    Ok(Kept {
        state: State::Kept(file, rows),
        problem,
    })
}

/// A database that was set aside at an earlier start is remembered until somebody has seen to it.
fn left_aside(path: &Path) -> Option<String> {
    let files = set_aside_files(path).unwrap_or_default();
    let newest = files.last()?;
    let problem = format!(
        "a damaged state database still lies at {}; restore a backup or pair the devices again, \
         then remove it",
        newest.display()
    );
    warn!("{problem}");
    Some(problem)
}

//! The gateway's database: opened before anything is served.

use clawgate_smol::{
    State,
    store::{Damage, Found, Opened, StoreFile, StoreOptions},
};
use tracing::{info, warn};

use super::{RunError, state::StateFolder};

/// The database's name in the gateway's folder.
pub(crate) const DATABASE: &str = "state.sqlite";

/// What was kept.
pub(super) struct Kept {
    pub(super) state: State,
    /// What is wrong with it, for health.
    pub(super) problem: Option<String>,
}

/// Opens the database. A damaged one is set aside, and everybody who looks is told so.
pub(super) fn open(own: &StateFolder) -> Result<Kept, RunError> {
    let path = own.file(DATABASE);
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
        } => None,
        Found::Sound {
            migrated_from: Some(version),
        } => {
            info!(
                version,
                "the state database was brought to the newest version"
            );
            None
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

//! `--fix`: what is safe.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clawgate_core::doctor::Repair;
use serde_json::{Value, json};

use crate::commands::security::mend::set_mode;
use crate::context::Context;
use crate::private_file;
use crate::run::LOCK;
use crate::text::plain;

/// A repair that was tried.
#[derive(Debug)]
pub(super) struct Repaired {
    repair: Repair,
    /// What the system said against it.
    error: Option<String>,
}

/// Does what the findings offer, folders before what is in them.
pub(super) fn carry_out(mut repairs: Vec<Repair>, context: &Context) -> Vec<Repaired> {
    repairs.sort();
    repairs.dedup();
    repairs
        .into_iter()
        .map(|repair| Repaired {
            error: tried(&repair, context).err(),
            repair,
        })
        .collect()
}

fn tried(repair: &Repair, context: &Context) -> Result<(), String> {
    match repair {
        Repair::Mode(mend) => set_mode(mend),
        Repair::EmptyLock(_) => with_lock(context, |lock| lock.set_len(0)),
        Repair::RemoveSocket(path) => with_lock(context, |_| fs::remove_file(path)),
        Repair::RemoveHalf(path) => fs::remove_file(path).map_err(|error| error.to_string()),
    }
}

/// While the gateway's lock is held here, no gateway starts.
fn with_lock(
    context: &Context,
    change: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), String> {
    let places = context.locations().map_err(|failure| failure.message)?;
    let lock = private_file::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(places.own.join(LOCK))
        .map_err(|error| error.to_string())?;
    lock.try_lock()
        .map_err(|_| "a gateway is starting or running".to_owned())?;
    change(&lock).map_err(|error| error.to_string())
}

impl Repaired {
    fn path(&self) -> &Path {
        match &self.repair {
            Repair::Mode(mend) => &mend.path,
            Repair::EmptyLock(path) | Repair::RemoveSocket(path) | Repair::RemoveHalf(path) => path,
        }
    }

    fn what(&self) -> String {
        match &self.repair {
            Repair::Mode(mend) => format!("mode {:03o} became {:03o}", mend.from, mend.to),
            Repair::EmptyLock(_) => "emptied".to_owned(),
            Repair::RemoveSocket(_) | Repair::RemoveHalf(_) => "removed".to_owned(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let path: PathBuf = self.path().to_owned();
        json!({ "file": path.to_string_lossy(), "what": self.what(), "error": self.error })
    }

    pub(super) fn to_text(&self) -> String {
        let path = self.path().display();
        let line = match &self.error {
            None => format!("fixed     {path}: {}", self.what()),
            Some(error) => format!("not fixed {path}: {error}"),
        };
        format!("{}\n", plain(&line))
    }
}

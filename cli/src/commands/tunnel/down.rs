//! `tunnel down`: closes the tunnels of an instance.

use std::time::Duration;

use clawgate_std::{Held, TunnelFiles};
use serde_json::json;

use super::keep::broken;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::tunnels;

/// How long one may take. `ssh` has 1.5 s of it before it is killed.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let folder = tunnels::folder(context.locations()?);
    let mut closed = Vec::new();
    for files in TunnelFiles::all(&folder) {
        let target = files.record().map(|record| record.spec.target.to_string());
        let held = files.close(CLOSE_WITHIN).map_err(|error| broken(&error))?;
        if held == Held::Yes {
            closed.push(target.unwrap_or_else(|| files.key().to_owned()));
        }
    }
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "closed": closed }))?,
        Format::Text if closed.is_empty() => output::text("No tunnel is open.\n")?,
        Format::Text => {
            for target in &closed {
                output::text(&format!("Closed the tunnel to {target}.\n"))?;
            }
        }
    }
    Ok(Exit::Ok)
}

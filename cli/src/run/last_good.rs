//! The last config with which the gateway worked: kept beside its state, and started on when the file
//! cannot be used.

use std::fs;
use std::path::Path;

use clawgate_core::config::ConfigFile;
use tracing::warn;

use super::auth::{Decided, decide, decide_on};
use super::{RunError, RunRequest, state::write_private};

/// What a gateway starts with.
pub(super) struct Start {
    pub(super) decided: Decided,
    /// Why it is not what the file says, in words for people.
    pub(super) fallback: Option<String>,
}

/// Decides as [`decide`] does, and goes back to the last config that worked when the file cannot be
/// used. Secrets that cannot be read, and a config that wants no gateway here, are no reason for that.
///
/// # Errors
/// When no gateway may start like this, and there is nothing to go back to.
pub(super) fn decide_or_go_back(request: &RunRequest) -> Result<Start, RunError> {
    let error = match decide(request) {
        Ok(decided) => {
            return Ok(Start {
                decided,
                fallback: None,
            });
        }
        Err(error) => error,
    };
    let is_unusable = matches!(
        error,
        RunError::Config(_) | RunError::ConfigIssues { .. } | RunError::Refused(_)
    );
    match read(request).filter(|_| is_unusable) {
        Some(good) => match decide_on(good, request) {
            Ok(decided) => {
                let (what, _) = in_one_line(&error);
                let fallback = format!(
                    "the gateway runs on the last config that worked, because the file cannot be \
                     used: {what} `clawgate config diff` shows what differs, `clawgate config restore` \
                     goes back to it",
                );
                Ok(Start {
                    decided,
                    fallback: Some(fallback),
                })
            }
            // The file is what has to be corrected.
            Err(_) => Err(error),
        },
        None => Err(error),
    }
}

/// The config that is kept, under the name of the file that it stands in for.
fn read(request: &RunRequest) -> Option<ConfigFile> {
    let text = fs::read_to_string(request.places.last_good_config_file()).ok()?;
    let name = request.places.config.to_string_lossy();
    let file = ConfigFile::parse_with(name, text, &request.env).ok()?;
    file.issues.is_empty().then_some(file)
}

/// Keeps a config that works. What cannot be kept is told of.
pub(super) fn keep(path: &Path, file: &ConfigFile) {
    if !file.exists || fs::read_to_string(path).is_ok_and(|kept| kept == file.text) {
        return;
    }
    if let Err(error) = write_private(path, file.text.as_bytes()) {
        warn!(%error, "the config that works could not be kept for a start with a broken one");
    }
}

/// What was wrong with a config and what to do, each in one line.
pub(super) fn in_one_line(error: &RunError) -> (String, String) {
    let (what, next) = error.what_and_next();
    let mut what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    if !what.ends_with('.') {
        what.push('.');
    }
    (what, next)
}

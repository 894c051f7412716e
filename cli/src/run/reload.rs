//! The secrets of a running gateway: read again when an operator asks for it, and the place of the
//! token that it made for itself.

use std::{fmt, path::PathBuf};

use clawgate_core::{
    agent::Agents, channel::Channels, gateway::ServerSecrets, policy::startup_auth::StartupAuth,
    secret::Secret,
};
use clawgate_smol::SecretsHost;
use tracing::{info, warn};

use super::{
    RunError, RunRequest, adopt_token, agents,
    auth::{Decided, decide},
    channels, random, read_config,
    state::{StateFolder, write_private},
};

/// Reads the same files by the same flags as the start did.
pub(super) struct Reloader {
    request: RunRequest,
    token_file: PathBuf,
}

impl Reloader {
    pub(super) fn new(request: RunRequest) -> Self {
        Self {
            token_file: request.places.token_file(),
            request,
        }
    }

    fn read_again(&self) -> Result<ServerSecrets, RunError> {
        let Decided { started, .. } = decide(&self.request)?;
        server_secrets(started, &self.request)
    }
}

/// The secret that clients must present by now: the one that the gateway made for itself stays the same.
///
/// # Errors
/// When the files of the gateway's own token cannot be used.
pub(super) fn server_secrets(
    mut started: StartupAuth,
    request: &RunRequest,
) -> Result<ServerSecrets, RunError> {
    let own = StateFolder::open(&request.places.own)?;
    adopt_token(&mut started, &own, &request.places.token_file())?;
    let warnings = started.passed_over.iter().map(ToString::to_string);
    Ok(ServerSecrets {
        mode: started.auth.mode,
        warnings: warnings.collect(),
        secret: started.auth.used_secret().cloned(),
    })
}

impl SecretsHost for Reloader {
    fn read(&self) -> Result<ServerSecrets, String> {
        match self.read_again() {
            Ok(secrets) => {
                for warning in &secrets.warnings {
                    warn!("{warning}");
                }
                info!("secrets were read again");
                Ok(secrets)
            }
            Err(error) => {
                warn!(%error, "secrets could not be read again");
                let (what, next) = error.what_and_next();
                Err(format!("{what} {next}")
                    .trim()
                    .trim_end_matches('.')
                    .to_owned())
            }
        }
    }

    fn read_agents(&self) -> Option<Agents> {
        let read = read_config(&self.request.places.config, &self.request.env);
        let file = read.inspect_err(|error| warn!(%error, "the agents stay as they are"));
        Some(agents::build(
            &file.ok()?,
            &self.request.env,
            random().ok()?,
        ))
    }

    fn read_channels(&self) -> Option<Channels> {
        let read = read_config(&self.request.places.config, &self.request.env);
        let file = read.inspect_err(|error| warn!(%error, "the channels stay as they are"));
        Some(channels::build(
            &file.ok()?,
            &self.request.env,
            random().ok()?,
        ))
    }

    fn keep_token(&self, token: &Secret) -> Result<(), String> {
        let line = format!("{}\n", token.expose());
        match write_private(&self.token_file, line.as_bytes()) {
            Ok(()) => {
                info!(id = token.id(), "the gateway's own token was rotated");
                Ok(())
            }
            Err(error) => {
                warn!(%error, "the gateway's own token could not be rotated");
                Err(error.to_string())
            }
        }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

//! The auth that a gateway starts with: config and references read here, everything decided by the
//! core.

use clawgate_core::{
    config::{Config, ConfigFile, EnvVars, ModeSetting},
    credentials::RefAccess,
    policy::{
        server_auth::AuthOverride,
        startup::{Runtime, resolve_start},
        startup_auth::{
            GENERATED_TOKEN_BYTES, StartupAuth, StartupAuthError, resolve_startup_auth,
        },
    },
};

use super::{RunError, RunRequest, Unconfigured, default_bind, facts, random, read_config};
use crate::references::with_references;

/// What the configuration comes to.
pub(super) struct Decided {
    /// The file, with the flags of the start in it.
    pub(super) file: ConfigFile,
    /// The secrets.
    pub(super) started: StartupAuth,
    /// What the gateway runs with.
    pub(super) runtime: Runtime,
}

/// Reads the configuration, the references that it needs and the facts about this machine, and decides
/// what a gateway runs with. Blocks for as long as the slowest reference takes.
///
/// # Errors
/// When no gateway may start like this.
pub(super) fn decide(request: &RunRequest) -> Result<Decided, RunError> {
    decide_on(read_config(&request.places.config, &request.env)?, request)
}

/// Decides what a gateway runs with by this configuration.
///
/// # Errors
/// When no gateway may start like this.
pub(super) fn decide_on(mut file: ConfigFile, request: &RunRequest) -> Result<Decided, RunError> {
    let unconfigured = file.exists && file.config.gateway.mode != ModeSetting::Local;
    if unconfigured && request.unconfigured == Unconfigured::Refuse {
        return Err(RunError::NotLocal {
            path: request.places.config.clone(),
        });
    }
    if let Some(bind) = request.bind.or_else(|| default_bind(&file)) {
        file.config.gateway.bind = Some(bind);
    }
    let facts = facts::host_facts(&file.config.gateway);
    let started = startup_auth(&file.config, &request.env, &request.auth, random()?)?;
    let runtime = resolve_start(&file.config.gateway, &started, &facts)?;
    Ok(Decided {
        file,
        started,
        runtime,
    })
}

/// Decides the auth, reading the references that its mode uses and no others.
fn startup_auth(
    config: &Config,
    env: &EnvVars,
    over: &AuthOverride,
    random: [u8; GENERATED_TOKEN_BYTES],
) -> Result<StartupAuth, StartupAuthError> {
    with_references(&config.secrets, env, |values| {
        let refs = RefAccess::Available(values);
        let answer = resolve_startup_auth(config, env, over, refs, random);
        let wanted = match &answer {
            Ok(started) => started.wanted.clone(),
            Err(StartupAuthError::RefUnresolved { wanted, .. }) => wanted.clone(),
            Err(_) => Vec::new(),
        };
        (answer, wanted)
    })
}

//! The secrets that a gateway starts with: references read, everything else decided by the core.

use clawgate_core::{
    config::{Config, EnvVars},
    credentials::RefAccess,
    policy::{
        server_auth::AuthOverride,
        startup_auth::{
            GENERATED_TOKEN_BYTES, StartupAuth, StartupAuthError, resolve_startup_auth,
        },
    },
};

use crate::references::with_references;

/// Decides the auth, reading the references that its mode uses and no others. Blocks for as long as
/// they take.
pub(super) fn startup_auth(
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

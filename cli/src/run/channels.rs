//! Where people write from: the accounts of the config, with their credentials read here.

use clawgate_core::{
    channel::{BuiltChannels, Channels},
    config::{ConfigFile, EnvVars},
    credentials::RefAccess,
    rng::Seed,
};
use tracing::warn;

use crate::references::with_references;

/// Makes the accounts of the config. Blocks for as long as the slowest reference takes. An account that
/// cannot run is said, and the gateway starts all the same.
pub(super) fn build(file: &ConfigFile, env: &EnvVars, seed: Seed) -> Channels {
    let channels = with_references(&file.config.secrets, env, |values| {
        let refs = RefAccess::Available(values);
        let BuiltChannels { channels, wanted } = Channels::build(&file.config, env, refs, seed);
        (channels, wanted)
    });
    for (name, account) in channels.accounts() {
        if let (true, Err(why)) = (account.enabled, &account.machine) {
            warn!(account = %name, "this account does not run: {why}");
        }
    }
    channels
}

/// For the person at the terminal: each account, and where it is reached if that is on the gateway's
/// own port.
pub(super) fn describe(channels: &Channels) -> Vec<String> {
    let accounts = channels.accounts().iter();
    accounts
        .filter(|(_, account)| account.enabled)
        .map(|(name, account)| match &account.machine {
            Ok(machine) if machine.takes_posts() => format!("{name} (POST /channels/{name})"),
            Ok(_) => name.to_string(),
            Err(why) => format!("{name} (does not run: {why})"),
        })
        .collect()
}

//! Who answers messages: the agents of the config, with their credentials read here.

use clawgate_core::{
    agent::{Agent, Agents, BuiltAgents, ProfileState},
    config::{ConfigFile, EnvVars},
    credentials::RefAccess,
    rng::Seed,
};
use tracing::warn;

use crate::references::with_references;

/// Makes the agents of the config. Blocks for as long as the slowest reference takes. What cannot be
/// read is said, and never used; the gateway starts all the same.
pub(super) fn build(file: &ConfigFile, env: &EnvVars, seed: Seed) -> Agents {
    let agents = with_references(&file.config.secrets, env, |values| {
        let refs = RefAccess::Available(values);
        let BuiltAgents { agents, wanted } = Agents::build(&file.config, env, refs, seed);
        (agents, wanted)
    });
    for profile in agents.profiles(clawgate_smol::now()) {
        if let ProfileState::Unresolved { why } = profile.state {
            warn!(
                profile = profile.name,
                provider = profile.provider,
                "this credential is not used: {why}"
            );
        }
    }
    agents
}

//! What a running gateway takes up of a changed config.

use std::{sync::Arc, time::Duration};

use super::{Gateway, ServerSecrets};
use crate::{config::GatewayConfig, limits::Limits, time::Now};

/// The part of a new config that counts at once. Agents and channels are taken up beside it
/// ([`Gateway::take_up_agents`], [`Gateway::take_up_channels`]).
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// `gateway`: origins, limits on wrong secrets, which devices are approved, which node commands.
    pub gateway: GatewayConfig,
    /// The secret as it is by now, where it could be read.
    pub secrets: Option<ServerSecrets>,
    /// Time for one run, where its caller names none.
    pub run: Duration,
    /// Ids of the configured agents; never empty.
    pub agents: Vec<String>,
    /// The hash of the config, where all of it counts by now.
    pub hash: Option<String>,
}

impl Gateway {
    /// Takes up what can change while the gateway runs. A secret that changed ends the one before at
    /// once, as `secrets.reload` without a grace does, and only for the same `gateway.auth.mode`.
    ///
    /// # Errors
    /// When the secret cannot be taken up, in words for the operator and without secrets; the rest is.
    pub fn take_up_config(&mut self, now: Now, live: LiveConfig) -> Result<(), String> {
        self.assert_drained();
        let LiveConfig {
            gateway,
            secrets,
            run,
            agents,
            hash,
        } = live;
        self.setup.admission.take_up(&gateway);
        self.failures.take_up(self.setup.admission.rate_limit);
        if self.setup.limits.run != run {
            self.setup.limits = Arc::new(Limits {
                run,
                ..Limits::clone(&self.setup.limits)
            });
        }
        if !agents.is_empty() {
            self.setup.host.agents = agents;
        }
        if hash.is_some() {
            self.setup.host.config_hash = hash;
        }
        let taken = match secrets {
            Some(_) if self.is_changing_secrets() => {
                Err("another change of the secret is under way".to_owned())
            }
            Some(secrets) => self.take_secrets(now, secrets, Duration::ZERO).map(drop),
            None => Ok(()),
        };
        self.dismiss_outdated();
        self.refresh_health(now);
        self.end_input(now);
        taken
    }

    /// Tells everybody who looks what is wrong with the config, or that it needs a restart; nothing when
    /// all is well again.
    pub fn set_config_problems(&mut self, now: Now, problems: Vec<String>) {
        if self.setup.host.config_problems == problems {
            return;
        }
        self.assert_drained();
        self.setup.host.config_problems = problems;
        self.refresh_health(now);
        self.end_input(now);
    }
}

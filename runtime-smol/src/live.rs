//! Changes of the config while a server runs.

use std::sync::{Arc, Weak};

use clawgate_core::{agent::Agents, channel::Channels, gateway::LiveConfig};

use crate::hub::Hub;

/// A handle by which a host hands in a changed config. It does not keep the server alive.
#[derive(Clone, Debug)]
pub struct Live(Weak<Hub>);

impl Live {
    pub(crate) fn of(hub: &Arc<Hub>) -> Self {
        Self(Arc::downgrade(hub))
    }

    /// Takes up what can change at once.
    ///
    /// # Errors
    /// As [`Gateway::take_up_config`](clawgate_core::gateway::Gateway::take_up_config).
    pub fn take_up_config(&self, live: LiveConfig) -> Result<(), String> {
        match self.0.upgrade() {
            Some(hub) => hub.with(|gateway, now| gateway.take_up_config(now, live)),
            None => Ok(()),
        }
    }

    /// Takes up another state of the agents.
    pub fn take_up_agents(&self, agents: Agents) {
        if let Some(hub) = self.0.upgrade() {
            hub.take_up_agents(agents);
        }
    }

    /// Takes up another state of the channels; accounts that are the same go on undisturbed.
    pub fn take_up_channels(&self, channels: Channels) {
        if let Some(hub) = self.0.upgrade() {
            hub.take_up_channels(channels);
        }
    }

    /// Shows what is wrong with the config in health, or nothing any more.
    pub fn set_config_problems(&self, problems: Vec<String>) {
        if let Some(hub) = self.0.upgrade() {
            hub.with(|gateway, now| gateway.set_config_problems(now, problems));
        }
    }
}

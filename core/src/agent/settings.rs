//! What is configured for each agent.

use std::collections::BTreeMap;

/// Settings by agent id, and those of everybody else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerAgent<T> {
    /// Of agents that are listed.
    pub listed: BTreeMap<String, T>,
    /// Of every other id.
    pub others: T,
}

impl<T> PerAgent<T> {
    /// The same for everybody.
    pub const fn all(settings: T) -> Self {
        Self {
            listed: BTreeMap::new(),
            others: settings,
        }
    }

    /// The settings of an agent.
    pub fn of(&self, agent_id: &str) -> &T {
        self.listed.get(agent_id).unwrap_or(&self.others)
    }

    /// All settings, the listed ones first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.listed.values().chain([&self.others])
    }
}

//! What people changed by calls: one row each, by name.

use serde::{Deserialize, Serialize};

use super::{
    agents::{AgentFile, AgentProfile},
    approvals::Grant,
    voice::Routing,
};
use crate::store::{CommitId, Journal, Mirror, Record, Row, Table};

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "kebab-case")]
pub(super) enum Kept {
    Agent(AgentProfile),
    AgentFile(AgentFile),
    ExecGrant(Grant),
    VoiceRouting(Routing),
    VoiceTriggers(Vec<String>),
}

impl Kept {
    /// Its name, unlike that of every other setting.
    fn name(&self) -> String {
        match self {
            Self::Agent(agent) => agent_name(&agent.id),
            Self::AgentFile(file) => agent_file_name(&file.agent, &file.name),
            Self::ExecGrant(grant) => grant_name(&grant.grant_id),
            Self::VoiceRouting(_) => VOICE_ROUTING.into(),
            Self::VoiceTriggers(_) => VOICE_TRIGGERS.into(),
        }
    }
}

pub(super) const VOICE_ROUTING: &str = "voice-routing";
pub(super) const VOICE_TRIGGERS: &str = "voice-triggers";

pub(super) fn agent_name(agent: &str) -> String {
    format!("agent:{agent}")
}

pub(super) fn agent_file_name(agent: &str, file: &str) -> String {
    format!("agent-file:{agent}:{file}")
}

pub(super) fn grant_name(grant: &str) -> String {
    format!("exec-grant:{grant}")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Setting {
    name: String,
    #[serde(flatten)]
    kept: Kept,
}

impl Record for Setting {
    const TABLE: Table = Table::Setting;

    fn key(&self) -> &str {
        &self.name
    }
}

/// All settings.
#[derive(Debug)]
pub(super) struct Settings(Mirror<Setting>);

impl Settings {
    /// Takes the rows of the last run. Gives the keys of those that cannot be read.
    pub(super) fn restore(rows: &[Row]) -> (Self, Vec<String>) {
        let (settings, unreadable) = Mirror::restore(rows);
        (Self(settings), unreadable)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Kept> {
        self.0.get(name).map(|setting| &setting.kept)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.0.values().map(|setting| &setting.kept)
    }

    pub(super) fn put(&mut self, journal: &mut Journal, kept: Kept) {
        let name = kept.name();
        self.0.put(journal, Setting { name, kept });
    }

    pub(super) fn remove(&mut self, journal: &mut Journal, name: &str) -> bool {
        self.0.remove(journal, name).is_some()
    }

    pub(super) fn settle(&mut self, commit: CommitId) {
        self.0.settle(commit);
    }

    pub(super) fn roll_back(&mut self, commit: CommitId) {
        self.0.roll_back(commit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_survives_a_restart() {
        let mut journal = Journal::default();
        let (mut settings, _) = Settings::restore(&[]);
        let words = Kept::VoiceTriggers(vec!["hello".into()]);
        settings.put(&mut journal, words.clone());
        let commit = journal.seal().unwrap();
        let rows: Vec<Row> = commit
            .writes
            .into_iter()
            .filter_map(|write| match write {
                crate::store::Write::Put {
                    table,
                    key,
                    document,
                } => Some(Row {
                    table,
                    key,
                    document,
                }),
                crate::store::Write::Append(_)
                | crate::store::Write::Audit { .. }
                | crate::store::Write::Delete { .. }
                | crate::store::Write::Forget { .. } => None,
            })
            .collect();
        let (restored, unreadable) = Settings::restore(&rows);
        assert!(unreadable.is_empty());
        assert_eq!(restored.get(VOICE_TRIGGERS), Some(&words));
        settings.roll_back(commit.id);
        assert_eq!(settings.get(VOICE_TRIGGERS), None);
    }
}

//! Agents: those of the configuration and those that were made by calls, and the files that tell
//! each who it is.
//!
//! The files are records of the database and not a folder: what is acknowledged is on disk, and no
//! path leads out of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Gateway,
    settings::{Kept, agent_file_name, agent_name},
};
use crate::time::WallTime;

/// Characters of an agent's id.
const MAX_ID: usize = 64;

/// A file that an agent is told at the start of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    pub(super) name: &'static str,
    /// Whether most agents do without it.
    pub(super) optional: bool,
}

/// The names that exist, in the order in which an agent reads them.
pub(super) const FILES: [FileName; 6] = [
    FileName {
        name: "AGENTS.md",
        optional: false,
    },
    FileName {
        name: "SOUL.md",
        optional: false,
    },
    FileName {
        name: "IDENTITY.md",
        optional: false,
    },
    FileName {
        name: "USER.md",
        optional: false,
    },
    FileName {
        name: "BOOTSTRAP.md",
        optional: true,
    },
    FileName {
        name: "MEMORY.md",
        optional: true,
    },
];

/// An agent's record. One for an agent of the configuration adds to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentProfile {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) emoji: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) avatar: Option<String>,
    pub(super) created_at_ms: WallTime,
}

/// One file of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentFile {
    pub(super) agent: String,
    pub(super) name: String,
    pub(super) content: String,
    pub(super) updated_at_ms: WallTime,
}

/// The id that a name makes: lower case, and `-` for whatever an id cannot hold. Nothing when no
/// character is left.
pub(super) fn agent_id(name: &str) -> Option<String> {
    let mut id = String::new();
    for each in name.trim().to_lowercase().chars() {
        if each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_' {
            id.push(each);
        } else if !id.ends_with('-') {
            id.push('-');
        }
    }
    let id: String = id
        .trim_start_matches(['-', '_'])
        .chars()
        .take(MAX_ID)
        .collect();
    let id = id.trim_end_matches('-');
    (!id.is_empty()).then(|| id.to_owned())
}

impl Gateway {
    /// The agents of the configuration, then those that were made by calls.
    pub(super) fn agent_ids(&self) -> Vec<String> {
        let configured = &self.setup.host.agents;
        let made = self.settings.all().filter_map(|kept| match kept {
            Kept::Agent(agent) if !configured.contains(&agent.id) => Some(agent.id.clone()),
            Kept::Agent(_)
            | Kept::AgentFile(_)
            | Kept::ExecGrant(_)
            | Kept::VoiceRouting(_)
            | Kept::VoiceTriggers(_) => None,
        });
        configured.iter().cloned().chain(made).collect()
    }

    pub(super) fn has_agent(&self, id: &str) -> bool {
        self.is_configured(id) || self.agent(id).is_some()
    }

    pub(super) fn is_configured(&self, id: &str) -> bool {
        self.setup.host.agents.iter().any(|known| known == id)
    }

    pub(super) fn agent(&self, id: &str) -> Option<&AgentProfile> {
        match self.settings.get(&agent_name(id))? {
            Kept::Agent(agent) => Some(agent),
            Kept::AgentFile(_)
            | Kept::ExecGrant(_)
            | Kept::VoiceRouting(_)
            | Kept::VoiceTriggers(_) => None,
        }
    }

    pub(super) fn agent_file(&self, agent: &str, name: &str) -> Option<&AgentFile> {
        match self.settings.get(&agent_file_name(agent, name))? {
            Kept::AgentFile(file) => Some(file),
            Kept::Agent(_)
            | Kept::ExecGrant(_)
            | Kept::VoiceRouting(_)
            | Kept::VoiceTriggers(_) => None,
        }
    }

    /// Where an agent's files are, for people: a part of the database.
    pub(super) fn agent_place(&self, id: &str) -> String {
        let folder = self.setup.host.state_dir.to_string_lossy();
        format!("{folder}#agents/{id}")
    }

    /// The published row of an agent.
    pub(super) fn agent_summary(&self, id: &str) -> Value {
        let mut row = Map::new();
        row.insert("id".into(), id.into());
        let Some(agent) = self.agent(id) else {
            return Value::Object(row);
        };
        let mut identity = Map::new();
        for (field, value) in [
            ("name", &agent.name),
            ("emoji", &agent.emoji),
            ("avatar", &agent.avatar),
        ] {
            if let Some(value) = value {
                identity.insert(field.into(), value.as_str().into());
            }
        }
        if let Some(name) = &agent.name {
            row.insert("name".into(), name.as_str().into());
        }
        if !identity.is_empty() {
            row.insert("identity".into(), Value::Object(identity));
        }
        if let Some(model) = &agent.model {
            row.insert("model".into(), json!({ "primary": model }));
        }
        if !self.is_configured(id) {
            row.insert("createdVia".into(), "operator".into());
            row.insert("createdAt".into(), json!(agent.created_at_ms));
        }
        Value::Object(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_makes_an_id_or_nothing() {
        for (name, id) in [
            ("Work", Some("work")),
            ("  My Agent!  ", Some("my-agent")),
            ("a__b-c", Some("a__b-c")),
            ("../../etc", Some("etc")),
            ("---", None),
            ("日本", None),
            ("", None),
        ] {
            assert_eq!(agent_id(name).as_deref(), id, "{name}");
        }
        assert_eq!(agent_id(&"x".repeat(100)).unwrap().len(), MAX_ID);
    }
}

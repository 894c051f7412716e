//! `agents.*` and `agent.identity.get` (spec protocol §6.5).

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    gateway::{
        agents::{AgentFile, AgentProfile, FILES, FileName, agent_id},
        settings::{Kept, agent_file_name, agent_name},
    },
    ids::ConnId,
    protocol::RpcError,
    time::Now,
};

/// Characters of a name, a model or an emoji, and of an avatar, which may be a small picture.
const MAX_TEXT: usize = 128;
const MAX_AVATAR: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateParams {
    name: String,
    workspace: Option<String>,
    model: Option<String>,
    emoji: Option<String>,
    avatar: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateParams {
    agent_id: String,
    name: Option<String>,
    workspace: Option<String>,
    /// Given as `null`, the agent has none of its own any more.
    #[serde(default, deserialize_with = "given")]
    model: Option<Option<String>>,
    emoji: Option<String>,
    avatar: Option<String>,
}

/// Tells a field that is `null` from one that is missing.
fn given<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(input).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteParams {
    agent_id: String,
    delete_files: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AgentParams {
    agent_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileParams {
    agent_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetFileParams {
    agent_id: String,
    name: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IdentityParams {
    agent_id: Option<String>,
    session_key: Option<String>,
}

fn unknown_agent(id: &str) -> RpcError {
    let shown: String = id.chars().take(64).collect();
    RpcError::invalid_request(format!("agent \"{shown}\" not found"))
        .with_details(json!({ "code": "UNKNOWN_AGENT_ID", "agentId": shown }))
}

/// A text for a record: trimmed, or nothing when it is empty.
fn text(
    params: Params<'_>,
    field: &str,
    given: Option<String>,
    most: usize,
) -> Result<Option<String>, RpcError> {
    let Some(text) = given.map(|text| text.trim().to_owned()) else {
        return Ok(None);
    };
    if text.chars().count() > most {
        return Err(params.error(&format!("{field} must have at most {most} characters")));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn no_workspace(params: Params<'_>, workspace: Option<&str>) -> Result<(), RpcError> {
    match workspace {
        None => Ok(()),
        Some(_) => Err(params.error(
            "workspace cannot be chosen: this gateway keeps an agent's files in its database; \
             leave it out, and use agents.files.set",
        )),
    }
}

impl Gateway {
    pub(super) fn agents_list(&self, params: Params<'_>) -> Answer {
        params.none()?;
        encode(&self.agents_payload())
    }

    /// All agents, as lists show them.
    pub(super) fn agents_payload(&self) -> Value {
        let ids = self.agent_ids();
        let agents: Vec<Value> = ids.iter().map(|id| self.agent_summary(id)).collect();
        json!({
            "defaultId": self.setup.host.default_agent(),
            "ownership": if agents.len() > 1 { "explicit" } else { "sole" },
            "selectionRequired": false,
            "mainKey": "main",
            "scope": "per-sender",
            "agents": agents,
        })
    }

    pub(super) fn agents_create(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: CreateParams = params.parse()?;
        no_workspace(params, asked.workspace.as_deref())?;
        let Some(name) = text(params, "name", Some(asked.name), MAX_TEXT)? else {
            return Err(params.error("name must not be empty"));
        };
        let Some(id) = agent_id(&name) else {
            return Err(RpcError::invalid_request(format!(
                "Agent name \"{name}\" has no valid id characters. Use at least one letter a-z or \
                 digit."
            )));
        };
        if self.has_agent(&id) {
            let message = format!("agent \"{id}\" exists already");
            return Err(RpcError::invalid_request(message));
        }
        let limit = self.setup.limits.max_agents;
        let made = self
            .agent_ids()
            .len()
            .saturating_sub(self.setup.host.agents.len());
        if made >= limit {
            let message = format!("{limit} agents were made by calls already; delete some first");
            return Err(RpcError::invalid_request(message));
        }
        let agent = AgentProfile {
            model: text(params, "model", asked.model, MAX_TEXT)?,
            emoji: text(params, "emoji", asked.emoji, MAX_TEXT)?,
            avatar: text(params, "avatar", asked.avatar, MAX_AVATAR)?,
            name: Some(name.clone()),
            id: id.clone(),
            created_at_ms: now.wall,
        };
        let mut answer = json!({
            "ok": true,
            "agentId": id,
            "name": name,
            "workspace": self.agent_place(&id),
        });
        if let (Some(model), Value::Object(fields)) = (&agent.model, &mut answer) {
            fields.insert("model".into(), model.as_str().into());
        }
        self.settings.put(&mut self.out.journal, Kept::Agent(agent));
        self.note(now, conn, "agents.create", None, &id);
        encode(&answer)
    }

    pub(super) fn agents_update(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: UpdateParams = params.parse()?;
        no_workspace(params, asked.workspace.as_deref())?;
        let id = self.known_agent(&asked.agent_id)?;
        let mut agent = self.agent(&id).cloned().unwrap_or_else(|| AgentProfile {
            id: id.clone(),
            name: None,
            model: None,
            emoji: None,
            avatar: None,
            created_at_ms: now.wall,
        });
        if asked.name.is_some() {
            let name = text(params, "name", asked.name, MAX_TEXT)?;
            agent.name = Some(name.ok_or_else(|| params.error("name must not be empty"))?);
        }
        if let Some(model) = asked.model {
            agent.model = text(params, "model", model, MAX_TEXT)?;
        }
        if asked.emoji.is_some() {
            agent.emoji = text(params, "emoji", asked.emoji, MAX_TEXT)?;
        }
        if asked.avatar.is_some() {
            agent.avatar = text(params, "avatar", asked.avatar, MAX_AVATAR)?;
        }
        self.settings.put(&mut self.out.journal, Kept::Agent(agent));
        self.note(now, conn, "agents.update", None, &id);
        encode(&json!({ "ok": true, "agentId": id }))
    }

    pub(super) fn agents_delete(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: DeleteParams = params.parse()?;
        let id = self.known_agent(&asked.agent_id)?;
        let refusal = if id == self.setup.host.default_agent() {
            Some(format!(
                "agent \"{id}\" is the default and cannot be deleted"
            ))
        } else if self.is_configured(&id) {
            Some(format!(
                "agent \"{id}\" comes from the configuration; remove it there"
            ))
        } else {
            None
        };
        if let Some(message) = refusal {
            self.note(now, conn, "agents.delete", Some("not-allowed"), &id);
            return Err(RpcError::invalid_request(message));
        }
        let journal = &mut self.out.journal;
        self.settings.remove(journal, &agent_name(&id));
        if asked.delete_files != Some(false) {
            for FileName { name, .. } in FILES {
                self.settings.remove(journal, &agent_file_name(&id, name));
            }
        }
        self.note(now, conn, "agents.delete", None, &id);
        encode(&json!({ "ok": true, "agentId": id, "removedBindings": 0 }))
    }

    pub(super) fn agents_files_list(&self, params: Params<'_>) -> Answer {
        let AgentParams { agent_id } = params.parse()?;
        let id = self.known_agent(&agent_id)?;
        let files: Vec<Value> = FILES
            .into_iter()
            .map(|file| self.file_entry(&id, file, Content::LeftOut))
            .collect();
        encode(&json!({ "agentId": id, "workspace": self.agent_place(&id), "files": files }))
    }

    pub(super) fn agents_files_get(&self, params: Params<'_>) -> Answer {
        let asked: FileParams = params.parse()?;
        let id = self.known_agent(&asked.agent_id)?;
        let file = known_file(&asked.name)?;
        encode(&json!({
            "agentId": id,
            "workspace": self.agent_place(&id),
            "file": self.file_entry(&id, file, Content::Shown),
        }))
    }

    pub(super) fn agents_files_set(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let asked: SetFileParams = params.parse()?;
        let id = self.known_agent(&asked.agent_id)?;
        let file = known_file(&asked.name)?;
        let limit = self.setup.limits.max_agent_file;
        if asked.content.len() > limit {
            return Err(params.error(&format!("content must have at most {limit} bytes")));
        }
        let record = AgentFile {
            agent: id.clone(),
            name: file.name.into(),
            content: asked.content,
            updated_at_ms: now.wall,
        };
        self.settings
            .put(&mut self.out.journal, Kept::AgentFile(record));
        let subject = format!("{id} {}", file.name);
        self.note(now, conn, "agents.files.set", None, &subject);
        encode(&json!({
            "ok": true,
            "agentId": id,
            "workspace": self.agent_place(&id),
            "file": self.file_entry(&id, file, Content::Shown),
        }))
    }

    pub(super) fn agent_identity(&self, params: Params<'_>) -> Answer {
        let asked: IdentityParams = params.parse()?;
        let key = asked.session_key.as_deref().map(str::trim);
        let of_key = match key.and_then(|key| key.strip_prefix("agent:")) {
            Some(rest) => match rest.split_once(':') {
                Some((agent, name)) if !agent.is_empty() && !name.is_empty() => Some(agent),
                Some(_) | None => {
                    return Err(params.error("malformed session key"));
                }
            },
            None => None,
        };
        let own = self.setup.host.default_agent();
        let asked_id = asked.agent_id.as_deref().map(str::trim);
        let id = self.known_agent(of_key.or(asked_id).unwrap_or(own))?;
        let mut answer = Map::new();
        answer.insert("agentId".into(), id.as_str().into());
        let agent = self.agent(&id);
        let (name, source) = match agent.and_then(|agent| agent.name.as_deref()) {
            Some(name) => (name, "agent"),
            None => (id.as_str(), "default"),
        };
        answer.insert("name".into(), name.into());
        answer.insert("nameSource".into(), source.into());
        if let Some(emoji) = agent.and_then(|agent| agent.emoji.as_deref()) {
            answer.insert("emoji".into(), emoji.into());
        }
        let avatar = agent.and_then(|agent| agent.avatar.as_deref());
        let status = match avatar {
            None => "none",
            Some(avatar) if avatar.starts_with("data:") => "data",
            Some(avatar) if avatar.starts_with("https://") => "remote",
            Some(_) => "local",
        };
        answer.insert("avatarStatus".into(), status.into());
        if let Some(avatar) = avatar {
            answer.insert("avatar".into(), avatar.into());
        }
        encode(&Value::Object(answer))
    }

    fn known_agent(&self, asked: &str) -> Result<String, RpcError> {
        agent_id(asked)
            .filter(|id| self.has_agent(id))
            .or_else(|| self.is_configured(asked).then(|| asked.to_owned()))
            .ok_or_else(|| unknown_agent(asked))
    }

    fn file_entry(&self, agent: &str, file: FileName, content: Content) -> Value {
        let mut entry = Map::new();
        entry.insert("name".into(), file.name.into());
        let path = format!("{}/{}", self.agent_place(agent), file.name);
        entry.insert("path".into(), path.into());
        let kept = self.agent_file(agent, file.name);
        entry.insert("missing".into(), kept.is_none().into());
        if let Some(kept) = kept {
            entry.insert("size".into(), kept.content.len().into());
            entry.insert("updatedAtMs".into(), json!(kept.updated_at_ms));
            if content == Content::Shown {
                entry.insert("content".into(), kept.content.as_str().into());
            }
        } else {
            entry.insert("expectedAbsent".into(), file.optional.into());
        }
        Value::Object(entry)
    }
}

/// Whether an entry carries the file's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    LeftOut,
    Shown,
}

fn known_file(name: &str) -> Result<FileName, RpcError> {
    let name = name.trim();
    FILES
        .into_iter()
        .find(|file| file.name == name)
        .ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            RpcError::invalid_request(format!("unsupported file \"{shown}\""))
        })
}

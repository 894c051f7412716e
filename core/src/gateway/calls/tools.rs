//! Tools of agents: commands of connected nodes (spec protocol §6.5).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Gateway, Params, Step, encode};
use crate::{
    agent::{AgentTool, ProfileState, ProfileStatus},
    frame::{RawJson, Request},
    gateway::nodes::{CallTime, InvokeOrigin, NodeCall},
    ids::ConnId,
    protocol::RpcError,
    time::Now,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CatalogParams {
    agent_id: Option<String>,
    #[serde(rename = "includePlugins")]
    _plugins: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EffectiveParams {
    agent_id: Option<String>,
    session_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InvokeParams {
    name: String,
    args: Option<Map<String, Value>>,
    session_key: Option<String>,
    agent_id: Option<String>,
    #[serde(rename = "confirm")]
    _confirm: Option<bool>,
    idempotency_key: Option<String>,
    #[serde(rename = "conversationReadOrigin")]
    _origin: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModelsParams {
    #[serde(rename = "agentId")]
    _agent_id: Option<String>,
    #[serde(rename = "sessionKey")]
    _session_key: Option<String>,
    #[serde(rename = "includeProviderCapabilities")]
    _capabilities: Option<bool>,
    #[serde(rename = "includeDetails")]
    _details: Option<bool>,
    #[serde(rename = "preparedOnly")]
    _prepared_only: Option<bool>,
    #[serde(rename = "refresh")]
    _refresh: Option<bool>,
    #[serde(rename = "view")]
    _view: Option<String>,
    provider: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthStatusParams {
    #[serde(rename = "refresh")]
    _refresh: Option<bool>,
    #[serde(rename = "agentId")]
    _agent_id: Option<String>,
}

/// The name of a tool: the node and its command.
fn name(tool: &AgentTool) -> String {
    format!("{}:{}", tool.node_name, tool.command)
}

impl Gateway {
    pub(super) fn tools_catalog(&self, params: Params<'_>) -> Answer {
        let asked: CatalogParams = params.parse()?;
        let agent = self.known_or_default(params, asked.agent_id)?;
        let mut nodes: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
        for tool in self.agent_tools() {
            let shown = json!({
                "id": name(&tool),
                "label": tool.command,
                "description": tool.description.unwrap_or_default(),
                "source": "plugin",
                "pluginId": "node",
                "defaultProfiles": ["full"],
            });
            nodes
                .entry((tool.node_id, tool.node_name))
                .or_default()
                .push(shown);
        }
        let groups: Vec<Value> = nodes
            .into_iter()
            .map(|((id, label), tools)| {
                json!({
                    "id": format!("node:{id}"),
                    "label": label,
                    "source": "plugin",
                    "pluginId": "node",
                    "tools": tools,
                })
            })
            .collect();
        encode(&json!({
            "agentId": agent,
            "profiles": [{ "id": "full", "label": "Full" }],
            "groups": groups,
        }))
    }

    pub(super) fn tools_effective(&self, params: Params<'_>) -> Answer {
        let asked: EffectiveParams = params.parse()?;
        let key = self.session_key(params, &asked.session_key, asked.agent_id.as_deref())?;
        let agent = self.agent_of(&key)?;
        let tools: Vec<Value> = self
            .agent_tools()
            .into_iter()
            .map(|tool| {
                let id = name(&tool);
                let description = tool.description.unwrap_or_default();
                json!({
                    "id": id,
                    "label": id,
                    "description": description,
                    "rawDescription": description,
                    "source": "plugin",
                    "pluginId": "node",
                })
            })
            .collect();
        let groups = if tools.is_empty() {
            json!([])
        } else {
            json!([{ "id": "plugin", "label": "Nodes", "source": "plugin", "tools": tools }])
        };
        encode(&json!({ "agentId": agent, "profile": "full", "groups": groups }))
    }

    pub(super) fn tools_invoke(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Result<Step, RpcError> {
        let asked: InvokeParams = params.parse()?;
        let session_key = match &asked.session_key {
            Some(key) => Some(self.session_key(params, key, asked.agent_id.as_deref())?),
            None => None,
        };
        let tools = self.agent_tools();
        let Some(tool) = tools.iter().find(|tool| name(tool) == asked.name) else {
            let shown: String = asked.name.chars().take(120).collect();
            return Ok(Step::Answer(encode(&json!({
                "ok": false,
                "toolName": shown,
                "error": { "code": "not_found", "message": format!("Tool not available: {shown}") },
            }))));
        };
        let args = asked.args.unwrap_or_default();
        let call = NodeCall {
            node: tool.node_id.clone(),
            command: tool.command.clone(),
            params: Some(RawJson::encode(&args).unwrap_or_else(|_| RawJson::empty_object())),
            time: CallTime::of_millis(None),
            idempotency_key: match asked.idempotency_key {
                Some(key) => key,
                None => self.rng.uuid(),
            },
            session_key: session_key.map(|key| key.to_string()),
        };
        let origin = InvokeOrigin::Tool {
            conn,
            request: request.id.clone(),
            name: asked.name,
        };
        self.invoke_node(now, origin, call)?;
        Ok(Step::Later)
    }

    pub(super) fn models_list(&self, params: Params<'_>) -> Answer {
        let asked: ModelsParams = params.parse()?;
        let mut models = self.model_rows();
        if let Some(provider) = asked.provider {
            models.retain(|model| model.get("provider") == Some(&json!(provider)));
        }
        encode(&json!({ "models": models }))
    }

    /// Models as lists show them.
    pub(super) fn model_rows(&self) -> Vec<Value> {
        self.agent
            .models()
            .into_iter()
            .map(|model| {
                let mut row = json!({
                    "id": model.id,
                    "name": model.name,
                    "provider": model.provider,
                    "input": if model.images { json!(["text", "image"]) } else { json!(["text"]) },
                });
                if let (Some(tokens), Some(fields)) = (model.context_tokens, row.as_object_mut()) {
                    fields.insert("contextWindow".into(), json!(tokens));
                }
                row
            })
            .collect()
    }

    /// The credentials of providers, and how they fare. None is shown.
    pub(super) fn models_auth_status(&self, now: Now, params: Params<'_>) -> Answer {
        let AuthStatusParams { .. } = params.parse()?;
        let mut providers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for profile in self.agent.profiles(now) {
            let row = profile_row(&profile);
            providers.entry(profile.provider).or_default().push(row);
        }
        let providers: Vec<Value> = providers
            .into_iter()
            .map(|(provider, profiles)| json!({ "provider": provider, "profiles": profiles }))
            .collect();
        encode(&json!({ "ts": now.wall, "providers": providers }))
    }

    /// Credentials as the status shows them.
    pub(super) fn profile_rows(&self, now: Now) -> Vec<Value> {
        let shown = |profile: &ProfileStatus| {
            let mut row = profile_row(profile);
            if let Some(fields) = row.as_object_mut() {
                fields.insert("provider".into(), json!(profile.provider));
            }
            row
        };
        self.agent.profiles(now).iter().map(shown).collect()
    }

    fn known_or_default(
        &self,
        params: Params<'_>,
        agent: Option<String>,
    ) -> Result<String, RpcError> {
        let agent = agent.unwrap_or_else(|| self.setup.host.default_agent().to_owned());
        if self.has_agent(&agent) {
            return Ok(agent);
        }
        Err(params.error("there is no such agent"))
    }
}

/// A credential, and how it fares.
fn profile_row(profile: &ProfileStatus) -> Value {
    let name = &profile.name;
    match &profile.state {
        ProfileState::Ready => json!({ "profileId": name, "type": "api_key", "status": "ok" }),
        ProfileState::CoolingDown { until, why } => json!({
            "profileId": name,
            "type": "api_key",
            "status": "cooldown",
            "cooldownUntil": until,
            "reason": why,
        }),
        ProfileState::Unresolved { why } => json!({
            "profileId": name,
            "type": "api_key",
            "status": "missing",
            "reason": why,
        }),
    }
}

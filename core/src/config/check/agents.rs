//! What the table cannot say about agents: rules, models that have no provider, programs that are not
//! named, and URLs that no key may be sent to.

use serde_json::Value;

use super::{Check, Severity};
use crate::agent::builtin::{MAX_RULES, Rule};
use crate::agent::openai::{CHAT_API, check_base_url};
use crate::config::{
    AgentBackend, AgentSettings, AgentsConfig, Config, KeyPath, ModelName, SecretInput, Segment,
};
use crate::policy::UrlPolicy;

impl Check {
    pub(super) fn agents(&mut self, root: &Value) {
        let Some(agents) = root.get("agents") else {
            return self.endpoints(&Config::from_value(root).agents, Severity::Warning);
        };
        let config = Config::from_value(root).agents;
        let mut severity = Severity::Warning;
        for (path, value) in places(agents) {
            let settings = match id_of(&path, value) {
                Some(id) => config.settings(&id),
                None => config.defaults.clone(),
            };
            self.rules(&path.key("rules"), value.get("rules"));
            self.model(&path.key("model"), value.get("model"));
            self.backend(&path, value, &settings, &config);
            if settings.backend == Some(AgentBackend::OpenAi) {
                severity = Severity::Issue;
            }
        }
        self.endpoints(&config, severity);
    }

    fn rules(&mut self, path: &KeyPath, rules: Option<&Value>) {
        let Some(rules) = rules else { return };
        let Some(items) = rules.as_array() else {
            self.wrong(path, rules, "a list of rules");
            return;
        };
        if items.len() > MAX_RULES {
            let message = format!("more than {MAX_RULES} rules; the rest are not followed");
            self.report(Severity::Issue, path, message);
        }
        for (index, item) in items.iter().enumerate() {
            if let Err(fault) = Rule::from_value(item) {
                let mut steps = path.segments().to_vec();
                steps.push(Segment::Index(index));
                steps.extend(fault.at.segments().iter().cloned());
                self.report(Severity::Issue, &steps.into(), fault.message);
            }
        }
    }

    fn model(&mut self, path: &KeyPath, model: Option<&Value>) {
        match model {
            None | Some(Value::Null) => {}
            Some(text @ Value::String(_)) => self.model_name(path, text),
            Some(Value::Object(object)) => {
                if let Some(primary) = object.get("primary") {
                    self.model_name(&path.key("primary"), primary);
                }
                let path = path.key("fallbacks");
                match object.get("fallbacks") {
                    None => {}
                    Some(Value::Array(items)) => {
                        for (index, item) in items.iter().enumerate() {
                            self.model_name(&path.index(index), item);
                        }
                    }
                    Some(other) => self.wrong(&path, other, "a list of models"),
                }
            }
            Some(other) => self.wrong(path, other, "provider/model, or {primary, fallbacks}"),
        }
    }

    /// OpenClaw also takes names without a provider, which mean nothing here.
    fn model_name(&mut self, path: &KeyPath, value: &Value) {
        match value.as_str() {
            None => self.wrong(path, value, "a model as provider/model"),
            Some(text) if ModelName::parse(text).is_none() => self.report(
                Severity::Warning,
                path,
                "not a model as provider/model, so it is ignored".to_owned(),
            ),
            Some(_) => {}
        }
    }

    /// Whether what the backend needs is there. What an agent has from the defaults is said there.
    fn backend(
        &mut self,
        path: &KeyPath,
        value: &Value,
        settings: &AgentSettings,
        config: &AgentsConfig,
    ) {
        let (key, message) = match settings.backend.unwrap_or_default() {
            AgentBackend::Builtin => return,
            AgentBackend::Command => match &settings.command {
                Some(argv)
                    if argv
                        .first()
                        .is_some_and(|program| !program.trim().is_empty()) =>
                {
                    return;
                }
                Some(_) | None => (
                    "command",
                    "the backend command needs a program in command, as [\"PROGRAM\", \"ARGUMENT\"]"
                        .to_owned(),
                ),
            },
            AgentBackend::OpenAi => {
                let primary = settings
                    .model
                    .as_ref()
                    .and_then(|model| model.primary.as_ref());
                match primary {
                    None => (
                        "model",
                        "the backend openai needs a model, as provider/model".to_owned(),
                    ),
                    Some(name) if !config.providers.contains_key(&name.provider) => (
                        "model",
                        format!(
                            "its provider is not configured; add models.providers.{} with a baseUrl",
                            name.provider
                        ),
                    ),
                    Some(_) => return,
                }
            }
        };
        if self.said(&path.key(key)) {
            return;
        }
        // A finding has its place at a key that is there.
        let at = [key, "backend"]
            .into_iter()
            .find(|key| value.get(*key).is_some())
            .map_or_else(|| path.clone(), |key| path.key(key));
        self.report(Severity::Issue, &at, message);
    }

    /// URLs, keys and orders. Where no agent uses a provider, what is wrong with it stops nobody.
    fn endpoints(&mut self, config: &AgentsConfig, severity: Severity) {
        let root = KeyPath::root();
        for (name, provider) in &config.providers {
            let path = root.key("models").key("providers").key(name);
            if provider.api.as_deref().is_some_and(|api| api != CHAT_API) {
                let message =
                    format!("clawgate speaks {CHAT_API} alone, so the provider is not used");
                self.report(Severity::Warning, &path.key("api"), message);
                continue;
            }
            match &provider.base_url {
                None if severity == Severity::Issue => {
                    let message = "needs a baseUrl, such as http://127.0.0.1:11434/v1".to_owned();
                    self.report(Severity::Warning, &path, message);
                }
                None => {}
                Some(url) => {
                    if let Err(why) = check_base_url(url, UrlPolicy::Strict) {
                        // A variable may allow it, which is known only where the agent is made.
                        let allowed = check_base_url(url, UrlPolicy::AllowInsecureNames).is_ok();
                        let severity = if allowed { Severity::Warning } else { severity };
                        self.report(severity, &path.key("baseUrl"), why);
                    }
                }
            }
            self.embedded(&path.key("apiKey"), &provider.api_key);
        }
        let auth = root.key("auth");
        for (name, profile) in &config.profiles {
            let path = auth.key("profiles").key(name);
            self.embedded(&path.key("key"), &profile.key);
        }
        for (provider, names) in &config.order {
            let path = auth.key("order").key(provider);
            for (index, name) in names.iter().enumerate() {
                let own = config
                    .profiles
                    .get(name)
                    .and_then(|profile| profile.provider.as_ref());
                if own != Some(provider) && *name != format!("{provider}:default") {
                    let message = "no profile of this provider has that name".to_owned();
                    self.report(Severity::Warning, &path.index(index), message);
                }
            }
        }
    }

    pub(super) fn embedded(&mut self, path: &KeyPath, input: &SecretInput) {
        if matches!(input, SecretInput::Embedded(_)) {
            let message = "text around ${NAME} is no secret; write ${NAME} alone".to_owned();
            self.report(Severity::Warning, path, message);
        }
    }

    fn said(&self, path: &KeyPath) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.path.segments().starts_with(path.segments()))
    }
}

/// The defaults, then each agent.
fn places(agents: &Value) -> Vec<(KeyPath, &Value)> {
    let root = KeyPath::root().key("agents");
    let mut places = Vec::new();
    if let Some(defaults) = agents.get("defaults") {
        places.push((root.key("defaults"), defaults));
    }
    let list = agents.get("list").and_then(Value::as_array);
    for (index, item) in list.into_iter().flatten().enumerate() {
        places.push((root.key("list").index(index), item));
    }
    let entries = agents.get("entries").and_then(Value::as_object);
    for (id, item) in entries.into_iter().flatten() {
        places.push((root.key("entries").key(id), item));
    }
    places.retain(|(_, value)| value.is_object());
    places
}

fn id_of(path: &KeyPath, value: &Value) -> Option<String> {
    match path.segments() {
        [_, Segment::Key(place), Segment::Key(id)] if place == "entries" => Some(id.clone()),
        [_, Segment::Key(place), Segment::Index(_)] if place == "list" => {
            value.get("id").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::ConfigFile;

    /// Issues with a mark in front, and warnings.
    fn found(config: &Value) -> Vec<String> {
        let file = ConfigFile::parse("c", config.to_string()).unwrap();
        let place = |finding: &crate::config::Finding, mark: &str| {
            assert!(finding.position.is_some(), "{finding}");
            format!("{mark}{}: {}", finding.path, finding.message)
        };
        let issues = file.issues.iter().map(|finding| place(finding, "! "));
        let warnings = file.warnings.iter().map(|finding| place(finding, ""));
        issues.chain(warnings).collect()
    }

    #[test]
    fn good_agents_have_no_findings() {
        let good = json!({
            "agents": {
                "defaults": { "model": { "primary": "local/m" }, "timeoutSeconds": 60, "workspace": "~" },
                "list": [
                    { "id": "main", "backend": "openai" },
                    { "id": "ops", "rules": [{ "match": "a {b}", "reply": "{b}" }] },
                ],
                "entries": { "lab": { "backend": "command", "command": ["python3", "agent.py"] } },
            },
            "models": { "providers": { "local": {
                "baseUrl": "http://127.0.0.1:11434/v1", "apiKey": "${LOCAL_KEY}",
                "models": [{ "id": "m", "contextWindow": 8192, "input": ["text", "image"] }],
            } } },
            "auth": {
                "profiles": { "local:two": { "provider": "local", "mode": "api_key", "key": "k" } },
                "order": { "local": ["local:two", "local:default"] },
                "cooldowns": { "rateLimitBackoffMs": 1000 },
            },
        });
        assert_eq!(found(&good), Vec::<String>::new());
    }

    #[test]
    fn a_config_of_openclaw_stops_nobody_who_does_not_use_its_models() {
        let other = json!({
            "agents": { "defaults": { "model": "anthropic/claude", "sandbox": {} } },
            "models": { "providers": { "x": { "api": "anthropic-messages", "baseUrl": "no url" } } },
        });
        assert_eq!(
            found(&other),
            [
                "models.providers.x.api: clawgate speaks openai-completions alone, so the provider is \
              not used"
            ]
        );
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let bad = json!({
            "agents": {
                "defaults": { "backend": "openai", "model": { "primary": "gone/m", "fallbacks": [5] } },
                "list": [
                    { "id": "a", "backend": "command" },
                    { "id": "b", "backend": "builtin", "rules": [{ "match": "{x", "reply": "y" }] },
                    { "id": "c", "backend": "telepathy", "model": "x/y" },
                    { "id": "d", "model": "plain" },
                ],
            },
            "models": { "providers": {
                "x": { "baseUrl": "http://models.example.com/v1" },
                "y": { "baseUrl": "http://8.8.8.8/v1" },
            } },
            "auth": { "order": { "x": ["nobody"] } },
        });
        assert_eq!(
            found(&bad),
            [
                "! agents.list[2].backend: not one of builtin, openai, command",
                "! agents.defaults.model.fallbacks[0]: expected a model as provider/model, found a number",
                "! agents.list[0].backend: the backend command needs a program in command, as [\"PROGRAM\", \"ARGUMENT\"]",
                "! agents.list[1].rules[0].match: a brace has no other half; write {{ or }} for the character itself",
                "! models.providers.y.baseUrl: plaintext http:// to 8.8.8.8 (public) is refused: keys and \
                 chats would be readable on the way; use https://8.8.8.8",
                "agents.list[3].model: not a model as provider/model, so it is ignored",
                "models.providers.x.baseUrl: plaintext http:// to models.example.com (public) is refused: \
                 keys and chats would be readable on the way; use https://models.example.com",
                "auth.order.x[0]: no profile of this provider has that name",
            ]
        );
    }
}

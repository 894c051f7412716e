//! Where a value of the config comes from.

use std::collections::BTreeSet;

use serde_json::Value;

use super::key_path::KeyPath;
use super::needs::{Need, known, need_of};
use super::redact::redact;
use super::scan::{Position, locate};
use super::secret_input::template_name;
use super::template::{Piece, pieces};
use super::{ConfigFile, EnvVars, substitute};

/// What an environment variable does to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableRole {
    /// The file names it, and its value is filled in.
    Named,
    /// It stands before what the file says.
    Before,
    /// It stands before what the file says for clients; a gateway takes the file first
    /// (spec credentials §1 and §7).
    BeforeForClients,
    /// Clients take it where the file says nothing.
    After,
}

impl VariableRole {
    /// A stable name for scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Before => "before",
            Self::BeforeForClients => "before-for-clients",
            Self::After => "after",
        }
    }

    /// The same in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Named => "the file names it, and it is filled in",
            Self::Before => "where it is set, it stands before the file",
            Self::BeforeForClients => {
                "where it is set, it stands before the file for clients, and behind it for the gateway"
            }
            Self::After => "clients take it where the file says nothing",
        }
    }
}

/// An environment variable with a say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether it is set to something.
    pub set: bool,
    /// What it does.
    pub role: VariableRole,
}

/// Everything about one key, without secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// The key.
    pub path: KeyPath,
    /// What it is for; `None` for one that clawgate does not know.
    pub doc: Option<&'static str>,
    /// What the file says.
    pub value: Option<Value>,
    /// What that is with the environment filled in, where that is something else.
    pub effective: Option<Value>,
    /// Where it stands.
    pub position: Option<Position>,
    /// Environment variables with a say.
    pub variables: Vec<Variable>,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// What a change of it needs.
    pub need: Need,
}

/// Variables that count beside the file (spec credentials §1, spec hostpolicy §2).
const BESIDE: &[(&str, &str, VariableRole)] = &[
    (
        "gateway.port",
        "OPENCLAW_GATEWAY_PORT",
        VariableRole::Before,
    ),
    (
        "gateway.handshakeTimeoutMs",
        "OPENCLAW_HANDSHAKE_TIMEOUT_MS",
        VariableRole::Before,
    ),
    (
        "gateway.remote.url",
        "OPENCLAW_GATEWAY_URL",
        VariableRole::Before,
    ),
    (
        "gateway.auth.token",
        "OPENCLAW_GATEWAY_TOKEN",
        VariableRole::BeforeForClients,
    ),
    (
        "gateway.auth.password",
        "OPENCLAW_GATEWAY_PASSWORD",
        VariableRole::BeforeForClients,
    ),
    (
        "gateway.remote.token",
        "OPENCLAW_GATEWAY_TOKEN",
        VariableRole::After,
    ),
    (
        "gateway.remote.password",
        "OPENCLAW_GATEWAY_PASSWORD",
        VariableRole::Before,
    ),
];

/// Tells where a value comes from.
///
/// ```
/// use clawgate_core::config::{ConfigFile, EnvVars, KeyPath, Need, why};
///
/// let text = "{\n  gateway: { bind: '${BIND}', auth: { token: 'hunter2' } },\n}";
/// let env: EnvVars = [("BIND", "lan")].into_iter().collect();
/// let file = ConfigFile::parse_with("c", text, &env).unwrap();
/// let found = why(&file, &env, &KeyPath::parse("gateway.bind").unwrap());
/// assert_eq!(found.effective, Some("lan".into()));
/// assert_eq!((found.position.unwrap().line, found.need), (2, Need::Restart));
/// let token = why(&file, &env, &KeyPath::parse("gateway.auth.token").unwrap());
/// assert_eq!(token.value, Some("__OPENCLAW_REDACTED__".into()));
/// ```
pub fn why(file: &ConfigFile, env: &EnvVars, path: &KeyPath) -> Why {
    let (filled, _) = substitute::substitute(&file.parsed, env);
    let shown = redact(&file.parsed);
    let shown_filled = redact(&filled);
    let value = path.find(&shown).cloned();
    let effective = path.find(&shown_filled).cloned();
    let body = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let position = locate(body, std::slice::from_ref(path))
        .into_iter()
        .flatten()
        .next()
        .filter(|_| value.is_some());
    let mut named = BTreeSet::new();
    if let Some(written) = path.find(&file.parsed) {
        names(written, &mut named);
    }
    let named = named.into_iter().map(|name| Variable {
        set: env.non_blank(&name).is_some(),
        name,
        role: VariableRole::Named,
    });
    let key = path.to_string();
    let beside = BESIDE.iter().filter(|(path, ..)| *path == key);
    let beside = beside.map(|(_, name, role)| Variable {
        name: (*name).to_owned(),
        set: env.non_blank(name).is_some(),
        role: *role,
    });
    let findings = file.issues.iter().chain(&file.warnings);
    Why {
        doc: known(path).map(|key| key.doc),
        effective: effective.filter(|_| path.find(&filled) != path.find(&file.parsed)),
        value,
        position,
        variables: named.chain(beside).collect(),
        problems: findings
            .filter(|finding| finding.path.is_below(path))
            .map(|finding| format!("{}: {}", finding.path, finding.message))
            .collect(),
        need: need_of(path),
        path: path.clone(),
    }
}

/// The variables that a value names.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            if let Some(name) = template_name(text) {
                found.insert(name.to_owned());
            }
            for piece in pieces(text) {
                if let Piece::Variable(name) = piece {
                    found.insert(name.to_owned());
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        Value::Object(object) => {
            let is_env = object.get("source").and_then(Value::as_str) == Some("env");
            if let (true, Some(name)) = (is_env, object.get("id").and_then(Value::as_str)) {
                found.insert(name.to_owned());
            }
            object.values().for_each(|value| names(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

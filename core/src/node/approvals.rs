//! The file of exec approvals (spec protocol §6.8): what the owner of this machine, or an approval
//! for always, has allowed. Its format is OpenClaw's; what clawgate does not know of it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{exec_policy::Asked, fields::put, pattern};
use crate::{protocol::secret_field, secret::Secret, time::WallTime};

/// The most bytes of the file.
pub const MAX_APPROVALS: usize = 1024 * 1024;

/// The agent of a request that names none.
const DEFAULT_AGENT: &str = "main";
/// The agent whose rules are everybody's.
const ANY_AGENT: &str = "*";
/// The beginning of a pattern that stands for one whole command line.
const COMMAND: &str = "=command:";

/// The file as the host found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalsText {
    /// There is none.
    Missing,
    /// Its text, in which the desktop app's token may stand.
    Text(Secret),
    /// It is there and cannot be read: nothing is allowed. In words.
    Unreadable(String),
}

/// How much may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Nothing.
    Deny,
    /// What the allowlist covers.
    Allowlist,
    /// Everything.
    Full,
}

/// When somebody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Never.
    Off,
    /// For what the allowlist does not cover.
    OnMiss,
    /// Always.
    Always,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    version: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    socket: Option<Socket>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    defaults: Option<Fields>,
    #[serde(default)]
    agents: BTreeMap<String, Agent>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// How OpenClaw's desktop app is reached. The token in it stays on this machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Socket {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(
        default,
        with = "secret_field",
        skip_serializing_if = "Option::is_none"
    )]
    token: Option<Secret>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    security: Option<Security>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask: Option<Ask>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask_fallback: Option<Security>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auto_allow_skills: Option<bool>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Agent {
    #[serde(flatten)]
    fields: Fields,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowlist: Vec<Entry>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// A rule; a bare text is its pattern.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "WrittenEntry", rename_all = "camelCase")]
struct Entry {
    pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arg_pattern: Option<String>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenEntry {
    Pattern(String),
    #[serde(rename_all = "camelCase")]
    Whole {
        pattern: String,
        #[serde(default)]
        source: Option<String>,
        #[serde(default)]
        arg_pattern: Option<String>,
        #[serde(flatten)]
        more: Map<String, Value>,
    },
}

impl From<WrittenEntry> for Entry {
    fn from(written: WrittenEntry) -> Self {
        match written {
            WrittenEntry::Pattern(pattern) => Self::new(pattern),
            WrittenEntry::Whole {
                pattern,
                source,
                arg_pattern,
                more,
            } => Self {
                pattern,
                source,
                arg_pattern,
                more,
            },
        }
    }
}

impl Entry {
    fn new(pattern: String) -> Self {
        Self {
            pattern,
            source: None,
            arg_pattern: None,
            more: Map::new(),
        }
    }

    fn is_for_always(&self) -> bool {
        self.source.as_deref() == Some("allow-always")
    }

    /// Whether it covers a command. A rule about arguments is not understood here, and covers
    /// nothing.
    fn covers(&self, asked: &Asked<'_>) -> bool {
        if self.pattern.starts_with('=') {
            return self.is_for_always() && self.pattern == command_pattern(asked.command_text);
        }
        let any_arguments = self.arg_pattern.as_deref().is_none_or(str::is_empty);
        any_arguments && pattern::covers(&self.pattern, asked.called, asked.found)
    }

    /// What of it decides.
    fn rule(&self) -> Value {
        let mut rule = json!({ "pattern": self.pattern });
        if let Some(arguments) = &self.arg_pattern {
            put(&mut rule, "argPattern", json!(arguments));
        }
        if self.is_for_always() {
            put(&mut rule, "source", json!("allow-always"));
        }
        rule
    }
}

/// The pattern of one whole command line.
fn command_pattern(command_text: &str) -> String {
    format!(
        "{COMMAND}{}",
        hex(command_text.trim().as_bytes())
            .get(..16)
            .unwrap_or_default()
    )
}

/// What an approval for always allows from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ForAlways {
    /// The program, whatever its arguments.
    Program(String),
    /// This command line alone.
    Command(String),
}

impl ForAlways {
    pub(super) fn pattern(&self) -> String {
        match self {
            Self::Program(path) => path.clone(),
            Self::Command(text) => command_pattern(text),
        }
    }
}

/// What the file says for one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilePolicy {
    pub(super) security: Security,
    pub(super) ask: Ask,
    pub(super) ask_fallback: Security,
    auto_allow_skills: bool,
}

/// The file, read.
#[derive(Clone, Debug)]
pub(crate) struct Approvals {
    file: File,
    text: ApprovalsText,
}

impl Approvals {
    /// Reads the file. One that cannot be understood allows nothing.
    pub(crate) fn read(text: ApprovalsText) -> Self {
        let file = match &text {
            ApprovalsText::Missing => File {
                version: 1,
                ..File::default()
            },
            ApprovalsText::Text(text) => parse(text.expose()).unwrap_or_else(|_| closed()),
            ApprovalsText::Unreadable(_) => closed(),
        };
        Self { file, text }
    }

    /// What the file was read from.
    pub(crate) fn text(&self) -> &ApprovalsText {
        &self.text
    }

    pub(crate) fn exists(&self) -> bool {
        self.text != ApprovalsText::Missing
    }

    /// Names this state of the file.
    pub(crate) fn hash(&self) -> String {
        match &self.text {
            ApprovalsText::Missing => format!("missing:{}", hex(b"")),
            ApprovalsText::Text(text) => hex(text.expose().as_bytes()),
            ApprovalsText::Unreadable(why) => format!("unreadable:{}", hex(why.as_bytes())),
        }
    }

    pub(super) fn policy(&self, agent: Option<&str>) -> FilePolicy {
        let own = self.agent(agent).map(|agent| &agent.fields);
        let any = self.file.agents.get(ANY_AGENT).map(|agent| &agent.fields);
        let levels = [own, any, self.file.defaults.as_ref()];
        let levels = || levels.iter().flatten();
        FilePolicy {
            security: levels()
                .find_map(|fields| fields.security)
                .unwrap_or(Security::Full),
            ask: levels().find_map(|fields| fields.ask).unwrap_or(Ask::Off),
            ask_fallback: levels()
                .find_map(|fields| fields.ask_fallback)
                .unwrap_or(Security::Deny),
            auto_allow_skills: levels()
                .find_map(|fields| fields.auto_allow_skills)
                .unwrap_or(false),
        }
    }

    /// What holds where no agent says otherwise, in the published shape.
    pub(crate) fn resolved_defaults(&self) -> Value {
        let defaults = self.file.defaults.clone().unwrap_or_default();
        json!({
            "security": defaults.security.unwrap_or(Security::Full),
            "ask": defaults.ask.unwrap_or(Ask::Off),
            "askFallback": defaults.ask_fallback.unwrap_or(Security::Deny),
            "autoAllowSkills": defaults.auto_allow_skills.unwrap_or(false),
        })
    }

    fn agent(&self, agent: Option<&str>) -> Option<&Agent> {
        self.file.agents.get(agent.unwrap_or(DEFAULT_AGENT))
    }

    fn rules(&self, agent: Option<&str>) -> impl Iterator<Item = &Entry> {
        let any = self.file.agents.get(ANY_AGENT);
        let both = any.into_iter().chain(self.agent(agent));
        both.flat_map(|agent| &agent.allowlist)
    }

    /// Whether the allowlist covers a command.
    pub(super) fn covers(&self, agent: Option<&str>, asked: &Asked<'_>) -> bool {
        self.rules(agent).any(|entry| entry.covers(asked))
    }

    /// What decides, as a prepared run carries it to the approval and back.
    pub(super) fn policy_snapshot(&self, agent: Option<&str>) -> Value {
        let policy = self.policy(agent);
        let mut rules: Vec<Value> = Vec::new();
        for rule in self.rules(agent).map(Entry::rule) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        rules.sort_by_key(Value::to_string);
        json!({
            "security": policy.security,
            "ask": policy.ask,
            "askFallback": policy.ask_fallback,
            "autoAllowSkills": policy.auto_allow_skills,
            "allowlistRules": rules,
        })
    }

    /// Whether what decides is still as it was: no setting has changed and no rule has gone.
    pub(super) fn is_current(&self, agent: Option<&str>, snapshot: &Value) -> bool {
        let now = self.policy_snapshot(agent);
        let same = ["security", "ask", "askFallback", "autoAllowSkills"]
            .into_iter()
            .all(|field| snapshot.get(field) == now.get(field));
        let rules = |value: &Value| {
            let rules = value.get("allowlistRules").and_then(Value::as_array);
            rules.cloned().unwrap_or_default()
        };
        let (before, now) = (rules(snapshot), rules(&now));
        same && before.iter().all(|rule| now.contains(rule))
    }

    /// What the gateway is told of the file. The token of the desktop app's socket is not.
    pub(crate) fn shown(&self, path: &str) -> Value {
        let socket = self.file.socket.as_ref().and_then(|socket| {
            let path = socket.path.clone().filter(|path| !path.trim().is_empty())?;
            Some(Socket {
                path: Some(path),
                token: None,
            })
        });
        let file = File {
            socket,
            ..self.file.clone()
        };
        json!({
            "path": path,
            "exists": self.exists(),
            "hash": self.hash(),
            "file": file,
        })
    }

    /// The text with another file in it; the socket stays unless the new file names one.
    pub(crate) fn replaced_by(&self, file: &Value) -> Result<Secret, String> {
        let mut file: File = serde_json::from_value(file.clone())
            .map_err(|error| format!("the file cannot be used: {error}"))?;
        if file.version != 1 {
            return Err("the file is not of version 1".to_owned());
        }
        let kept = self.file.socket.clone().unwrap_or_default();
        let given = file.socket.take().unwrap_or_default();
        let socket = Socket {
            path: given.path.or(kept.path),
            token: given.token.or(kept.token),
        };
        file.socket = (socket.path.is_some() || socket.token.is_some()).then_some(socket);
        written(&file)
    }

    /// The text with a rule more; `None` when it is there.
    pub(super) fn with_rule(
        &self,
        agent: Option<&str>,
        rule: &ForAlways,
        command_text: &str,
        now: WallTime,
    ) -> Option<Result<Secret, String>> {
        let pattern = rule.pattern();
        let mut file = self.file.clone();
        let agent = agent.unwrap_or(DEFAULT_AGENT).to_owned();
        let list = &mut file.agents.entry(agent).or_default().allowlist;
        let is_there = |entry: &Entry| entry.pattern == pattern && entry.is_for_always();
        if list.iter().any(is_there) {
            return None;
        }
        let mut entry = Entry::new(pattern);
        entry.source = Some("allow-always".to_owned());
        entry.more.insert("lastUsedAt".into(), json!(now.0));
        if matches!(rule, ForAlways::Command(_)) {
            entry
                .more
                .insert("commandText".into(), json!(command_text.trim()));
        }
        list.push(entry);
        Some(written(&file))
    }
}

fn parse(text: &str) -> Result<File, String> {
    if text.len() > MAX_APPROVALS {
        return Err("it is too long".into());
    }
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if file.version != 1 {
        return Err("its version is not 1".into());
    }
    Ok(file)
}

fn closed() -> File {
    File {
        version: 1,
        defaults: Some(Fields {
            security: Some(Security::Deny),
            ask: Some(Ask::Off),
            ask_fallback: Some(Security::Deny),
            auto_allow_skills: Some(false),
        }),
        ..File::default()
    }
}

fn written(file: &File) -> Result<Secret, String> {
    let text = serde_json::to_string_pretty(file)
        .map(|text| format!("{text}\n"))
        .map_err(|error| error.to_string())?;
    if text.len() > MAX_APPROVALS {
        return Err(format!(
            "the file would be longer than {MAX_APPROVALS} bytes"
        ));
    }
    Ok(Secret::new(text))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Found;

    fn book(text: &str) -> Approvals {
        Approvals::read(ApprovalsText::Text(Secret::new(text)))
    }

    fn covers(approvals: &Approvals, agent: Option<&str>, path: &str, command_text: &str) -> bool {
        let found = Found {
            path: path.into(),
            real: path.into(),
        };
        let asked = Asked {
            called: path,
            found: &found,
            command_text,
        };
        approvals.covers(agent, &asked)
    }

    #[test]
    fn what_cannot_be_understood_allows_nothing() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"version":2}"#,
            r#"{"version":1,"defaults":{"security":"maybe"}}"#,
            r#"{"version":1,"agents":{"main":{"allowlist":[7]}}}"#,
        ] {
            assert_eq!(book(text).policy(None).security, Security::Deny, "{text}");
        }
        let unreadable = Approvals::read(ApprovalsText::Unreadable("x".into()));
        assert_eq!(unreadable.policy(None).security, Security::Deny);
        let missing = Approvals::read(ApprovalsText::Missing);
        assert_eq!(missing.policy(None).security, Security::Full);
        assert!(missing.hash().starts_with("missing:e3b0c442"));
    }

    #[test]
    fn an_agent_wins_over_everybody_and_everybody_over_the_defaults() {
        let book = book(
            r#"{"version":1,"defaults":{"security":"deny","ask":"always"},
                "agents":{"*":{"security":"allowlist","allowlist":["/bin/a"]},
                          "main":{"ask":"off","allowlist":[{"pattern":"/bin/b"}]},
                          "other":{"security":"full"}}}"#,
        );
        let main = book.policy(None);
        assert_eq!((main.security, main.ask), (Security::Allowlist, Ask::Off));
        let other = book.policy(Some("other"));
        assert_eq!((other.security, other.ask), (Security::Full, Ask::Always));
        assert!(covers(&book, None, "/bin/a", "") && covers(&book, None, "/bin/b", ""));
        assert!(!covers(&book, Some("other"), "/bin/b", ""));
    }

    #[test]
    fn rules_that_are_not_understood_cover_nothing() {
        let book = book(
            r#"{"version":1,"agents":{"main":{"allowlist":[
                {"pattern":"/bin/a","argPattern":"^x$"},
                {"pattern":"=command:0123456789abcdef","source":"allow-always"}]}}}"#,
        );
        assert!(!covers(&book, None, "/bin/a", "/bin/a x"));
    }

    #[test]
    fn a_rule_for_always_covers_what_it_was_given_for() {
        let empty = Approvals::read(ApprovalsText::Missing);
        let now = WallTime(7);
        for (rule, path, line, covered) in [
            (
                ForAlways::Program("/bin/a".into()),
                "/bin/a",
                "/bin/a 2",
                true,
            ),
            (
                ForAlways::Command("/bin/sh -c x".into()),
                "/bin/sh",
                "/bin/sh -c x",
                true,
            ),
            (
                ForAlways::Command("/bin/sh -c x".into()),
                "/bin/sh",
                "/bin/sh -c y",
                false,
            ),
        ] {
            let text = empty
                .with_rule(None, &rule, "/bin/sh -c x", now)
                .unwrap()
                .unwrap();
            let book = book(text.expose());
            assert_eq!(covers(&book, None, path, line), covered, "{rule:?}");
            assert!(book.with_rule(None, &rule, "", now).is_none(), "{rule:?}");
        }
    }

    #[test]
    fn a_snapshot_is_current_until_a_setting_changes_or_a_rule_goes() {
        let before = book(r#"{"version":1,"agents":{"main":{"allowlist":["/bin/a"]}}}"#);
        let snapshot = before.policy_snapshot(None);
        assert!(before.is_current(None, &snapshot));
        let more = book(r#"{"version":1,"agents":{"main":{"allowlist":["/bin/b","/bin/a"]}}}"#);
        assert!(more.is_current(None, &snapshot));
        for text in [
            r#"{"version":1}"#,
            r#"{"version":1,"defaults":{"ask":"always"},"agents":{"main":{"allowlist":["/bin/a"]}}}"#,
        ] {
            assert!(!book(text).is_current(None, &snapshot), "{text}");
        }
    }

    #[test]
    fn the_token_of_the_socket_stays_here_and_is_kept() {
        let old = book(r#"{"version":1,"socket":{"path":"/s","token":"hunter2"},"x":1}"#);
        let shown = old.shown("p");
        assert!(!shown.to_string().contains("hunter2"));
        assert_eq!(shown["file"]["socket"]["path"], "/s");
        assert_eq!(shown["file"]["x"], 1, "what is not known is kept");
        assert!(!format!("{old:?}").contains("hunter2"));
        let new = old.replaced_by(&shown["file"]).unwrap();
        assert!(new.expose().contains("hunter2"));
        assert!(old.replaced_by(&json!({ "version": 2 })).is_err());
        assert!(old.replaced_by(&json!("x")).is_err());
    }
}

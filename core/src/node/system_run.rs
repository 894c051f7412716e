//! `system.run` and what belongs to it: parameters and results, as OpenClaw's node host has them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    approvals::Approvals,
    environment::refused_override,
    exec_policy::{Denied, Effective, Grant},
    fields::put,
    work::{Found, Looked, RunEnd},
};

/// The most characters of output in `exec.finished`.
const EVENT_OUTPUT: usize = 20_000;
/// The session of a request that names none.
const NO_SESSION: &str = "node";
const TRUNCATED: &str = "... (truncated)";

/// Parameters that cannot be used, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable(pub(super) String);

impl Unusable {
    pub(super) fn new(why: impl AsRef<str>) -> Self {
        Self(format!("INVALID_REQUEST: {}", why.as_ref()))
    }
}

/// `system.run`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunRequest {
    pub(super) command: CommandLine,
    pub(super) env: BTreeMap<String, String>,
    pub(super) grant: Grant,
    /// What decided when the run was prepared.
    pub(super) snapshot: Option<Value>,
    pub(super) time: Option<Duration>,
    run_id: String,
    quiet: bool,
    needs_screen: bool,
}

/// What both `system.run` and `system.run.prepare` are about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CommandLine {
    pub(super) argv: Vec<String>,
    pub(super) text: String,
    pub(super) folder: Option<String>,
    pub(super) agent: Option<String>,
    session: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    raw_command: Option<String>,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    env: Option<BTreeMap<String, String>>,
    #[serde(default)]
    agent_id: Option<String>,
    #[serde(default)]
    session_key: Option<String>,
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default)]
    approved: Option<bool>,
    #[serde(default)]
    approval_decision: Option<String>,
    #[serde(default)]
    approval_source: Option<String>,
    #[serde(default)]
    system_run_plan: Option<WirePlan>,
    #[serde(default)]
    suppress_notify_on_exit: Option<bool>,
    #[serde(default)]
    needs_screen_recording: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePlan {
    argv: Vec<String>,
    command_text: String,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    agent_id: Option<String>,
    #[serde(default)]
    session_key: Option<String>,
    #[serde(default)]
    policy_snapshot: Option<Value>,
}

/// Reads parameters that have to be there.
pub(super) fn parse<T: DeserializeOwned>(params: Option<&str>) -> Result<T, Unusable> {
    let text = params.ok_or_else(|| Unusable::new("paramsJSON required"))?;
    serde_json::from_str(text).map_err(|error| {
        Unusable::new(if error.is_data() {
            format!("the parameters cannot be used: {error}")
        } else {
            "paramsJSON malformed JSON".to_owned()
        })
    })
}

pub(super) fn written(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

impl CommandLine {
    fn read(wire: &mut Wire) -> Result<Self, Unusable> {
        let argv = std::mem::take(&mut wire.command);
        if argv.first().is_none_or(|program| program.trim().is_empty()) {
            return Err(Unusable::new("command required"));
        }
        if argv.iter().any(|word| word.contains('\0')) {
            return Err(Unusable::new("command holds a zero byte"));
        }
        let text = shown(&argv);
        if let Some(raw) = written(wire.raw_command.take())
            && raw != text
            && shell_text(&argv) != Some(raw.as_str())
        {
            return Err(Unusable::new("rawCommand does not match command"));
        }
        Ok(Self {
            argv,
            text,
            folder: written(wire.cwd.take()),
            agent: written(wire.agent_id.take()),
            session: written(wire.session_key.take()),
        })
    }

    /// What is looked up before anything is decided.
    pub(super) fn called(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

/// The text after `-c` of `sh -c TEXT`, as which some callers show the whole command.
fn shell_text(argv: &[String]) -> Option<&str> {
    match argv {
        [_, flag, text] if matches!(flag.as_str(), "-c" | "-lc") => Some(text.trim()),
        _ => None,
    }
}

/// The command as one line, for people and for comparison; no shell ever sees it.
fn shown(argv: &[String]) -> String {
    let word = |word: &String| {
        if word.is_empty() {
            "\"\"".to_owned()
        } else if word.contains(|c: char| c.is_whitespace() || c == '"') {
            format!("\"{}\"", word.replace('"', "\\\""))
        } else {
            word.clone()
        }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

impl RunRequest {
    /// Reads `system.run`. `invoke` names the run if the request does not.
    pub(super) fn read(params: Option<&str>, invoke: &str) -> Result<Self, Unusable> {
        let mut wire: Wire = parse(params)?;
        let command = CommandLine::read(&mut wire)?;
        let decision = match wire.approval_decision.as_deref() {
            Some("allow-once") => Some(Grant::Once),
            Some("allow-always") => Some(Grant::Always),
            Some(_) | None => None,
        };
        let explicit = wire.approved == Some(true) || decision.is_some();
        let grant = match wire.approval_source.as_deref() {
            None if explicit => decision.unwrap_or(Grant::Once),
            None => Grant::None,
            Some(_) if wire.approved.is_some() || wire.approval_decision.is_some() => {
                return Err(Unusable::new(
                    "approvalSource cannot be combined with explicit approval",
                ));
            }
            Some("ask-fallback") => Grant::Fallback,
            // The gateway asked a model and nobody else: this node's owner is not bound by that.
            Some("auto-review") => Grant::None,
            Some(_) => return Err(Unusable::new("approvalSource invalid")),
        };
        let plan = wire.system_run_plan.take();
        if grant != Grant::None && !plan.as_ref().is_some_and(|plan| plan.is_for(&command)) {
            return Err(Unusable::new(
                "an approval requires a matching systemRunPlan",
            ));
        }
        let env = wire.env.take().unwrap_or_default();
        let refused: Vec<&str> = env
            .keys()
            .map(String::as_str)
            .filter(|name| refused_override(name).is_some())
            .collect();
        if !refused.is_empty() {
            return Err(Unusable(format!(
                "SYSTEM_RUN_DENIED: environment override rejected (blocked override keys: {})",
                refused.join(", ")
            )));
        }
        if env.values().any(|value| value.contains('\0')) {
            return Err(Unusable::new("env holds a zero byte"));
        }
        Ok(Self {
            command,
            env,
            grant,
            snapshot: plan.and_then(|plan| plan.policy_snapshot),
            time: wire
                .timeout_ms
                .filter(|millis| *millis > 0)
                .map(Duration::from_millis),
            run_id: written(wire.run_id).unwrap_or_else(|| invoke.to_owned()),
            quiet: wire.suppress_notify_on_exit == Some(true),
            needs_screen: wire.needs_screen_recording == Some(true),
        })
    }

    /// A permission that no headless node has.
    pub(super) const fn needs_screen(&self) -> bool {
        self.needs_screen
    }

    fn event(&self) -> Value {
        json!({
            "sessionKey": self.command.session.as_deref().unwrap_or(NO_SESSION),
            "runId": self.run_id,
            "host": "node",
            "command": self.command.text,
            "suppressNotifyOnExit": self.quiet,
        })
    }

    /// `exec.denied`.
    pub(super) fn denied(&self, reason: &str) -> Value {
        let mut event = self.event();
        put(&mut event, "reason", json!(reason));
        event
    }

    /// `exec.finished`.
    pub(super) fn finished(&self, result: &RunResult) -> Value {
        let mut event = self.event();
        let parts = [&result.stdout, &result.stderr, &result.error];
        let texts: Vec<&str> = parts
            .into_iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
            .collect();
        if let Some(code) = result.code {
            put(&mut event, "exitCode", json!(code));
        }
        put(&mut event, "timedOut", json!(result.timed_out));
        put(&mut event, "success", json!(result.success()));
        if !texts.is_empty() {
            put(
                &mut event,
                "output",
                json!(end_of(&texts.join("\n"), EVENT_OUTPUT)),
            );
        }
        event
    }
}

impl WirePlan {
    fn is_for(&self, command: &CommandLine) -> bool {
        let same = |plan: &Option<String>, own: &Option<String>| written(plan.clone()) == *own;
        self.argv == command.argv
            && self.command_text == command.text
            && same(&self.cwd, &command.folder)
            && same(&self.agent_id, &command.agent)
            && same(&self.session_key, &command.session)
    }
}

/// The end of a text, marked where something is missing.
pub(super) fn end_of(text: &str, characters: usize) -> String {
    let all = text.chars().count();
    if all <= characters {
        return text.to_owned();
    }
    let end: String = text.chars().skip(all - characters).collect();
    format!("{TRUNCATED} {end}")
}

/// How a run ended, for the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunResult {
    pub(super) code: Option<i32>,
    pub(super) timed_out: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) error: String,
    truncated: bool,
}

impl RunResult {
    pub(super) fn of(end: &RunEnd, timed_out: bool) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut result = Self {
            code: end.code,
            timed_out,
            stdout: text(&end.stdout.bytes),
            stderr: text(&end.stderr.bytes),
            error: String::new(),
            truncated: end.stdout.truncated || end.stderr.truncated,
        };
        for (stream, text) in [
            (&end.stdout, &mut result.stdout),
            (&end.stderr, &mut result.stderr),
        ] {
            if stream.truncated {
                text.push('\n');
                text.push_str(TRUNCATED);
            }
        }
        result
    }

    pub(super) fn not_started(why: String) -> Self {
        Self {
            error: why,
            ..Self::default()
        }
    }

    fn success(&self) -> bool {
        self.code == Some(0) && !self.timed_out
    }

    pub(super) fn payload(&self) -> Value {
        let mut payload = json!({
            "timedOut": self.timed_out,
            "success": self.success(),
            "stdout": self.stdout,
            "stderr": self.stderr,
            "error": if self.error.is_empty() { Value::Null } else { json!(self.error) },
        });
        if let Some(code) = self.code {
            put(&mut payload, "exitCode", json!(code));
        }
        if self.truncated {
            put(&mut payload, "truncated", json!(true));
        }
        payload
    }
}

/// Reads `system.run.prepare`.
pub(super) fn prepare(params: Option<&str>) -> Result<CommandLine, Unusable> {
    let mut wire: Wire = parse(params)?;
    CommandLine::read(&mut wire)
}

/// The plan that an approval will be for: the program without links, so that it cannot be another
/// one later.
pub(super) fn prepared(
    command: &CommandLine,
    found: &Found,
    looked: &Looked,
    approvals: &Approvals,
    effective: Effective,
    covered_by: &str,
) -> Result<Value, Unusable> {
    let folder = looked
        .folder
        .as_deref()
        .map_err(|why| Unusable(format!("SYSTEM_RUN_DENIED: {why}")))?;
    let mut argv = command.argv.clone();
    if let Some(program) = argv.first_mut() {
        program.clone_from(&found.real);
    }
    let agent = command.agent.as_deref();
    Ok(json!({
        "plan": {
            "argv": argv,
            "cwd": folder,
            "commandText": shown(&argv),
            "commandPreview": null,
            "agentId": agent,
            "sessionKey": command.session,
            "policySnapshot": approvals.policy_snapshot(agent),
        },
        "execPolicy": { "security": effective.security, "ask": effective.ask },
        "allowAlwaysCoverage": { "complete": true, "patterns": [{ "pattern": covered_by }] },
    }))
}

/// What is answered to a command that was not let run.
pub(super) fn refusal(denied: Denied) -> (&'static str, String) {
    ("SYSTEM_RUN_DENIED", denied.message().to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::node::Captured;

    fn read(params: &Value) -> Result<RunRequest, Unusable> {
        RunRequest::read(Some(&params.to_string()), "i")
    }

    #[test]
    fn commands_that_cannot_be_used_are_told_of() {
        for (params, why) in [
            (json!({}), "command required"),
            (json!({ "command": [] }), "command required"),
            (json!({ "command": [" "] }), "command required"),
            (json!({ "command": "ls" }), "cannot be used"),
            (json!({ "command": [1] }), "cannot be used"),
            (json!({ "command": ["a\0b"] }), "zero byte"),
            (
                json!({ "command": ["ls"], "rawCommand": "rm" }),
                "rawCommand",
            ),
            (
                json!({ "command": ["ls"], "env": { "PATH": "/tmp" } }),
                "PATH",
            ),
            (
                json!({ "command": ["ls"], "approved": true }),
                "systemRunPlan",
            ),
            (
                json!({ "command": ["ls"], "approvalDecision": "allow-always" }),
                "systemRunPlan",
            ),
            (
                json!({ "command": ["ls"], "approvalSource": "x" }),
                "approvalSource",
            ),
            (
                json!({ "command": ["ls"], "approvalSource": "ask-fallback", "approved": true }),
                "combined",
            ),
        ] {
            let error = read(&params).unwrap_err().0;
            assert!(error.contains(why), "{params}: {error}");
        }
        assert!(
            RunRequest::read(None, "i")
                .unwrap_err()
                .0
                .contains("required")
        );
        assert!(
            RunRequest::read(Some("{"), "i")
                .unwrap_err()
                .0
                .contains("malformed")
        );
    }

    #[test]
    fn an_approval_is_for_one_command() {
        let plan = json!({ "argv": ["/bin/ls", "-l"], "commandText": "/bin/ls -l", "cwd": "/tmp" });
        let params = |command: Value, cwd: &str| {
            json!({ "command": command, "cwd": cwd, "approved": true,
                "approvalDecision": "allow-always", "systemRunPlan": plan })
        };
        let good = read(&params(json!(["/bin/ls", "-l"]), "/tmp")).unwrap();
        assert_eq!(good.grant, Grant::Always);
        assert!(read(&params(json!(["/bin/ls", "-a"]), "/tmp")).is_err());
        assert!(read(&params(json!(["/bin/ls", "-l"]), "/")).is_err());
        // A denial is no approval.
        let denied = json!({ "command": ["ls"], "approvalDecision": "deny" });
        assert_eq!(read(&denied).unwrap().grant, Grant::None);
    }

    #[test]
    fn the_text_of_a_command_is_the_words_with_quotes_where_they_matter() {
        let words = ["a", "", "b c", "d\"e"].map(str::to_owned);
        assert_eq!(shown(&words), r#"a "" "b c" "d\"e""#);
        let shell = json!({ "command": ["sh", "-c", "ls | wc"], "rawCommand": "ls | wc" });
        assert_eq!(read(&shell).unwrap().command.text, r#"sh -c "ls | wc""#);
    }

    #[test]
    fn what_is_missing_of_an_output_is_marked() {
        let end = RunEnd {
            code: Some(0),
            stdout: Captured {
                bytes: Bytes::from_static(b"a\xff"),
                truncated: true,
            },
            stderr: Captured::default(),
        };
        let payload = RunResult::of(&end, false).payload();
        assert_eq!(payload["stdout"], "a\u{fffd}\n... (truncated)");
        assert_eq!(
            (&payload["truncated"], &payload["success"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(payload["error"], Value::Null);
        let late = RunResult::of(&RunEnd { code: None, ..end }, true).payload();
        assert_eq!(
            (&late["timedOut"], &late["success"]),
            (&json!(true), &json!(false))
        );
        assert!(late.get("exitCode").is_none());
        assert_eq!(end_of("äöü", 2), "... (truncated) öü");
    }
}

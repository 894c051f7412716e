//! Programs behind commands: how they are run, and what their ends mean.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use serde_json::json;

use super::{NodeLimits, Reply, invocation::StopCause, steps::params_text};
use crate::{
    frame::RawJson,
    node::{
        command::{CommandName, CustomCommand, Notifier},
        request::Invoke,
        system_run::{RunResult, Unusable, end_of},
        work::{Capture, NodeOutcome, Part, RunEnd, RunSpec},
    },
};

/// What is kept of standard error for a message.
const ERROR_TAIL: Capture = Capture {
    limit: 4096,
    part: Part::Tail,
};

/// How the program of a command is run.
pub(super) fn custom(
    name: &CommandName,
    command: &CustomCommand,
    invoke: &Invoke,
    limits: NodeLimits,
) -> Result<RunSpec, Unusable> {
    let facts = [
        ("CLAWGATE_COMMAND", Some(name.as_str())),
        ("CLAWGATE_REQUEST", invoke.key.as_deref()),
        ("CLAWGATE_SESSION", invoke.session.as_deref()),
    ];
    Ok(RunSpec {
        program: command.program.clone(),
        args: command.args.clone(),
        folder: None,
        env: facts
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.replace('\0', ""))))
            .collect(),
        stdin: params_text(invoke)?,
        stdout: Capture {
            limit: limits.max_result,
            part: Part::Head,
        },
        stderr: ERROR_TAIL,
    })
}

/// How a notification is shown. The texts are arguments, and no part of a script.
pub(super) fn notification(notifier: &Notifier, title: String, body: String) -> RunSpec {
    let (program, args): (&PathBuf, Vec<String>) = match notifier {
        Notifier::NotifySend(path) => (
            path,
            vec!["--app-name=clawgate".into(), "--".into(), title, body],
        ),
        Notifier::Osascript(path) => {
            let script = [
                "on run argv",
                "display notification (item 2 of argv) with title (item 1 of argv)",
                "end run",
            ];
            let lines = script.iter().flat_map(|line| ["-e".into(), (*line).into()]);
            (path, lines.chain([title, body]).collect())
        }
    };
    RunSpec {
        program: program.clone(),
        args,
        folder: None,
        env: BTreeMap::new(),
        stdin: Bytes::new(),
        stdout: ERROR_TAIL,
        stderr: ERROR_TAIL,
    }
}

pub(super) fn cancelled() -> Reply {
    Reply::Failed("CANCELLED", "the request was cancelled".to_owned())
}

fn late() -> Reply {
    Reply::Failed(
        "TIMEOUT",
        "the program was ended because its time was over".to_owned(),
    )
}

/// A program that came to its own end, or what is answered instead.
fn ran(stop: Option<StopCause>, outcome: NodeOutcome) -> Result<RunEnd, Reply> {
    match (stop, outcome) {
        (Some(StopCause::Cancelled), _) => Err(cancelled()),
        (Some(StopCause::Late), _) => Err(late()),
        (None, NodeOutcome::Ran(end)) => Ok(end),
        (None, NodeOutcome::NotStarted(why)) => Err(Reply::Failed(
            "COMMAND_NOT_STARTED",
            format!("the program could not be started: {why}"),
        )),
        (None, NodeOutcome::Looked(_) | NodeOutcome::Sampled(_) | NodeOutcome::Wrote(_)) => Err(
            Reply::Failed("UNAVAILABLE", "node invocation failed".to_owned()),
        ),
    }
}

/// The end of standard error, or nothing.
fn complaint(end: &RunEnd) -> String {
    const MOST: usize = 1000;
    let text = String::from_utf8_lossy(&end.stderr.bytes);
    let text = end_of(text.trim(), MOST);
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

/// Why a program failed, if it did.
fn failed(what: &str, end: &RunEnd) -> Option<Reply> {
    let how = match end.code {
        Some(0) => return None,
        Some(code) => format!("exit code {code}"),
        None => "ended by a signal".to_owned(),
    };
    let words = format!("{what} failed ({how}){}", complaint(end));
    Some(Reply::Failed("COMMAND_FAILED", words))
}

/// What a command's program answers.
pub(super) fn custom_reply(
    name: &CommandName,
    stop: Option<StopCause>,
    outcome: NodeOutcome,
) -> Reply {
    let end = match ran(stop, outcome) {
        Ok(end) => end,
        Err(reply) => return reply,
    };
    let name = name.as_str();
    if let Some(reply) = failed(name, &end) {
        return reply;
    }
    if end.stdout.truncated {
        let words = format!("{name} printed more than {} bytes", end.stdout.bytes.len());
        return Reply::Failed("RESULT_TOO_LARGE", words);
    }
    let invalid = |why: &str| {
        let words = format!("{name} has to print one JSON value, and {why}");
        Reply::Failed("COMMAND_OUTPUT_INVALID", words)
    };
    let Ok(text) = std::str::from_utf8(&end.stdout.bytes) else {
        return invalid("printed something that is no text");
    };
    let text = text.trim();
    if text.is_empty() {
        return invalid("printed nothing");
    }
    match RawJson::checked(text.to_owned()) {
        Ok(json) => Reply::Done(json.as_str().to_owned()),
        Err(error) => invalid(&format!(
            "its output is not JSON at line {}, column {}",
            error.line(),
            error.column()
        )),
    }
}

pub(super) fn notify_reply(stop: Option<StopCause>, outcome: NodeOutcome) -> Reply {
    match ran(stop, outcome) {
        Err(reply) => reply,
        Ok(end) => failed("the desktop's notification", &end)
            .unwrap_or_else(|| Reply::Done(json!({ "ok": true }).to_string())),
    }
}

/// How `system.run` went; `None` for one that was cancelled.
pub(super) fn run_result(stop: Option<StopCause>, outcome: NodeOutcome) -> Option<RunResult> {
    match (stop, outcome) {
        (Some(StopCause::Cancelled), _) => None,
        (Some(StopCause::Late), NodeOutcome::Ran(end)) => Some(RunResult::of(&end, true)),
        (None, NodeOutcome::Ran(end)) => Some(RunResult::of(&end, false)),
        (Some(StopCause::Late) | None, NodeOutcome::NotStarted(why)) => {
            Some(RunResult::not_started(why))
        }
        (
            Some(StopCause::Late) | None,
            NodeOutcome::Looked(_) | NodeOutcome::Sampled(_) | NodeOutcome::Wrote(_),
        ) => Some(RunResult::not_started("node invocation failed".to_owned())),
    }
}

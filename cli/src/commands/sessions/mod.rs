//! `sessions …`: looks at sessions, and changes of them.

mod change;
mod look;
mod show;

use std::io::{self, IsTerminal};

use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use serde_json::{Value, json};

pub(super) use self::show::{describe, table};
use crate::args::TargetArgs;
use crate::context::Context;
use crate::conversation_args::{ConfirmedArgs, SessionsCommand};
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, TargetFlags};

/// Does what `clawgate sessions …` asks for.
pub(super) fn run(command: SessionsCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        SessionsCommand::List {
            limit,
            search,
            target,
        } => look::list(limit, search.as_deref(), target, context),
        SessionsCommand::Show(args) => look::show(&args.key, args.target, context),
        SessionsCommand::History { key, limit, target } => {
            look::history(&key, limit, target, context)
        }
        SessionsCommand::Search {
            words,
            limit,
            target,
        } => look::search(&words, limit, target, context),
        SessionsCommand::Usage { key, target } => look::usage(key.as_deref(), target, context),
        SessionsCommand::Create { key, label, target } => {
            change::create(key.as_deref(), label.as_deref(), target, context)
        }
        SessionsCommand::Send {
            key,
            message,
            idempotency_key,
            target,
        } => change::send(&key, message, idempotency_key, target, context),
        SessionsCommand::Rename { key, label, target } => {
            change::rename(&key, &label, target, context)
        }
        SessionsCommand::Reset(args) => change::reset(args, context),
        SessionsCommand::Delete(args) => change::delete(args, context),
        SessionsCommand::Compact { keep, session } => change::compact(keep, session, context),
        SessionsCommand::Abort(args) => change::abort(&args.key, args.target, context),
    }
}

/// Connects, makes one call, and closes.
fn call(
    method: &str,
    params: &Value,
    target: TargetArgs,
    context: &Context,
) -> Result<Value, Failure> {
    let flags = TargetFlags::read(target)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let mut link = Link::open_or_explain(&resolved, &[method], flags.timeout)?;
    let params = RawJson::encode(params)
        .map_err(|error| Failure::new(Exit::Failed, "params", error.to_string(), ""))?;
    let result = link.call(method, params).map_err(|mut failure| {
        if failure.exit == Exit::Refused {
            failure.next = "`clawgate sessions list` shows all sessions.".to_owned();
        }
        failure
    })?;
    link.connection.close();
    Ok(result.parse().unwrap_or(Value::Null))
}

/// Prints an answer: as it is for programs, in words for people.
fn print(context: &Context, answer: &Value, words: impl FnOnce() -> String) -> Result<(), Failure> {
    match context.format {
        Format::Json => output::json(answer),
        Format::Text => output::text(&words()),
    }
}

/// Whether to go on with something that cannot be taken back.
fn is_confirmed(args: &ConfirmedArgs, what: &str, context: &Context) -> Result<bool, Failure> {
    if args.yes {
        return Ok(true);
    }
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !at_terminal || context.format == Format::Json {
        return Err(Failure::new(
            Exit::Usage,
            "unconfirmed",
            format!("To {what} the session {} needs a confirmation.", args.key),
            "Add --yes.",
        )
        .fact("key", json!(args.key)));
    }
    let key = crate::text::plain(&args.key);
    output::text(&format!(
        "{} the session {key}? [y/N] ",
        crate::text::capitalised(what)
    ))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| {
        Failure::new(
            Exit::Usage,
            "stdin",
            format!("Standard input could not be read: {error}."),
            "",
        )
    })?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !yes {
        output::note("nothing was changed");
    }
    Ok(yes)
}

//! `sessions create`, `send`, `rename`, `reset`, `delete`, `compact` and `abort`.

use serde_json::{Value, json};

use super::{call, is_confirmed, print};
use crate::args::TargetArgs;
use crate::commands::devices::word;
use crate::context::Context;
use crate::conversation::{fresh_key, message};
use crate::conversation_args::ConfirmedArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::text::plain;

pub(super) fn create(
    key: Option<&str>,
    label: Option<&str>,
    target: TargetArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut params = json!({});
    if let Some(fields) = params.as_object_mut() {
        for (name, value) in [("key", key), ("label", label)] {
            if let Some(value) = value {
                fields.insert(name.into(), value.into());
            }
        }
    }
    let answer = call("sessions.create", &params, target, context)?;
    told(context, &answer, "created")
}

pub(super) fn send(
    key: &str,
    text: String,
    idempotency_key: Option<String>,
    target: TargetArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let run = match idempotency_key {
        Some(run) => run,
        None => fresh_key()?,
    };
    let text = message(text)?;
    let params = json!({ "key": key, "message": text, "idempotencyKey": run });
    let answer = call("sessions.send", &params, target, context)?;
    print(context, &answer, || {
        format!(
            "sent: run {} ({})\n",
            plain(word(&answer, "runId")),
            plain(word(&answer, "status"))
        )
    })?;
    Ok(Exit::Ok)
}

pub(super) fn rename(
    key: &str,
    label: &str,
    target: TargetArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let label = Some(label.trim()).filter(|label| !label.is_empty());
    let params = json!({ "key": key, "label": label });
    let answer = call("sessions.patch", &params, target, context)?;
    told(context, &answer, "renamed")
}

pub(super) fn reset(args: ConfirmedArgs, context: &Context) -> Result<Exit, Failure> {
    if !is_confirmed(&args, "reset", context)? {
        return Ok(Exit::Failed);
    }
    let params = json!({ "key": args.key, "reason": "reset" });
    let answer = call("sessions.reset", &params, args.target, context)?;
    told(context, &answer, "begun anew")
}

pub(super) fn delete(args: ConfirmedArgs, context: &Context) -> Result<Exit, Failure> {
    if !is_confirmed(&args, "delete", context)? {
        return Ok(Exit::Failed);
    }
    let params = json!({ "key": args.key });
    let key = args.key.clone();
    let answer = call("sessions.delete", &params, args.target, context)?;
    if answer.get("deleted").and_then(Value::as_bool) == Some(false) {
        return Err(Failure::new(
            Exit::Refused,
            "not_found",
            format!("There is no session {key}."),
            "`clawgate sessions list` shows all sessions.",
        ));
    }
    told(context, &answer, "deleted")
}

pub(super) fn compact(keep: u32, args: ConfirmedArgs, context: &Context) -> Result<Exit, Failure> {
    if !is_confirmed(&args, "compact", context)? {
        return Ok(Exit::Failed);
    }
    let params = json!({ "key": args.key, "maxLines": keep });
    let answer = call("sessions.compact", &params, args.target, context)?;
    let kept = answer
        .get("kept")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let what = match answer.get("compacted").and_then(Value::as_bool) {
        Some(true) => format!("compacted to {kept} messages"),
        _ => format!("left as it is, with {kept} messages"),
    };
    told(context, &answer, &what)
}

pub(super) fn abort(key: &str, target: TargetArgs, context: &Context) -> Result<Exit, Failure> {
    let params = json!({ "key": key, "clearQueued": true });
    let answer = call("sessions.abort", &params, target, context)?;
    print(context, &answer, || match word(&answer, "abortedRunId") {
        "" => "nothing was under way\n".to_owned(),
        run => format!("stopped: run {}\n", plain(run)),
    })?;
    Ok(Exit::Ok)
}

/// What became of a session.
fn told(context: &Context, answer: &Value, what: &str) -> Result<Exit, Failure> {
    print(context, answer, || {
        format!("{what}: session {}\n", plain(word(answer, "key")))
    })?;
    Ok(Exit::Ok)
}

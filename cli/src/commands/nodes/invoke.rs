//! `nodes invoke`.

use std::time::{Duration, Instant};

use clawgate_core::time::millis;
use serde_json::{Value, json};

use super::{all, find};
use crate::commands::devices::word;
use crate::context::Context;
use crate::desk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::node_args::InvokeArgs;
use crate::output::{self, Format};
use crate::params;
use crate::target::TargetFlags;

/// What is kept of the time for the answer of the gateway itself.
const MARGIN: Duration = Duration::from_millis(500);

pub(super) fn run(args: InvokeArgs, context: &Context) -> Result<Exit, Failure> {
    let params: Value = params::read(&args.params)?.parse().unwrap_or(Value::Null);
    let flags = TargetFlags::read(args.target)?;
    let end = Instant::now() + flags.timeout;
    let key = match args.idempotency_key {
        Some(key) => key,
        None => random_key()?,
    };
    let methods = ["node.list", "node.invoke"];
    let (answer, id, place) = desk::with_methods(&methods, &flags, context, |desk| {
        let id = word(find(&args.node, &all(desk)?)?, "nodeId").to_owned();
        let left = end.saturating_duration_since(Instant::now());
        // Zero would mean no limit.
        let time = left.saturating_sub(MARGIN).max(Duration::from_millis(1));
        let answer = desk.call(
            "node.invoke",
            &json!({
                "nodeId": id, "command": args.command, "params": params,
                "timeoutMs": millis(time), "idempotencyKey": key,
            }),
        )?;
        Ok((answer, id, desk.place()))
    })?;
    let payload = payload(&answer);
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "nodeId": id, "command": args.command,
            "idempotencyKey": key, "payload": payload,
        }))?,
        Format::Text => output::json(&payload)?,
    }
    Ok(Exit::Ok)
}

/// What the node answered, read where the gateway gives it as text.
fn payload(answer: &Value) -> Value {
    let read = answer.get("payload").filter(|payload| !payload.is_null());
    let text = || answer.get("payloadJSON").and_then(Value::as_str);
    read.cloned()
        .or_else(|| serde_json::from_str(text()?).ok())
        .unwrap_or(Value::Null)
}

fn random_key() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "random",
            format!("The system gave no random bytes: {error}."),
            "Name the call with --idempotency-key.",
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

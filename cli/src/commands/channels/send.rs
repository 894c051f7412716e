//! `send`: says something in a chat.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{call, params, print, text};
use crate::args::TargetArgs;
use crate::channel_args::SendArgs;
use crate::commands::devices::word;
use crate::context::Context;
use crate::conversation::{fresh_key, message};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::text::plain;

/// The gateway takes no longer ones.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Does what `clawgate send` asks for.
pub(in crate::commands) fn run(args: SendArgs, context: &Context) -> Result<Exit, Failure> {
    let key = match args.idempotency_key {
        Some(key) => key,
        None => fresh_key()?,
    };
    let said = match args.message {
        Some(typed) => Some(message(typed)?),
        None => None,
    };
    let file = args.file.as_deref();
    let data = match file {
        Some(path) => Some(STANDARD.encode(read(path)?)),
        None => None,
    };
    let name = file
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let wanted = params([
        ("to", Some(args.to.clone().into())),
        ("message", said.map(Value::from)),
        ("channel", text(args.channel.as_deref())),
        ("accountId", text(args.account.as_deref())),
        ("threadId", text(args.thread.as_deref())),
        ("replyToId", text(args.reply_to.as_deref())),
        ("buffer", data.map(Value::from)),
        ("filename", text(name)),
        ("silent", args.silent.then_some(json!(true))),
        ("idempotencyKey", Some(key.clone().into())),
    ]);
    let target = TargetArgs {
        place: args.place,
        timeout: args.timeout,
    };
    let hint = "`clawgate messages list` shows what became of it, `clawgate channels status` how the \
                channels fare.";
    let answer = call("send", &wanted, target, context, hint)
        .map_err(|failure| failure.note(format!("key: {key}")).fact("key", json!(key)))?;
    print(context, &answer, || {
        format!(
            "sent: message {} in {}:{}\n",
            plain(word(&answer, "messageId")),
            plain(word(&answer, "channel")),
            plain(word(&answer, "chatId"))
        )
    })?;
    Ok(Exit::Ok)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrong = |why: String| {
        Failure::new(
            Exit::Usage,
            "file",
            format!("{} cannot be sent: {why}.", path.display()),
            "Check the path after --file.",
        )
    };
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong("it has more than 16 MiB".into()));
    }
    Ok(bytes)
}

//! `demo`: the whole flow on one machine, each part a process of its own (seed 002, *Command flow*).
//!
//! | file | what |
//! | --- | --- |
//! | `folder` | a place for everything, which goes with the value |
//! | `stage` | what is waited for, in one queue |
//! | `process` | a gateway or a node, as a child of this process |
//! | `flow` | one message, followed hop by hop |
//! | `telegram` | the same message, written in a chat |
//! | `greet` | the program behind the node's command |

mod flow;
mod folder;
mod greet;
mod process;
mod stage;
mod telegram;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::flow::{Flow, Scene};
use self::folder::Folder;
use self::stage::Stage;
use self::telegram::Telegram;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::{self, Sheet};

pub(super) use self::greet::run as greet;

/// Time for everything together.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(telegram: bool, format: Format) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let stage = Stage::new(begun + PATIENCE)?;
    let folder = Folder::make()?;
    let scene = if telegram {
        Scene::Telegram(Telegram::start()?)
    } else {
        Scene::Client
    };
    let path = folder.path().to_owned();
    let outcome = flow::play(stage, &folder, &scene, format);
    // Whatever came of it, nothing is left behind.
    let removed = folder.remove();
    let flow = outcome?;
    removed?;
    let took = begun.elapsed();
    match format {
        Format::Json => output::json(&to_json(&flow, &path.to_string_lossy(), took))?,
        Format::Text => output::text(&to_text(&flow, took))?,
    }
    Ok(Exit::Ok)
}

fn to_json(flow: &Flow, folder: &str, took: Duration) -> Value {
    let hops: Vec<Value> = flow
        .hops
        .iter()
        .map(|hop| json!({ "hop": hop.id, "ms": text::millis(hop.after) }))
        .collect();
    json!({
        "ok": true,
        "message": flow.message,
        "reply": flow.reply,
        "hops": hops,
        "totalMs": text::millis(took),
        "folder": folder,
        "removed": true,
    })
}

fn to_text(flow: &Flow, took: Duration) -> String {
    let mut sheet = Sheet::default();
    for hop in &flow.hops {
        let after = text::duration(hop.after);
        sheet.line(format!("{after:>8}"), hop.words.as_ref());
    }
    let last = flow.hops.last().map(|hop| hop.after).unwrap_or_default();
    format!(
        "\nyou    {}\n{}agent  {}\n\nok: message to reply in {}, everything in {}; both processes ended and \
         nothing was left behind\n",
        flow.message,
        sheet.to_text(),
        text::plain(&flow.reply),
        text::duration(last),
        text::duration(took),
    )
}

//! `remote`: the gateway elsewhere that the config names.

use clawgate_core::config::{Change, KeyPath, ModeSetting};
use serde_json::{Value, json};

use super::config::carry_out;
use super::contexts::{shown, words};
use super::probe;
use crate::config_args::WriteArgs;
use crate::config_file::ConfigEditor;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::remote_args::{RemoteCommand, RemoteFields};
use crate::remote_fields;
use crate::target::TargetFlags;
use crate::text::Sheet;

pub(super) fn run(command: RemoteCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        RemoteCommand::Set { fields, write } => set(&fields, write, context),
        RemoteCommand::Show => show(context),
        RemoteCommand::Test(args) => test(&TargetFlags::read(args.target)?, context),
        RemoteCommand::Clear { keep, write } => clear(keep, write, context),
    }
}

fn set(fields: &RemoteFields, write: WriteArgs, context: &Context) -> Result<Exit, Failure> {
    // Read without the lock: the change itself is one of the values that are read under it.
    let file = context.config_file()?;
    let before = file.parsed.get("gateway").and_then(|it| it.get("remote"));
    let built = remote_fields::build(fields, before, &context.env)?;
    if !built.left_out.is_empty() {
        output::note(&format!(
            "note: the gateway is another one, so these are left out: gateway.remote.{} \
             (--keep-credentials keeps them)",
            built.left_out.join(", gateway.remote.")
        ));
    }
    let changes = [
        Change::Set(KeyPath::of_keys("gateway.mode"), json!("remote")),
        Change::Set(KeyPath::of_keys("gateway.remote"), built.entry),
    ];
    carry_out(&changes, write, context)
}

fn show(context: &Context) -> Result<Exit, Failure> {
    let file = context.config_file()?;
    let remote = file.parsed.get("gateway").and_then(|it| it.get("remote"));
    let entry = remote.map(shown);
    let in_use = file.config.gateway.mode == ModeSetting::Remote;
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "file": file.path, "inUse": in_use, "remote": entry,
        }))?,
        Format::Text => {
            let mut sheet = Sheet::default();
            sheet.line(
                "Mode",
                match (in_use, &entry) {
                    (true, _) => "remote: commands use this gateway",
                    (false, Some(_)) => {
                        "local: this gateway is not used (`clawgate remote set` uses it)"
                    }
                    (false, None) => "local: no gateway elsewhere is set",
                },
            );
            for (key, value) in entry.iter().filter_map(Value::as_object).flatten() {
                sheet.line(key, words(value));
            }
            output::text(&sheet.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

/// Connects as commands would, and says at which step that fails.
fn test(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let file = context.client_config()?;
    let by_config = !flags.is_explicit() && context.named(flags.named_target())?.is_none();
    if by_config && !file.gateway.mode.is_remote() {
        return Err(Failure::new(
            Exit::Configuration,
            "remote_not_configured",
            "The config uses the gateway on this machine (gateway.mode is not remote).",
            "Run `clawgate remote set --url URL` first.",
        ));
    }
    probe::test(flags, context)
}

fn clear(keep: bool, write: WriteArgs, context: &Context) -> Result<Exit, Failure> {
    let has_remote = {
        let editor = ConfigEditor::open(context)?;
        KeyPath::of_keys("gateway.remote")
            .find(&editor.before().parsed)
            .is_some()
    };
    let mut changes = vec![Change::Set(
        KeyPath::of_keys("gateway.mode"),
        json!("local"),
    )];
    if has_remote && !keep {
        changes.push(Change::Unset(KeyPath::of_keys("gateway.remote")));
    }
    carry_out(&changes, write, context)
}

//! `config`: looking at the config file (`path`, `get`, `validate`, `why`), changing it (`set`,
//! `unset`, `patch`), and repairing it (`diff`, `restore`).

mod change;
mod repair;
mod why;

pub(crate) use change::{Plan, carry_out};

use clawgate_core::config::paths::Profile;
use clawgate_core::config::{Change, ConfigFile, Finding, KeyPath};
use clawgate_core::credentials::{RefAccess, ShownRef, shown_refs};
use clawgate_core::secrets::RefValues;
use serde_json::{Value, json};

use crate::config_args::ConfigCommand;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::{Sheet, plain};

pub(super) fn run(command: ConfigCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Path => path(context),
        ConfigCommand::Get { key } => get(key.as_ref(), context),
        ConfigCommand::Set(args) => change::set(args, context),
        ConfigCommand::Unset { key, write } => carry_out(&[Change::Unset(key)], write, context),
        ConfigCommand::Patch { file, write } => change::patch(&file, write, context),
        ConfigCommand::Why { key } => why::run(&key, context),
        ConfigCommand::Diff => repair::diff(context),
        ConfigCommand::Restore { write } => repair::restore(write, context),
        ConfigCommand::Validate => validate(context),
    }
}

fn path(context: &Context) -> Result<Exit, Failure> {
    let places = context.locations()?;
    let exists = places.config.exists();
    let profile = context.profile.name();
    match context.format {
        Format::Json => output::json(&json!({
            "config": places.config.to_string_lossy(),
            "exists": exists,
            "stateDir": places.state.to_string_lossy(),
            "ownDir": places.own.to_string_lossy(),
            "profile": profile,
        }))?,
        Format::Text => {
            let mut sheet = Sheet::default();
            let mark = if exists { "" } else { " (does not exist)" };
            sheet.line("Config", format!("{}{mark}", places.config.display()));
            sheet.line("State", places.state.to_string_lossy());
            sheet.line("Own files", places.own.to_string_lossy());
            sheet.line(
                "Profile",
                match &context.profile {
                    Profile::Default => "default",
                    Profile::Dev => "dev",
                    Profile::Named(name) => name.as_str(),
                },
            );
            output::text(&sheet.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

fn get(key: Option<&KeyPath>, context: &Context) -> Result<Exit, Failure> {
    let file = context.config_file()?;
    let all = file.redacted();
    let value = match key {
        None => &all,
        Some(key) => key.find(&all).ok_or_else(|| not_set(key, file))?,
    };
    match (context.format, value) {
        (Format::Text, Value::String(text)) => output::text(&format!("{}\n", plain(text)))?,
        (Format::Json | Format::Text, value) => output::json(value)?,
    }
    Ok(Exit::Ok)
}

fn not_set(key: &KeyPath, file: &ConfigFile) -> Failure {
    Failure::new(
        Exit::Failed,
        "config_key_not_set",
        format!("{key} is not set in {}.", file.path),
        "Run `clawgate config get` to see what is.",
    )
    .fact("file", json!(file.path))
    .fact("exists", json!(file.exists))
}

fn validate(context: &Context) -> Result<Exit, Failure> {
    let file = match context.config_file() {
        Ok(file) => file,
        Err(failure) => {
            if context.format == Format::Text {
                return Err(failure);
            }
            let places = context.locations()?;
            output::json(&json!({
                "ok": false,
                "file": places.config.to_string_lossy(),
                "exists": places.config.exists(),
                "issues": [failure.to_json()],
                "warnings": [],
                "references": [],
            }))?;
            return Ok(failure.exit);
        }
    };
    // No file is read and no program run: this only looks at what is written.
    let nothing = RefValues::new();
    let references = shown_refs(&file.config, &context.env, RefAccess::Available(&nothing));
    match context.format {
        Format::Json => output::json(&json!({
            "ok": file.issues.is_empty(),
            "file": file.path,
            "exists": file.exists,
            "issues": file.issues.iter().map(shown).collect::<Vec<_>>(),
            "warnings": file.warnings.iter().map(shown).collect::<Vec<_>>(),
            "references": references,
        }))?,
        Format::Text => output::text(&describe(file, &references))?,
    }
    Ok(if file.issues.is_empty() {
        Exit::Ok
    } else {
        Exit::Configuration
    })
}

fn shown(finding: &Finding) -> Value {
    json!({
        "path": finding.path.to_string(),
        "line": finding.position.map(|place| place.line),
        "column": finding.position.map(|place| place.column),
        "message": finding.message,
    })
}

fn describe(file: &ConfigFile, references: &[ShownRef]) -> String {
    if !file.exists {
        return format!(
            "{} does not exist: every value has its default.\n",
            file.path
        );
    }
    let mut text = String::new();
    for (word, findings) in [("error", &file.issues), ("warning", &file.warnings)] {
        for finding in findings {
            let place = finding
                .position
                .map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
            let line = format!(
                "{}{place}: {word}: {}: {}",
                file.path, finding.path, finding.message
            );
            text.push_str(&plain(&line));
            text.push('\n');
        }
    }
    for reference in references {
        let line = format!("{}: reference: {}", file.path, reference.describe());
        text.push_str(&plain(&line));
        text.push('\n');
    }
    text.push_str(&match (file.issues.len(), file.warnings.len()) {
        (0, 0) => format!("{} is valid.\n", file.path),
        (0, warnings) => format!("{} is valid, with {warnings} warnings.\n", file.path),
        (issues, warnings) => {
            format!(
                "{} has {issues} errors and {warnings} warnings.\n",
                file.path
            )
        }
    });
    text
}

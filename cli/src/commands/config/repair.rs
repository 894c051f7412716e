//! `config diff` and `config restore`: the file, and the last config with which the gateway worked.

use std::fs;
use std::io;
use std::path::Path;

use clawgate_core::config::ConfigFile;
use serde_json::json;

use super::Plan;
use crate::config_args::WriteArgs;
use crate::config_file;
use crate::context::{Context, read_config};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(super) fn diff(context: &Context) -> Result<Exit, Failure> {
    let good = last_good(context)?;
    let places = context.locations()?;
    let now = read_config(&places.config, &context.env).map_err(|problem| {
        let mut failure = problem.failure();
        failure
            .next
            .push_str(" `clawgate config restore` goes back to the last one that worked.");
        failure
    })?;
    let plan = Plan::between(&good, &now, 0);
    match context.format {
        Format::Json => {
            let mut answer = plan.to_json();
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("ok".into(), json!(plan.changes.is_empty()));
                fields.insert("lastGood".into(), json!(good.path));
                fields.insert("valid".into(), json!(now.issues.is_empty()));
                fields.insert(
                    "issues".into(),
                    now.issues.iter().map(super::shown).collect(),
                );
            }
            output::json(&answer)?;
        }
        Format::Text => {
            let mut text = if plan.changes.is_empty() {
                format!(
                    "{} says the same as the last config that worked.\n",
                    now.path
                )
            } else {
                format!(
                    "From the last config that worked to {}:\n{}",
                    now.path,
                    plan.to_text()
                )
            };
            for issue in &now.issues {
                text.push_str(&format!("error: {issue}\n"));
            }
            output::text(&text)?;
        }
    }
    Ok(if plan.changes.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

pub(super) fn restore(write: WriteArgs, context: &Context) -> Result<Exit, Failure> {
    let good = last_good(context)?;
    let path = &context.locations()?.config;
    let now = read_config(path, &context.env);
    let plan = now.as_ref().ok().map(|now| Plan::between(now, &good, 0));
    let same = now.as_ref().is_ok_and(|now| now.text == good.text);
    if let (Format::Text, Some(plan)) = (context.format, &plan) {
        output::text(&plan.to_text())?;
    }
    let written = if write.dry_run || same {
        None
    } else {
        Some(config_file::replace(path, &good.text)?)
    };
    let backup = written.as_ref().and_then(|written| written.backup.as_ref());
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true,
            "file": path.to_string_lossy(),
            "lastGood": good.path,
            "dryRun": write.dry_run,
            "written": written.is_some(),
            "backup": backup.map(|path| path.to_string_lossy()),
        }))?,
        Format::Text => {
            let mut text = match &written {
                Some(written) => format!("Restored: {}\n", written.path.display()),
                None if same => format!("{} is the last config that worked.\n", path.display()),
                None => "Nothing was written (--dry-run).\n".to_owned(),
            };
            if let Some(backup) = backup {
                text.push_str(&format!("Before:   {}\n", backup.display()));
            }
            output::text(&text)?;
        }
    }
    Ok(Exit::Ok)
}

/// The last config that worked, which is kept whole.
fn last_good(context: &Context) -> Result<ConfigFile, Failure> {
    let path = context.locations()?.last_good_config_file();
    let text = fs::read_to_string(&path).map_err(|error| none(&path, &error))?;
    ConfigFile::parse_with(path.to_string_lossy(), text, &context.env)
        .map_err(|error| none(&path, &io::Error::other(error.to_string())))
}

fn none(path: &Path, error: &io::Error) -> Failure {
    let (message, next) = if error.kind() == io::ErrorKind::NotFound {
        (
            "No config is kept that worked.".to_owned(),
            "The gateway keeps one when it starts well. Until then, correct the file by hand: \
             `clawgate config validate` shows the place.",
        )
    } else {
        (
            format!("{} cannot be used: {error}.", path.display()),
            "Correct the config file by hand: `clawgate config validate` shows the place.",
        )
    };
    Failure::new(Exit::Failed, "no_last_good_config", message, next)
        .fact("file", json!(path.to_string_lossy()))
}

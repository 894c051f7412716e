//! `config set`, `config unset`, `config patch`: what a change needs is said before it is made.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clawgate_core::config::schema::Kind;
use clawgate_core::config::{
    Change, ChangedKey, ConfigFile, Edited, KeyPath, MAX_CONFIG_BYTES, Need, REDACTED, ReloadMode,
    changed_keys, known,
};
use clawgate_core::secret::Secret;
use serde_json::{Value, json};

use crate::config_args::{SetArgs, WriteArgs};
use crate::config_file::{ConfigEditor, includes};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::plain;

pub(super) fn set(args: SetArgs, context: &Context) -> Result<Exit, Failure> {
    let SetArgs {
        key,
        value,
        value_file,
        write,
    } = args;
    let value = match (value, value_file) {
        (_, Some(path)) => {
            let text = Secret::new(read(&path)?);
            Value::String(text.expose().trim_end_matches(['\r', '\n']).to_owned())
        }
        (Some(text), None) => {
            let value = value_of(&key, &text);
            if matches!(known(&key).map(|key| key.kind), Some(Kind::Secret)) && value.is_string() {
                output::note(
                    "warning: other users can see the value in the process list; prefer \
                     --value-file, or a reference",
                );
            }
            value
        }
        (None, None) => Value::Null,
    };
    carry_out(&[Change::Set(key, value)], write, context)
}

pub(super) fn patch(file: &Path, write: WriteArgs, context: &Context) -> Result<Exit, Failure> {
    let text = read(file)?;
    // The parser of configs knows how deep and how long a text may be.
    let patch = ConfigFile::parse(file.to_string_lossy(), text).map_err(|error| {
        Failure::new(
            Exit::Usage,
            "config_patch_invalid",
            format!(
                "{}:{}:{}: {}.",
                error.file,
                error.position.line,
                error.position.column,
                error.message()
            ),
            error.next_step(),
        )
    })?;
    carry_out(&[Change::Merge(patch.parsed)], write, context)
}

/// Makes changes, or only says what they would be.
///
/// # Errors
/// When they cannot be made.
pub(crate) fn carry_out(
    changes: &[Change],
    write: WriteArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let editor = ConfigEditor::open(context)?;
    let edited = editor.edit(changes)?;
    let plan = Plan::of(editor.before(), &edited);
    if context.format == Format::Text {
        output::text(&plan.to_text())?;
    }
    if includes(&edited.file) {
        output::note(
            "warning: the file has an $include, which clawgate does not read: only this file counts",
        );
    }
    let written = if write.dry_run || plan.changes.is_empty() {
        None
    } else {
        Some(editor.write(&edited.file.text)?)
    };
    let backup = written.as_ref().and_then(|written| written.backup.as_ref());
    match context.format {
        Format::Json => {
            let mut answer = plan.to_json();
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("ok".into(), json!(true));
                fields.insert("dryRun".into(), json!(write.dry_run));
                fields.insert("written".into(), json!(written.is_some()));
                fields.insert(
                    "backup".into(),
                    json!(backup.map(|path| path.to_string_lossy())),
                );
            }
            output::json(&answer)?;
        }
        Format::Text => {
            let mut text = match &written {
                Some(written) => format!("Written: {}\n", written.path.display()),
                None if write.dry_run => "Nothing was written (--dry-run).\n".to_owned(),
                None => String::new(),
            };
            if let Some(backup) = backup {
                text.push_str(&format!("Before:  {}\n", backup.display()));
            }
            output::text(&text)?;
        }
    }
    Ok(Exit::Ok)
}

/// What changes, and what that needs.
#[derive(Debug)]
pub(crate) struct Plan {
    file: String,
    pub(crate) changes: Vec<ChangedKey>,
    before: Value,
    after: Value,
    comments_dropped: usize,
    reload: ReloadMode,
}

impl Plan {
    pub(crate) fn of(before: &ConfigFile, edited: &Edited) -> Self {
        Self::between(before, &edited.file, edited.comments_dropped)
    }

    /// What leads from one state to another.
    pub(crate) fn between(
        before: &ConfigFile,
        after: &ConfigFile,
        comments_dropped: usize,
    ) -> Self {
        Self {
            file: after.path.clone(),
            changes: changed_keys(&before.parsed, &after.parsed),
            before: before.redacted(),
            after: after.redacted(),
            comments_dropped,
            reload: after.config.gateway.reload.mode,
        }
    }

    /// The gravest need, as this config takes changes up.
    fn need(&self) -> Need {
        let needs = self.changes.iter().map(|change| self.need_of(change));
        needs.max().unwrap_or(Need::Nothing)
    }

    fn need_of(&self, change: &ChangedKey) -> Need {
        change.need.under(self.reload)
    }

    pub(crate) fn to_json(&self) -> Value {
        let changes: Vec<Value> = self
            .changes
            .iter()
            .map(|change| {
                json!({
                    "path": change.path.to_string(),
                    "before": change.path.find(&self.before),
                    "after": change.path.find(&self.after),
                    "needs": self.need_of(change).as_str(),
                })
            })
            .collect();
        json!({
            "file": self.file,
            "changes": changes,
            "needs": self.need().as_str(),
            "commentsDropped": self.comments_dropped,
        })
    }

    pub(crate) fn to_text(&self) -> String {
        if self.changes.is_empty() {
            return "Nothing would change.\n".to_owned();
        }
        let mut text = String::new();
        for change in &self.changes {
            let shown = |value: &Value| match change.path.find(value) {
                Some(value) => in_words(value),
                None => "not set".to_owned(),
            };
            let (before, after) = (shown(&self.before), shown(&self.after));
            let values = if before == after {
                // Both are covered: nothing is shown but that they differ.
                format!("{after}, another one")
            } else {
                format!("{before} -> {after}")
            };
            let need = self.need_of(change);
            let line = format!("{}: {values} ({})", change.path, need.describe());
            text.push_str(&plain(&line));
            text.push('\n');
        }
        match self.comments_dropped {
            0 => {}
            1 => text.push_str("One comment stands inside of what is removed, and goes with it.\n"),
            count => text.push_str(&format!(
                "{count} comments stand inside of what is removed, and go with it.\n"
            )),
        }
        text
    }
}

/// A value without its secrets, as JSON in one line.
pub(super) fn in_words(value: &Value) -> String {
    value
        .to_string()
        .replace(&format!("\"{REDACTED}\""), "(secret)")
}

/// A value as it is typed: text where the key takes text, JSON5 elsewhere, and text again where that
/// is none.
fn value_of(key: &KeyPath, text: &str) -> Value {
    let is_text = match known(key).map(|key| key.kind) {
        Some(Kind::Text | Kind::OneOf(_)) => !text.starts_with(['"', '\'']),
        // Numbers and words are secrets too; objects are references.
        Some(Kind::Secret | Kind::TextOrNumber) => !text.starts_with(['"', '\'', '{']),
        Some(Kind::TextOrTexts | Kind::TextOrFalse) => {
            !text.starts_with(['"', '\'', '[']) && text != "false"
        }
        Some(
            Kind::Object(_)
            | Kind::MapOf(_)
            | Kind::Bool
            | Kind::Port
            | Kind::Integer(..)
            | Kind::Headers
            | Kind::ListOf(_)
            | Kind::Any,
        )
        | None => false,
    };
    let parsed = || {
        // The parser of configs knows how deep a text may be.
        let whole = ConfigFile::parse("value", format!("{{ value: {text}\n}}")).ok()?;
        let mut parsed = whole.parsed;
        let fields = parsed.as_object_mut()?;
        (fields.len() == 1)
            .then(|| fields.remove("value"))
            .flatten()
    };
    if is_text {
        return Value::String(text.to_owned());
    }
    parsed().unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A file, or standard input.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = MAX_CONFIG_BYTES as u64 + 1;
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    read.map_err(|error| {
        Failure::new(
            Exit::Usage,
            "file_unreadable",
            format!("{} could not be read: {error}.", path.display()),
            "Check the path and its permissions.",
        )
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed_as_their_key_takes_them() {
        for (key, text, expected) in [
            ("gateway.port", "18790", json!(18790)),
            ("gateway.port", "many", json!("many")),
            ("gateway.bind", "lan", json!("lan")),
            ("gateway.auth.token", "12345", json!("12345")),
            (
                "gateway.auth.token",
                "{ source: 'env', id: 'T' }",
                json!({ "source": "env", "id": "T" }),
            ),
            (
                "gateway.remote.url",
                "wss://gw.example.com",
                json!("wss://gw.example.com"),
            ),
            (
                "gateway.remote.url",
                "'wss://gw.example.com'",
                json!("wss://gw.example.com"),
            ),
            (
                "gateway.trustedProxies",
                "['10.0.0.1']",
                json!(["10.0.0.1"]),
            ),
            ("gateway.controlUi.enabled", "false", json!(false)),
            ("mine", "1 // one", json!(1)),
            ("mine", "1, other: 2", json!("1, other: 2")),
        ] {
            let path = KeyPath::parse(key).unwrap();
            assert_eq!(value_of(&path, text), expected, "{key} {text}");
        }
    }
}

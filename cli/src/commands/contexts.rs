//! `context`: several named gateways, of which one is in force.

use clawgate_core::config::{ContextName, KeyPath, MAX_CONTEXTS, NO_CONTEXT, REDACTED, redact};
use clawgate_core::credentials::NamedTarget;
use serde_json::{Value, json};

use crate::context::Context;
use crate::context_book::ContextFile;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::remote_args::{AddContextArgs, ContextCommand};
use crate::remote_fields::{self, Built};
use crate::text::{Sheet, capitalised};

pub(super) fn run(command: ContextCommand, context: &Context) -> Result<Exit, Failure> {
    let file = ContextFile::of(context.locations()?);
    match command {
        ContextCommand::List => list(&file, context),
        ContextCommand::Use { name } => use_it(&file, &name, context),
        ContextCommand::Add(args) => add(&file, *args, context),
        ContextCommand::Remove { name } => remove(&file, &name, context),
        ContextCommand::Show { name } => show(&file, name, context),
    }
}

fn list(file: &ContextFile, context: &Context) -> Result<Exit, Failure> {
    let book = file.read()?;
    let chosen = context.named(NamedTarget::No);
    let in_force = chosen.as_ref().ok().and_then(Option::as_ref);
    let url = |name: &ContextName| {
        let entry = book.get(name)?;
        shown(entry).get("url")?.as_str().map(str::to_owned)
    };
    match context.format {
        Format::Json => {
            let contexts: Vec<Value> = book
                .names()
                .map(|name| {
                    json!({
                        "name": name.as_str(),
                        "url": url(name),
                        "inForce": in_force.is_some_and(|named| named.name == *name),
                    })
                })
                .collect();
            output::json(&json!({
                "ok": true,
                "file": file.path().to_string_lossy(),
                "current": book.current.as_ref().map(ContextName::as_str),
                "inForce": in_force.map(|named| json!({
                    "name": named.name.as_str(), "from": named.choice.as_str(),
                })),
                "contexts": contexts,
            }))?;
        }
        Format::Text if book.names().next().is_none() => {
            output::text("There is no context. `clawgate context add NAME --url URL` adds one.\n")?;
        }
        Format::Text => {
            let mut sheet = Sheet::default();
            for name in book.names() {
                let mark = match in_force {
                    Some(named) if named.name == *name => {
                        format!("  (in force, by {})", named.choice.as_str())
                    }
                    Some(_) | None => String::new(),
                };
                let url = url(name).unwrap_or_default();
                sheet.line(name.as_str(), format!("{url}{mark}"));
            }
            output::text(&sheet.to_text())?;
        }
    }
    // Which one is in force cannot be told: the list is shown all the same.
    chosen.map(|_| Exit::Ok)
}

fn use_it(file: &ContextFile, name: &str, context: &Context) -> Result<Exit, Failure> {
    let name = match name.trim() {
        NO_CONTEXT => None,
        name => Some(ContextName::parse(name).map_err(|error| {
            Failure::new(
                Exit::Usage,
                "invalid_context",
                capitalised(&format!("{name:?} is {error}.")),
                "",
            )
        })?),
    };
    file.change(|book| {
        if let Some(name) = &name
            && book.get(name).is_none()
        {
            return Err(unknown(name));
        }
        book.current.clone_from(&name);
        Ok(())
    })?;
    say(
        context,
        &json!({ "ok": true, "current": name.as_ref().map(ContextName::as_str) }),
        &match &name {
            Some(name) => format!("Commands use the context {name} from now on.\n"),
            None => "Commands use what the config says from now on.\n".to_owned(),
        },
    )
}

fn add(file: &ContextFile, args: AddContextArgs, context: &Context) -> Result<Exit, Failure> {
    let AddContextArgs {
        name,
        replace,
        from_config,
        use_it,
        fields,
    } = args;
    let base = if from_config {
        let path = KeyPath::of_keys("gateway.remote");
        let remote = path.find(&context.config_file()?.parsed);
        let remote = remote.filter(|remote| remote.is_object()).ok_or_else(|| {
            Failure::new(
                Exit::Configuration,
                "remote_not_configured",
                "The config has no gateway.remote.",
                "Leave out --from-config, and give --url.",
            )
        })?;
        Some(remote.clone())
    } else {
        None
    };
    let left_out = file.change(|book| {
        let before = book.get(&name).cloned();
        if before.is_some() && !replace {
            return Err(Failure::new(
                Exit::Usage,
                "context_exists",
                format!("There is a context {name} already."),
                "Add --replace to change it.",
            ));
        }
        if before.is_none() && book.names().count() >= MAX_CONTEXTS {
            return Err(Failure::new(
                Exit::Failed,
                "too_many_contexts",
                format!("There are {MAX_CONTEXTS} contexts already."),
                "Remove some.",
            ));
        }
        let Built { entry, left_out } =
            remote_fields::build(&fields, base.as_ref().or(before.as_ref()), &context.env)?;
        book.put(name.clone(), entry);
        if use_it {
            book.current = Some(name.clone());
        }
        Ok(left_out)
    })?;
    let mut text = format!("The context {name} is kept in {}.\n", file.path().display());
    if !left_out.is_empty() {
        text.push_str(&format!(
            "It leads elsewhere than before, so these are gone: {}.\n",
            left_out.join(", ")
        ));
    }
    if use_it {
        text.push_str("Commands use it from now on.\n");
    }
    say(
        context,
        &json!({
            "ok": true, "name": name.as_str(), "file": file.path().to_string_lossy(),
            "current": use_it, "leftOut": left_out,
        }),
        &text,
    )
}

fn remove(file: &ContextFile, name: &ContextName, context: &Context) -> Result<Exit, Failure> {
    let was_current = file.change(|book| {
        let was_current = book.current.as_ref() == Some(name);
        if book.remove(name) {
            Ok(was_current)
        } else {
            Err(unknown(name))
        }
    })?;
    if let Err(error) = ContextFile::forget_tokens(context.locations()?, name) {
        output::note(&format!(
            "warning: the device tokens of the context {name} could not be removed: {error}"
        ));
    }
    let mut text = format!("The context {name} is gone, with its device tokens.\n");
    if was_current {
        text.push_str("It was in force: commands use what the config says from now on.\n");
    }
    say(
        context,
        &json!({ "ok": true, "name": name.as_str(), "wasCurrent": was_current }),
        &text,
    )
}

fn show(file: &ContextFile, name: Option<ContextName>, context: &Context) -> Result<Exit, Failure> {
    let name = match name {
        Some(name) => name,
        None => match context.named(NamedTarget::No)? {
            Some(named) => named.name,
            None => {
                return say(
                    context,
                    &json!({ "ok": true, "name": null, "remote": null }),
                    "No context is in force: commands use what the config says.\n",
                );
            }
        },
    };
    let book = file.read()?;
    let entry = book.get(&name).ok_or_else(|| unknown(&name))?;
    let entry = shown(entry);
    let mut sheet = Sheet::default();
    sheet.line("Context", name.as_str());
    for (key, value) in entry.as_object().into_iter().flatten() {
        sheet.line(key, words(value));
    }
    say(
        context,
        &json!({ "ok": true, "name": name.as_str(), "remote": entry }),
        &sheet.to_text(),
    )
}

/// An entry without its secrets.
pub(super) fn shown(entry: &Value) -> Value {
    redact(entry)
}

/// A value of an entry in words.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::String(text) if text == REDACTED => "set (not shown)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            if let (Some(source), Some(id)) = (text("source"), text("id")) {
                let provider = text("provider").unwrap_or("default");
                return format!("{source}:{provider}:{id}");
            }
            let parts = object
                .iter()
                .map(|(key, value)| format!("{key}: {}", words(value)));
            parts.collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn unknown(name: &ContextName) -> Failure {
    Failure::new(
        Exit::Failed,
        "unknown_context",
        format!("There is no context {name}."),
        "Run `clawgate context list` to see which there are.",
    )
}

fn say(context: &Context, json: &Value, text: &str) -> Result<Exit, Failure> {
    match context.format {
        Format::Json => output::json(json)?,
        Format::Text => output::text(text)?,
    }
    Ok(Exit::Ok)
}

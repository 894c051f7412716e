//! `config why`.

use clawgate_core::config::{KeyPath, Why, why};
use serde_json::{Value, json};

use super::change::in_words;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::Sheet;

pub(super) fn run(key: &KeyPath, context: &Context) -> Result<Exit, Failure> {
    let file = context.config_file()?;
    let found = why(file, &context.env, key);
    match context.format {
        Format::Json => output::json(&to_json(&found, &file.path))?,
        Format::Text => output::text(&to_text(&found, &file.path))?,
    }
    Ok(Exit::Ok)
}

fn to_json(why: &Why, file: &str) -> Value {
    json!({
        "path": why.path.to_string(),
        "known": why.doc.is_some(),
        "doc": why.doc,
        "set": why.value.is_some(),
        "value": why.value,
        "effective": why.effective,
        "file": file,
        "line": why.position.map(|place| place.line),
        "column": why.position.map(|place| place.column),
        "variables": why.variables.iter().map(|variable| json!({
            "name": variable.name,
            "set": variable.set,
            "role": variable.role.as_str(),
        })).collect::<Vec<_>>(),
        "problems": why.problems,
        "needs": why.need.as_str(),
    })
}

fn to_text(why: &Why, file: &str) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Key", why.path.to_string());
    sheet.line(
        "Meaning",
        why.doc
            .unwrap_or("clawgate does not know this key, and does not read it."),
    );
    match (&why.value, why.position) {
        (Some(value), Some(place)) => {
            sheet.line("Value", in_words(value));
            sheet.line("From", format!("{file}:{}:{}", place.line, place.column));
        }
        (Some(value), None) => {
            sheet.line("Value", in_words(value));
            sheet.line("From", file);
        }
        (None, _) => {
            sheet.line("Value", "not set: the default counts");
        }
    }
    if let Some(effective) = &why.effective {
        sheet.line("Filled in", in_words(effective));
    }
    for variable in &why.variables {
        let state = if variable.set { "set" } else { "not set" };
        sheet.line(
            "Environment",
            format!("{} is {state}: {}", variable.name, variable.role.describe()),
        );
    }
    for problem in &why.problems {
        sheet.line("Problem", problem);
    }
    sheet.line("A change", why.need.describe());
    sheet.to_text()
}

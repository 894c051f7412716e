//! A command that did not succeed: what was wrong, what to do next, and how it is shown.

use std::fmt::Write as _;

use clawgate_core::secret::Secret;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::text::plain;

/// Why a command did not succeed. It never holds a secret.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// A stable name for scripts.
    pub(crate) code: &'static str,
    /// What was wrong.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) next: String,
    more: Box<More>,
}

#[derive(Clone, Debug, Default)]
struct More {
    /// What scripts may want to know; whole objects under stable names.
    facts: Map<String, Value>,
    /// The same for people, one line each.
    notes: Vec<String>,
}

impl Failure {
    /// A failure without further facts.
    pub(crate) fn new(
        exit: Exit,
        code: &'static str,
        message: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            exit,
            code,
            message: message.into(),
            next: next.into(),
            more: Box::default(),
        }
    }

    /// Adds a fact for scripts.
    #[must_use]
    pub(crate) fn fact(mut self, name: &str, value: Value) -> Self {
        self.more.facts.insert(name.to_owned(), value);
        self
    }

    /// Adds a line for people.
    #[must_use]
    pub(crate) fn note(mut self, line: impl Into<String>) -> Self {
        self.more.notes.push(line.into());
        self
    }

    /// Takes secrets out that the other side repeated. Very short ones are left: they could not be
    /// told from ordinary words.
    #[must_use]
    pub(crate) fn without(mut self, secrets: &[&Secret]) -> Self {
        for secret in secrets {
            let secret = secret.expose();
            if secret.len() < 4 {
                continue;
            }
            let texts = [&mut self.message, &mut self.next].into_iter();
            for text in texts.chain(&mut self.more.notes) {
                cover(text, secret);
            }
            self.more
                .facts
                .values_mut()
                .for_each(|fact| cover_value(fact, secret));
        }
        self
    }

    /// The `error` object of `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({
            "code": self.code,
            "message": self.message,
            "next": self.next,
        });
        if let Some(object) = error.as_object_mut() {
            for (name, value) in &self.more.facts {
                object.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        error
    }

    /// The text for people. What came from a gateway cannot steer the terminal.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("error: {}\n", plain(&self.message));
        for note in &self.more.notes {
            // Writing into a string does not fail.
            let _ = writeln!(text, "  {}", plain(note));
        }
        if !self.next.is_empty() {
            let _ = writeln!(text, "next: {}", plain(&self.next));
        }
        text
    }
}

fn cover(text: &mut String, secret: &str) {
    if text.contains(secret) {
        *text = text.replace(secret, "(secret)");
    }
}

fn cover_value(value: &mut Value, secret: &str) {
    match value {
        Value::String(text) => cover(text, secret),
        Value::Array(items) => items.iter_mut().for_each(|item| cover_value(item, secret)),
        Value::Object(object) => object
            .values_mut()
            .for_each(|value| cover_value(value, secret)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_never_replace_the_fixed_fields() {
        let failure = Failure::new(Exit::Refused, "a", "b", "c")
            .fact("code", json!("x"))
            .fact("target", json!({ "url": "ws://h" }));
        assert_eq!(
            failure.to_json(),
            json!({ "code": "a", "message": "b", "next": "c", "target": { "url": "ws://h" } })
        );
    }

    #[test]
    fn text_from_a_gateway_cannot_steer_the_terminal() {
        let failure = Failure::new(Exit::Refused, "a", "x\u{1b}[2Jy\u{9b}z", "n").note("k\r");
        let text = failure.to_text();
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\r']), "{text:?}");
        assert!(text.ends_with("next: n\n"));
    }
}

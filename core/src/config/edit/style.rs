//! How a config text is written, and new values written in the same way.

use serde_json::Value;

use super::tree::{Child, Node, NodeKind};

/// How many spaces a file without any layout gets.
const DEFAULT_INDENT: &str = "  ";

/// What a text does by habit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// What ends a line.
    pub(super) line_end: &'static str,
    /// By how much each level stands further in.
    pub(super) unit: String,
    bare_keys: bool,
    quote: char,
    trailing_commas: bool,
}

impl Style {
    pub(super) fn of(text: &str, root: &Node) -> Self {
        let mut seen = Seen::default();
        seen.node(text, root);
        let unit = match &root.kind {
            NodeKind::Object(children) | NodeKind::List(children) => children.first(),
            NodeKind::Scalar => None,
        };
        let unit = unit.and_then(|child| own_indent(text, child.start));
        Self {
            line_end: if text.contains("\r\n") { "\r\n" } else { "\n" },
            unit: unit
                .filter(|unit| !unit.is_empty())
                .unwrap_or(DEFAULT_INDENT)
                .to_owned(),
            bare_keys: seen.bare_keys > seen.quoted_keys,
            quote: if seen.single > seen.double { '\'' } else { '"' },
            trailing_commas: seen.trailing_commas > seen.no_trailing_commas,
        }
    }

    /// Whether a container without anything to go by ends with a comma.
    pub(super) const fn trailing_comma(&self) -> bool {
        self.trailing_commas
    }

    /// A key, with quotes where the text has them or the key needs them.
    pub(super) fn key(&self, key: &str) -> String {
        if self.bare_keys && is_identifier(key) {
            key.to_owned()
        } else {
            self.string(key)
        }
    }

    /// A value over as many lines as it needs, its first one beginning wherever it is put.
    pub(super) fn value(&self, value: &Value, indent: &str) -> String {
        let inner = format!("{indent}{}", self.unit);
        let lines: Vec<String> = match value {
            Value::Object(object) if !object.is_empty() => object
                .iter()
                .map(|(key, value)| format!("{}: {}", self.key(key), self.value(value, &inner)))
                .collect(),
            Value::Array(items) if items.iter().any(is_filled) => {
                items.iter().map(|item| self.value(item, &inner)).collect()
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => return self.inline(value),
        };
        let (open, close) = brackets(value);
        let end = self.line_end;
        let body = lines.join(&format!(",{end}{inner}"));
        let comma = if self.trailing_commas { "," } else { "" };
        format!("{open}{end}{inner}{body}{comma}{end}{indent}{close}")
    }

    /// A value in one line.
    pub(super) fn inline(&self, value: &Value) -> String {
        let parts: Vec<String> = match value {
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| format!("{}: {}", self.key(key), self.inline(value)))
                .collect(),
            Value::Array(items) => items.iter().map(|item| self.inline(item)).collect(),
            Value::String(text) => return self.string(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => return value.to_string(),
        };
        let (open, close) = brackets(value);
        let blank = if value.is_object() && !parts.is_empty() {
            " "
        } else {
            ""
        };
        format!("{open}{blank}{}{blank}{close}", parts.join(", "))
    }

    fn string(&self, text: &str) -> String {
        let mut written = String::from(self.quote);
        for c in text.chars() {
            match c {
                '\\' => written.push_str("\\\\"),
                c if c == self.quote => {
                    written.push('\\');
                    written.push(c);
                }
                '\n' => written.push_str("\\n"),
                '\r' => written.push_str("\\r"),
                '\t' => written.push_str("\\t"),
                // Others count as line ends, or cannot be seen.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                    written.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => written.push(c),
            }
        }
        written.push(self.quote);
        written
    }
}

/// The blanks in front of something that is the first on its line.
pub(super) fn own_indent(text: &str, offset: usize) -> Option<&str> {
    let before = text.get(..offset)?;
    let line = before.rfind(['\n', '\r'])? + 1;
    before
        .get(line..)
        .filter(|blanks| blanks.chars().all(char::is_whitespace))
}

/// The blanks at the beginning of the line of something.
pub(super) fn line_indent(text: &str, offset: usize) -> &str {
    let before = text.get(..offset).unwrap_or_default();
    let line = before.rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let line = text.get(line..).unwrap_or_default();
    let end = line
        .find(|c: char| !matches!(c, ' ' | '\t'))
        .unwrap_or(line.len());
    line.get(..end).unwrap_or_default()
}

fn brackets(value: &Value) -> (char, char) {
    if value.is_object() {
        ('{', '}')
    } else {
        ('[', ']')
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Object(object) => !object.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A key that every parser of JSON5 takes without quotes.
fn is_identifier(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$'))
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
        // Some tools take these for values.
        && !matches!(key, "null" | "true" | "false" | "Infinity" | "NaN")
}

/// Counts what a text does.
#[derive(Default)]
struct Seen {
    bare_keys: usize,
    quoted_keys: usize,
    single: usize,
    double: usize,
    trailing_commas: usize,
    no_trailing_commas: usize,
}

impl Seen {
    fn node(&mut self, text: &str, node: &Node) {
        let children = match &node.kind {
            NodeKind::Scalar => {
                self.quote(text, node.span.start);
                return;
            }
            NodeKind::Object(children) => {
                for child in children {
                    if self.quote(text, child.start) {
                        self.quoted_keys += 1;
                    } else {
                        self.bare_keys += 1;
                    }
                }
                children
            }
            NodeKind::List(children) => children,
        };
        if let Some(Child { value, comma, .. }) = children.last() {
            let behind = text.get(value.span.end..node.span.end).unwrap_or_default();
            match comma {
                Some(_) => self.trailing_commas += 1,
                None if behind.contains('\n') => self.no_trailing_commas += 1,
                None => {}
            }
        }
        for child in children {
            self.node(text, &child.value);
        }
    }

    fn quote(&mut self, text: &str, at: usize) -> bool {
        match text.as_bytes().get(at) {
            Some(b'\'') => self.single += 1,
            Some(b'"') => self.double += 1,
            _ => return false,
        }
        true
    }
}

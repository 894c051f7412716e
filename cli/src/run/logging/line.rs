//! One line of the log: time, level, message and fields, as text for people or as JSON for programs.

use std::{
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hash, Hasher},
};

use clawgate_core::{config::LogStyle, time::WallTime};
use serde_json::Value;
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use super::repeats::Kind;
use crate::text;

/// Bytes of one value; the rest is cut off.
const MAX_VALUE: usize = 4 * 1024;

/// Fields in which lines of one kind differ.
const VARYING: [&str; 16] = [
    "bytesIn",
    "bytesOut",
    "conn",
    "droppedEvents",
    "durationMs",
    "handshake",
    "id",
    "ip",
    "messagesIn",
    "node",
    "parentSpanId",
    "pid",
    "req",
    "run",
    "spanId",
    "traceId",
];

/// Names that the line itself uses.
const OWN: [&str; 4] = ["level", "message", "target", "time"];

/// What is written.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    target: &'static str,
    pub(super) message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut line = Self {
            level: *metadata.level(),
            target: metadata.target(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        line
    }

    /// A line about the log itself.
    pub(super) fn own(level: Level, message: String) -> Self {
        Self {
            level,
            target: "clawgate::log",
            message,
            fields: Vec::new(),
        }
    }

    /// What it has in common with others that say the same of somebody else.
    pub(super) fn kind(&self) -> Kind {
        let mut hasher = DefaultHasher::new();
        (self.target, &self.message).hash(&mut hasher);
        for (name, value) in &self.fields {
            if !VARYING.contains(name) {
                (name, value.to_string()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// The same in words.
    pub(super) fn about(&self) -> String {
        let mut about = self.message.clone();
        for (name, value) in &self.fields {
            if !VARYING.contains(name) {
                let _ = write!(about, " {name}={}", shown(value));
            }
        }
        text::short(&about, 200)
    }

    /// The line with its end.
    pub(super) fn write(&self, at: WallTime, style: LogStyle, colours: Colours) -> String {
        match style {
            LogStyle::Json => self.json(at),
            LogStyle::Text => self.text(at, colours),
        }
    }

    fn json(&self, at: WallTime) -> String {
        // In this order, so that a person can read it, too.
        let mut line = format!(
            r#"{{"time":"{}","level":"{}","message":{}"#,
            at.to_rfc3339(),
            name(self.level),
            Value::from(self.message.as_str())
        );
        for (name, value) in &self.fields {
            let _ = write!(line, r#","{name}":{value}"#);
        }
        let _ = writeln!(line, r#","target":"{}"}}"#, self.target);
        line
    }

    fn text(&self, at: WallTime, colours: Colours) -> String {
        let level = name(self.level).to_ascii_uppercase();
        let level = match colours {
            Colours::Off => format!("{level:<5}"),
            Colours::On => format!("\u{1b}[{}m{level:<5}\u{1b}[0m", colour(self.level)),
        };
        let mut line = format!("{} {level} {}", at.to_rfc3339(), text::plain(&self.message));
        for (name, value) in &self.fields {
            let _ = write!(line, " {name}={}", text::plain(&shown(value)));
        }
        line.push('\n');
        line
    }

    fn push(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => {
                self.message = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                return;
            }
            // A field of an event must not pass for one of the line.
            name if OWN.contains(&name) => "field",
            name => name,
        };
        self.fields.push((name, value));
    }
}

/// Whether levels are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Off,
    On,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, cut(&format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, cut(value).into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // More than a microsecond is noise.
        self.push(field, ((value * 1e3).round() / 1e3).into());
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_VALUE))
        .unwrap_or_default()
}

/// A value for people: texts without blanks need no quotes.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => text.clone(),
        Value::Array(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Number(_)
        | Value::Object(_)
        | Value::String(_) => value.to_string(),
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

const fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

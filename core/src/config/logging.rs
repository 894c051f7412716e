//! `logging`: how much is written to the log, and how.

use super::read::Node;

/// The values of `logging.level` and `logging.consoleLevel`.
pub const LOG_LEVELS: &[&str] = &["silent", "fatal", "error", "warn", "info", "debug", "trace"];

/// The values of `logging.consoleStyle`; `compact` is an older name of `pretty`.
pub const CONSOLE_STYLES: &[&str] = &["pretty", "json", "compact"];

/// The least that `logging.maxFileBytes` may be.
pub const MIN_LOG_BYTES: u64 = 64 * 1024;

/// The most that `logging.maxFileBytes` may be.
pub const MAX_LOG_BYTES: u64 = 1024 * 1024 * 1024;

/// `logging`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggingConfig {
    /// `level`: for the log file.
    pub level: Option<LogLevel>,
    /// `consoleLevel`: for standard error.
    pub console_level: Option<LogLevel>,
    /// `consoleStyle`.
    pub console_style: Option<LogStyle>,
    /// `maxFileBytes`: the size at which the file is put aside.
    pub max_file_bytes: Option<u64>,
}

/// How much is written. What is written of a level is written of those below it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Silent,
    /// What went wrong.
    Error,
    /// What an operator should see to.
    Warn,
    /// What an operator should know.
    Info,
    /// Every connection and call.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Reads a name. `fatal` is as much as `error` here.
    ///
    /// ```
    /// use clawgate_core::config::LogLevel;
    ///
    /// assert_eq!(LogLevel::parse(" Warn "), Some(LogLevel::Warn));
    /// assert_eq!(LogLevel::parse("loud"), None);
    /// ```
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "silent" => Some(Self::Silent),
            "fatal" | "error" => Some(Self::Error),
            "warn" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            "trace" => Some(Self::Trace),
            _ => None,
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// For programs: one JSON object a line.
    Json,
    /// For people.
    Text,
}

impl LogStyle {
    /// Reads a name, as the config or the command line has it.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "text" | "pretty" | "compact" => Some(Self::Text),
            _ => None,
        }
    }
}

impl LoggingConfig {
    pub(super) fn read(node: Node<'_>) -> Self {
        let level = |name| node.at(name).str().and_then(LogLevel::parse);
        Self {
            level: level("level"),
            console_level: level("consoleLevel"),
            console_style: node.at("consoleStyle").str().and_then(LogStyle::parse),
            max_file_bytes: node
                .at("maxFileBytes")
                .integer()
                .map(|bytes| bytes.clamp(MIN_LOG_BYTES, MAX_LOG_BYTES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_not_said_is_not_decided() {
        let read = |value| Config::from_value(&json!({ "logging": value })).logging;
        assert_eq!(read(json!({})), LoggingConfig::default());
        let said = json!({
            "level": "debug", "consoleLevel": "fatal", "consoleStyle": "json",
            "maxFileBytes": 1, "redactPatterns": [],
        });
        let logging = LoggingConfig {
            level: Some(LogLevel::Debug),
            console_level: Some(LogLevel::Error),
            console_style: Some(LogStyle::Json),
            max_file_bytes: Some(MIN_LOG_BYTES),
        };
        assert_eq!(read(said), logging);
    }

    #[test]
    fn every_name_of_the_schema_is_read() {
        for name in LOG_LEVELS {
            assert!(LogLevel::parse(name).is_some(), "{name}");
        }
        for name in CONSOLE_STYLES {
            assert!(LogStyle::parse(name).is_some(), "{name}");
        }
    }
}

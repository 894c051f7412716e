//! One thing that is wrong, or worth knowing.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::files::Mend;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// A weakness that needs something else to go wrong.
    Warn,
    /// Somebody who should not may get in, or read a secret.
    Critical,
}

impl Severity {
    /// The name in reports and flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Critical => "critical",
        }
    }

    /// Reads the name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Info, Self::Warn, Self::Critical]
            .into_iter()
            .find(|severity| severity.as_str() == name)
    }
}

/// Where the thing is that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A value of the config file, as a path of keys.
    Key(String),
    /// A file or folder.
    Path(PathBuf),
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable name for scripts, such as `files.readable`.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub place: Place,
    /// What is wrong, as a sentence.
    pub what: String,
    /// What to change, as a sentence.
    pub change: String,
    /// What `--fix` does about it.
    pub mend: Option<Mend>,
}

impl Finding {
    pub(super) fn new(
        id: impl Into<String>,
        severity: Severity,
        place: Place,
        what: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            severity,
            place,
            what: what.into(),
            change: change.into(),
            mend: None,
        }
    }

    /// About a value of the config.
    pub(super) fn key(
        id: impl Into<String>,
        severity: Severity,
        key: impl Into<String>,
        what: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        Self::new(id, severity, Place::Key(key.into()), what, change)
    }
}

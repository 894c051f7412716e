//! One finding.

use std::path::PathBuf;

use serde::Serialize;

use crate::policy::audit::{Mend, Severity};

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The config file.
    Config,
    /// References to secrets.
    Secrets,
    /// Which source of a value wins.
    Precedence,
    /// The way to the gateway.
    Reach,
    /// The versions of both sides.
    Versions,
    /// The clocks of both sides.
    Clock,
    /// Who listens where.
    Ports,
    /// Programs of the system.
    Programs,
    /// The service of the gateway.
    Service,
    /// Files of the state folder.
    State,
    /// Who can get in, and who can read secrets.
    Security,
}

impl Area {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Secrets => "secrets",
            Self::Precedence => "precedence",
            Self::Reach => "reach",
            Self::Versions => "versions",
            Self::Clock => "clock",
            Self::Ports => "ports",
            Self::Programs => "programs",
            Self::Service => "service",
            Self::State => "state",
            Self::Security => "security",
        }
    }
}

/// What `--fix` does. Each is safe: nothing is lost that anybody could still want.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Takes a file from other users.
    Mode(Mend),
    /// Empties a lock file whose process is gone. The host takes the lock first.
    EmptyLock(PathBuf),
    /// Removes a socket nobody listens on. The host takes the gateway's lock first.
    RemoveSocket(PathBuf),
    /// Removes the half of a file that a process which is gone did not finish.
    RemoveHalf(PathBuf),
}

/// Something that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable name for scripts, such as `precedence.env_token_shadows`.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub area: Area,
    /// What is wrong, in sentences.
    pub what: String,
    /// What to do, in sentences.
    pub remedy: String,
    /// What `--fix` does about it.
    pub repair: Option<Repair>,
}

impl Finding {
    /// A finding that nothing can be done about automatically.
    pub fn new(
        (area, code): (Area, impl Into<String>),
        severity: Severity,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            severity,
            area,
            what: what.into(),
            remedy: remedy.into(),
            repair: None,
        }
    }

    /// The same with a repair.
    #[must_use]
    pub fn repaired_by(self, repair: Repair) -> Self {
        Self {
            repair: Some(repair),
            ..self
        }
    }
}

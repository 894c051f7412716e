//! What a service is, whoever keeps it running.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a service is called by the managers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceName {
    unit: String,
    label: String,
}

impl ServiceName {
    /// A name: `unit` for systemd without its ending, `label` for launchd.
    ///
    /// # Errors
    /// [`Refused::Name`] unless both are letters, digits, `-`, `_` and `.`, at most 200 of them, and
    /// begin with a letter or digit.
    pub(crate) fn new(unit: impl Into<String>, label: impl Into<String>) -> Result<Self, Refused> {
        let (unit, label) = (unit.into(), label.into());
        let fits = |name: &str| {
            name.len() <= 200
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if fits(&unit) && fits(&label) {
            Ok(Self { unit, label })
        } else {
            Err(Refused::Name)
        }
    }

    /// For systemd, without its ending.
    pub(crate) fn unit(&self) -> &str {
        &self.unit
    }

    /// For launchd.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

/// A text of one line that may stand in a service's file: without control characters, so that it
/// cannot become a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value(String);

impl Value {
    /// Reads a text.
    ///
    /// # Errors
    /// [`Refused::Control`] for a newline or another control character.
    pub(crate) fn new(text: impl Into<String>) -> Result<Self, Refused> {
        let text = text.into();
        if text.chars().any(char::is_control) {
            return Err(Refused::Control(crate::text::plain(&text)));
        }
        Ok(Self(text))
    }

    /// Reads an absolute path.
    ///
    /// # Errors
    /// [`Refused::Path`] for one that is relative or no UTF-8, [`Refused::Control`] as for texts.
    pub(crate) fn path(path: &Path) -> Result<Self, Refused> {
        match path.to_str() {
            Some(text) if path.is_absolute() => Self::new(text),
            Some(_) | None => Err(Refused::Path(path.to_owned())),
        }
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// When it counts as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// As soon as its program runs.
    #[allow(dead_code, reason = "for programs that do not notify, such as tunnels")]
    Started,
    /// When it says so (`sd_notify`); launchd does not know this and takes it as started.
    Notifies {
        /// It must be heard of this often, or it is started again.
        watchdog: Option<Duration>,
    },
}

/// What happens when its program ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    /// The pause before the next start.
    pub(crate) pause: Duration,
    /// Exit codes after which another start would not help. launchd cannot tell them apart. Without any,
    /// it is started again for ever.
    pub(crate) never_after: Vec<u8>,
}

/// What its program may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hardening {
    /// Whatever the user may.
    #[allow(
        dead_code,
        reason = "for programs that need the user's own rights, such as tunnels"
    )]
    None,
    /// No new privileges, and no families of sockets and calls that it does not need. It sees the
    /// same files as the user.
    Basic,
    /// The same; besides, files can be read but not written, except in these folders, and temporary
    /// files are its own. The program sees root's files as belonging to nobody.
    Strict {
        /// Folders that it may write to.
        writable: Vec<Value>,
    },
}

/// A socket that the manager opens for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Where.
    pub(crate) address: SocketAddr,
}

/// A program that a manager keeps running for one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: ServiceName,
    /// A few words on what it is.
    pub(crate) title: Value,
    /// The program.
    pub(crate) program: Value,
    /// Its arguments. No secret may stand here: everybody on the machine can see them.
    pub(crate) arguments: Vec<Value>,
    /// Variables, no secrets among them.
    pub(crate) environment: Vec<(Value, Value)>,
    /// A file of variables for the owner's eyes only, which may be missing. systemd reads it;
    /// launchd cannot.
    pub(crate) environment_file: Option<Value>,
    /// Where it is started.
    pub(crate) working_folder: Option<Value>,
    /// A folder of the session, kept when it stops, that the program shares with others like it.
    pub(crate) session_folder: Option<Value>,
    /// When it counts as started.
    pub(crate) readiness: Readiness,
    /// What happens when it ends.
    pub(crate) restart: Restart,
    /// How long an orderly end may take.
    pub(crate) stop_within: Duration,
    /// Sockets that the manager opens. launchd hands sockets over in a way of its own, which is not
    /// supported.
    pub(crate) sockets: Vec<Socket>,
    /// Sockets that systemd keeps for it from one start to the next.
    pub(crate) kept_sockets: u8,
    /// What it may do.
    pub(crate) hardening: Hardening,
    /// Where launchd writes what it prints; systemd has its journal.
    pub(crate) log: Option<Value>,
}

/// A description that cannot become a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A name with other characters, or too long.
    Name,
    /// A text with a newline or another control character.
    Control(String),
    /// A path that is relative or no UTF-8.
    Path(PathBuf),
    /// A value that this manager's file cannot express.
    Inexpressible(&'static str, String),
    /// Something that this manager cannot do.
    Unsupported(&'static str),
}

impl Refused {
    /// A stable name for scripts.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Name => "service_name_invalid",
            Self::Control(_) | Self::Path(_) | Self::Inexpressible(..) => "service_value_invalid",
            Self::Unsupported(_) => "service_unsupported",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str(
                "the name of a service consists of letters, digits, dots, - and _, at most 200",
            ),
            Self::Control(text) => write!(f, "a newline or control character is in \"{text}\""),
            Self::Path(path) => write!(
                f,
                "{} is not an absolute path in UTF-8",
                crate::text::plain(&path.to_string_lossy())
            ),
            Self::Inexpressible(what, text) => write!(f, "{what} cannot be \"{text}\""),
            Self::Unsupported(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Refused {}

/// A service with every field that has an ordinary value, for tests of both generators.
#[cfg(test)]
pub(super) fn sample() -> Service {
    let value = |text: &str| Value::new(text).unwrap();
    Service {
        name: ServiceName::new("clawgate-gateway", "ai.clawgate.gateway").unwrap(),
        title: value("clawgate gateway"),
        program: value("/usr/bin/clawgate"),
        arguments: vec![value("gateway"), value("run")],
        environment: Vec::new(),
        environment_file: None,
        working_folder: None,
        session_folder: None,
        readiness: Readiness::Started,
        restart: Restart {
            pause: Duration::from_secs(5),
            never_after: vec![78],
        },
        stop_within: Duration::from_secs(30),
        sockets: Vec::new(),
        kept_sockets: 0,
        hardening: Hardening::None,
        log: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_folder() {
        for bad in ["", "../x", "a/b", ".x", "a b", "x\n", &"x".repeat(201)] {
            assert_eq!(ServiceName::new(bad, "a"), Err(Refused::Name), "{bad:?}");
            assert_eq!(ServiceName::new("a", bad), Err(Refused::Name), "{bad:?}");
        }
    }

    #[test]
    fn values_stay_on_their_line() {
        for bad in [
            "a\nExecStart=/bin/evil",
            "a\r",
            "a\0",
            "\u{1b}[2J",
            "a\u{85}b",
        ] {
            assert!(
                matches!(Value::new(bad), Err(Refused::Control(_))),
                "{bad:?}"
            );
        }
        assert!(matches!(
            Value::path(Path::new("relative")),
            Err(Refused::Path(_))
        ));
    }
}

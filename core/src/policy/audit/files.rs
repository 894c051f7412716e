//! Files and folders: whose they are, and who else may read or change them.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::{Facts, Finding, Place, Severity};
use crate::config::redact;

/// A file or folder that matters, as the system describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFact {
    /// Where it is.
    pub path: PathBuf,
    /// What it is for.
    pub role: FileRole,
    /// What it is.
    pub kind: FileKind,
    /// Its permission bits, where the system has them.
    pub mode: Option<u32>,
    /// Its owner's number, where the system has one.
    pub owner: Option<u32>,
}

/// What stands at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file, a socket, a pipe.
    File,
    /// A folder.
    Folder,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// A TLS certificate.
    Certificate,
    /// The config file. It is private when it holds secrets.
    Config,
    /// A state database that was damaged and set aside.
    Damaged,
    /// The log.
    Log,
    /// A folder with private files in it.
    PrivateFolder,
    /// A program that gives secrets.
    Program,
    /// A key, a token, the state database, or anything else that is nobody's business.
    Secret,
}

/// A change of permissions that is always safe: it takes a file from others, never from its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mend {
    /// The file or folder.
    pub path: PathBuf,
    /// Its permission bits as they are.
    pub from: u32,
    /// As they should be.
    pub to: u32,
}

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let secrets = plain_secrets(&facts.config.parsed, &redact(&facts.config.parsed));
    for file in facts.files {
        let secret = match file.role {
            FileRole::Config => secrets > 0,
            FileRole::Damaged | FileRole::Secret => true,
            FileRole::Certificate | FileRole::Log | FileRole::PrivateFolder | FileRole::Program => {
                false
            }
        };
        permissions(file, secret, findings);
        owner(facts, file, findings);
        if file.role == FileRole::Damaged {
            findings.push(Finding::new(
                "files.damaged_state",
                Severity::Warn,
                Place::Path(file.path.clone()),
                "A damaged state database was set aside here; the devices in it are unknown to the \
                 gateway.",
                "Restore a backup, or pair the devices again; then remove this file, and the ones \
                 beside it that end with -wal and -shm.",
            ));
        }
    }
}

/// How many values of the config are secrets in full: those that its redaction covers.
fn plain_secrets(value: &Value, covered: &Value) -> usize {
    match (value, covered) {
        (Value::Object(members), Value::Object(covered)) => members
            .iter()
            .filter_map(|(key, value)| Some(plain_secrets(value, covered.get(key)?)))
            .sum(),
        (Value::Array(items), Value::Array(covered)) => items
            .iter()
            .zip(covered)
            .map(|(value, covered)| plain_secrets(value, covered))
            .sum(),
        (value, covered) => usize::from(value != covered),
    }
}

fn permissions(file: &FileFact, secret: bool, findings: &mut Vec<Finding>) {
    let Some(mode) = file.mode.map(|mode| mode & 0o7777) else {
        return;
    };
    let allowed = match file.role {
        FileRole::Certificate | FileRole::Program => 0o7755,
        FileRole::Config if !secret => 0o7755,
        FileRole::Config
        | FileRole::Damaged
        | FileRole::Log
        | FileRole::PrivateFolder
        | FileRole::Secret => 0o7700,
    };
    let excess = mode & !allowed;
    let is_folder = file.kind == FileKind::Folder;
    let thing = if is_folder { "folder" } else { "file" };
    let (id, severity, can) = if let Some(who) = Who::with(excess, 0o022) {
        let severity = match who {
            Who::Everybody => Severity::Critical,
            Who::Group => Severity::Warn,
        };
        (
            "files.writable",
            severity,
            format!("{who} can change this {thing}"),
        )
    } else if let Some(who) = Who::with(excess, 0o044) {
        let severity = match who {
            Who::Everybody if secret => Severity::Critical,
            Who::Everybody | Who::Group => Severity::Warn,
        };
        let can = match (is_folder, file.role) {
            (true, _) => format!("{who} can see what is in this folder"),
            (false, FileRole::Config) => {
                format!("{who} can read this file, and secrets stand in it")
            }
            (false, _) => format!("{who} can read this file"),
        };
        ("files.readable", severity, can)
    } else if let (true, Some(who)) = (is_folder, Who::with(excess, 0o011)) {
        let can = format!("{who} can open what they know by name in this folder");
        ("files.readable", Severity::Info, can)
    } else {
        return;
    };
    let to = mode & allowed;
    findings.push(Finding {
        mend: Some(Mend {
            path: file.path.clone(),
            from: mode,
            to,
        }),
        ..Finding::new(
            id,
            severity,
            Place::Path(file.path.clone()),
            format!("{can} (mode {mode:03o})."),
            format!("Set its mode to {to:03o}; `clawgate security audit --fix` does it."),
        )
    });
}

fn owner(facts: &Facts<'_>, file: &FileFact, findings: &mut Vec<Finding>) {
    let (Some(owner), Some(user)) = (file.owner, facts.user) else {
        return;
    };
    // Whoever administers the system may own anything, and looks at the files of others.
    if owner == user || owner == 0 || user == 0 {
        return;
    }
    findings.push(Finding::new(
        "files.owner",
        Severity::Critical,
        Place::Path(file.path.clone()),
        format!("It belongs to another user (number {owner}), who can change it at any time."),
        "Make it your own with chown, after a look at what is in it.",
    ));
}

/// Who has a permission beside the owner.
#[derive(Clone, Copy)]
enum Who {
    Everybody,
    Group,
}

impl Who {
    fn with(bits: u32, wanted: u32) -> Option<Self> {
        let bits = bits & wanted;
        match (bits & 0o007, bits & 0o070) {
            (0, 0) => None,
            (0, _) => Some(Self::Group),
            _ => Some(Self::Everybody),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everybody => "Everybody on this machine",
            Self::Group => "Its group",
        })
    }
}

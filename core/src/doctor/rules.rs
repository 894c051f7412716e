//! What each fact means.

use std::path::PathBuf;
use std::time::Duration;

use super::{Area, Finding, Repair};
use crate::config::{self, ConfigFile, TailscaleMode};
use crate::credentials::ShownRef;
use crate::device::MAX_SKEW_MS;
use crate::policy::audit::{self, Severity};
use crate::time::WallTime;

/// Clocks that differ by more make a gateway refuse the signatures of devices.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_millis(MAX_SKEW_MS);

/// The skew from which on clocks are worth a word.
const NOTABLE_SKEW: Duration = Duration::from_secs(30);

/// The config file, as far as it can be read.
pub fn config(file: &ConfigFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.exists {
        findings.push(Finding::new(
            (Area::Config, "config.missing"),
            Severity::Info,
            format!("There is no config file {}.", file.path),
            "Nothing has to be done: defaults are used. `clawgate gateway run` needs none.",
        ));
    }
    let of = |found: &config::Finding, code: &'static str, severity, remedy: &str| {
        let (path, message) = (&file.path, found.to_string());
        Finding::new(
            (Area::Config, code),
            severity,
            format!("{path}: {message}."),
            remedy,
        )
    };
    for issue in &file.issues {
        findings.push(of(
            issue,
            "config.value",
            Severity::Critical,
            "Correct the value: a gateway does not start with it.",
        ));
    }
    for warning in &file.warnings {
        findings.push(of(
            warning,
            "config.ignored",
            Severity::Warn,
            "Correct or remove it.",
        ));
    }
    findings
}

/// References to secrets, after they were tried.
pub fn references(shown: &[ShownRef]) -> Vec<Finding> {
    let unresolved = shown.iter().filter(|shown| shown.status == "unresolved");
    unresolved
        .map(|shown| {
            Finding::new(
                (Area::Secrets, "secrets.unresolved"),
                Severity::Critical,
                format!(
                    "{} refers to {}, which has no value.",
                    shown.path, shown.reference
                ),
                shown.why.clone().unwrap_or_default(),
            )
        })
        .collect()
}

/// What the audit found. A start that is refused is no matter of security alone.
pub fn of_audit(finding: audit::Finding) -> Finding {
    Finding {
        code: format!("security.{}", finding.id),
        severity: finding.severity,
        area: Area::Security,
        what: format!("{}: {}", finding.place, finding.what),
        remedy: finding.change,
        repair: finding.mend.map(Repair::Mode),
    }
}

/// A program of the system that something needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// It is there.
    Found(PathBuf),
    /// It is not, or may not be trusted: why.
    Absent(String),
}

/// Programs that the config makes necessary.
pub fn programs(file: &ConfigFile, tailscale: &Program, ssh: &Program) -> Vec<Finding> {
    let mut findings = Vec::new();
    let gateway = &file.config.gateway;
    if let (Program::Absent(why), false) = (tailscale, gateway.tailscale == TailscaleMode::Off) {
        findings.push(Finding::new(
            (Area::Programs, "programs.tailscale_missing"),
            Severity::Critical,
            format!("gateway.tailscale.mode needs the program tailscale: {why}."),
            "Install Tailscale, or set gateway.tailscale.mode to off.",
        ));
    }
    let transport = file.parsed.pointer("/gateway/remote/transport");
    let tunnels = gateway.mode.is_remote() && transport.is_some_and(|it| it == "ssh");
    if let (Program::Absent(why), true) = (ssh, tunnels) {
        findings.push(Finding::new(
            (Area::Programs, "programs.ssh_missing"),
            Severity::Critical,
            format!("gateway.remote.transport needs the program ssh: {why}."),
            "Install OpenSSH's client, or set gateway.remote.transport to direct.",
        ));
    }
    findings
}

/// The gateway's time beside that of this machine.
pub fn clock(gateway: WallTime, here: WallTime) -> Option<Finding> {
    let skew = Duration::from_millis(gateway.0.abs_diff(here.0));
    if skew < NOTABLE_SKEW {
        return None;
    }
    let side = if gateway > here { "ahead of" } else { "behind" };
    let (severity, consequence) = if skew > MAX_CLOCK_SKEW {
        (
            Severity::Critical,
            "it refuses the signatures of devices of this machine",
        )
    } else {
        (
            Severity::Warn,
            "from 2 minutes on, it refuses the signatures of devices",
        )
    };
    Some(Finding::new(
        (Area::Clock, "clock.skew"),
        severity,
        format!(
            "The gateway's clock is {} s {side} this machine's; {consequence}.",
            skew.as_secs()
        ),
        "Let both machines set their clocks by NTP (on Linux: `timedatectl set-ntp true`).",
    ))
}

/// The versions of both sides.
pub fn versions(here: &str, gateway: &str) -> Option<Finding> {
    if here == gateway {
        return None;
    }
    Some(Finding::new(
        (Area::Versions, "versions.differ"),
        Severity::Info,
        format!("The gateway is version {gateway}, and this command line is {here}."),
        "If both are clawgate, restart the gateway after an upgrade: it runs the old program until then.",
    ))
}

/// A port that the gateway of this machine would need, and somebody else has.
pub fn port_held(port: u16, holder: &str) -> Finding {
    Finding::new(
        (Area::Ports, "ports.held"),
        Severity::Critical,
        format!(
            "Port {port} of this machine is held by {holder}, so the gateway cannot listen there."
        ),
        "End that program, or choose another port by gateway.port or --port.",
    )
}

/// Where the installed service and this shell have gone apart.
pub fn service_drift(code: &str, message: &str) -> Finding {
    let (severity, remedy) = match code {
        "would_not_start" => (Severity::Critical, "Correct what it names."),
        "secret_differs" => (
            Severity::Warn,
            "Unset the variable in this shell, or give the service the same value by `clawgate \
             gateway install`.",
        ),
        _ => (
            Severity::Warn,
            "`clawgate gateway install` writes it anew, with this shell's choices.",
        ),
    };
    Finding::new(
        (Area::Service, format!("service.{code}")),
        severity,
        format!("{message}."),
        remedy,
    )
}

/// OpenClaw has a service too, which wants the same port and the same files.
pub fn other_service(path: &str) -> Finding {
    Finding::new(
        (Area::Service, "service.openclaw_too"),
        Severity::Warn,
        format!("OpenClaw has a service of its own here: {path}."),
        "Keep one of the two gateways, or give them different profiles.",
    )
}

/// How the state database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// There is none yet.
    Absent,
    /// Every page is as it should be.
    Sound,
    /// It is broken: how.
    Damaged(String),
    /// It cannot be used: why.
    Unusable(String),
}

/// The state database at this path.
pub fn database(path: &str, found: &Database) -> Option<Finding> {
    let (code, what, remedy) = match found {
        Database::Absent | Database::Sound => return None,
        Database::Damaged(why) => (
            "state.database_damaged",
            format!("The database {path} is damaged: {why}."),
            "Stop the gateway and restore a backup (README, State on disk); else its next start sets \
             the file aside and begins with an empty one.",
        ),
        Database::Unusable(why) => (
            "state.database_unusable",
            format!("The database {path} cannot be read: {why}."),
            "Check its owner, its mode and the version of clawgate.",
        ),
    };
    Some(Finding::new(
        (Area::State, code),
        Severity::Critical,
        what,
        remedy,
    ))
}

/// What a process that is gone left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Debris {
    /// A lock file that names it.
    Lock {
        /// The file.
        path: PathBuf,
        /// The process.
        pid: u32,
    },
    /// A socket nobody listens on.
    Socket(PathBuf),
    /// A file that it did not finish.
    Half(PathBuf),
    /// A database that was set aside as damaged.
    SetAside(PathBuf),
}

/// What is to be said of debris, and which of it `--fix` removes.
pub fn debris(found: Debris) -> Finding {
    let fix = "`clawgate doctor --fix` removes it.";
    let shown = |path: &PathBuf| path.display().to_string();
    match found {
        Debris::Lock { path, pid } => Finding::new(
            (Area::State, "state.lock_stale"),
            Severity::Info,
            format!(
                "{} names process {pid}, which is gone: the gateway did not end in order.",
                shown(&path)
            ),
            "It is in nobody's way; `clawgate doctor --fix` empties it.",
        )
        .repaired_by(Repair::EmptyLock(path)),
        Debris::Socket(path) => Finding::new(
            (Area::State, "state.socket_stale"),
            Severity::Info,
            format!("Nobody listens on the socket {}.", shown(&path)),
            fix,
        )
        .repaired_by(Repair::RemoveSocket(path)),
        Debris::Half(path) => Finding::new(
            (Area::State, "state.half_written"),
            Severity::Info,
            format!(
                "{} was never finished, and its writer is gone.",
                shown(&path)
            ),
            fix,
        )
        .repaired_by(Repair::RemoveHalf(path)),
        Debris::SetAside(path) => Finding::new(
            (Area::State, "state.database_set_aside"),
            Severity::Warn,
            format!(
                "A damaged database was set aside as {}; the gateway began with an empty one.",
                shown(&path)
            ),
            "Restore a backup if devices or messages are missing, and move the file away when it is \
             no longer wanted.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_a_little() {
        let at = |seconds: u64| WallTime(seconds * 1_000);
        assert_eq!(clock(at(1_000), at(1_029)), None);
        let warn = clock(at(1_000), at(1_030)).unwrap();
        assert_eq!(warn.severity, Severity::Warn);
        assert!(warn.what.contains("30 s behind"), "{}", warn.what);
        let critical = clock(at(2_000), at(1_000)).unwrap();
        assert_eq!(critical.severity, Severity::Critical);
        assert!(critical.what.contains("1000 s ahead of"));
    }

    #[test]
    fn programs_are_missed_only_where_they_are_needed() {
        let none = Program::Absent("not found".into());
        let codes = |config: serde_json::Value| {
            let file = ConfigFile::parse("f", config.to_string()).unwrap();
            let findings = programs(&file, &none, &none);
            findings.into_iter().map(|it| it.code).collect::<Vec<_>>()
        };
        use serde_json::json;
        assert!(codes(json!({})).is_empty());
        assert_eq!(
            codes(json!({ "gateway": { "tailscale": { "mode": "serve" } } })),
            ["programs.tailscale_missing"]
        );
        let remote = |transport: &str| json!({ "gateway": { "mode": "remote", "remote": { "transport": transport } } });
        assert_eq!(codes(remote("ssh")), ["programs.ssh_missing"]);
        assert!(codes(remote("direct")).is_empty());
    }
}

//! What a manager says about a service, read from the output of its program.

use std::collections::BTreeMap;

/// How a service stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// What it does now.
    pub(crate) activity: Activity,
    /// Whether the manager starts it by itself, at login or boot.
    pub(crate) enabled: Option<bool>,
    /// Its process.
    pub(crate) pid: Option<u32>,
    /// When it became what it is, in seconds since 1970.
    pub(crate) since: Option<u64>,
    /// The exit code of its last run, or 128 and the number of the signal that ended it.
    pub(crate) last_exit: Option<u32>,
    /// What it says about itself.
    pub(crate) status: Option<String>,
    /// The file on disk is newer than what the manager has read.
    pub(crate) needs_reload: bool,
}

/// What a service does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Activity {
    /// The manager does not know it.
    #[default]
    Unknown,
    /// It runs and is ready.
    Running,
    /// It starts, or waits for its next start.
    Starting,
    /// It ends.
    Stopping,
    /// It does not run.
    Stopped,
    /// It does not run, and the manager has given up.
    Failed,
}

impl Activity {
    /// A word for people and scripts.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "not loaded",
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// The properties that [`of_systemd`] reads.
pub(super) const PROPERTIES: &str = "LoadState,ActiveState,UnitFileState,MainPID,\
     ActiveEnterTimestamp,InactiveEnterTimestamp,ExecMainCode,ExecMainStatus,StatusText,\
     NeedDaemonReload";

/// Reads `systemctl show --timestamp=unix`.
pub(super) fn of_systemd(output: &str) -> State {
    let properties: BTreeMap<&str, &str> = output
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let get = |name: &str| {
        properties
            .get(name)
            .copied()
            .filter(|text| !text.is_empty())
    };
    let activity = match (get("LoadState"), get("ActiveState")) {
        (Some("not-found") | None, _) => Activity::Unknown,
        (_, Some("active" | "reloading")) => Activity::Running,
        (_, Some("activating")) => Activity::Starting,
        (_, Some("deactivating")) => Activity::Stopping,
        (_, Some("failed")) => Activity::Failed,
        (_, Some(_) | None) => Activity::Stopped,
    };
    let changed = match activity {
        Activity::Running | Activity::Stopping => get("ActiveEnterTimestamp"),
        Activity::Stopped | Activity::Failed | Activity::Starting => get("InactiveEnterTimestamp"),
        Activity::Unknown => None,
    };
    // 1 is an exit, 2 and 3 are signals; 0 means that it never ran, or runs.
    let last_exit = match (get("ExecMainCode"), get("ExecMainStatus")) {
        (Some("1"), Some(code)) => code.parse().ok(),
        (Some("2" | "3"), Some(signal)) => signal.parse::<u32>().ok().map(|signal| 128 + signal),
        _ => None,
    };
    State {
        activity,
        enabled: get("UnitFileState").map(|state| state.starts_with("enabled")),
        pid: get("MainPID")
            .and_then(|pid| pid.parse().ok())
            .filter(|pid| *pid != 0),
        since: changed
            .and_then(|at| at.strip_prefix('@'))
            .and_then(|at| at.parse().ok()),
        last_exit,
        status: get("StatusText").map(crate::text::plain),
        needs_reload: get("NeedDaemonReload") == Some("yes"),
    }
}

/// Reads `launchctl print`. Its output is for people, so only the plainest lines are looked at.
pub(super) fn of_launchd(output: &str) -> State {
    // Deeper lines are those of endpoints and the like, with the same names.
    let fields: BTreeMap<&str, &str> = output
        .lines()
        .filter(|line| line.starts_with('\t') && !line.starts_with("\t\t"))
        .filter_map(|line| line.trim().split_once(" = "))
        .collect();
    let get = |name: &str| fields.get(name).copied();
    let last_exit = get("last exit code").and_then(|text| {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok())
    });
    let activity = match (get("state"), last_exit) {
        (Some("running"), _) => Activity::Running,
        (Some("spawn scheduled" | "waiting"), _) => Activity::Starting,
        (Some(_) | None, None | Some(0)) => Activity::Stopped,
        (Some(_) | None, Some(_)) => Activity::Failed,
    };
    State {
        activity,
        enabled: Some(true),
        pid: get("pid").and_then(|pid| pid.parse().ok()),
        last_exit,
        ..State::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_runs_and_one_that_gave_up() {
        let running = of_systemd(
            "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=4242\n\
             ActiveEnterTimestamp=@1700000000\nInactiveEnterTimestamp=\nExecMainCode=0\n\
             ExecMainStatus=0\nStatusText=3 connections = fine\nNeedDaemonReload=no\n",
        );
        assert_eq!(
            running,
            State {
                activity: Activity::Running,
                enabled: Some(true),
                pid: Some(4242),
                since: Some(1_700_000_000),
                last_exit: None,
                status: Some("3 connections = fine".into()),
                needs_reload: false,
            }
        );
        let failed = of_systemd(
            "LoadState=loaded\nActiveState=failed\nUnitFileState=disabled\nMainPID=0\n\
             InactiveEnterTimestamp=@1700000009\nExecMainCode=1\nExecMainStatus=78\n\
             NeedDaemonReload=yes\n",
        );
        assert_eq!(failed.activity, Activity::Failed);
        assert_eq!(
            (failed.last_exit, failed.since),
            (Some(78), Some(1_700_000_009))
        );
        assert!(failed.needs_reload && failed.enabled == Some(false));
        let killed = of_systemd(
            "LoadState=loaded\nActiveState=inactive\nExecMainCode=2\nExecMainStatus=9\n",
        );
        assert_eq!(killed.last_exit, Some(137));
        assert_eq!(
            of_systemd("LoadState=not-found\n").activity,
            Activity::Unknown
        );
        assert_eq!(of_systemd("").activity, Activity::Unknown);
    }

    #[test]
    fn an_agent_of_launchd() {
        let running = "gui/501/ai.clawgate.gateway = {\n\tactive count = 1\n\tstate = running\n\n\
                       \tprogram = /usr/local/bin/clawgate\n\tpid = 321\n\tlast exit code = (never exited)\n\
                       \tendpoints = {\n\t\tpid = 9\n\t}\n}\n";
        let state = of_launchd(running);
        assert_eq!((state.activity, state.pid), (Activity::Running, Some(321)));
        assert_eq!(state.last_exit, None);
        let ended =
            of_launchd("x = {\n\tstate = not running\n\tlast exit code = 78: EX_CONFIG\n}\n");
        assert_eq!(
            (ended.activity, ended.last_exit),
            (Activity::Failed, Some(78))
        );
    }
}

//! Whether a program may run (spec protocol §6.8). What is judged is the program that would be
//! started: a command text that needs a shell is judged as the shell, and is never taken apart to
//! find that its pieces are harmless.

use serde::{Deserialize, Serialize};

use super::{
    approvals::{Approvals, Ask, ForAlways, Security},
    work::Found,
};

/// What the owner of a node wants; the file of exec approvals can only make it stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecPolicy {
    /// Nothing runs, and the node does not offer it.
    Deny,
    /// What the allowlist covers runs; everything else is refused.
    Allowlist,
    /// What the allowlist covers runs; somebody is asked about everything else.
    #[default]
    Ask,
}

impl ExecPolicy {
    /// Reads the name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "deny" => Self::Deny,
            "allowlist" => Self::Allowlist,
            "ask" => Self::Ask,
            _ => return None,
        })
    }

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allowlist => "allowlist",
            Self::Ask => "ask",
        }
    }

    const fn security(self) -> Security {
        match self {
            Self::Deny => Security::Deny,
            Self::Allowlist | Self::Ask => Security::Allowlist,
        }
    }

    const fn ask(self) -> Ask {
        match self {
            Self::Deny | Self::Allowlist => Ask::Off,
            Self::Ask => Ask::OnMiss,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The program as it was called.
    pub(super) called: &'a str,
    /// Where it is.
    pub(super) found: &'a Found,
    /// The whole command line.
    pub(super) command_text: &'a str,
}

/// What was decided about a command beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Nothing.
    None,
    /// It may run now.
    Once,
    /// It may run now and later.
    Always,
    /// Nobody could be asked.
    Fallback,
}

/// Why a program does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Disabled,
    Unapproved,
    NotAllowed,
}

impl Denied {
    /// `reason` of `exec.denied`.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Disabled => "security=deny",
            Self::Unapproved => "approval-required",
            Self::NotAllowed => "allowlist-miss",
        }
    }

    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Disabled => "SYSTEM_RUN_DISABLED: security=deny",
            Self::Unapproved => "SYSTEM_RUN_DENIED: approval required",
            Self::NotAllowed => "SYSTEM_RUN_DENIED: allowlist miss",
        }
    }
}

/// What holds for one agent: the stricter of the owner's wish and the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effective {
    pub(super) security: Security,
    pub(super) ask: Ask,
}

pub(super) fn effective(
    policy: ExecPolicy,
    approvals: &Approvals,
    agent: Option<&str>,
) -> Effective {
    let file = approvals.policy(agent);
    Effective {
        security: policy.security().min(file.security),
        ask: policy.ask().max(file.ask),
    }
}

/// Decides.
pub(super) fn decide(
    policy: ExecPolicy,
    approvals: &Approvals,
    agent: Option<&str>,
    asked: &Asked<'_>,
    grant: Grant,
) -> Result<(), Denied> {
    let Effective { security, ask } = effective(policy, approvals, agent);
    let (security, ask) = match grant {
        Grant::Fallback => (security.min(approvals.policy(agent).ask_fallback), Ask::Off),
        Grant::None | Grant::Once | Grant::Always => (security, ask),
    };
    if security == Security::Deny {
        return Err(Denied::Disabled);
    }
    if matches!(grant, Grant::Once | Grant::Always) {
        return Ok(());
    }
    let covered = security == Security::Full || approvals.covers(agent, asked);
    match (ask, covered) {
        (Ask::Always, _) | (Ask::OnMiss, false) => Err(Denied::Unapproved),
        (Ask::Off, false) => Err(Denied::NotAllowed),
        (Ask::Off | Ask::OnMiss, true) => Ok(()),
    }
}

/// Programs whose arguments name what is run: allowing them for always would allow everything.
#[rustfmt::skip]
const RUNNERS: &[&str] = &[
    // Shells.
    "ash", "bash", "busybox", "cmd", "csh", "dash", "fish", "ksh", "mksh", "nu", "powershell",
    "pwsh", "sh", "tcsh", "toybox", "zsh",
    // Programs that start others.
    "at", "awk", "batch", "chroot", "chrt", "command", "crontab", "doas", "entr", "env", "exec", "expect",
    "find", "flock", "gawk", "gdb", "ionice", "ld", "make", "mawk", "nice", "nohup", "nsenter",
    "osascript", "parallel", "pkexec", "run-parts", "script", "sed", "setarch", "setsid", "ssh", "start-stop-daemon",
    "stdbuf", "strace", "su", "sudo", "systemd-run", "taskset", "tclsh", "time", "timeout", "tmux",
    "screen", "unshare", "vi", "vim", "watch", "xargs",
    // Interpreters.
    "bun", "cargo", "deno", "docker", "gem", "go", "java", "lua", "luajit", "node", "nodejs", "npm", "npx",
    "perl", "php", "pip", "pipx", "pnpm", "podman", "python", "R", "Rscript", "ruby", "tsx", "uv", "uvx", "yarn",
];

/// What an approval for always is kept as: the program where its arguments cannot make it another
/// one, otherwise this command line alone.
pub(super) fn for_always(asked: &Asked<'_>) -> ForAlways {
    let is_runner = [&asked.found.path, &asked.found.real]
        .into_iter()
        .filter_map(|path| path.rsplit('/').next())
        .any(|name| {
            // Versions count as the same program: python3.12, lua5.4.
            let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
            let plain = plain.strip_suffix(".exe").unwrap_or(plain);
            RUNNERS.iter().any(|runner| {
                runner.eq_ignore_ascii_case(plain) || runner.eq_ignore_ascii_case(name)
            })
        });
    if is_runner {
        ForAlways::Command(asked.command_text.to_owned())
    } else {
        ForAlways::Program(asked.found.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node::ApprovalsText, secret::Secret};

    fn book(text: &str) -> Approvals {
        Approvals::read(ApprovalsText::Text(Secret::new(text)))
    }

    fn found(path: &str) -> Found {
        Found {
            path: path.into(),
            real: path.into(),
        }
    }

    #[test]
    fn policies_decide_as_the_table_says() {
        use Denied::{Disabled, NotAllowed, Unapproved};
        let rule = r#"{"version":1,"agents":{"main":{"allowlist":["/bin/ok"]}}}"#;
        let always = r#"{"version":1,"defaults":{"ask":"always"},
            "agents":{"main":{"allowlist":["/bin/ok"]}}}"#;
        let closed = r#"{"version":1,"defaults":{"security":"deny"}}"#;
        let fallback = r#"{"version":1,"defaults":{"askFallback":"allowlist"},
            "agents":{"main":{"allowlist":["/bin/ok"]}}}"#;
        let open = r#"{"version":1,"defaults":{"security":"full","askFallback":"full"}}"#;
        for (policy, file, program, grant, decided) in [
            (
                ExecPolicy::Deny,
                rule,
                "/bin/ok",
                Grant::Once,
                Err(Disabled),
            ),
            (
                ExecPolicy::Deny,
                open,
                "/bin/ok",
                Grant::Fallback,
                Err(Disabled),
            ),
            (ExecPolicy::Allowlist, rule, "/bin/ok", Grant::None, Ok(())),
            (
                ExecPolicy::Allowlist,
                rule,
                "/bin/no",
                Grant::None,
                Err(NotAllowed),
            ),
            (ExecPolicy::Allowlist, rule, "/bin/no", Grant::Once, Ok(())),
            (
                ExecPolicy::Allowlist,
                open,
                "/bin/no",
                Grant::None,
                Err(NotAllowed),
            ),
            (
                ExecPolicy::Allowlist,
                always,
                "/bin/ok",
                Grant::None,
                Err(Unapproved),
            ),
            (ExecPolicy::Ask, rule, "/bin/ok", Grant::None, Ok(())),
            (
                ExecPolicy::Ask,
                rule,
                "/bin/no",
                Grant::None,
                Err(Unapproved),
            ),
            (ExecPolicy::Ask, rule, "/bin/no", Grant::Once, Ok(())),
            (ExecPolicy::Ask, rule, "/bin/no", Grant::Always, Ok(())),
            (
                ExecPolicy::Ask,
                rule,
                "/bin/ok",
                Grant::Fallback,
                Err(Disabled),
            ),
            (
                ExecPolicy::Ask,
                fallback,
                "/bin/ok",
                Grant::Fallback,
                Ok(()),
            ),
            (
                ExecPolicy::Ask,
                fallback,
                "/bin/no",
                Grant::Fallback,
                Err(NotAllowed),
            ),
            (
                ExecPolicy::Ask,
                open,
                "/bin/no",
                Grant::Fallback,
                Err(NotAllowed),
            ),
            (
                ExecPolicy::Ask,
                closed,
                "/bin/ok",
                Grant::Once,
                Err(Disabled),
            ),
        ] {
            let place = found(program);
            let asked = Asked {
                called: program,
                found: &place,
                command_text: program,
            };
            let is = decide(policy, &book(file), None, &asked, grant);
            assert_eq!(is, decided, "{policy:?} {file} {program} {grant:?}");
        }
    }

    #[test]
    fn a_shell_is_judged_as_the_shell() {
        let git = book(r#"{"version":1,"agents":{"main":{"allowlist":["/usr/bin/git"]}}}"#);
        let shell = found("/usr/bin/sh");
        let asked = Asked {
            called: "sh",
            found: &shell,
            command_text: "sh -c /usr/bin/git",
        };
        let is = decide(ExecPolicy::Allowlist, &git, None, &asked, Grant::None);
        assert_eq!(is, Err(Denied::NotAllowed));
    }

    #[test]
    fn programs_that_run_others_are_allowed_for_one_command_line() {
        for (path, whole) in [
            ("/usr/bin/git", false),
            ("/usr/bin/ls", false),
            ("/usr/bin/bash", true),
            ("/usr/bin/python3.12", true),
            ("/usr/bin/env", true),
            ("/usr/bin/sudo", true),
            ("/opt/node", true),
        ] {
            let place = found(path);
            let asked = Asked {
                called: path,
                found: &place,
                command_text: "line",
            };
            let rule = for_always(&asked);
            assert_eq!(matches!(rule, ForAlways::Command(_)), whole, "{path}");
        }
    }
}

//! A gateway or a node, run by this same program as a child of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::stage::{Heard, Stage, Who, spawn, system};
use crate::failure::Failure;

/// Time for a process to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// Characters of its last words.
const LAST_WORDS: usize = 2_000;

/// A process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    who: Who,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts this program with these arguments, in a world of its own.
    pub(super) fn start(
        who: Who,
        stage: &Stage,
        folder: &Path,
        args: &[&OsStr],
    ) -> Result<Self, Failure> {
        let name = match who {
            Who::Gateway => "gateway",
            Who::Node => "node",
        };
        let log = folder.join(format!("{name}.log"));
        let failed = |error: std::io::Error| system(&error.to_string());
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(environment(folder, name))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(failed)?);
        // Ctrl-C is for the demo, which ends its processes in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(stdout) = child.stdout.take() {
            let tell = stage.teller();
            spawn("clawgate-process", move || {
                for line in BufReader::new(stdout).lines() {
                    let Ok(line) = line else { break };
                    tell(Heard::Said(who, line));
                }
                tell(Heard::Ended(who));
            })?;
        }
        Ok(Self { who, child, log })
    }

    /// Asks it to end, as a service manager does, and waits. One that does not is killed.
    pub(super) fn stop(&mut self, stage: &Stage) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        #[cfg(unix)]
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended in this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            stage.wait_for_end(self.who, GRACE);
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
        }
        #[cfg(not(unix))]
        let _ = (stage, self.who, GRACE);
        self.kill()
    }

    /// What it said last.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = text.chars().count().saturating_sub(LAST_WORDS);
        text.chars().skip(skipped).collect()
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

/// The variables of a process of the demo. Nothing of the user's own set-up is among them.
pub(super) fn environment(folder: &Path, name: &str) -> Vec<(String, String)> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut variables = vec![
        ("HOME".to_owned(), path(folder.to_owned())),
        ("OPENCLAW_STATE_DIR".to_owned(), path(folder.join(name))),
        (
            "OPENCLAW_CONFIG_PATH".to_owned(),
            path(folder.join("openclaw.json")),
        ),
        // Locks lie here: the bot of the demo is nobody else's.
        ("XDG_RUNTIME_DIR".to_owned(), path(folder.to_owned())),
    ];
    for name in ["PATH", "SystemRoot", "TMPDIR"] {
        if let Ok(value) = std::env::var(name) {
            variables.push((name.to_owned(), value));
        }
    }
    variables
}

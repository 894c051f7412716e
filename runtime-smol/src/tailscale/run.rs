//! Running the program: no shell, no environment of ours, no more time and no more output than it
//! needs.

use std::{
    path::Path,
    process::{self, Stdio},
    time::Duration,
};

use clawgate_core::tailscale::MAX_OUTPUT;
use futures_lite::{AsyncRead, AsyncReadExt, FutureExt, future};
use smol::process::{Child, Command};

use super::TailscaleError;

/// Bytes of its complaints that are kept.
const MAX_MESSAGE: usize = 300;

/// Gives what the program prints, if it succeeds in time.
pub(super) async fn run<'a>(
    program: &Path,
    args: impl Iterator<Item = &'a str>,
    limit: Duration,
) -> Result<Vec<u8>, TailscaleError> {
    let mut child = Running(command(program, args).spawn()?);
    let late = async {
        smol::Timer::after(limit).await;
        Err(TailscaleError::Late(limit))
    };
    child.end().or(late).await
}

fn command<'a>(program: &Path, args: impl Iterator<Item = &'a str>) -> Command {
    let mut command = process::Command::new(program);
    command.args(args).env_clear();
    #[cfg(unix)]
    {
        // With everything that it starts, it can be ended as a whole.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C")
            .current_dir("/");
    }
    let mut command = Command::from(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A program that does not outlive this value.
struct Running(Child);

impl Running {
    async fn end(&mut self) -> Result<Vec<u8>, TailscaleError> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (output, message) =
            future::zip(take(stdout, MAX_OUTPUT), take(stderr, MAX_OUTPUT)).await;
        let (output, message) = (output?, message?);
        let status = self.0.status().await?;
        if status.success() {
            return Ok(output);
        }
        let message: String = String::from_utf8_lossy(&message)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_MESSAGE)
            .collect();
        Err(TailscaleError::Failed { status, message })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once its end was seen, its number may be somebody else's.
        #[cfg(unix)]
        if let (Ok(None), Some(leader)) = (
            self.0.try_status(),
            i32::try_from(self.0.id())
                .ok()
                .and_then(rustix::process::Pid::from_raw),
        ) {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

async fn take(
    from: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> Result<Vec<u8>, TailscaleError> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() > limit {
        return Err(TailscaleError::TooLong(limit));
    }
    Ok(bytes)
}

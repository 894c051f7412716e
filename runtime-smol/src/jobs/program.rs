//! One run of a program: no shell, none of the gateway's credentials, and a process group of its own
//! that is ended as a whole.

use std::{
    io,
    pin::pin,
    process::{self, ExitStatus, Stdio},
    sync::Weak,
};

use bytes::Bytes;
use clawgate_core::job::{JobEnd, JobEvent, JobFailure, ProgramJob, Reached};
use futures_lite::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, FutureExt, io::BufReader,
};
use smol::{
    channel::Receiver,
    process::{Child, ChildStdin, Command},
};
use tracing::debug;

use super::{Stopped, Teller, dial::plain};

/// Bytes that are read at once.
const READ: usize = 16 * 1024;
/// Bytes of a line of its complaints that are logged.
const MAX_LOGGED: u64 = 1_000;

/// Runs the program; gives its last event, or nothing when it is stopped.
pub(super) async fn run(
    job: ProgramJob,
    fed: Receiver<Bytes>,
    stopped: &Stopped,
    teller: &Teller,
    executor: &Weak<smol::Executor<'static>>,
) -> Option<JobEvent> {
    let name = job.argv.first().cloned().unwrap_or_default();
    let failed = |reached, message| Some(JobEvent::Failed(JobFailure { reached, message }));
    let mut running = match command(&job).spawn() {
        Ok(child) => Running(child),
        Err(error) => {
            let message = format!("{name} could not be started: {}", plain(&error));
            return failed(Reached::No, message);
        }
    };
    let (Some(executor), Some(stdin), Some(stdout), Some(stderr)) = (
        executor.upgrade(),
        running.0.stdin.take(),
        running.0.stdout.take(),
        running.0.stderr.take(),
    ) else {
        return None;
    };
    let _logging = executor.spawn(log(name.clone(), stderr));
    let writing = executor.spawn(write(stdin, fed));
    drop(executor);

    let mut reading = pin!(read(stdout, job.max_output, teller));
    let mut exit = pin!(running.0.status());
    let first = async {
        let read = async { First::Read((&mut reading).await) };
        let ended = async { First::Exit((&mut exit).await) };
        let stop = async {
            stopped.wait().await;
            First::Stopped
        };
        stop.or(read).or(ended).await
    };
    let exited = match first.await {
        First::Read(Ok(())) => {
            let ended = async { Some((&mut exit).await) };
            let stop = async {
                stopped.wait().await;
                None
            };
            stop.or(ended).await
        }
        First::Read(Err(problem)) => {
            running.kill();
            let _ = exit.await;
            return failed(Reached::Perhaps, format!("{name} {problem}"));
        }
        First::Exit(status) => {
            // What it has written is still in the pipe. Who holds that open longer was left behind.
            let late = async {
                smol::Timer::after(job.grace).await;
                None
            };
            match async { Some((&mut reading).await) }.or(late).await {
                Some(Ok(())) => {}
                Some(Err(problem)) => {
                    return failed(Reached::Perhaps, format!("{name} {problem}"));
                }
                None => running.kill_left_behind(),
            }
            Some(status)
        }
        First::Stopped => None,
    };
    match exited {
        Some(Ok(status)) => Some(JobEvent::Ended(JobEnd::Exit(status.code()))),
        Some(Err(error)) => failed(
            Reached::Perhaps,
            format!("{name} could not be waited for: {}", plain(&error)),
        ),
        None => {
            // Its input ends here. What it still writes is read, so that it does not wait for that.
            let _ = writing.cancel().await;
            let late = async {
                smol::Timer::after(job.grace).await;
            };
            let ended = async {
                let _ = futures_lite::future::zip(&mut reading, &mut exit).await;
            };
            ended.or(late).await;
            running.kill();
            None
        }
    }
}

enum First {
    Read(Result<(), String>),
    Exit(io::Result<ExitStatus>),
    Stopped,
}

fn command(job: &ProgramJob) -> Command {
    let (program, args) = match job.argv.split_first() {
        Some((program, args)) => (program.as_str(), args),
        None => ("", &[][..]),
    };
    let mut command = process::Command::new(program);
    command.args(args);
    for name in &job.withheld {
        command.env_remove(name);
    }
    command.envs(&job.env);
    if let Some(folder) = &job.cwd {
        command.current_dir(folder);
    }
    // With everything that it starts, it can be ended as a whole.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut command = Command::from(command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A program that does not outlive this value.
struct Running(Child);

impl Running {
    /// Kills it with everything in its group, unless its end was seen: then its number may be
    /// somebody else's.
    fn kill(&mut self) {
        if matches!(self.0.try_status(), Ok(None)) {
            self.kill_group();
            let _ = self.0.kill();
        }
    }

    /// Kills what it has left behind in its group. As long as something is there, the number of the
    /// group is nobody else's.
    fn kill_left_behind(&self) {
        self.kill_group();
    }

    fn kill_group(&self) {
        #[cfg(unix)]
        if let Some(leader) = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells what it writes.
async fn read(
    mut stdout: impl AsyncRead + Unpin,
    limit: usize,
    teller: &Teller,
) -> Result<(), String> {
    let mut buffer = vec![0; READ];
    let mut room = limit;
    loop {
        match stdout.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => {
                room = room
                    .checked_sub(count)
                    .ok_or_else(|| format!("wrote more than {limit} bytes"))?;
                let bytes = buffer.get(..count).unwrap_or_default();
                teller.tell(JobEvent::Data(Bytes::copy_from_slice(bytes)));
            }
        }
    }
}

/// Writes what it is fed. A program that has closed its input is fed no more.
async fn write(mut stdin: ChildStdin, fed: Receiver<Bytes>) {
    while let Ok(bytes) = fed.recv().await {
        if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Logs its complaints, line by line.
async fn log(program: String, stderr: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines)
            .take(MAX_LOGGED)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text: String = String::from_utf8_lossy(&line)
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect();
                debug!(program, "{text}");
            }
        }
    }
}

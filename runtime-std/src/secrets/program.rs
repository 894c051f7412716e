//! Runs one program that knows secrets.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clawgate_core::secret::Secret;
use clawgate_core::secrets::{CommandLink, ProgramEnd, ProgramFault, ProgramRun, RefFault};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

use super::facts;

/// Runs the program to its end, or to the end of its time.
pub(super) fn run(run: &ProgramRun) -> Result<ProgramEnd, RefFault> {
    let program = judged(run)?;
    let fail = |error: &io::Error| run.run_fault(ProgramFault::NotStarted(error.kind()));
    let mut command = Command::new(&program);
    command
        .args(run.args().iter().map(Secret::expose))
        .env_clear()
        .envs(
            run.variables()
                .iter()
                .map(|(name, value)| (name, value.expose())),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    if let Some(folder) = program.parent() {
        command.current_dir(folder);
    }
    let mut child = command.spawn().map_err(|error| fail(&error))?;
    let talked = talk(&mut child, run);
    let status = child.wait().map_err(|error| fail(&error))?;
    match talked.map_err(|error| fail(&error))? {
        Talk::Ended(output) => Ok(ProgramEnd {
            code: status.code(),
            output,
        }),
        Talk::Stopped(fault) => Err(run.run_fault(fault)),
    }
}

/// Talks with the program, and ends it together with everything that it started. It is left to be
/// reaped: until then nobody else can have its number.
fn talk(child: &mut Child, run: &ProgramRun) -> io::Result<Talk> {
    let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let leader = leader.ok_or(ErrorKind::Unsupported)?;
    let (ended, tell) = UnixStream::pair()?;
    let watch = thread::spawn(move || {
        let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(leader), only_look) {}
        drop(tell);
    });
    let talked = Conversation::start(child, ended, run).and_then(|mut talk| talk.run(run));
    let _ = kill_process_group(leader, Signal::KILL);
    // It may have left the group.
    let _ = child.kill();
    let _ = watch.join();
    talked
}

/// The program without links, once it is judged fit to run.
fn judged(run: &ProgramRun) -> Result<PathBuf, RefFault> {
    let fail = |error: io::Error| run.path_fault(facts::fault(&error));
    let real = match run.link() {
        CommandLink::Refused => facts::resolve_above(run.command()),
        CommandLink::Followed => run.command().canonicalize(),
    }
    .map_err(fail)?;
    let metadata = fs::symlink_metadata(&real).map_err(fail)?;
    let standing = facts::standing(&metadata, &real).map_err(fail)?;
    let trusted: Vec<PathBuf> = run
        .trusted_dirs()
        .iter()
        .filter_map(|folder| folder.canonicalize().ok())
        .collect();
    run.judge(&real, &trusted, &standing)?;
    Ok(real)
}

/// How the talk with a program went.
enum Talk {
    /// It ended by itself, with this output.
    Ended(Zeroizing<Vec<u8>>),
    /// It must be stopped.
    Stopped(ProgramFault),
}

/// The three ends of a running program that are listened to.
struct Conversation {
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    /// Readable once the program has ended.
    ended: UnixStream,
    /// Never grows, so that it leaves no copies behind.
    bytes: Zeroizing<Vec<u8>>,
}

impl Conversation {
    fn start(child: &mut Child, ended: UnixStream, run: &ProgramRun) -> io::Result<Self> {
        let this = Self {
            input: child.stdin.take(),
            output: child.stdout.take(),
            ended,
            bytes: Zeroizing::new(Vec::with_capacity(
                usize::try_from(run.max_output()).unwrap_or(0) + 1,
            )),
        };
        for end in [
            this.input.as_ref().map(AsFd::as_fd),
            this.output.as_ref().map(AsFd::as_fd),
        ]
        .into_iter()
        .flatten()
        {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        Ok(this)
    }

    fn run(&mut self, run: &ProgramRun) -> io::Result<Talk> {
        let deadline = Instant::now() + run.timeout();
        let mut silent = Instant::now() + run.silence();
        let mut unsent = run.input();
        loop {
            let now = Instant::now();
            if now >= deadline {
                let limit = run.timeout();
                return Ok(Talk::Stopped(ProgramFault::Late { limit }));
            }
            if now >= silent {
                let limit = run.silence();
                return Ok(Talk::Stopped(ProgramFault::Silent { limit }));
            }
            let ended = self.wait(deadline.min(silent) - now)?;
            self.send(&mut unsent);
            let before = self.bytes.len();
            self.receive(run.max_output())?;
            if self.bytes.len() as u64 > run.max_output() {
                let limit = run.max_output();
                return Ok(Talk::Stopped(ProgramFault::TooMuchOutput { limit }));
            }
            if self.bytes.len() > before {
                silent = Instant::now() + run.silence();
            }
            // A child of its own may hold the output open: nothing more is waited for.
            if ended {
                return Ok(Talk::Ended(std::mem::take(&mut self.bytes)));
            }
        }
    }

    /// Waits until there is something to do; says whether the program has ended.
    fn wait(&self, limit: Duration) -> io::Result<bool> {
        let mut ends = vec![PollFd::new(&self.ended, PollFlags::IN)];
        ends.extend(
            self.output
                .iter()
                .map(|end| PollFd::new(end, PollFlags::IN)),
        );
        ends.extend(
            self.input
                .iter()
                .map(|end| PollFd::new(end, PollFlags::OUT)),
        );
        let limit = Timespec::try_from(limit).map_err(|_| ErrorKind::InvalidInput)?;
        match poll(&mut ends, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(ends.first().is_some_and(|end| !end.revents().is_empty()))
    }

    /// Sends what the program takes, and hangs up after the last byte. A program that does not want
    /// to be asked may answer all the same.
    fn send(&mut self, unsent: &mut &[u8]) {
        let Some(input) = &mut self.input else { return };
        while !unsent.is_empty() {
            match input.write(unsent) {
                Ok(sent) => *unsent = unsent.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.input = None;
    }

    /// Takes what the program has written, up to one byte more than it may.
    fn receive(&mut self, limit: u64) -> io::Result<()> {
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        let room = (limit + 1).saturating_sub(self.bytes.len() as u64);
        let before = self.bytes.len();
        match output.take(room).read_to_end(&mut self.bytes) {
            // Closed, or nothing more is wanted.
            Ok(_) => self.output = None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        debug_assert!(self.bytes.len() >= before);
        Ok(())
    }
}

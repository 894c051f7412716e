//! One run of a program in a process group of its own.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use bytes::Bytes;
use clawgate_core::node::{Capture, Captured, NodeOutcome, Part, RunEnd, RunSpec, passes_on};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

/// Bytes that are read before other ends get their turn.
const TURN: usize = 64 * 1024;
/// Turns for what is left in the pipes after the program's end.
const LAST_TURNS: usize = 64;

/// Runs a program to its end, which comes at once when `killed` becomes readable.
pub(super) fn run(spec: &RunSpec, killed: UnixStream) -> NodeOutcome {
    match start_and_wait(spec, &killed) {
        Ok(end) => NodeOutcome::Ran(end),
        Err(error) => NodeOutcome::NotStarted(error.to_string()),
    }
}

fn start_and_wait(spec: &RunSpec, killed: &UnixStream) -> io::Result<RunEnd> {
    let inherited = std::env::vars_os().filter(|(name, _)| passes_on(&name.to_string_lossy()));
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(inherited)
        .envs(&spec.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(folder) = &spec.folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn()?;
    let talked = talk(&mut child, spec, killed);
    // Reaped in any case, so that none stays behind.
    let status = child.wait()?;
    let (stdout, stderr) = talked?;
    Ok(RunEnd {
        code: status.code(),
        stdout,
        stderr,
    })
}

/// Talks with the program until it ends, and ends what it leaves behind in its group. It is left to
/// be reaped: until then nobody else can have its number.
fn talk(
    child: &mut Child,
    spec: &RunSpec,
    killed: &UnixStream,
) -> io::Result<(Captured, Captured)> {
    let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let leader = leader.ok_or(ErrorKind::Unsupported)?;
    let end_all = |child: &mut Child| {
        let _ = kill_process_group(leader, Signal::KILL);
        // It may have left the group.
        let _ = child.kill();
    };
    let (ended, tell) = UnixStream::pair()?;
    let watch = thread::spawn(move || {
        let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(leader), only_look) {}
        drop(tell);
    });
    let talked = (|| {
        let mut ends = Ends::of(child, spec)?;
        let mut unsent: &[u8] = &spec.stdin;
        loop {
            match ends.wait(&ended, killed)? {
                Wake::Killed => {
                    end_all(child);
                    break;
                }
                Wake::Ended => break,
                Wake::Talk => {
                    ends.send(&mut unsent);
                    ends.receive()?;
                }
            }
        }
        end_all(child);
        // What was written before the end is still in the pipes.
        for _ in 0..LAST_TURNS {
            if !ends.receive()? {
                break;
            }
        }
        Ok((ends.stdout.kept(), ends.stderr.kept()))
    })();
    end_all(child);
    let _ = watch.join();
    talked
}

enum Wake {
    Ended,
    Killed,
    Talk,
}

/// The ends of the program's pipes.
struct Ends {
    input: Option<ChildStdin>,
    stdout: Stream<std::process::ChildStdout>,
    stderr: Stream<std::process::ChildStderr>,
}

impl Ends {
    fn of(child: &mut Child, spec: &RunSpec) -> io::Result<Self> {
        let ends = Self {
            input: child.stdin.take(),
            stdout: Stream::new(child.stdout.take(), spec.stdout),
            stderr: Stream::new(child.stderr.take(), spec.stderr),
        };
        let all = [
            ends.input.as_ref().map(AsFd::as_fd),
            ends.stdout.pipe.as_ref().map(AsFd::as_fd),
            ends.stderr.pipe.as_ref().map(AsFd::as_fd),
        ];
        for end in all.into_iter().flatten() {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        Ok(ends)
    }

    fn wait(&self, ended: &UnixStream, killed: &UnixStream) -> io::Result<Wake> {
        let readable = PollFlags::IN;
        let mut ends = vec![PollFd::new(ended, readable), PollFd::new(killed, readable)];
        ends.extend(
            self.stdout
                .pipe
                .iter()
                .map(|end| PollFd::new(end, readable)),
        );
        ends.extend(
            self.stderr
                .pipe
                .iter()
                .map(|end| PollFd::new(end, readable)),
        );
        ends.extend(
            self.input
                .iter()
                .map(|end| PollFd::new(end, PollFlags::OUT)),
        );
        match poll(&mut ends, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_up = |at: usize| ends.get(at).is_some_and(|end| !end.revents().is_empty());
        Ok(if is_up(0) {
            Wake::Ended
        } else if is_up(1) {
            Wake::Killed
        } else {
            Wake::Talk
        })
    }

    /// Sends what the program takes, and hangs up after the last byte, or when it does not want
    /// more.
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

    /// Takes what was written, and says whether there was anything.
    fn receive(&mut self) -> io::Result<bool> {
        let out = self.stdout.receive()?;
        let err = self.stderr.receive()?;
        Ok(out || err)
    }
}

/// What a program writes to one end.
struct Stream<R> {
    pipe: Option<R>,
    keep: Capture,
    bytes: Vec<u8>,
    truncated: bool,
}

impl<R: Read> Stream<R> {
    const fn new(pipe: Option<R>, keep: Capture) -> Self {
        Self {
            pipe,
            keep,
            bytes: Vec::new(),
            truncated: false,
        }
    }

    fn receive(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(false);
        };
        let mut turn = Vec::new();
        match pipe.take(TURN as u64).read_to_end(&mut turn) {
            Ok(0) => self.pipe = None,
            Ok(_) => {}
            // What came before it is in the buffer.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        self.keep(&turn);
        Ok(!turn.is_empty())
    }

    fn keep(&mut self, more: &[u8]) {
        let Capture { limit, part } = self.keep;
        match part {
            Part::Head => {
                let room = limit.saturating_sub(self.bytes.len());
                let (kept, rest) = more.split_at(room.min(more.len()));
                self.bytes.extend_from_slice(kept);
                self.truncated |= !rest.is_empty();
            }
            Part::Tail => {
                self.bytes.extend_from_slice(more);
                let over = self.bytes.len().saturating_sub(limit);
                self.bytes.drain(..over);
                self.truncated |= over > 0;
            }
        }
    }

    fn kept(&mut self) -> Captured {
        Captured {
            bytes: Bytes::from(std::mem::take(&mut self.bytes)),
            truncated: self.truncated,
        }
    }
}

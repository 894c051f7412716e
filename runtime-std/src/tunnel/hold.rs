//! Holding a tunnel open: one process, one `ssh`.

use std::{
    ffi::OsString,
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use clawgate_core::tunnel::{
    Action, Event, Exit, FailureKind, Holding, KeepAlive, LastError, Listener, Patience,
    ProcessMark, Tunnel, TunnelFailure, TunnelRecord, TunnelSettings, TunnelSpec, TunnelState,
};
use serde::{Deserialize, Serialize};

use super::{
    files::TunnelFiles,
    listener::{self, Seen, Socket},
    process,
    program::find_ssh,
    ssh::{exit_of, read_lines, terminate},
};
use crate::os;

/// How often the holder looks after its tunnel when nothing happens: whether `ssh` runs, still listens, and
/// is used.
const TICK: Duration = Duration::from_secs(1);

/// The same while `ssh` starts or ends.
const SHORT_TICK: Duration = Duration::from_millis(20);

/// How long is waited for the last words of an `ssh` that has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a program that wants a tunnel gives to the one that is to hold it, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldRequest {
    /// The folder of records and locks.
    pub folder: PathBuf,
    /// What is forwarded.
    pub spec: TunnelSpec,
    /// Milliseconds after which a tunnel that nobody uses is closed. Without them, it is held until it is
    /// stopped.
    pub idle_ms: Option<u64>,
    /// How soon silence counts as a loss.
    pub keep_alive: KeepAlive,
}

impl HoldRequest {
    /// The same with a command in front of `ssh`.
    pub fn launched_by(self, launcher: Vec<OsString>) -> HoldOptions {
        HoldOptions {
            folder: self.folder,
            spec: self.spec,
            holder: self.idle_ms.map_or(Holder::UntilStopped, |ms| {
                Holder::UntilIdle(Duration::from_millis(ms))
            }),
            keep_alive: self.keep_alive,
            launcher,
        }
    }
}

/// How long a tunnel is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Until nobody has used it for so long. The first attempt must succeed.
    UntilIdle(Duration),
    /// Until it is stopped.
    UntilStopped,
}

/// How a tunnel is held.
#[derive(Clone, Debug)]
pub struct HoldOptions {
    /// The folder of records and locks.
    pub folder: PathBuf,
    /// What is forwarded.
    pub spec: TunnelSpec,
    /// For how long.
    pub holder: Holder,
    /// How soon silence counts as a loss.
    pub keep_alive: KeepAlive,
    /// A command in front of `ssh` and its arguments, such as one that leads to
    /// [`run_as_child`](super::run_as_child).
    pub launcher: Vec<OsString>,
}

/// Why it is not held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// Somebody else holds it.
    HeldElsewhere,
    /// Nobody used it.
    Idle,
    /// It cannot be opened, and time does not change that.
    GaveUp(TunnelFailure),
    /// It was stopped.
    Stopped,
}

/// Stops a [`Hold`] from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Input>);

impl Stopper {
    /// Stops it.
    pub fn stop(&self) {
        // One that has ended needs no more.
        let _ = self.0.send(Input::Stop);
    }
}

#[derive(Debug)]
enum Input {
    Line(u32, String),
    /// The `ssh` of that number has closed its standard error.
    Silence(u32),
    Stop,
}

/// A tunnel that is about to be held by this process.
#[derive(Debug)]
pub struct Hold {
    options: HoldOptions,
    files: TunnelFiles,
    tunnel: Tunnel,
    record: TunnelRecord,
    inputs: Receiver<Input>,
    sender: Sender<Input>,
    ssh: Option<Ssh>,
    /// How many were started.
    started: u32,
    socket: Option<Socket>,
    used_at: Instant,
    next_look: Instant,
    /// The users' lock, once nobody is let in any more.
    closing: Option<File>,
}

#[derive(Debug)]
struct Ssh {
    child: Child,
    mark: Option<ProcessMark>,
    number: u32,
    silent: bool,
}

impl Hold {
    /// Prepares to hold a tunnel. Nothing is started yet.
    ///
    /// # Errors
    /// When the system gives no random bytes, or no time of its start to this process.
    pub fn new(options: HoldOptions) -> io::Result<(Self, Stopper)> {
        let (sender, inputs) = channel();
        let (holding, patience) = match options.holder {
            Holder::UntilIdle(_) => (Holding::Idle, Patience::FirstMustSucceed),
            Holder::UntilStopped => (Holding::Held, Patience::Retry),
        };
        let keeper = process::mark(std::process::id()).ok_or_else(|| {
            io::Error::other("the system does not tell when this process was started")
        })?;
        let settings = TunnelSettings {
            keep_alive: options.keep_alive,
            ..TunnelSettings::new(options.spec.local_port, patience)
        };
        let now = os::now();
        let hold = Self {
            files: TunnelFiles::of(&options.folder, &options.spec),
            tunnel: Tunnel::new(settings, os::seed()?),
            record: TunnelRecord::new(options.spec.clone(), keeper, holding, now.wall),
            inputs,
            sender: sender.clone(),
            ssh: None,
            started: 0,
            socket: None,
            used_at: now.mono,
            next_look: now.mono,
            closing: None,
            options,
        };
        Ok((hold, Stopper(sender)))
    }

    /// Holds the tunnel until it is over. Call it in the main thread: `ssh` may be bound to the thread that
    /// starts it. `tell` hears what becomes of the tunnel.
    ///
    /// # Errors
    /// When the folder of records cannot be used.
    pub fn run(mut self, mut tell: impl FnMut(&Event, &TunnelRecord)) -> io::Result<HoldEnd> {
        let Some(_lock) = self.files.hold()? else {
            return Ok(HoldEnd::HeldElsewhere);
        };
        self.files.reap();
        self.files.write(&self.record)?;
        let mut end = HoldEnd::Stopped;
        while !self.tunnel.is_over() {
            while let Some(action) = self.tunnel.poll_action() {
                self.act(action);
            }
            while let Some(event) = self.tunnel.poll_event() {
                self.note(&event);
                tell(&event, &self.record);
                if let Event::GaveUp(failure) = event {
                    end = HoldEnd::GaveUp(failure);
                }
            }
            if !self.tunnel.is_over() {
                self.wait();
            }
        }
        while let Some(event) = self.tunnel.poll_event() {
            self.note(&event);
            tell(&event, &self.record);
            if let Event::GaveUp(failure) = event {
                end = HoldEnd::GaveUp(failure);
            }
        }
        match end {
            HoldEnd::GaveUp(_) => {}
            HoldEnd::HeldElsewhere | HoldEnd::Idle | HoldEnd::Stopped => self.files.remove_record(),
        }
        Ok(match (end, &self.closing) {
            (HoldEnd::Stopped, Some(_)) => HoldEnd::Idle,
            (end, _) => end,
        })
    }

    fn act(&mut self, action: Action) {
        let now = Instant::now();
        match action {
            Action::FindPort { wanted } => {
                let bind = |port| {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
                    Some(listener.local_addr().ok()?.port())
                };
                let free = bind(wanted).filter(|_| wanted != 0);
                let spare = if free.is_none() { bind(0) } else { None };
                self.tunnel.handle_ports(now, free, spare);
            }
            Action::Start { port } => match self.start(port) {
                Ok(()) => self.tunnel.handle_started(Instant::now()),
                Err(failure) => self.tunnel.handle_start_failed(Instant::now(), failure),
            },
            Action::Look { port } => {
                let seen = self
                    .ssh
                    .as_ref()
                    .and_then(|ssh| ssh.mark.as_ref())
                    .map_or(Seen::Nobody, |mark| listener::look(port, mark));
                let listener = match seen {
                    Seen::Ours(socket) => {
                        self.socket = Some(socket);
                        Listener::Ours
                    }
                    Seen::Nobody => Listener::Nobody,
                    Seen::Stranger => Listener::Stranger,
                };
                self.tunnel.handle_listener(Instant::now(), listener);
            }
            Action::Terminate => {
                if let Some(ssh) = &mut self.ssh {
                    terminate(&mut ssh.child);
                }
            }
            Action::Kill => {
                if let Some(ssh) = &mut self.ssh {
                    // It may have ended by now.
                    let _ = ssh.child.kill();
                }
            }
        }
    }

    fn start(&mut self, port: u16) -> Result<(), TunnelFailure> {
        let ssh = find_ssh()?;
        let arguments = self.options.spec.arguments(port, self.options.keep_alive);
        let mut command = match self.options.launcher.split_first() {
            None => Command::new(&ssh),
            Some((program, first)) => {
                let mut command = Command::new(program);
                command.args(first).arg(&ssh);
                command
            }
        };
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Ctrl-C is for the holder, which ends its ssh itself.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let cannot = |error: io::Error| {
            TunnelFailure::new(FailureKind::CannotStart, crate::dial::plain(&error))
        };
        let mut child = command.spawn().map_err(cannot)?;
        self.started += 1;
        let number = self.started;
        if let Some(stderr) = child.stderr.take() {
            let sender = self.sender.clone();
            thread::Builder::new()
                .name("clawgate-ssh".into())
                .spawn(move || {
                    read_lines(stderr, |line| {
                        sender.send(Input::Line(number, line)).is_ok()
                    });
                    let _ = sender.send(Input::Silence(number));
                })
                .map_err(cannot)?;
        }
        self.ssh = Some(Ssh {
            mark: process::mark(child.id()),
            child,
            number,
            silent: false,
        });
        Ok(())
    }

    /// Waits for the next thing, and hands it to the machine.
    fn wait(&mut self) {
        let now = Instant::now();
        let is_open = self.tunnel.open_port().is_some();
        let tick = if self.ssh.is_some() && !is_open {
            SHORT_TICK
        } else {
            TICK
        };
        let until = self
            .tunnel
            .poll_timeout()
            .map_or(now + tick, |at| at.min(now + tick));
        match self
            .inputs
            .recv_timeout(until.saturating_duration_since(now))
        {
            Ok(input) => self.take(input),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        while let Ok(input) = self.inputs.try_recv() {
            self.take(input);
        }
        self.see_whether_ssh_ended();
        let now = Instant::now();
        if self.tunnel.poll_timeout().is_some_and(|at| at <= now) {
            self.tunnel.handle_timeout(now);
        }
        if now >= self.next_look {
            self.next_look = now + TICK;
            self.look_after(now);
        }
    }

    fn take(&mut self, input: Input) {
        let current = self.ssh.as_ref().map(|ssh| ssh.number);
        match input {
            Input::Line(number, line) if Some(number) == current => {
                self.tunnel.handle_stderr(&line)
            }
            Input::Silence(number) if Some(number) == current => {
                if let Some(ssh) = &mut self.ssh {
                    ssh.silent = true;
                }
            }
            // Of one that has ended.
            Input::Line(..) | Input::Silence(_) => {}
            Input::Stop => self.tunnel.stop(Instant::now()),
        }
    }

    fn see_whether_ssh_ended(&mut self) {
        let Some(ssh) = &mut self.ssh else {
            return;
        };
        let exit = match ssh.child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => exit_of(status),
            Err(_) => Exit::Unknown,
        };
        let end = Instant::now() + LAST_WORDS;
        while self.ssh.as_ref().is_some_and(|ssh| !ssh.silent) {
            match self
                .inputs
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(input) => self.take(input),
                Err(_) => break,
            }
        }
        self.ssh = None;
        self.socket = None;
        self.tunnel.handle_exit(Instant::now(), exit);
    }

    /// Once a second: whether the listener is still the same, and whether anybody uses the tunnel.
    fn look_after(&mut self, now: Instant) {
        if let (Some(port), Some(socket)) = (self.tunnel.open_port(), self.socket)
            && let Some(mark) = self.ssh.as_ref().and_then(|ssh| ssh.mark.as_ref())
            && process::is_running(mark)
            && listener::look(port, mark) != Seen::Ours(socket)
        {
            self.tunnel.handle_listener_lost(now);
        }
        if self.closing.is_some() {
            return;
        }
        match self.files.without_users() {
            None => {
                self.used_at = now;
                self.tunnel.handle_wanted(now);
            }
            Some(lock) => {
                if let Holder::UntilIdle(idle) = self.options.holder
                    && now.saturating_duration_since(self.used_at) >= idle
                {
                    // From now on nobody joins.
                    self.closing = Some(lock);
                    self.tunnel.stop(now);
                }
            }
        }
    }

    /// Writes down what became of the tunnel.
    fn note(&mut self, event: &Event) {
        let wall = os::now().wall;
        let record = &mut self.record;
        let state = match event {
            Event::Opening { port } => {
                record.local_port = Some(*port);
                record.ssh = self.ssh.as_ref().and_then(|ssh| ssh.mark.clone());
                TunnelState::Opening
            }
            Event::Open { port } => {
                record.local_port = Some(*port);
                TunnelState::Open
            }
            Event::Trouble(_) => record.state,
            Event::Lost { .. } => {
                record.reopened += u32::from(record.state == TunnelState::Open);
                record.ssh = None;
                TunnelState::Waiting
            }
            Event::GaveUp(_) => {
                record.ssh = None;
                TunnelState::Failed
            }
            Event::Stopped => return,
        };
        match event {
            Event::Trouble(failure) | Event::Lost { failure, .. } | Event::GaveUp(failure) => {
                record.last_error = Some(LastError {
                    at_ms: wall,
                    failure: failure.clone(),
                });
            }
            Event::Opening { .. } | Event::Open { .. } | Event::Stopped => {}
        }
        if record.state != state {
            record.state = state;
            record.since_ms = wall;
        }
        // Others then see an older record, and the listener tells them that it is old.
        let _ = self.files.write(record);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(ssh) = &mut self.ssh {
            // Only after a failure of this process is there one left.
            let _ = ssh.child.kill();
            let _ = ssh.child.wait();
        }
    }
}

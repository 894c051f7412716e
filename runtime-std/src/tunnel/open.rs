//! Using a tunnel: find it, have it opened, and prove whose it is.

use std::{
    fs::File,
    io::{self, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use clawgate_core::{
    credentials::env_name,
    policy::SecretKind,
    time::{WallTime, millis},
    tunnel::{
        FailureKind, KeepAlive, ProcessMark, Through, TunnelFailure, TunnelKeeper, TunnelRecord,
        TunnelSpec, TunnelState,
    },
};

use super::{
    files::{Held, TunnelFiles},
    hold::HoldRequest,
    listener::{self, Seen, Socket},
};
use crate::{
    budget::{Budget, Interrupt},
    error::Problem,
    os,
};

/// How often the record is read while somebody opens the tunnel.
const PAUSE: Duration = Duration::from_millis(20);

/// How long is waited for the word of `ssh` about a connection that came to nothing.
const LAST_WORD: Duration = Duration::from_millis(400);

/// Holders that are started for one attempt. A second one is needed where the first came while another
/// was just ending.
const MAX_STARTS: u32 = 3;

/// An open tunnel. As long as this lives, it is not closed for want of use.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) port: u16,
    ssh: ProcessMark,
    socket: Socket,
    files: TunnelFiles,
    spec: TunnelSpec,
    since: WallTime,
    _user: Option<File>,
}

/// Finds the tunnel open, or has it opened.
pub(crate) fn open(tunnel: &Through, budget: &Budget) -> Result<Way, Problem> {
    let Some(keeper) = &tunnel.keeper else {
        return Err(failed(
            TunnelFailure::new(FailureKind::NotHeld, ""),
            &tunnel.spec,
        ));
    };
    let mut opener = Opener {
        spec: &tunnel.spec,
        keeper,
        files: TunnelFiles::of(&keeper.folder, &tunnel.spec),
        since: os::now().wall,
        holder: None,
        starts: 0,
        service: keeper
            .service
            .clone()
            .filter(|service| service.spec == tunnel.spec)
            .map(|service| service.alias),
    };
    let narrower;
    let budget = match keeper.open_within {
        Some(share) => {
            narrower = budget.at_most(share);
            &narrower
        }
        None => budget,
    };
    let mut user = None;
    loop {
        match opener.attempt(&mut user) {
            Ok(Some(way)) => return Ok(way),
            Ok(None) => {}
            Err(failure) => return Err(failed(failure, &tunnel.spec)),
        }
        match budget.check() {
            Ok(()) => {}
            Err(Interrupt::Cancelled) => return Err(Problem::Cancelled),
            Err(Interrupt::Deadline) => return Err(opener.late()),
        }
        thread::sleep(PAUSE.min(budget.remaining().unwrap_or(PAUSE)));
    }
}

/// Opens a tunnel, if it is not open, and gives the port where it ends on this machine. It stays open as the
/// keeper says.
///
/// # Errors
/// Why it cannot be opened; [`FailureKind::NotListening`] where there is no time left.
pub fn try_tunnel(tunnel: &Through, within: Duration) -> Result<u16, TunnelFailure> {
    let budget = Budget::new(Some(within), &crate::budget::Cancel::new());
    match open(tunnel, &budget) {
        Ok(way) => Ok(way.port),
        Err(Problem::Tunnel { failure, .. }) => Err(failure),
        Err(other) => Err(TunnelFailure::new(
            FailureKind::NotListening,
            other.to_string(),
        )),
    }
}

/// Whether the `ssh` of a service holds this tunnel now: its number.
pub fn service_holds(spec: &TunnelSpec, alias: &str) -> Option<u32> {
    listener::service(spec.local_port, alias).map(|(ssh, _)| ssh.pid)
}

fn failed(failure: TunnelFailure, spec: &TunnelSpec) -> Problem {
    Problem::Tunnel {
        failure,
        spec: Box::new(spec.clone()),
    }
}

fn cannot_start(error: &io::Error) -> TunnelFailure {
    TunnelFailure::new(FailureKind::CannotStart, crate::dial::plain(error))
}

struct Opener<'a> {
    spec: &'a TunnelSpec,
    keeper: &'a TunnelKeeper,
    files: TunnelFiles,
    since: WallTime,
    /// A holder that was started for this: its number, and how it ends.
    holder: Option<(u32, Receiver<Option<ExitStatus>>)>,
    starts: u32,
    service: Option<String>,
}

impl Opener<'_> {
    fn attempt(&mut self, user: &mut Option<File>) -> Result<Option<Way>, TunnelFailure> {
        if user.is_none() {
            // While the holder is ending, nobody can join; the next one lets everybody in.
            *user = self
                .files
                .join_users()
                .map_err(|error| cannot_start(&error))?;
        }
        if user.is_none() {
            return Ok(None);
        }
        if let Some(way) = self.by_service() {
            return Ok(Some(Way {
                _user: user.take(),
                ..way
            }));
        }
        let held = self.files.held();
        let record = self
            .files
            .record()
            .filter(|record| record.spec == *self.spec);
        if held == Held::No {
            return self.have_it_held(record).map(|()| None);
        }
        let Some(record) = record else {
            return Ok(None);
        };
        if let Some(failure) = self.news(&record) {
            return Err(failure);
        }
        let (TunnelState::Open, Some(port), Some(ssh)) =
            (record.state, record.local_port, record.ssh)
        else {
            return Ok(None);
        };
        let Seen::Ours(socket) = listener::look(port, &ssh) else {
            // The holder will find out, too.
            return Ok(None);
        };
        Ok(user.take().map(|user| Way {
            port,
            ssh,
            socket,
            files: self.files.clone(),
            spec: self.spec.clone(),
            since: os::now().wall,
            _user: Some(user),
        }))
    }

    /// The tunnel that the system's service manager holds. It is looked for once.
    fn by_service(&mut self) -> Option<Way> {
        let alias = self.service.take()?;
        let port = self.spec.local_port;
        let (ssh, socket) = listener::service(port, &alias)?;
        Some(Way {
            port,
            ssh,
            socket,
            files: self.files.clone(),
            spec: self.spec.clone(),
            since: os::now().wall,
            _user: None,
        })
    }

    /// What the holder says that went wrong since somebody waits for it.
    fn news(&self, record: &TunnelRecord) -> Option<TunnelFailure> {
        let is_down = matches!(record.state, TunnelState::Failed | TunnelState::Waiting);
        let last = record.last_error.as_ref()?;
        // That one which stood was lost is not why the next one cannot be opened.
        let is_past = matches!(
            last.failure.kind(),
            FailureKind::Lost | FailureKind::Silent | FailureKind::Stranger
        );
        let is_new = last.at_ms >= self.since && !(is_past && record.state == TunnelState::Waiting);
        (is_down && is_new).then(|| last.failure.clone())
    }

    /// Nobody holds the tunnel: tells why, or starts a holder.
    fn have_it_held(&mut self, record: Option<TunnelRecord>) -> Result<(), TunnelFailure> {
        if let Some((pid, end)) = &self.holder {
            let pid = *pid;
            let Ok(status) = end.try_recv() else {
                // It has not taken the lock yet, or has just let it go.
                return Ok(());
            };
            self.holder = None;
            let told = record.as_ref().and_then(|record| self.news(record));
            if let Some(failure) = told {
                return Err(failure);
            }
            let is_its = record.is_some_and(|record| record.keeper.pid == pid);
            let failed = status.is_none_or(|status| !status.success());
            if failed && !is_its {
                let how = status.map_or_else(String::new, |status| status.to_string());
                let said = format!("the holder of the tunnel ended: {how}");
                return Err(TunnelFailure::new(FailureKind::CannotStart, said));
            }
        } else if let Some(failure) = record.as_ref().and_then(|record| self.news(record)) {
            return Err(failure);
        }
        if self.starts >= MAX_STARTS {
            let said = "it was ended each time";
            return Err(TunnelFailure::new(FailureKind::NotHeld, said));
        }
        self.starts += 1;
        self.start_holder().map_err(|error| cannot_start(&error))
    }

    fn start_holder(&mut self) -> io::Result<()> {
        let request = HoldRequest {
            folder: self.keeper.folder.clone(),
            spec: self.spec.clone(),
            idle_ms: Some(millis(self.keeper.idle)),
            keep_alive: KeepAlive::default(),
        };
        let mut child = spawn_holder(self.keeper, &request)?;
        let (sender, end) = channel();
        self.holder = Some((child.id(), end));
        thread::Builder::new()
            .name("clawgate-tunnel".into())
            .spawn(move || {
                // Whoever asked may be gone; then the holder is somebody else's child soon.
                let _ = sender.send(child.wait().ok());
            })?;
        Ok(())
    }

    /// There is no time left. What the holder said last is worth more than that.
    fn late(&self) -> Problem {
        let last = self.files.record().and_then(|record| {
            let is_down = record.state != TunnelState::Open;
            record.last_error.filter(|_| is_down)
        });
        match last {
            Some(last) => failed(last.failure, self.spec),
            None => Problem::Deadline,
        }
    }
}

/// Starts the program that holds tunnels, and tells it which. It gets no secret: not as an argument, not
/// as input, and not by its environment.
///
/// # Errors
/// When it cannot be started.
pub fn spawn_holder(keeper: &TunnelKeeper, request: &HoldRequest) -> io::Result<Child> {
    let mut command = Command::new(&keeper.program);
    command
        .args(&keeper.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for kind in [SecretKind::Token, SecretKind::Password] {
        command.env_remove(env_name(kind));
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&serde_json::to_vec(request)?)?;
    }
    Ok(child)
}

impl Way {
    /// Whether the listener is still the one that it was. Where it is, a connection that was made in
    /// between was made to it: a port has one listener at a time, and a socket that was closed does not
    /// come back.
    pub(crate) fn prove(&self) -> Result<(), Problem> {
        if listener::look(self.port, &self.ssh) == Seen::Ours(self.socket) {
            Ok(())
        } else {
            Err(failed(
                TunnelFailure::new(FailureKind::Stranger, ""),
                &self.spec,
            ))
        }
    }

    /// What `ssh` says about a connection that came to nothing, if it says something.
    pub(crate) fn explain(&self) -> Option<Problem> {
        let end = Instant::now() + LAST_WORD;
        loop {
            let last = self.files.record().and_then(|record| record.last_error);
            if let Some(last) = last.filter(|last| last.at_ms >= self.since) {
                return Some(failed(last.failure, &self.spec));
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(PAUSE);
        }
    }
}

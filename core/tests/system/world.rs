//! Time, the order of things, and what the host of each side does with it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use clawgate_core::{
    client,
    gateway::{EffectOutcome, Gateway},
    ids::{ConnId, EffectId},
    limits::Limits,
    server::{Event, ServerConn},
    time::{Now, WallTime},
};

use crate::{
    cast::{Card, SECRET_MARK},
    client::{Client, Dialling},
    dice::Dice,
    disk::{Disk, DiskManner},
    network::{Link, Manner, Wire},
    script::Op,
};

/// Steps that may happen at one moment.
const MAX_STEPS_AT_ONCE: usize = 20_000;

/// Conditions of a run.
#[derive(Clone)]
pub struct Setting {
    pub server: Limits,
    pub client: client::Limits,
    /// Milliseconds that a link takes for a message.
    pub delay: RangeInclusive<u64>,
    /// Bytes under way on a link, and bytes of one part of a message.
    pub window: usize,
    pub part: usize,
    /// Milliseconds that the gateway's host may keep an event of a connection.
    pub host_delay: u64,
    pub effects: Effects,
    pub disk: DiskManner,
    /// What happens at one moment happens in any order.
    pub shuffled: bool,
}

/// How the gateway's host carries out effects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effects {
    Honest,
    /// Late, failed, of the wrong kind, twice, or never.
    Moody,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            server: Limits {
                presence_ttl: Duration::from_secs(60),
                ..Limits::default()
            },
            client: client::Limits::default(),
            delay: 5..=5,
            window: 64 * 1024,
            part: 4096,
            host_delay: 0,
            effects: Effects::Honest,
            disk: DiskManner::Prompt,
            shuffled: false,
        }
    }
}

/// The gateway's side of a link.
pub struct Line {
    pub conn: ServerConn,
    /// Events that the host has not handed to the gateway yet.
    pub waiting: VecDeque<Event>,
    pub dropped: u64,
}

pub enum Task {
    /// The upgrade reaches the gateway.
    Accept(usize, Dialling),
    DialFailed(usize, Dialling),
    Dialled(usize, Dialling, ConnId),
    Effect(EffectId, EffectOutcome),
    Hand(ConnId),
    Op(Op),
    /// The gateway starts again.
    Start,
    /// The disk is through with a commit.
    Written,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    ClientTimer(usize),
    GatewayTimer,
    LineTimer(ConnId),
    Task(Instant, u64),
    ToClient(ConnId),
    ToServer(ConnId),
}

pub struct World {
    pub name: String,
    pub now: Now,
    pub dice: Dice,
    pub setting: Setting,
    pub gateway: Option<Gateway>,
    pub disk: Disk,
    pub lines: BTreeMap<ConnId, Line>,
    pub links: BTreeMap<ConnId, Link>,
    pub clients: Vec<Client>,
    /// No upgrade is answered before this moment.
    pub deaf_until: Instant,
    pub next_conn: u64,
    pub steps: usize,
    /// What happened at least once, so that a run that shows nothing is noticed.
    pub seen: BTreeSet<String>,
    steps_at_once: usize,
    tasks: BTreeMap<(Instant, u64), Task>,
    next_task: u64,
    trace: VecDeque<String>,
}

impl World {
    pub fn new(name: impl Into<String>, seed: u64, setting: Setting, cast: Vec<Card>) -> Self {
        #[allow(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
        let now = Now {
            mono: Instant::now(),
            wall: WallTime(1_737_264_000_000),
        };
        let mut dice = Dice::new(seed);
        let clients = cast
            .into_iter()
            .map(|card| Client::new(card, &setting, dice.seed(), now))
            .collect();
        let mut world = Self {
            name: name.into(),
            now,
            dice,
            gateway: None,
            disk: Disk::default(),
            setting,
            lines: BTreeMap::new(),
            links: BTreeMap::new(),
            clients,
            deaf_until: now.mono,
            next_conn: 0,
            steps: 0,
            seen: BTreeSet::new(),
            steps_at_once: 0,
            tasks: BTreeMap::new(),
            next_task: 0,
            trace: VecDeque::new(),
        };
        world.start();
        for client in 0..world.clients.len() {
            world.after_client_input(client);
        }
        world.settle();
        world
    }

    pub fn schedule(&mut self, after: Duration, task: Task) {
        let key = (self.now.mono + after, self.next_task);
        self.next_task += 1;
        self.tasks.insert(key, task);
    }

    /// Forgets tasks of the gateway's process.
    pub fn forget_host_tasks(&mut self) {
        self.tasks
            .retain(|_, task| !matches!(task, Task::Effect(..) | Task::Hand(_) | Task::Written));
    }

    /// Forgets what the script still had in store.
    pub fn forget_troubles(&mut self) {
        self.tasks
            .retain(|_, task| !matches!(task, Task::Op(_) | Task::Start));
    }

    pub fn delay(&mut self) -> Duration {
        self.dice.millis(self.setting.delay.clone())
    }

    pub fn link_manner(&mut self) -> Manner {
        Manner {
            delay: self.delay(),
            window: self.setting.window,
            part: self.setting.part,
        }
    }

    /// The client whose link the next step concerns.
    pub fn next_touches(&self) -> Option<ConnId> {
        match self.peek()?.1.first()? {
            Step::LineTimer(conn) | Step::ToClient(conn) | Step::ToServer(conn) => Some(*conn),
            Step::ClientTimer(client) => self.clients[*client].link,
            Step::GatewayTimer | Step::Task(..) => None,
        }
    }

    /// Does the next thing, unless it lies after `end`.
    pub fn step(&mut self, end: Instant) -> bool {
        let Some((at, steps)) = self.peek().filter(|(at, _)| *at <= end) else {
            self.pass_to(end);
            return false;
        };
        if at > self.now.mono {
            self.steps_at_once = 0;
        }
        self.steps_at_once += 1;
        assert!(
            self.steps_at_once < MAX_STEPS_AT_ONCE,
            "time stands still: {:?}",
            steps[0]
        );
        self.pass_to(at);
        let step = if self.setting.shuffled {
            self.dice.pick(&steps)
        } else {
            steps[0]
        };
        self.steps += 1;
        self.note(|| format!("{step:?}"));
        self.execute(step);
        self.settle();
        true
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while self.step(end) {}
    }

    /// Runs until the machines have nothing to do for a while.
    fn pass_to(&mut self, at: Instant) {
        self.now = self.now.after(at.saturating_duration_since(self.now.mono));
    }

    /// The earliest moment, and all that happens then.
    fn peek(&self) -> Option<(Instant, Vec<Step>)> {
        let tasks = self
            .tasks
            .keys()
            .map(|(at, number)| (*at, Step::Task(*at, *number)));
        let to_server = self.links.iter().filter_map(|(conn, link)| {
            let at = link.to_server.next_arrival()?;
            Some((at, Step::ToServer(*conn)))
        });
        let to_client = self.links.iter().filter_map(|(conn, link)| {
            let at = link.to_client.next_arrival()?;
            Some((at, Step::ToClient(*conn)))
        });
        let lines = self
            .lines
            .iter()
            .filter_map(|(conn, line)| Some((line.conn.poll_timeout()?.0, Step::LineTimer(*conn))));
        let gateway = self
            .gateway
            .iter()
            .filter_map(|gateway| Some((gateway.poll_timeout()?.0, Step::GatewayTimer)));
        let clients = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(number, client)| Some((client.deadline()?, Step::ClientTimer(number))));
        let mut first: Option<(Instant, Vec<Step>)> = None;
        for (at, step) in tasks
            .chain(to_server)
            .chain(to_client)
            .chain(lines)
            .chain(gateway)
            .chain(clients)
        {
            let at = at.max(self.now.mono);
            match &mut first {
                Some((earliest, steps)) if *earliest == at => steps.push(step),
                Some((earliest, _)) if *earliest < at => {}
                Some(_) | None => first = Some((at, vec![step])),
            }
        }
        first
    }

    fn execute(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::ClientTimer(client) => self.client_timeout(client),
            Step::GatewayTimer => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.handle_timeout(now);
                }
                self.carry();
                let next = self.gateway.as_ref().and_then(Gateway::poll_timeout);
                assert!(next.is_none_or(|(at, _)| at > now.mono), "{next:?}");
            }
            Step::LineTimer(conn) => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.conn.handle_timeout(now);
                    let next = line.conn.poll_timeout();
                    assert!(next.is_none_or(|(at, _)| at > now.mono), "{next:?}");
                }
                self.after_line_input(conn);
            }
            Step::Task(at, number) => {
                if let Some(task) = self.tasks.remove(&(at, number)) {
                    self.perform(task);
                }
            }
            Step::ToClient(conn) => {
                let wire = self.links.get_mut(&conn).and_then(|link| {
                    let wire = link.to_client.arrive();
                    wire.filter(|_| !link.client_gone)
                });
                if let Some(wire) = wire {
                    self.client_receives(conn, wire);
                }
            }
            Step::ToServer(conn) => {
                let wire = self.links.get_mut(&conn).and_then(|link| {
                    let wire = link.to_server.arrive();
                    wire.filter(|_| !link.server_gone)
                });
                if let Some(wire) = wire {
                    self.server_receives(conn, wire);
                }
            }
        }
    }

    fn perform(&mut self, task: Task) {
        match task {
            Task::Accept(client, dialling) => self.accept(client, dialling),
            Task::DialFailed(client, dialling) => self.dial_failed(client, dialling),
            Task::Dialled(client, dialling, conn) => self.dialled(client, dialling, conn),
            Task::Effect(id, outcome) => {
                let now = self.now;
                if let Some(gateway) = &mut self.gateway {
                    gateway.complete(now, id, outcome);
                }
                self.carry();
            }
            Task::Hand(conn) => self.hand(conn),
            Task::Op(op) => self.operate(op),
            Task::Start => self.start(),
            Task::Written => self.written(),
        }
    }

    /// Moves what can move now, on both sides, and looks at the limits.
    pub fn settle(&mut self) {
        let clients = 0..self.clients.len();
        for client in clients {
            self.client_writes(client);
        }
        let conns: Vec<ConnId> = self.lines.keys().copied().collect();
        for conn in conns {
            self.line_writes(conn);
        }
        self.end_of_shutdown();
        self.links
            .retain(|_, link| !(link.client_gone && link.server_gone));
        for line in self.lines.values() {
            assert!(line.conn.buffered() <= self.setting.server.max_buffered_bytes);
            assert!(line.conn.in_flight() <= self.setting.server.max_in_flight);
        }
        if let Some(gateway) = &self.gateway {
            assert_eq!(gateway.connections(), self.lines.len());
        }
    }

    pub fn saw(&mut self, what: impl Into<String>) {
        self.seen.insert(what.into());
    }

    /// A note for whoever reads a failure.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.trace.len() >= 60 {
            self.trace.pop_front();
        }
        self.trace.push_back(what());
    }
}

impl Drop for World {
    /// Says which run failed, and what came before.
    #[allow(clippy::print_stderr, reason = "for whoever reads a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: failed at step {}, after", self.name, self.steps);
            for line in &self.trace {
                eprintln!("  {line}");
            }
        }
    }
}

/// Checks that nothing secret stands in a text.
pub fn assert_no_secret(what: impl fmt::Display) {
    let text = what.to_string();
    assert!(!text.contains(SECRET_MARK), "a secret stands in {text}");
}

/// Checks that nothing secret is shown.
pub fn assert_shows_no_secret(what: &impl fmt::Debug) {
    assert_no_secret(format_args!("{what:?}"));
}

/// Says what is shown of a wire, for the trace.
pub fn show(wire: &Wire) -> String {
    match wire {
        Wire::Close { code, reason } => format!("close {code:?} {reason}"),
        Wire::Fin => "fin".into(),
        Wire::Ping => "ping".into(),
        Wire::Pong => "pong".into(),
        Wire::Text(text) => text.chars().take(100).collect(),
    }
}

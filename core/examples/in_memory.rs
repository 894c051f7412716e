//! A gateway and a client that talk through memory: no socket, no thread, no clock.
//!
//! It shows what a host has to do for the machines, all of it:
//!
//! 1. read the clocks and make random seeds, since the core does neither;
//! 2. carry what one side wants to send (`poll_transmit`) to the other side (`handle_*`);
//! 3. after every input, carry out what came of it (`poll_event`, `poll_delivery`, `poll_effect`,
//!    `poll_commit`);
//! 4. wake the machines when `poll_timeout` says so (`handle_timeout`).
//!
//! Here time is a variable: two minutes of ticks and pings pass at once, and every run prints the
//! same frames.
//!
//! `cargo run -p clawgate-core --example in_memory`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{error::Error, sync::Arc, time::Duration};

use clawgate_core::{
    client::{self, Call, ClientConn, Profile, Route, Target},
    device::DeviceIdentity,
    frame::RawJson,
    gateway::{
        AdmissionPolicy, Effect, EffectOutcome, EffectRequest, Gateway, GatewaySetup, HostInfo,
        ProcessStats,
    },
    ids::ConnId,
    job::{JobEvent, JobFailure, Reached},
    limits::Limits,
    policy::{AuthRule, Endpoint, Scheme},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
    server::{PeerFacts, ServerConn},
    store::MemoryStore,
    time::{Now, WallTime},
    transmit::Transmit,
};

/// The gateway knows its connections by numbers that the host gives out.
const CONN: ConnId = ConnId(1);

/// The calendar time at which virtual time begins, in milliseconds.
const START: WallTime = WallTime(1_767_225_600_000);

fn main() -> Result<(), Box<dyn Error>> {
    let mut world = World::new()?;

    // Challenge, connect, hello.
    world.settle()?;
    assert_eq!(world.count("hello"), 1);

    // A call that the gateway answers from what it knows.
    world.call("health")?;
    assert_eq!((world.count("answer"), world.count("effect")), (1, 0));

    // A call that needs something from outside: it becomes an effect for the host.
    world.call("status")?;
    assert_eq!((world.count("answer"), world.count("effect")), (2, 1));

    // Time passes: ticks every 30 s, pings every 25 s, and nobody gives up.
    world.advance(Duration::from_secs(120))?;
    assert_eq!((world.count("tick"), world.count("ping")), (4, 4));

    // The orderly end.
    world.gateway.shutdown(world.now, "the example is over");
    world.settle()?;
    assert_eq!(world.count("shutdown"), 1);
    assert_eq!(
        world.count("the gateway closed the connection (1012): service restart"),
        1
    );
    Ok(())
}

/// Both hosts in one: the gateway's process and the client's.
struct World {
    now: Now,
    gateway: Gateway,
    server: ServerConn,
    client: ClientConn,
    /// What happened, for the checks in `main`.
    happened: Vec<String>,
    /// Effects that the gateway's host has to carry out.
    work: Vec<EffectRequest>,
    store: MemoryStore,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        // A real host reads both clocks whenever something happens. Here one is read once, for an
        // `Instant` comes from nowhere else; from here on time is made up.
        #[allow(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
        let now = Now {
            mono: std::time::Instant::now(),
            wall: START,
        };
        let limits = Arc::new(Limits::default());
        let setup = GatewaySetup {
            limits: Arc::clone(&limits),
            // No secret is asked for: a client from this machine that shows a device may come in.
            admission: AdmissionPolicy::new(AuthRule::None),
            host: HostInfo::new("1.0.0", "memory"),
            // Real hosts keep keys in files.
            identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
        };
        // Seeds must come from the operating system. These make the run repeatable.
        let mut gateway = Gateway::new(setup, [2; 32], now);

        // "A socket was accepted": the gateway may refuse it. Then the connection's machine, which
        // has the challenge ready to send.
        let peer = PeerFacts::direct([127, 0, 0, 1].into());
        gateway.open(CONN, peer.ip)?;
        let server = ServerConn::new(limits, peer, [3; 32], now);

        // "The socket is open", on the other side. The place would be where to dial.
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18_789));
        let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1.0.0", "linux");
        let profile = Profile {
            device: Some(Arc::new(DeviceIdentity::from_seed(&[5; 32]))),
            ..Profile::operator(info, vec!["operator.read".into()])
        };
        let target = Target::new(route, AuthParams::default(), None);
        let client = ClientConn::new(&target, profile, client::Limits::default(), [4; 32], now);
        Ok(Self {
            now,
            gateway,
            server,
            client,
            happened: Vec::new(),
            work: Vec::new(),
            store: MemoryStore::default(),
        })
    }

    fn call(&mut self, method: &str) -> Result<(), Box<dyn Error>> {
        let call = Call::new(method, RawJson::empty_object());
        self.client.request(self.now, call)?;
        self.settle()
    }

    /// Carries values until none moves any more.
    fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            self.host_gateway();
            self.host_client();
            if let Some(sent) = self.server.poll_transmit() {
                self.show("gateway -> client", &sent);
                match sent {
                    Transmit::Text(text) => {
                        // "Written to the socket": frees the outbound buffer.
                        self.server.handle_written(text.len());
                        self.client.handle_text(self.now, text)?;
                    }
                    Transmit::Close { code, reason } => {
                        self.client.handle_close(Some(code.code()), reason.as_str());
                        self.server.handle_closed();
                        self.gateway.close(self.now, CONN);
                    }
                    // WebSocket libraries answer pings by themselves; memory does not.
                    Transmit::Ping => {
                        self.happened.push("ping".into());
                        self.server.handle_pong();
                    }
                    Transmit::Terminate => return Ok(()),
                }
            } else if let Some(sent) = self.client.poll_transmit() {
                self.show("client -> gateway", &sent);
                if let Transmit::Text(text) = sent {
                    self.server.handle_text(self.now, text)?;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Brings what the connection has to say to the gateway, and does what the gateway needs.
    fn host_gateway(&mut self) {
        self.drain_gateway();
        while let Some(event) = self.server.poll_event() {
            self.gateway.handle_event(self.now, CONN, event);
            self.drain_gateway();
        }
        // Reading files would belong on another thread.
        while let Some(request) = self.work.pop() {
            self.happened.push("effect".into());
            let outcome = match request.effect {
                Effect::ReadProcess => EffectOutcome::Process(ProcessStats { rss_bytes: 4096 }),
                Effect::ReadTranscript(query) => {
                    EffectOutcome::Transcript(self.store.query(&query))
                }
                // This host neither asks the network nor runs programs, and says so.
                Effect::FeedJob(..) | Effect::StopJob(_) | Effect::ReleaseLock(_) => continue,
                Effect::StartJob(_) => {
                    let failure = JobFailure {
                        reached: Reached::No,
                        message: "no jobs here".into(),
                    };
                    self.gateway
                        .handle_job(self.now, request.id, JobEvent::Failed(failure));
                    self.drain_gateway();
                    continue;
                }
                Effect::HoldLock(_)
                | Effect::KeepExecApprovals { .. }
                | Effect::KeepToken(_)
                | Effect::ReadConfig
                | Effect::ReadExecApprovals
                | Effect::ReadSecrets
                | Effect::SampleHost
                | Effect::TailLog(_)
                | Effect::Whois(_) => EffectOutcome::Failed("no files".into()),
            };
            self.gateway.complete(self.now, request.id, outcome);
            self.drain_gateway();
        }
    }

    /// Must follow every input of the gateway. With many connections, the id says which is meant.
    fn drain_gateway(&mut self) {
        loop {
            while let Some((_, delivery)) = self.gateway.poll_delivery() {
                self.server.deliver(self.now, delivery);
            }
            self.work
                .extend(std::iter::from_fn(|| self.gateway.poll_effect()));
            // A real host reports a commit when it is on disk. Here it is kept in memory.
            let Some(commit) = self.gateway.poll_commit() else {
                return;
            };
            self.store.apply(&commit);
            self.gateway.handle_committed(self.now, commit.id, Ok(()));
        }
    }

    /// Must follow every input of the client.
    fn host_client(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                client::Event::Hello(_) => self.happened.push("hello".into()),
                client::Event::Answer { outcome: Ok(_), .. } => self.happened.push("answer".into()),
                client::Event::Answer { outcome, .. } => println!("failed: {outcome:?}"),
                client::Event::Event(event) => self.happened.push(event.event.to_string()),
                client::Event::Ended(ending) => self.happened.push(ending.to_string()),
                client::Event::Accepted { .. } | client::Event::Gap(_) => {}
            }
        }
    }

    /// Lets time pass, from deadline to deadline.
    fn advance(&mut self, by: Duration) -> Result<(), Box<dyn Error>> {
        let end = self.now.after(by);
        loop {
            let deadlines = [
                self.gateway.poll_timeout().map(|(at, _)| at),
                self.server.poll_timeout().map(|(at, _)| at),
                self.client.poll_timeout().map(|(at, _)| at),
            ];
            let next = deadlines.into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end.mono) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            // Waking a machine that has nothing to do is harmless.
            self.gateway.handle_timeout(self.now);
            self.drain_gateway();
            self.server.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
            self.settle()?;
        }
    }

    fn count(&self, what: &str) -> usize {
        self.happened.iter().filter(|name| *name == what).count()
    }

    fn show(&self, direction: &str, sent: &Transmit) {
        let at = self.now.wall.0 - START.0;
        let what = match sent {
            Transmit::Text(text) => text.chars().take(110).collect(),
            Transmit::Close { .. } | Transmit::Ping | Transmit::Terminate => format!("{sent:?}"),
        };
        println!("{at:>7} ms  {direction}  {what}");
    }
}

//! The gateway machine: inputs and outputs.

use core::net::IpAddr;
use std::{collections::BTreeMap, time::Instant};

use super::{
    EffectOutcome, EffectRequest, GatewaySetup, HttpAnswer, Phase, PresenceEntry,
    approvals::ApprovalBook,
    audit::Audit,
    bucket::Bucket,
    calls::CallState,
    channels::{Accounts, ChannelBook, ChannelHealth},
    clients::Conn,
    deadlines::{HEALTH_INTERVAL, Timer},
    dedupe::Dedupe,
    devices::DeviceBook,
    health::Health,
    http,
    invites::InviteBook,
    metrics::EndedWork,
    nodes::Nodes,
    outputs::Outputs,
    past_events::PastEvents,
    presence::Presence,
    rotation::Rotation,
    runs::RunBook,
    sessions::{SessionBook, Subscriptions},
    settings::Settings,
    system_events::SystemEvents,
    waiting::Pending,
    whois::WhoisDesk,
};
use crate::{
    agent::{Agent, Agents, PerAgent, builtin::BuiltinAgent},
    channel::PostId,
    ids::{ConnId, EffectId},
    metrics::{CallResult, CommitResult, Metrics},
    policy::RateLimiter,
    rng::{Rng, Seed},
    server::{Delivery, Event, Refusal},
    store::{Commit, CommitId, Row, StoreFailure},
    time::{Now, Timers},
    trace::Span,
};

/// The gateway, apart from its sockets.
///
/// After each input, drain [`Gateway::poll_delivery`], [`Gateway::poll_effect`] and
/// [`Gateway::poll_commit`] until they give `None`, then re-arm [`Gateway::poll_timeout`]. Debug
/// builds assert that this was done. Deliveries must reach their connections in the order in which
/// they come out, and commits the disk.
#[derive(Debug)]
pub struct Gateway {
    pub(super) setup: GatewaySetup,
    pub(super) rng: Rng,
    pub(super) phase: Phase,
    pub(super) presence: Presence,
    pub(super) health: Health,
    pub(super) dedupe: Dedupe,
    pub(super) failures: RateLimiter,
    pub(super) calls: CallState,
    pub(super) devices: DeviceBook,
    pub(super) invites: InviteBook,
    pub(super) nodes: Nodes,
    pub(super) rotation: Rotation,
    pub(super) approvals: ApprovalBook,
    pub(super) settings: Settings,
    pub(super) system_events: SystemEvents,
    pub(super) sessions: SessionBook,
    pub(super) subscriptions: Subscriptions,
    pub(super) runs: RunBook,
    pub(super) agent: Box<dyn Agent>,
    pub(super) channels: ChannelBook,
    pub(super) accounts: Accounts,
    pub(super) posts: http::Posts,
    pub(super) events: PastEvents,
    pub(super) audit: Audit,
    /// How often the operator is told of refused proxies.
    pub(super) warnings: Bucket,
    pub(super) whois: WhoisDesk,
    pub(super) boot_id: String,
    pub(super) started: Instant,
    pub(super) metrics: Metrics,
    pub(super) ended: EndedWork,
    /// The time of the last input, or what the host said since.
    pub(super) clock: Instant,
    /// To which trace belongs what this input causes.
    pub(super) span: Option<Span>,
    pub(super) out: Outputs,
    /// Refusals that are held back, so that guessing is slow.
    pub(super) late: BTreeMap<(Instant, ConnId), Box<Refusal>>,
    /// The newest commit that was given out before the last failure.
    pub(super) failed_until: Option<CommitId>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) pre_auth: BTreeMap<IpAddr, usize>,
    pub(super) pending: BTreeMap<EffectId, Pending>,
    pub(super) timers: Timers<Timer>,
}

impl Gateway {
    /// Starts serving at `now`, with nothing kept from earlier.
    pub fn new(setup: GatewaySetup, seed: Seed, now: Now) -> Self {
        Self::restore(setup, &[], seed, now)
    }

    /// Starts serving at `now`, with the rows of the last run. Rows that cannot be read are left
    /// alone and named in the health payload.
    pub fn restore(setup: GatewaySetup, rows: &[Row], seed: Seed, now: Now) -> Self {
        let (devices, mut unreadable) = DeviceBook::restore(rows, now);
        let (invites, more) = InviteBook::restore(rows);
        unreadable.extend(more);
        let (nodes, more) = Nodes::restore(rows);
        unreadable.extend(more);
        let (max, ttl) = (setup.limits.max_dedupe, setup.limits.dedupe_ttl);
        let (dedupe, more) = Dedupe::restore(rows, now, max, ttl);
        unreadable.extend(more);
        let (rotation, more) = Rotation::restore(rows, &setup.identity, now);
        unreadable.extend(more);
        let mut out = Outputs::default();
        let (approvals, more) = ApprovalBook::restore(rows, &mut out.journal, now);
        unreadable.extend(more);
        let (settings, more) = Settings::restore(rows);
        unreadable.extend(more);
        let (sessions, more) = SessionBook::restore(rows, setup.limits.max_sessions);
        unreadable.extend(more);
        let (runs, more) = RunBook::restore(rows);
        unreadable.extend(more);
        let (channels, more) = ChannelBook::restore(rows);
        unreadable.extend(more);
        let mut rng = Rng::new(seed);
        let boot_id = rng.uuid();
        let host = &setup.host;
        let own = PresenceEntry {
            host: Some(host.hostname.clone()),
            version: Some(host.version.clone()),
            platform: Some(host.platform.clone()),
            device_family: Some(host.device_family.clone()),
            mode: Some("gateway".into()),
            reason: Some("self".into()),
            instance_id: Some(rng.uuid()),
            text: Some(format!(
                "Gateway: {} (version {})",
                host.hostname, host.version
            )),
            ts: now.wall,
            ..PresenceEntry::default()
        };
        let limits = &setup.limits;
        let mut timers = Timers::new();
        timers.arm(Timer::Tick, now.mono + limits.tick_interval);
        timers.arm(Timer::Health, now.mono + HEALTH_INTERVAL);
        Self {
            presence: Presence::new(own, limits.max_presence, limits.presence_ttl),
            health: Health::new(
                now,
                &setup.host,
                &sessions,
                unreadable,
                ChannelHealth::default(),
            ),
            dedupe,
            failures: RateLimiter::new(setup.admission.rate_limit),
            calls: CallState::default(),
            boot_id,
            started: now.mono,
            metrics: Metrics::default(),
            ended: EndedWork::default(),
            clock: now.mono,
            span: None,
            phase: Phase::Running,
            conns: BTreeMap::new(),
            pre_auth: BTreeMap::new(),
            pending: BTreeMap::new(),
            devices,
            invites,
            nodes,
            rotation,
            approvals,
            settings,
            system_events: SystemEvents::default(),
            sessions,
            subscriptions: Subscriptions::default(),
            runs,
            agent: Box::new(BuiltinAgent::new(PerAgent::default())),
            channels,
            accounts: Accounts::default(),
            posts: http::Posts::default(),
            events: PastEvents::default(),
            audit: Audit::new(now),
            warnings: Bucket::new(now.mono, http::WARNINGS, http::WARNING_PAUSE),
            whois: WhoisDesk::default(),
            out,
            late: BTreeMap::new(),
            failed_until: None,
            timers,
            rng,
            setup,
        }
    }

    /// Answers messages with this agent from now on; with the built-in one until then. Call it before
    /// anybody connects: runs of another agent are not taken over.
    #[must_use]
    pub fn with_agent(mut self, agent: Box<dyn Agent>) -> Self {
        self.agent = agent;
        self
    }

    /// Takes up another state of the agents' config, as after a change of their credentials.
    pub fn take_up_agents(&mut self, newer: Agents) {
        self.agent.take_up(newer);
    }

    /// A connection's event. One of a connection that is gone, or never was, comes to nothing.
    pub fn handle_event(&mut self, now: Now, conn: ConnId, event: Event) {
        self.assert_drained();
        match (event, self.conns.get(&conn)) {
            (Event::Connect(request), Some(Conn::Opened(_))) => self.connect(now, conn, request),
            (Event::Request { method, request }, Some(Conn::Admitted(_))) => {
                self.call(now, conn, method, request);
            }
            (Event::Refused { method, id, result }, Some(_)) => {
                self.call_refused(conn, method, id, result);
            }
            (Event::Connect(_) | Event::Refused { .. } | Event::Request { .. }, _) => {}
        }
        self.end_input(now);
    }

    /// The host did what an effect asked for.
    pub fn complete(&mut self, now: Now, effect: EffectId, outcome: EffectOutcome) {
        self.assert_drained();
        self.go_on(now, effect, outcome);
        self.finish_drain(now);
        self.end_input(now);
    }

    /// A commit, and with it all before, is durable; or it and all after it of its epoch failed,
    /// and nothing of them may come back. Reported once for each commit, in their order.
    pub fn handle_committed(
        &mut self,
        now: Now,
        commit: CommitId,
        outcome: Result<(), StoreFailure>,
    ) {
        debug_assert!(
            self.out.is_told(),
            "drain poll_delivery and poll_effect first"
        );
        let result = match &outcome {
            Ok(()) => CommitResult::Ok,
            Err(_) => CommitResult::Failed,
        };
        self.metrics.commit_done(now.mono, commit, result);
        match outcome {
            Ok(()) => {
                self.devices.settle(commit);
                self.invites.settle(commit);
                self.nodes.book.settle(commit);
                self.rotation.settle(commit);
                self.approvals.settle(commit);
                self.events.settle(commit);
                self.settings.settle(commit);
                self.sessions.settle(commit);
                self.runs.settle(commit);
                self.channels.settle(commit);
                self.dedupe.settle(commit);
                self.out.release(commit);
                self.steer_runs(now, commit);
                self.store_works(now, None);
                self.make_attempts(now, commit);
                self.recover(now);
            }
            // The first failure of an epoch took its followers along.
            Err(_) if self.failed_until.is_some_and(|until| commit <= until) => {}
            Err(failure) => {
                self.failed_until = Some(self.out.journal.last());
                self.devices.roll_back(commit, now);
                self.invites.roll_back(commit);
                self.nodes.book.roll_back(commit);
                self.roll_back_secret(commit);
                self.roll_back_approvals(commit, now);
                self.settings.roll_back(commit);
                self.sessions.roll_back(commit);
                self.runs.roll_back(commit);
                self.channels.roll_back(commit);
                self.drop_attempts(commit);
                self.events.roll_back(commit);
                self.dedupe.roll_back(commit, now);
                let undone = self.out.fail(&failure);
                // Whoever goes on from here has to know that nothing can be kept.
                self.store_works(now, Some(&failure));
                // Runs that did not begin have to be gone before anybody is told of their end.
                self.lose_runs(now);
                self.rewind_channels(now);
                for EffectRequest { id, effect } in undone {
                    if !self.lose_job_effect(now, id, effect, &failure) {
                        self.go_on(now, id, EffectOutcome::Failed(failure.to_string()));
                    }
                }
                self.fail_unsent_invokes(now, commit);
                self.drive_channels(now);
            }
        }
        self.finish_drain(now);
        self.end_input(now);
    }

    /// Health tells whether what the gateway is told can be kept.
    fn store_works(&mut self, now: Now, failure: Option<&StoreFailure>) {
        if self.health.set_store(failure) {
            self.refresh_health(now);
        }
    }

    /// The next value for a connection. Call it after every input until it gives `None`.
    pub fn poll_delivery(&mut self) -> Option<(ConnId, Delivery)> {
        let (conn, delivery) = self.out.poll_delivery()?;
        if let Delivery::Response { id, outcome } = &delivery {
            self.call_answered(conn, id, CallResult::of(outcome));
        }
        Some((conn, delivery))
    }

    /// The next answer to a request that came over HTTP. Call it after every input until it gives
    /// `None`.
    pub fn poll_answer(&mut self) -> Option<(PostId, HttpAnswer)> {
        loop {
            let (post, answer) = self.out.poll_answer()?;
            if self.posts.close(post) {
                return Some((post, answer));
            }
        }
    }

    /// The next piece of work. Call it after every input until it gives `None`.
    pub fn poll_effect(&mut self) -> Option<EffectRequest> {
        let request = self.out.poll_effect()?;
        self.count_effect(&request.effect);
        Some(request)
    }

    /// The next commit to make durable; report it by [`Gateway::handle_committed`]. Call it after
    /// every input until it gives `None`.
    pub fn poll_commit(&mut self) -> Option<Commit> {
        let commit = self.out.poll_commit()?;
        self.metrics.commit_given(self.clock, commit.id);
        Some(commit)
    }

    /// Where the gateway is in its life.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Connections, authenticated or not.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// What the gateway was started with.
    pub fn setup(&self) -> &GatewaySetup {
        &self.setup
    }

    /// Ends an input: what depends on connections that were told to go ends, too, and its changes
    /// become a commit.
    pub(super) fn end_input(&mut self, now: Now) {
        self.clock = self.clock.max(now.mono);
        self.span = None;
        self.settle_departed(now);
        self.take_decisions(now);
        let max = self.setup.limits.max_runs;
        self.runs.trim(&mut self.out.journal, max);
        self.trim_messages();
        self.out.seal();
    }

    pub(super) fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        self.out.deliver(conn, delivery);
    }

    pub(super) fn assert_drained(&self) {
        debug_assert!(
            self.out.is_drained(),
            "drain poll_delivery, poll_effect and poll_commit before the next input"
        );
    }
}

//! The gateway machine: inputs, outputs, and the table of connections.

use core::net::IpAddr;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Effect, EffectOutcome, EffectRequest, GatewaySetup, Phase, PresenceEntry,
    admission::Proof,
    audit::Audit,
    bucket::Bucket,
    calls::{CallState, PendingCall, SecretsCall},
    dedupe::Dedupe,
    devices::DeviceBook,
    health::Health,
    http,
    invites::InviteBook,
    outputs::Outputs,
    presence::Presence,
    rotation::Rotation,
    whois::WhoisDesk,
};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson, StateVersion},
    ids::{ConnId, EffectId},
    policy::{RateLimiter, Whois},
    protocol::{ClientInfo, CloseCode, CloseReason, Role, RpcError},
    rng::{Rng, Seed},
    scope::{Scope, ScopeSet},
    server::{Delivery, Event, Refusal},
    store::{Commit, CommitId, Row, StoreFailure},
    time::{Now, Timers},
};

/// Time for which presence changes are gathered into one event, so that a thousand clients that
/// come at once cause a few events and not a thousand.
const PRESENCE_PAUSE: Duration = Duration::from_millis(100);

/// How often the health payload is renewed (spec protocol §5.2).
const HEALTH_INTERVAL: Duration = Duration::from_secs(60);

/// Why the gateway wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The drain has taken long enough.
    Drain,
    /// An effect took too long.
    Effect,
    /// Health is to be renewed.
    Health,
    /// A refusal was held back long enough.
    LateRefusal,
    /// A pairing request ends without an answer.
    PairRequest,
    /// Presence changed and is to be told.
    Presence,
    /// A presence row has run out.
    PresenceExpiry,
    /// A replaced secret ends.
    RetiredSecret,
    /// A `tick` is due.
    Tick,
}

/// Why a connection is not taken at all. Told as HTTP 503 on the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    /// The gateway stops.
    #[error("gateway is stopping")]
    Stopping,
    /// This address has too many connections that have not authenticated.
    #[error("too many unauthenticated sockets")]
    TooManyFromAddress,
    /// There are too many connections in all.
    #[error("too many connections")]
    TooMany,
}

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
    pub(super) rotation: Rotation,
    pub(super) audit: Audit,
    /// How often the operator is told of refused proxies.
    pub(super) warnings: Bucket,
    pub(super) whois: WhoisDesk,
    pub(super) boot_id: String,
    pub(super) started: Instant,
    pub(super) out: Outputs,
    /// Refusals that are held back, so that guessing is slow.
    pub(super) late: Vec<(Instant, ConnId, Box<Refusal>)>,
    /// The newest commit that was given out before the last failure.
    failed_until: Option<CommitId>,
    conns: BTreeMap<ConnId, Conn>,
    pre_auth: BTreeMap<IpAddr, usize>,
    pending: BTreeMap<EffectId, Pending>,
    timers: Timers<Timer>,
}

/// A call that waits for a piece of work.
#[derive(Debug)]
pub(super) enum Waiter {
    Call(PendingCall),
    Secrets(SecretsCall),
}

impl Waiter {
    /// Whether it ends with this connection.
    fn is_of(&self, conn: ConnId) -> bool {
        match self {
            Self::Call(call) => call.conn == conn,
            Self::Secrets(call) => call.conn == conn && call.ends_with_caller(),
        }
    }
}

#[derive(Debug)]
struct Pending {
    waiter: Waiter,
    deadline: Instant,
}

#[derive(Debug)]
enum Conn {
    /// Not authenticated.
    Opened(IpAddr),
    Admitted(Box<Client>),
    /// Told to go; it is heard no more.
    Leaving(Box<Client>),
}

/// A client that is in.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) role: Role,
    pub(super) scopes: ScopeSet,
    pub(super) info: ClientInfo,
    pub(super) ip: IpAddr,
    /// How it came in.
    pub(super) proof: Proof,
    /// The device, or nothing for a client without one.
    pub(super) device_id: Option<String>,
    /// What a node claims to have; empty for operators.
    pub(super) caps: Vec<String>,
    /// Commands that a node claims.
    pub(super) commands: Vec<String>,
    /// Its presence row, if it has one.
    pub(super) presence_key: Option<String>,
    pub(super) since: crate::time::WallTime,
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
        let (max, ttl) = (setup.limits.max_dedupe, setup.limits.dedupe_ttl);
        let (dedupe, more) = Dedupe::restore(rows, now, max, ttl);
        unreadable.extend(more);
        let (rotation, more) = Rotation::restore(rows, &setup.identity, now);
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
            health: Health::new(now, &setup.host, unreadable),
            dedupe,
            failures: RateLimiter::new(setup.admission.rate_limit),
            calls: CallState::default(),
            boot_id,
            started: now.mono,
            phase: Phase::Running,
            conns: BTreeMap::new(),
            pre_auth: BTreeMap::new(),
            pending: BTreeMap::new(),
            devices,
            invites,
            rotation,
            audit: Audit::new(now),
            warnings: Bucket::new(now.mono, http::WARNINGS, http::WARNING_PAUSE),
            whois: WhoisDesk::default(),
            out: Outputs::default(),
            late: Vec::new(),
            failed_until: None,
            timers,
            rng,
            setup,
        }
    }

    /// A socket wants to become a connection.
    ///
    /// # Errors
    /// When a limit is reached or the gateway stops; the socket is to be told and dropped.
    pub fn open(&mut self, conn: ConnId, ip: IpAddr) -> Result<(), OpenRefusal> {
        self.assert_drained();
        let ip = ip.to_canonical();
        let limits = &self.setup.limits;
        if self.phase != Phase::Running {
            return Err(OpenRefusal::Stopping);
        }
        if self.conns.len() >= limits.max_connections {
            return Err(OpenRefusal::TooMany);
        }
        let max = if ip.is_loopback() {
            limits.max_pre_auth_loopback
        } else {
            limits.max_pre_auth_per_ip
        };
        let waiting = self.pre_auth.entry(ip).or_default();
        if *waiting >= max {
            return Err(OpenRefusal::TooManyFromAddress);
        }
        *waiting += 1;
        self.conns.insert(conn, Conn::Opened(ip));
        Ok(())
    }

    /// A connection's event. One of a connection that is gone, or never was, comes to nothing.
    pub fn handle_event(&mut self, now: Now, conn: ConnId, event: Event) {
        self.assert_drained();
        match (event, self.conns.get(&conn)) {
            (Event::Connect(request), Some(Conn::Opened(_))) => self.connect(now, conn, request),
            (Event::Request { method, request }, Some(Conn::Admitted(_))) => {
                self.call(now, conn, method, request);
            }
            (Event::Connect(_) | Event::Request { .. }, _) => {}
        }
        self.out.seal();
    }

    /// A connection is gone. Its calls are forgotten, its presence row runs out.
    pub fn close(&mut self, now: Now, conn: ConnId) {
        self.assert_drained();
        match self.conns.remove(&conn) {
            None => return,
            Some(Conn::Opened(ip)) => self.left_pre_auth(ip),
            Some(Conn::Admitted(client) | Conn::Leaving(client)) => {
                if let Some(key) = client.presence_key {
                    self.presence.disconnected(now, &key);
                    self.presence_changed(now);
                }
            }
        }
        self.pending
            .retain(|_, pending| !pending.waiter.is_of(conn));
        self.whois.forget(conn);
        self.late.retain(|(_, late, _)| *late != conn);
        self.calls.forget(conn);
        self.out.forget(conn);
        self.finish_drain(now);
        self.out.seal();
    }

    /// The host did what an effect asked for.
    pub fn complete(&mut self, now: Now, effect: EffectId, outcome: EffectOutcome) {
        self.assert_drained();
        self.go_on(now, effect, outcome);
        self.finish_drain(now);
        self.out.seal();
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
        match outcome {
            Ok(()) => {
                self.devices.settle(commit);
                self.invites.settle(commit);
                self.rotation.settle(commit);
                self.dedupe.settle(commit);
                self.out.release(commit);
                self.store_works(now, None);
            }
            // The first failure of an epoch took its followers along.
            Err(_) if self.failed_until.is_some_and(|until| commit <= until) => {}
            Err(failure) => {
                self.failed_until = Some(self.out.journal.last());
                self.devices.roll_back(commit, now);
                self.invites.roll_back(commit);
                self.roll_back_secret(commit);
                self.dedupe.roll_back(commit, now);
                for effect in self.out.fail(&failure) {
                    self.go_on(now, effect, EffectOutcome::Failed(failure.to_string()));
                }
                self.store_works(now, Some(&failure));
            }
        }
        self.finish_drain(now);
        self.out.seal();
    }

    /// Health tells whether what the gateway is told can be kept.
    fn store_works(&mut self, now: Now, failure: Option<&StoreFailure>) {
        if self.health.set_store(failure) {
            self.refresh_health(now);
        }
    }

    /// Whoever waits for an effect goes on with its outcome.
    fn go_on(&mut self, now: Now, effect: EffectId, outcome: EffectOutcome) {
        match self.pending.remove(&effect).map(|pending| pending.waiter) {
            Some(Waiter::Call(call)) => return self.resume(now, call, outcome),
            Some(Waiter::Secrets(call)) => return self.secrets_done(now, call, outcome),
            None => {}
        }
        let whois = match outcome {
            EffectOutcome::Whois(whois) => whois,
            EffectOutcome::Config(_)
            | EffectOutcome::Done
            | EffectOutcome::Failed(_)
            | EffectOutcome::Log(_)
            | EffectOutcome::Process(_)
            | EffectOutcome::Secrets(_) => Whois::Unknown,
        };
        let waiting = self.whois.answered(now.mono, effect, &whois);
        for (conn, request) in waiting.into_iter().flatten() {
            if matches!(self.conns.get(&conn), Some(Conn::Opened(_))) {
                self.conclude(now, conn, &request, &whois);
            }
        }
    }

    /// Acts on every timer that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.assert_drained();
        while let Some(timer) = self.next_timer().filter(|(at, _)| *at <= now.mono) {
            match timer.1 {
                Timer::Drain => self.finish_drain(now),
                Timer::Effect => self.expire_effects(now),
                Timer::Health => {
                    self.timers.arm(Timer::Health, now.mono + HEALTH_INTERVAL);
                    self.refresh_health(now);
                }
                Timer::LateRefusal => self.refuse_late(now),
                Timer::PairRequest => {
                    let ended = self.devices.expire(&mut self.out.journal, now.mono);
                    for request in ended {
                        self.tell_resolved(now, &request, "expired");
                        self.answer_upgrades(now, &request, "expired");
                    }
                }
                Timer::Presence => {
                    self.timers.disarm(Timer::Presence);
                    self.tell_presence();
                }
                Timer::PresenceExpiry => {
                    if self.presence.expire(now.mono) {
                        self.presence_changed(now);
                    }
                }
                Timer::RetiredSecret => self.expire_secrets(now),
                Timer::Tick => {
                    self.timers
                        .arm(Timer::Tick, now.mono + self.setup.limits.tick_interval);
                    if let Ok(payload) = RawJson::encode(&json!({ "ts": now.wall })) {
                        let event = OutboundEvent::new("tick", &payload, None, Droppable::Never);
                        self.broadcast(&event, None);
                    }
                }
            }
        }
        self.out.seal();
    }

    /// The next value for a connection. Call it after every input until it gives `None`.
    pub fn poll_delivery(&mut self) -> Option<(ConnId, Delivery)> {
        self.out.poll_delivery()
    }

    /// The next piece of work. Call it after every input until it gives `None`.
    pub fn poll_effect(&mut self) -> Option<EffectRequest> {
        self.out.poll_effect()
    }

    /// The next commit to make durable; report it by [`Gateway::handle_committed`]. Call it after
    /// every input until it gives `None`.
    pub fn poll_commit(&mut self) -> Option<Commit> {
        self.out.poll_commit()
    }

    /// When to call [`Gateway::handle_timeout`], and what for. It may change with every input.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.next_timer()
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

    pub(super) fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        self.out.deliver(conn, delivery);
    }

    /// Sends an event to everybody, or to operators that hold a scope (spec protocol §5.1).
    pub(super) fn broadcast(&mut self, event: &OutboundEvent, scope: Option<Scope>) {
        for (conn, state) in &self.conns {
            let Conn::Admitted(client) = state else {
                continue;
            };
            let wanted = scope
                .is_none_or(|scope| client.role == Role::Operator && client.scopes.allows(scope));
            if wanted {
                self.out.deliver(*conn, Delivery::Event(event.clone()));
            }
        }
    }

    pub(super) fn client(&self, conn: ConnId) -> Option<&Client> {
        match self.conns.get(&conn) {
            Some(Conn::Admitted(client)) => Some(client),
            Some(Conn::Opened(_) | Conn::Leaving(_)) | None => None,
        }
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.conns.values().filter_map(|conn| match conn {
            Conn::Admitted(client) => Some(&**client),
            Conn::Opened(_) | Conn::Leaving(_) => None,
        })
    }

    /// Sends the clients away that the test picks. From now on nothing that they say is heard.
    pub(super) fn dismiss(
        &mut self,
        code: CloseCode,
        reason: &str,
        picks: impl Fn(&Client) -> bool,
    ) {
        let picked: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| matches!(conn, Conn::Admitted(client) if picks(client)))
            .map(|(id, _)| *id)
            .collect();
        for conn in picked {
            if let Some(Conn::Admitted(client)) = self.conns.remove(&conn) {
                self.conns.insert(conn, Conn::Leaving(client));
            }
            self.pending
                .retain(|_, pending| !pending.waiter.is_of(conn));
            let reason = CloseReason::new(reason);
            self.out.deliver(conn, Delivery::Close { code, reason });
        }
    }

    pub(super) fn connection_ids(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
    }

    pub(super) fn wait_for(&mut self, now: Now, effect: Effect, waiter: Waiter) {
        let deadline = now.mono + self.setup.limits.effect;
        let id = self.out.effect(effect);
        self.pending.insert(id, Pending { waiter, deadline });
    }

    /// Whether a call changes the shared secret at this moment.
    pub(super) fn is_changing_secrets(&self) -> bool {
        self.pending
            .values()
            .any(|pending| matches!(pending.waiter, Waiter::Secrets(_)))
    }

    pub(super) fn has_pending_calls(&self) -> bool {
        !self.pending.is_empty() || self.out.is_waiting()
    }

    pub(super) fn fail_pending_calls(&mut self, message: &str) {
        for (_, Pending { waiter, .. }) in std::mem::take(&mut self.pending) {
            let (conn, id) = match waiter {
                Waiter::Call(call) => (call.conn, call.id),
                Waiter::Secrets(call) => (call.conn, call.id),
            };
            let outcome = Err(RpcError::retry_later(message, 1_000));
            self.deliver(conn, Delivery::Response { id, outcome });
        }
    }

    fn refuse_late(&mut self, now: Now) {
        let due = self
            .late
            .extract_if(.., |(at, _, _)| *at <= now.mono)
            .collect::<Vec<_>>();
        for (_, conn, refusal) in due {
            self.deliver(conn, Delivery::Refuse(refusal));
        }
    }

    fn refresh_health(&mut self, now: Now) {
        self.health.refresh(now, &self.setup.host);
        let payload = self.health.payload();
        let version = Some(self.state_version());
        let event = OutboundEvent::new("health", &payload, version, Droppable::IfSlow);
        self.broadcast(&event, None);
    }

    pub(super) fn presence_changed(&mut self, now: Now) {
        if !self.timers.is_armed(Timer::Presence) {
            self.timers.arm(Timer::Presence, now.mono + PRESENCE_PAUSE);
        }
    }

    pub(super) fn state_version(&self) -> StateVersion {
        StateVersion {
            presence: self.presence.version(),
            health: self.health.version(),
        }
    }

    fn tell_presence(&mut self) {
        let payload = RawJson::encode(&json!({ "presence": self.presence.entries() }));
        if let Ok(payload) = payload {
            let version = Some(self.state_version());
            let event = OutboundEvent::new("presence", &payload, version, Droppable::IfSlow);
            self.broadcast(&event, Some(Scope::Read));
        }
    }

    pub(super) fn admitted(&mut self, now: Now, conn: ConnId, client: Client) {
        if let Some(key) = &client.presence_key {
            let entry = PresenceEntry {
                host: client.info.display_name.clone(),
                client_id: Some(client.info.id.as_str().into()),
                ip: (!client.ip.is_loopback()).then(|| client.ip.to_string()),
                version: Some(client.info.version.clone()),
                platform: Some(client.info.platform.clone()),
                device_family: client.info.device_family.clone(),
                model_identifier: client.info.model_identifier.clone(),
                time_zone: client.info.time_zone.clone(),
                mode: Some(client.info.mode.as_str().into()),
                reason: Some("connect".into()),
                device_id: client.device_id.clone(),
                roles: Some(vec![client.role.as_str().into()]),
                scopes: Some(client.scopes.names()),
                instance_id: client.info.instance_id.clone(),
                ..PresenceEntry::default()
            };
            self.presence.connected(now, key, entry);
            self.presence_changed(now);
        }
        if let Some(Conn::Opened(ip)) = self.conns.insert(conn, Conn::Admitted(Box::new(client))) {
            self.left_pre_auth(ip);
        }
    }

    fn left_pre_auth(&mut self, ip: IpAddr) {
        if let Some(waiting) = self.pre_auth.get_mut(&ip) {
            *waiting -= 1;
            if *waiting == 0 {
                self.pre_auth.remove(&ip);
            }
        }
    }

    fn expire_effects(&mut self, now: Now) {
        let late: Vec<EffectId> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.deadline <= now.mono)
            .map(|(id, _)| *id)
            .chain(self.whois.late(now.mono))
            .collect();
        for id in late {
            let outcome = EffectOutcome::Failed("the host took too long".into());
            self.go_on(now, id, outcome);
        }
        self.finish_drain(now);
    }

    fn next_timer(&self) -> Option<(Instant, Timer)> {
        let drain = match &self.phase {
            Phase::Draining { deadline, .. } => Some((*deadline, Timer::Drain)),
            Phase::Running | Phase::Stopped => None,
        };
        // Every effect gets the same time, so the oldest is the first that is late.
        let effect = self
            .pending
            .values()
            .next()
            .map(|pending| pending.deadline)
            .into_iter()
            .chain(self.whois.deadline())
            .min()
            .map(|at| (at, Timer::Effect));
        let presence = self
            .presence
            .next_expiry()
            .map(|at| (at, Timer::PresenceExpiry));
        let late = self.late.iter().map(|(at, _, _)| *at).min();
        let late = late.map(|at| (at, Timer::LateRefusal));
        let request = self.devices.next_end().map(|at| (at, Timer::PairRequest));
        let retired = self
            .rotation
            .next_end()
            .map(|at| (at, Timer::RetiredSecret));
        let own = [drain, effect, presence, late, request, retired];
        own.into_iter()
            .chain([self.timers.next()])
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    pub(super) fn assert_drained(&self) {
        debug_assert!(
            self.out.is_drained(),
            "drain poll_delivery, poll_effect and poll_commit before the next input"
        );
    }
}

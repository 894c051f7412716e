//! The gateway machine: inputs, outputs, and the table of connections.

use core::net::IpAddr;
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Effect, EffectOutcome, EffectRequest, GatewaySetup, Phase, PresenceEntry,
    calls::{CallState, PendingCall},
    dedupe::Dedupe,
    health::Health,
    presence::Presence,
};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson, StateVersion},
    ids::{ConnId, EffectId},
    policy::RateLimiter,
    protocol::{ClientInfo, Role, RpcError},
    rng::{Rng, Seed},
    scope::{Scope, ScopeSet},
    server::{Delivery, Event},
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
    /// Presence changed and is to be told.
    Presence,
    /// A presence row has run out.
    PresenceExpiry,
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
/// After each input, drain [`Gateway::poll_delivery`] and [`Gateway::poll_effect`] until they give
/// `None`, then re-arm [`Gateway::poll_timeout`]. Debug builds assert that this was done.
/// Deliveries must reach their connections in the order in which they come out.
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
    pub(super) boot_id: String,
    pub(super) started: Instant,
    conns: BTreeMap<ConnId, Conn>,
    pre_auth: BTreeMap<IpAddr, usize>,
    deliveries: VecDeque<(ConnId, Delivery)>,
    effects: VecDeque<EffectRequest>,
    pending: BTreeMap<EffectId, Pending>,
    next_effect: u64,
    timers: Timers<Timer>,
}

#[derive(Debug)]
struct Pending {
    call: PendingCall,
    deadline: Instant,
}

#[derive(Debug)]
enum Conn {
    /// Not authenticated.
    Opened(IpAddr),
    Admitted(Box<Client>),
}

/// A client that is in.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) role: Role,
    pub(super) scopes: ScopeSet,
    pub(super) info: ClientInfo,
    pub(super) ip: IpAddr,
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
    /// Starts serving at `now`.
    pub fn new(setup: GatewaySetup, seed: Seed, now: Now) -> Self {
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
            health: Health::new(now, &setup.host),
            dedupe: Dedupe::new(limits.max_dedupe, limits.dedupe_ttl),
            failures: RateLimiter::new(setup.admission.rate_limit),
            calls: CallState::default(),
            boot_id,
            started: now.mono,
            phase: Phase::Running,
            conns: BTreeMap::new(),
            pre_auth: BTreeMap::new(),
            deliveries: VecDeque::new(),
            effects: VecDeque::new(),
            pending: BTreeMap::new(),
            next_effect: 0,
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
        if !self.conns.contains_key(&conn) {
            return;
        }
        match event {
            Event::Connect(request) => {
                let decision = self.decide(now, conn, &request);
                let delivery = match decision {
                    Ok((client, admission)) => {
                        self.admitted(now, conn, client);
                        Delivery::Admit(Box::new(admission))
                    }
                    Err(refusal) => Delivery::Refuse(refusal),
                };
                self.deliver(conn, delivery);
            }
            Event::Request { method, request } => self.call(now, conn, method, request),
        }
    }

    /// A connection is gone. Its calls are forgotten, its presence row runs out.
    pub fn close(&mut self, now: Now, conn: ConnId) {
        self.assert_drained();
        match self.conns.remove(&conn) {
            None => return,
            Some(Conn::Opened(ip)) => self.left_pre_auth(ip),
            Some(Conn::Admitted(client)) => {
                if let Some(key) = client.presence_key {
                    self.presence.disconnected(now, &key);
                    self.presence_changed(now);
                }
            }
        }
        self.pending.retain(|_, pending| pending.call.conn != conn);
        self.finish_drain(now);
    }

    /// The host did what an effect asked for.
    pub fn complete(&mut self, now: Now, effect: EffectId, outcome: EffectOutcome) {
        self.assert_drained();
        if let Some(pending) = self.pending.remove(&effect) {
            self.resume(now, pending.call, outcome);
        }
        self.finish_drain(now);
    }

    /// Acts on every timer that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.assert_drained();
        while let Some(timer) = self.next_timer().filter(|(at, _)| *at <= now.mono) {
            match timer.1 {
                Timer::Drain => self.finish_drain(now),
                Timer::Effect => self.expire_effects(now),
                Timer::Health => {
                    self.health.refresh(now, &self.setup.host);
                    self.timers.arm(Timer::Health, now.mono + HEALTH_INTERVAL);
                    let payload = self.health.payload();
                    let version = Some(self.state_version());
                    self.broadcast(
                        &OutboundEvent::new("health", &payload, version, Droppable::IfSlow),
                        None,
                    );
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
    }

    /// The next value for a connection. Call it after every input until it gives `None`.
    pub fn poll_delivery(&mut self) -> Option<(ConnId, Delivery)> {
        self.deliveries.pop_front()
    }

    /// The next piece of work. Call it after every input until it gives `None`.
    pub fn poll_effect(&mut self) -> Option<EffectRequest> {
        self.effects.pop_front()
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
        self.deliveries.push_back((conn, delivery));
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
                self.deliveries
                    .push_back((*conn, Delivery::Event(event.clone())));
            }
        }
    }

    pub(super) fn client(&self, conn: ConnId) -> Option<&Client> {
        match self.conns.get(&conn) {
            Some(Conn::Admitted(client)) => Some(client),
            Some(Conn::Opened(_)) | None => None,
        }
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.conns.values().filter_map(|conn| match conn {
            Conn::Admitted(client) => Some(&**client),
            Conn::Opened(_) => None,
        })
    }

    pub(super) fn connection_ids(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
    }

    pub(super) fn request_effect(&mut self, now: Now, effect: Effect, call: PendingCall) {
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        self.pending.insert(
            id,
            Pending {
                call,
                deadline: now.mono + self.setup.limits.effect,
            },
        );
        self.effects.push_back(EffectRequest { id, effect });
    }

    pub(super) fn has_pending_calls(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn fail_pending_calls(&mut self, message: &str) {
        for (_, Pending { call, .. }) in std::mem::take(&mut self.pending) {
            let error = RpcError::retry_later(message, 1_000);
            self.deliver(
                call.conn,
                Delivery::Response {
                    id: call.id,
                    outcome: Err(error),
                },
            );
        }
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

    fn admitted(&mut self, now: Now, conn: ConnId, client: Client) {
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
            .collect();
        for id in late {
            if let Some(Pending { call, .. }) = self.pending.remove(&id) {
                let outcome = EffectOutcome::Failed("the host took too long".into());
                self.resume(now, call, outcome);
            }
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
            .map(|pending| (pending.deadline, Timer::Effect));
        let presence = self
            .presence
            .next_expiry()
            .map(|at| (at, Timer::PresenceExpiry));
        [self.timers.next(), drain, effect, presence]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn assert_drained(&self) {
        debug_assert!(
            self.deliveries.is_empty() && self.effects.is_empty(),
            "drain poll_delivery and poll_effect before the next input"
        );
    }
}

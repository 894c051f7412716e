//! The table of connections: who is there, who is in, and who is told to go.

use core::net::IpAddr;

use super::{Gateway, Phase, PresenceEntry, admission::Proof};
use crate::{
    frame::OutboundEvent,
    ids::ConnId,
    metrics::CallUnderWay,
    protocol::{ClientInfo, CloseCode, CloseReason, RESUME_CAP, Role},
    scope::{Scope, ScopeSet},
    server::Delivery,
    time::Now,
};

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

#[derive(Debug)]
pub(super) enum Conn {
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
    /// What it says that it can do, or offers.
    pub(super) caps: Vec<String>,
    /// Its presence row, if it has one.
    pub(super) presence_key: Option<String>,
    pub(super) since: crate::time::WallTime,
    /// Its calls that wait for their answer.
    pub(super) calls: Vec<CallUnderWay>,
}

impl Client {
    /// Whether events of this scope are for it.
    pub(super) fn may_see(&self, scope: Option<Scope>) -> bool {
        scope.is_none_or(|scope| self.role == Role::Operator && self.scopes.allows(scope))
    }

    /// Whether it resumes.
    pub(super) fn resumes(&self) -> bool {
        self.caps.iter().any(|cap| cap == RESUME_CAP)
    }
}

impl Gateway {
    /// A socket wants to become a connection.
    ///
    /// # Errors
    /// When a limit is reached or the gateway stops; the socket is to be told and dropped.
    pub fn open(&mut self, conn: ConnId, ip: IpAddr) -> Result<(), OpenRefusal> {
        self.assert_drained();
        let opened = self.take_place(conn, ip.to_canonical());
        self.count_open(opened);
        opened
    }

    fn take_place(&mut self, conn: ConnId, ip: IpAddr) -> Result<(), OpenRefusal> {
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

    /// A connection is gone. Its calls are forgotten, its presence row runs out.
    pub fn close(&mut self, now: Now, conn: ConnId) {
        self.assert_drained();
        match self.conns.remove(&conn) {
            None => return,
            Some(Conn::Opened(ip)) => self.left_pre_auth(ip),
            Some(Conn::Admitted(client) | Conn::Leaving(client)) => {
                self.clock = self.clock.max(now.mono);
                self.calls_abandoned(conn, client.calls);
                if let Some(key) = client.presence_key {
                    self.presence.disconnected(now, &key);
                    self.presence_changed(now);
                }
            }
        }
        self.pending
            .retain(|_, pending| !pending.waiter.is_of(conn));
        self.node_gone(now, conn);
        self.whois.forget(conn);
        self.late.retain(|(_, late), _| *late != conn);
        self.calls.forget(conn);
        self.subscriptions.forget(conn);
        self.forget_waits(conn);
        self.accounts.senders.forget(conn);
        self.approvals.forget(conn);
        self.out.forget(conn);
        self.finish_drain(now);
        self.end_input(now);
    }

    /// Sends an event to everybody, or to operators that hold a scope (spec protocol §5.1). Clients
    /// that were away get it when they resume.
    pub(super) fn broadcast(&mut self, event: &OutboundEvent, scope: Option<Scope>) {
        let event = self.remember_event(event, scope);
        self.broadcast_once(&event, scope);
    }

    /// As [`Gateway::broadcast`], for what a client that comes back does not miss: a `hello-ok` says
    /// as much.
    pub(super) fn broadcast_once(&mut self, event: &OutboundEvent, scope: Option<Scope>) {
        for (conn, state) in &self.conns {
            let Conn::Admitted(client) = state else {
                continue;
            };
            if client.may_see(scope) {
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

    pub(super) fn clients_with_ids(&self) -> impl Iterator<Item = (ConnId, &Client)> {
        self.conns.iter().filter_map(|(id, conn)| match conn {
            Conn::Admitted(client) => Some((*id, &**client)),
            Conn::Opened(_) | Conn::Leaving(_) => None,
        })
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
            self.nodes.depart(conn);
            let reason = CloseReason::new(reason);
            self.out.deliver(conn, Delivery::Close { code, reason });
        }
    }

    pub(super) fn connection_ids(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
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
        if client.resumes() {
            self.events.begin(now.mono);
        }
        if client.role == Role::Operator {
            self.subscriptions.admitted(conn, &client.caps);
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
}

//! The gateway's side of one connection: challenge, `connect`, then requests in and responses and
//! events out (spec protocol §1 to §5).
//!
//! [`ServerConn`] checks everything that needs no knowledge of other connections: sizes, envelopes,
//! versions, the device's signature over this connection's nonce, scopes of each call. Whether the
//! client may come in at all is decided by the host.

mod conn;
mod handshake;
mod outbox;

use core::net::{IpAddr, Ipv4Addr};

use crate::{
    device::VerifiedDevice,
    frame::{OutboundEvent, RawJson, Request},
    ids::RequestId,
    methods::MethodSpec,
    metrics::CallResult,
    policy::{Ingress, LocalAddresses, RequestHeaders},
    protocol::{CloseCode, CloseReason, ConnectParams, Role, RpcError},
    scope::ScopeSet,
};

pub use conn::{ServerConn, Timer};
pub use handshake::Refusal;

/// What the host knows of the other side before it says anything.
#[derive(Clone, Debug)]
pub struct PeerFacts {
    /// The address of the TCP peer, IPv4-mapped forms folded to IPv4.
    pub ip: IpAddr,
    /// The headers of the upgrade.
    pub headers: RequestHeaders,
    /// Where the request comes from, and whose word is taken for it.
    pub ingress: Ingress,
    /// This machine's addresses at the time of the upgrade. A host may leave them out unless
    /// [`crate::gateway::IngressPolicy::needs_local_addresses`].
    pub local_addresses: LocalAddresses,
}

impl PeerFacts {
    /// A peer without headers, as an in-memory or Unix-socket transport has it.
    pub fn direct(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let ingress = if ip.is_loopback() {
            Ingress::DirectLocal(ip)
        } else {
            Ingress::DirectRemote(ip)
        };
        Self {
            ip,
            headers: RequestHeaders::default(),
            ingress,
            local_addresses: LocalAddresses::Unavailable,
        }
    }

    /// The user who owns the gateway's files. The host has checked that on its socket.
    pub fn owner() -> Self {
        Self {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            headers: RequestHeaders::default(),
            ingress: Ingress::Owner,
            local_addresses: LocalAddresses::Unavailable,
        }
    }

    /// The address of the client: the one that a trusted proxy names, else the peer's.
    pub fn client_ip(&self) -> IpAddr {
        self.ingress.client_ip().unwrap_or(self.ip)
    }

    /// Whether a page in a browser made the request.
    pub fn has_origin(&self) -> bool {
        self.headers.get("origin").is_some()
    }
}

/// A `connect` that passed every check of the connection and waits for a decision.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// What the client said. `params.role` is known.
    pub params: ConnectParams,
    /// The role that it asks for.
    pub role: Role,
    /// The protocol version that will be spoken.
    pub protocol: u32,
    /// The device whose signature was checked, if it sent one.
    pub device: Option<VerifiedDevice>,
    /// What the host knows.
    pub peer: PeerFacts,
}

/// What went wrong below the text messages, where only the host can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// A message that is not UTF-8.
    NotUtf8,
    /// A message over [`ServerConn::frame_limit`], of which the host did not read the rest.
    Oversized,
    /// Broken WebSocket framing.
    Protocol,
}

/// A decision to let a client in.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The role that it gets.
    pub role: Role,
    /// The scopes that it gets; every call is checked against them.
    pub scopes: ScopeSet,
    /// The `hello-ok` payload.
    pub hello: RawJson,
}

/// A value for a connection, decided elsewhere.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Lets the client in.
    Admit(Box<Admission>),
    /// Ends the connection.
    Close {
        /// The code.
        code: CloseCode,
        /// The reason.
        reason: CloseReason,
    },
    /// An event of the connection's sequence.
    Event(OutboundEvent),
    /// The first answer to a call that gets a second one: it stays in flight.
    Interim {
        /// The request.
        id: RequestId,
        /// The first answer.
        payload: RawJson,
    },
    /// Turns the client away.
    Refuse(Box<Refusal>),
    /// An answer.
    Response {
        /// The request.
        id: RequestId,
        /// The answer.
        outcome: Result<RawJson, RpcError>,
    },
    /// An event for this connection alone, outside the sequence.
    Targeted(OutboundEvent),
}

/// What a connection tells its host.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client asks to come in. Answer with [`Delivery::Admit`] or [`Delivery::Refuse`] before the
    /// handshake deadline.
    Connect(Box<ConnectRequest>),
    /// An authorised call. Answer with [`Delivery::Response`].
    Request {
        /// The method, from the table.
        method: &'static MethodSpec,
        /// The envelope.
        request: Request,
    },
    /// A call that was refused on the spot: it is answered, and only counted by the gateway.
    Refused {
        /// The method, if there is such.
        method: Option<&'static MethodSpec>,
        /// The request.
        id: RequestId,
        /// How it was refused.
        result: CallResult,
    },
}

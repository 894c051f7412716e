//! Every limit of the protocol machines, finite and in one place (spec protocol §1).

use std::time::Duration;

/// Limits of one gateway. The defaults are the ones that the protocol advertises.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one inbound frame before the handshake is done.
    pub pre_auth_frame: usize,
    /// Bytes of one inbound frame after the handshake; advertised as `policy.maxPayload`.
    pub max_payload: usize,
    /// Bytes that may wait for one connection's socket; advertised as `policy.maxBufferedBytes`.
    pub max_buffered_bytes: usize,
    /// Requests of one connection that may wait for their answer.
    pub max_in_flight: usize,
    /// Frames that may arrive while a `connect` is being decided.
    pub max_handshake_frames: usize,
    /// `unauthorized role` answers in a row before the connection is closed.
    pub max_role_violations: u32,
    /// Time from accept to the end of the HTTP request's head, and of the answer to it.
    pub request_head: Duration,
    /// Time from the upgrade to `hello-ok`.
    pub handshake: Duration,
    /// Interval of `tick` events; advertised as `policy.tickIntervalMs`.
    pub tick_interval: Duration,
    /// Interval of WebSocket pings on an authenticated connection, and the time a pong may take.
    pub ping_interval: Duration,
    /// Time that a close may take before the socket is dropped.
    pub close_grace: Duration,
    /// Time that requests in flight get to finish when the gateway stops.
    pub drain: Duration,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections of one remote address that are not authenticated yet.
    pub max_pre_auth_per_ip: usize,
    /// Connections from this machine that are not authenticated yet. Larger, since all its users and
    /// programs share one address, and a thousand may come at once after a restart.
    pub max_pre_auth_loopback: usize,
    /// Presence rows, besides the gateway's own.
    pub max_presence: usize,
    /// Time after which a presence row without refresh is gone.
    pub presence_ttl: Duration,
    /// Idempotency keys that are remembered.
    pub max_dedupe: usize,
    /// Time for which an idempotency key is remembered.
    pub dedupe_ttl: Duration,
    /// Time for which a host may work on an effect before its request fails.
    pub effect: Duration,
    /// System events that wait for an agent.
    pub max_system_events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pre_auth_frame: 64 * 1024,
            max_payload: 25 * 1024 * 1024,
            max_buffered_bytes: 50 * 1024 * 1024,
            max_in_flight: 256,
            max_handshake_frames: 15,
            max_role_violations: 10,
            request_head: Duration::from_secs(10),
            handshake: Duration::from_secs(15),
            tick_interval: Duration::from_secs(30),
            ping_interval: Duration::from_secs(25),
            close_grace: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            max_connections: 16_384,
            max_pre_auth_per_ip: 32,
            max_pre_auth_loopback: 2_048,
            max_presence: 200,
            presence_ttl: Duration::from_secs(300),
            max_dedupe: 1_000,
            dedupe_ttl: Duration::from_secs(300),
            effect: Duration::from_secs(10),
            max_system_events: 20,
        }
    }
}

/// Nesting of arrays and objects that a frame may have. Below the JSON parser's own limit, so that
/// whatever passes the envelope can also be parsed by a handler.
pub const MAX_DEPTH: usize = 100;

/// Bytes of a close reason (spec protocol §1.1).
pub const MAX_CLOSE_REASON: usize = 120;

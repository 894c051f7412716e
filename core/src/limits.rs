//! Every limit of the protocol machines, finite and in one place (spec protocol §1).

use std::time::Duration;

use crate::config::{EnvVars, GatewayConfig};

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
    /// Paired devices.
    pub max_devices: usize,
    /// Pairing requests that wait for an answer.
    pub max_pair_requests: usize,
    /// Nodes that wait for an answer on what they may do.
    pub max_node_requests: usize,
    /// Calls that one node works on.
    pub max_invokes_per_node: usize,
    /// Calls that all nodes work on.
    pub max_invokes: usize,
    /// Bytes of the result of one call of a node.
    pub max_node_result: usize,
    /// Idempotency keys that are remembered.
    pub max_dedupe: usize,
    /// Time for which an idempotency key is remembered.
    pub dedupe_ttl: Duration,
    /// Time for which a host may work on an effect before its request fails.
    pub effect: Duration,
    /// Sessions.
    pub max_sessions: usize,
    /// Runs that are over and are still known by their ids.
    pub max_runs: usize,
    /// Runs under way at once; others wait.
    pub max_active_runs: usize,
    /// Messages that wait in one session.
    pub max_queued_runs: usize,
    /// Bytes of all messages that wait, files included.
    pub max_queued_bytes: usize,
    /// Time for one run, where its caller names none.
    pub run: Duration,
    /// Calls of nodes that one run may make.
    pub max_run_calls: usize,
    /// Bytes of one reply.
    pub max_reply: usize,
    /// Messages of before that an agent is given.
    pub history_messages: usize,
    /// Bytes of those messages, as transcripts keep them.
    pub history_bytes: usize,
    /// Files of one message.
    pub max_attachments: usize,
    /// Bytes of the files of one message.
    pub max_attachment_bytes: usize,
    /// System events that wait for an agent.
    pub max_system_events: usize,
    /// Approvals that wait for a decision.
    pub max_pending_approvals: usize,
    /// Approvals that were decided and are remembered.
    pub max_decided_approvals: usize,
    /// Bytes of the parameters of one approval: they are kept, and shown to all reviewers.
    pub max_approval_request: usize,
    /// Agents that may be made by calls.
    pub max_agents: usize,
    /// Bytes of one file of an agent.
    pub max_agent_file: usize,
    /// Events that are remembered for clients that resume.
    pub resume_events: usize,
    /// Bytes of those events.
    pub resume_bytes: usize,
    /// Time for which they are remembered.
    pub resume_age: Duration,
    /// Requests over HTTP with a body that are read, or wait for their answer; more are told to come
    /// again.
    pub max_posts: usize,
    /// Bytes of the body of one such request.
    pub max_post_body: usize,
    /// Messages of one chat that wait for their turn; more are turned away.
    pub max_waiting_per_chat: usize,
    /// Messages of all chats that wait for their turn; more stay with their services.
    pub max_waiting_messages: usize,
    /// Messages from outside, and to it, that are over and are still known by their ids.
    pub max_kept_messages: usize,
    /// Bytes of the parameters of one system event: they are kept, and shown to all readers.
    pub max_system_event: usize,
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
            max_devices: 1_000,
            max_pair_requests: 100,
            max_node_requests: 100,
            max_invokes_per_node: 32,
            max_invokes: 4_096,
            max_node_result: 8 * 1024 * 1024,
            max_dedupe: 1_000,
            dedupe_ttl: Duration::from_secs(300),
            effect: Duration::from_secs(10),
            max_pending_approvals: 100,
            max_decided_approvals: 200,
            max_approval_request: 64 * 1024,
            max_agents: 64,
            max_agent_file: 256 * 1024,
            resume_events: 4_096,
            resume_bytes: 4 * 1024 * 1024,
            resume_age: Duration::from_secs(600),
            max_sessions: 10_000,
            max_runs: 1_000,
            max_active_runs: 64,
            max_queued_runs: 32,
            max_queued_bytes: 64 * 1024 * 1024,
            run: Duration::from_secs(600),
            max_run_calls: 256,
            max_reply: 4 * 1024 * 1024,
            history_messages: 200,
            history_bytes: 1024 * 1024,
            max_attachments: 16,
            max_attachment_bytes: 16 * 1024 * 1024,
            max_system_events: 20,
            max_posts: 64,
            max_post_body: 1024 * 1024,
            max_waiting_per_chat: 100,
            max_waiting_messages: 5_000,
            max_kept_messages: 2_000,
            max_system_event: 16 * 1024,
        }
    }
}

/// The environment variable for the handshake's time, in milliseconds (spec protocol §1).
const HANDSHAKE_ENV: &str = "OPENCLAW_HANDSHAKE_TIMEOUT_MS";

/// What the handshake's time may be set to.
const HANDSHAKE_RANGE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(600));

impl Limits {
    /// The limits that an operator set: the environment, then `gateway.handshakeTimeoutMs`, then
    /// the default. A value outside 100 ms to 10 min is moved to the nearer end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use clawgate_core::{config::{Config, EnvVars}, limits::Limits};
    ///
    /// let env: EnvVars = [("OPENCLAW_HANDSHAKE_TIMEOUT_MS", "500")].into_iter().collect();
    /// let limits = Limits::configured(&Config::default().gateway, &env);
    /// assert_eq!(limits.handshake, Duration::from_millis(500));
    /// ```
    pub fn configured(gateway: &GatewayConfig, env: &EnvVars) -> Self {
        let mut limits = Self::default();
        let set = env
            .non_blank(HANDSHAKE_ENV)
            .and_then(|text| text.parse().ok())
            .or(gateway.handshake_timeout_ms)
            .filter(|millis| *millis > 0);
        if let Some(millis) = set {
            let (least, most) = HANDSHAKE_RANGE;
            limits.handshake = Duration::from_millis(millis).clamp(least, most);
        }
        limits
    }
}

/// Nesting of arrays and objects that a frame may have. Below the JSON parser's own limit, so that
/// whatever passes the envelope can also be parsed by a handler.
pub const MAX_DEPTH: usize = 100;

/// Bytes of a close reason (spec protocol §1.1).
pub const MAX_CLOSE_REASON: usize = 120;

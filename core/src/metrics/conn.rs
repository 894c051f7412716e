//! What a connection counts by itself. The host adds it to the gateway's numbers when the connection
//! is gone, and shows it in between.

use super::label::{Label, labels};
use crate::{
    ids::ConnId,
    protocol::{ConnectCode, RpcCode},
    server::Refusal,
};

labels! {
    /// Why a connection ended.
    CloseCause {
        /// It did not take what was sent to it: over `max_buffered_bytes` waited.
        SlowConsumer = "slow_consumer",
        /// It did not answer a ping.
        Heartbeat = "heartbeat",
        /// Its handshake took too long.
        HandshakeTimeout = "handshake_timeout",
        /// It was not let in.
        Refused = "refused",
        /// A message was larger than allowed.
        Oversized = "oversized",
        /// It broke WebSocket framing, or sent what is no text.
        Protocol = "protocol",
        /// It called again and again what its role may not.
        Unauthorized = "unauthorized",
        /// It sent too much before it was let in.
        Impatient = "impatient",
        /// The gateway told it to go.
        Gateway = "gateway",
        /// It closed, or its socket was lost.
        Peer = "peer",
    }
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    /// The client was let in.
    Admitted,
    /// The first frame was not a sound `connect`.
    Malformed,
    /// Something was larger or more than allowed before a client is let in.
    TooLarge,
    /// It took too long.
    TimedOut,
    /// The gateway stops, is full, or could not keep something.
    Unavailable,
    /// The client was gone before the decision.
    Gone,
    /// The client was refused for a reason that has a code of its own.
    Refused(ConnectCode),
}

/// Results that have no code.
const PLAIN: [HandshakeResult; 6] = [
    HandshakeResult::Admitted,
    HandshakeResult::Malformed,
    HandshakeResult::TooLarge,
    HandshakeResult::TimedOut,
    HandshakeResult::Unavailable,
    HandshakeResult::Gone,
];

impl Label for HandshakeResult {
    fn all() -> impl Iterator<Item = Self> {
        let coded = ConnectCode::ALL.into_iter().map(Self::Refused);
        PLAIN.into_iter().chain(coded)
    }

    fn index(self) -> usize {
        match self {
            Self::Admitted => 0,
            Self::Malformed => 1,
            Self::TooLarge => 2,
            Self::TimedOut => 3,
            Self::Unavailable => 4,
            Self::Gone => 5,
            Self::Refused(code) => PLAIN.len() + code as usize,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Admitted => "ok",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TimedOut => "timeout",
            Self::Unavailable => "unavailable",
            Self::Gone => "gone",
            Self::Refused(code) => code.as_str(),
        }
    }
}

impl HandshakeResult {
    /// How a handshake with this refusal ended.
    pub fn of(refusal: &Refusal) -> Self {
        let code = refusal.error.detail_code();
        let known = ConnectCode::ALL
            .iter()
            .find(|known| Some(known.as_str()) == code);
        match known {
            Some(code) => Self::Refused(*code),
            None if refusal.error.code == RpcCode::Unavailable.as_str() => Self::Unavailable,
            None => Self::Malformed,
        }
    }
}

/// What one connection counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnCounts {
    /// How its handshake ended, when it has.
    pub handshake: Option<HandshakeResult>,
    /// Why it ended, when it has.
    pub closed: Option<CloseCause>,
    /// Messages that came.
    pub messages_in: u64,
    /// Bytes of those messages.
    pub bytes_in: u64,
    /// Bytes of messages that left.
    pub bytes_out: u64,
    /// Events that were dropped because its buffer was full.
    pub dropped_events: u64,
    /// The most bytes that ever waited for its socket.
    pub peak_buffered: usize,
}

/// A connection at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnSample {
    /// Which.
    pub id: ConnId,
    /// What it has counted.
    pub counts: ConnCounts,
    /// Bytes that wait for its socket.
    pub buffered: usize,
}

/// What only the host knows, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSample {
    /// Every connection.
    pub conns: Vec<ConnSample>,
    /// Sockets that were dropped because too many of their address had not sent their request.
    pub refused_heads: u64,
    /// Sockets whose TLS handshake failed.
    pub failed_tls: u64,
    /// Resident bytes of the process; 0 where that is not known.
    pub rss_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_has_a_place_and_a_name_of_its_own() {
        for (index, result) in HandshakeResult::all().enumerate() {
            assert_eq!(result.index(), index);
            let same = HandshakeResult::all().filter(|other| other.name() == result.name());
            assert_eq!(same.count(), 1, "{}", result.name());
        }
    }
}

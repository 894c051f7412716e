//! How long each stage of a connection took.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The stages on the way to an answer, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The SSH tunnel is found or opened.
    Tunnel,
    /// The name is resolved. Literal addresses skip it.
    Dns,
    /// The connection to the socket of the gateway's owner.
    Socket,
    /// The TCP connection.
    Tcp,
    /// The TLS handshake, with the check of the certificate.
    Tls,
    /// The WebSocket upgrade.
    Upgrade,
    /// The gateway's challenge.
    Challenge,
    /// The answer to `connect`.
    Hello,
    /// The answer to a call.
    Call,
}

impl Stage {
    /// A short stable name for reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Dns => "dns",
            Self::Socket => "socket",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Challenge => "challenge",
            Self::Hello => "hello",
            Self::Call => "call",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The time of each stage that was completed; skipped stages have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    stages: Vec<(Stage, Duration)>,
}

impl Timings {
    /// The completed stages in order. Of several calls, the last one counts.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        self.stages.iter().copied()
    }

    /// The time of one stage.
    pub fn of(&self, stage: Stage) -> Option<Duration> {
        self.stages
            .iter()
            .find(|(done, _)| *done == stage)
            .map(|(_, time)| *time)
    }

    /// The time of all stages.
    pub fn total(&self) -> Duration {
        self.stages.iter().map(|(_, time)| *time).sum()
    }

    pub(crate) fn record(&mut self, stage: Stage, since: Instant) {
        self.stages.retain(|(done, _)| *done != stage);
        self.stages.push((stage, since.elapsed()));
    }
}

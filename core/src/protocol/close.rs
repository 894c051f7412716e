//! WebSocket close codes and their reasons (spec protocol §1.1).

use std::fmt;

use crate::limits::MAX_CLOSE_REASON;

/// The codes that clawgate sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCode {
    /// 1000: done.
    Normal,
    /// 1002: broken WebSocket framing, or no protocol version in common.
    Protocol,
    /// 1007: text that is not UTF-8.
    InvalidText,
    /// 1008: a rule was broken, or authentication failed.
    Policy,
    /// 1009: a message over the limit.
    TooBig,
    /// 1011: our own fault.
    Internal,
    /// 1012: the gateway stops or restarts.
    ServiceRestart,
    /// 1013: the gateway is starting, stopping or full.
    TryAgainLater,
    /// 4000: a client gave up waiting.
    ClientTimeout,
    /// 4001: what let the client in is worth nothing any more.
    AuthChanged,
}

impl CloseCode {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Protocol => 1002,
            Self::InvalidText => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::ServiceRestart => 1012,
            Self::TryAgainLater => 1013,
            Self::ClientTimeout => 4000,
            Self::AuthChanged => 4001,
        }
    }
}

/// A close reason: at most 120 bytes of UTF-8, cut at a character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseReason(String);

impl CloseReason {
    /// Cuts a text to size.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > MAX_CLOSE_REASON {
            let mut end = MAX_CLOSE_REASON;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_at_a_character() {
        assert_eq!(CloseReason::new("a".repeat(120)).as_str().len(), 120);
        assert_eq!(CloseReason::new("a".repeat(121)).as_str().len(), 120);
        assert_eq!(
            CloseReason::new(format!("a{}", "ü".repeat(60)))
                .as_str()
                .len(),
            119
        );
    }
}

//! Why a machine failed, and whose fault it was.

use thiserror::Error;

use crate::protocol::{CloseCode, RpcCode};

/// A failure of a connection machine. The machine keeps it, and gives it again for every later
/// input.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller broke the machine's contract.
    #[error("caller: {0}")]
    Local(#[from] ApiMisuse),
    /// The other side broke the protocol, or went away.
    #[error("peer: {0}")]
    Peer(#[from] PeerFault),
}

impl Error {
    /// The close code that the other side is told.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Local(_) => CloseCode::Internal,
            Self::Peer(fault) => fault.code,
        }
    }

    /// The RPC code for requests that this failure ends.
    pub fn rpc_code(&self) -> RpcCode {
        match self {
            Self::Local(_) => RpcCode::Unavailable,
            Self::Peer(fault) => match fault.code {
                CloseCode::InvalidText
                | CloseCode::Policy
                | CloseCode::Protocol
                | CloseCode::TooBig => RpcCode::InvalidRequest,
                CloseCode::AuthChanged
                | CloseCode::ClientTimeout
                | CloseCode::Internal
                | CloseCode::Normal
                | CloseCode::ServiceRestart
                | CloseCode::TryAgainLater => RpcCode::Unavailable,
            },
        }
    }
}

/// What the other side did.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct PeerFault {
    /// The close code that it is told.
    pub code: CloseCode,
    /// In words, without values from the wire that may be secret.
    pub reason: String,
}

impl PeerFault {
    pub(crate) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// What the caller did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// A frame was given after the connection's end.
    #[error("input after the connection was closed")]
    InputAfterClose,
    /// A decision was given that nobody waits for.
    #[error("no connect is waiting for a decision")]
    NothingPending,
    /// A request was made before the handshake was done or after the end.
    #[error("the connection is not established")]
    NotEstablished,
    /// The client's own description is over the 64 KiB that a gateway takes before the handshake.
    #[error("connect has over 64 KiB; send shorter lists of capabilities, commands or scopes")]
    ConnectTooBig,
}

//! How connections and calls end.

use std::fmt;

use thiserror::Error;

use crate::{
    error::Error,
    protocol::{CloseReason, RpcError},
};

/// Why a connection ended. Each connection has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The gateway closed it.
    Closed {
        /// The close code; `None` for a close frame without one.
        code: Option<u16>,
        /// The gateway's words.
        reason: CloseReason,
    },
    /// This side gave up: the gateway was silent for too long or broke the protocol.
    Failed(Error),
    /// The transport ended without a close.
    Lost,
    /// The gateway refused the `connect`.
    Refused(RpcError),
    /// The caller closed it.
    Stopped,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } => {
                f.write_str("the gateway closed the connection (")?;
                match code {
                    Some(code) => write!(f, "{code}")?,
                    None => f.write_str("no code")?,
                }
                match reason.as_str() {
                    "" => f.write_str(", no reason given)"),
                    reason => write!(f, "): {reason}"),
                }
            }
            Self::Failed(error) => error.fmt(f),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Refused(error) => write!(f, "the gateway refused: {}", error.message),
            Self::Stopped => f.write_str("the connection was closed by this side"),
        }
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The connection ended first. Whether the gateway carried the call out is not known.
    #[error("no answer: {0}")]
    Ended(Ending),
    /// The gateway answered with an error.
    #[error("{}", .0.message)]
    Rpc(RpcError),
    /// Its deadline passed. Whether the gateway carried it out is not known.
    #[error("no answer before the deadline")]
    Timeout,
}

/// Why a call was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The call names no method.
    #[error("the call names no method")]
    NoMethod,
    /// There is no connection, or its handshake is not done.
    #[error("not connected to the gateway")]
    NotConnected,
    /// The request is larger than the gateway takes.
    #[error("the request has {size} bytes and the gateway takes {limit}")]
    TooBig {
        /// Bytes of the whole frame.
        size: usize,
        /// The gateway's `policy.maxPayload`.
        limit: usize,
    },
    /// Too many calls wait for an answer.
    #[error("{limit} calls already wait for an answer")]
    TooManyPending {
        /// The limit.
        limit: usize,
    },
    /// Too many bytes wait to be written.
    #[error("too much waits to be sent; the connection is slow")]
    BufferFull,
}

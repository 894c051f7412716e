//! What goes between a session and its host.

use std::time::Duration;

use super::{CallError, Ending, Gap, Hello, HistoryLoss, PauseReason, Timer};
use crate::{
    frame::{IncomingEvent, RawJson},
    ids::RequestId,
    protocol::{CloseCode, CloseReason},
};

/// One attempt to connect. Numbers grow; an answer for an older attempt is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(pub(super) u64);

/// What the host has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give an attempt up: stop dialling, or drop its socket. No answer is needed.
    Abort(AttemptId),
    /// Send a close frame if the socket takes it at once, then drop the socket. No answer is needed.
    Close {
        /// Whose socket.
        attempt: AttemptId,
        /// The code.
        code: CloseCode,
        /// The reason.
        reason: CloseReason,
    },
    /// Dial [`Session::target`](super::Session::target): resolve, connect, TLS with the pin, WebSocket upgrade. Answer with
    /// [`Session::dialled`](super::Session::dialled) or [`Session::dial_failed`](super::Session::dial_failed).
    Dial(AttemptId),
}

/// Why dialling failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Another attempt cannot help, such as a certificate that is not the pinned one.
    Final(String),
    /// Another attempt may help.
    Transient(String),
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disconnected {
    /// A connection ended.
    Conn(Ending),
    /// The time for dialling was over.
    DialTimeout,
    /// Dialling failed, in the host's words.
    Dial(String),
}

/// What the session does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It waits for [`Session::resume`](super::Session::resume).
    Paused(PauseReason),
    /// It dials again after this time.
    Retry(Duration),
    /// Nothing more.
    Stop,
}

/// Where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connected; calls can be made.
    Connected,
    /// Dialling, or shaking hands.
    Connecting,
    /// It waits for [`Session::resume`](super::Session::resume).
    Paused,
    /// Over.
    Stopped,
    /// The last connection is being closed.
    Stopping,
    /// It waits before it dials again.
    Waiting,
}

/// What a session tells its host.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// The gateway took a call and will answer again.
    Accepted {
        /// The call.
        id: RequestId,
        /// The first answer.
        payload: RawJson,
    },
    /// A call has ended, exactly once. Calls of a lost connection are never sent again.
    Answer {
        /// The call.
        id: RequestId,
        /// How.
        outcome: Result<RawJson, CallError>,
    },
    /// The handshake is done; calls can be made. State of an earlier connection is stale.
    Connected(Box<Hello>),
    /// There is no connection.
    Disconnected {
        /// Why.
        why: Disconnected,
        /// What the session does about it.
        next: Next,
    },
    /// An event of the gateway.
    Event(IncomingEvent),
    /// The stored device token is worthless: delete it.
    ForgetDeviceToken,
    /// Events are missing.
    Gap(Gap),
    /// Events are missing, and the gateway cannot give them any more. Only for a profile with the
    /// capability [`RESUME_CAP`](crate::protocol::RESUME_CAP).
    HistoryLost(HistoryLoss),
    /// The gateway gives the events that were missed: so many, which come next. Only for a profile
    /// with the capability.
    Resumed {
        /// How many.
        events: usize,
    },
}

/// The deadlines of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTimer {
    /// A deadline of the connection.
    Conn(Timer),
    /// Dialling has to be done.
    Dial,
    /// Time to dial again.
    Retry,
    /// The whole session has to be done.
    Total,
}

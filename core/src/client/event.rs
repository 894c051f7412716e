//! What a connection tells its host, and the names of its stages and deadlines.

use super::{CallError, Ending, Gap, Hello};
use crate::{
    frame::{IncomingEvent, RawJson},
    ids::RequestId,
};

/// What a connection tells its host.
#[derive(Clone, Debug)]
pub enum Event {
    /// The gateway took a call and will answer again.
    Accepted {
        /// The call.
        id: RequestId,
        /// The first answer.
        payload: RawJson,
    },
    /// A call has ended. Each call ends exactly once, unless it is cancelled.
    Answer {
        /// The call.
        id: RequestId,
        /// How.
        outcome: Result<RawJson, CallError>,
    },
    /// The connection has ended; what is left is the close handshake. Always the last event.
    Ended(Ending),
    /// An event of the gateway, heartbeats included.
    Event(IncomingEvent),
    /// Events are missing. What was cached of the gateway's state may be stale.
    Gap(Gap),
    /// The handshake is done; calls can be made.
    Hello(Box<Hello>),
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The gateway has to speak first.
    AwaitChallenge,
    /// `connect` is sent and not answered.
    AwaitHello,
    /// Calls can be made.
    Established,
    /// A close frame is sent; the other side has to answer it.
    Closing,
    /// Over. The socket can be dropped.
    Closed,
}

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The challenge has to come.
    Challenge,
    /// The other side has to answer the close frame.
    CloseGrace,
    /// `connect` has to be answered.
    Connect,
    /// A call has to be answered.
    Request,
    /// Time to look whether the gateway still speaks.
    Tick,
    /// The whole connection has to be done.
    Total,
}

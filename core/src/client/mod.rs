//! The client's side (spec protocol §3, §10).
//!
//! [`ClientConn`] is one dialled connection: challenge, `connect`, then calls out and answers and
//! events in. [`Session`] is a client that lasts: it says when to dial, judges refusals, and runs
//! one [`ClientConn`] after the other. Neither knows what a socket is.
//!
//! Both follow one drain rule: after every input, call `poll_event` until it gives `None`, write
//! what `poll_transmit` gives, then re-arm `poll_timeout`.

mod backoff;
mod conn;
mod device_use;
mod ending;
mod event;
mod hello;
mod introduction;
mod options;
mod pending;
mod resume;
mod sequence;
mod session;
mod session_event;
mod setup_code;
mod target;
mod verdict;

pub use backoff::{Backoff, RetryHint};
pub use conn::ClientConn;
pub use device_use::{DeviceNeed, DeviceUse, Presents, Purpose, device_use, takes_a_device};
pub use ending::{CallError, Ending, RequestError};
pub use event::{Event, Stage, Timer};
pub use hello::{Hello, IssuedToken};
pub use options::{Call, CallDeadline, Limits, Profile};
pub use pending::Expect;
pub use resume::HistoryLoss;
pub use sequence::Gap;
pub use session::Session;
pub use session_event::{
    Action, AttemptId, DialFailure, Disconnected, Next, Phase, SessionEvent, SessionTimer,
};
pub use setup_code::{SETUP_SCHEME, SetupCode, SetupCodeError};
pub use target::{NeedsTls, Route, Target};
pub use verdict::{Attempt, PauseReason, Verdict, judge};

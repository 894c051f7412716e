//! The vocabulary of the handshake and of errors (spec protocol §2, §3).

mod close;
mod connect;
mod error;
mod hello;
pub(crate) mod secret_field;
mod version;

pub use close::{CloseCode, CloseReason};
pub use connect::{
    AuthParams, ClientId, ClientInfo, ClientMode, ConnectParams, DeviceProof, ParamsError, Role,
};
pub use error::{ConnectCode, NextStep, RpcCode, RpcError};
pub use hello::{
    AuthMethod, HelloAuth, HelloFeatures, HelloOk, HelloPolicy, HelloServer, HelloTag,
};
pub use version::{PROBE_MIN_VERSION, PROTOCOL_VERSION, VersionRange, VersionRefused};

/// The capability of clients that resume: the gateway numbers events for them, and
/// `events.resume` gives those that they missed. An addition of this gateway.
pub const RESUME_CAP: &str = "event-resume";

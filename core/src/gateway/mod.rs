//! The gateway: who is connected, what they may see, and the answer to every call (spec protocol §3
//! to §6).
//!
//! [`Gateway`] speaks only in values. The host moves [`crate::server::Event`]s of its connections
//! in, and carries out what comes back: [`Gateway::poll_delivery`] gives values for connections,
//! [`Gateway::poll_effect`] gives work that needs the outside, [`Gateway::poll_timeout`] the next
//! deadline.

mod admission;
mod calls;
mod dedupe;
mod drain;
mod effect;
mod health;
mod machine;
mod presence;
mod setup;

pub use admission::AdmissionPolicy;
pub use drain::Phase;
pub use effect::{
    ConfigText, Effect, EffectOutcome, EffectRequest, LogTail, ProcessStats, TailLog,
};
pub use machine::{Gateway, OpenRefusal, Timer};
pub use presence::PresenceEntry;
pub use setup::{GatewaySetup, HostInfo};

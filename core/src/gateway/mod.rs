//! The gateway: who is connected, what they may see, and the answer to every call (spec protocol §3
//! to §6).
//!
//! [`Gateway`] speaks only in values. The host moves [`crate::server::Event`]s of its connections
//! in, and carries out what comes back: [`Gateway::poll_delivery`] gives values for connections,
//! [`Gateway::poll_effect`] gives work that needs the outside, [`Gateway::poll_commit`] changes to
//! make durable, [`Gateway::poll_timeout`] the next deadline.

mod admission;
mod agents;
mod approvals;
mod audit;
mod bucket;
mod calls;
mod channels;
mod clients;
mod deadlines;
mod dedupe;
mod devices;
mod drain;
mod effect;
mod health;
mod http;
mod invites;
mod live;
mod machine;
mod metrics;
mod nodes;
mod outputs;
mod past_events;
mod presence;
mod rotation;
mod runs;
mod sessions;
mod settings;
mod setup;
mod system_events;
mod voice;
mod waiting;
mod whois;

pub use admission::{AdmissionPolicy, IngressPolicy};
pub use approvals::{Decision, shown};
pub use clients::OpenRefusal;
pub use deadlines::Timer;
pub use devices::{LocalApproval, PairingPolicy};
pub use drain::Phase;
pub use effect::{
    ConfigText, Effect, EffectOutcome, EffectRequest, LogTail, ProcessStats, ServerSecrets,
    TailLog, WHOIS_TIMEOUT,
};
pub use http::{HttpAccess, HttpAnswer, HttpRefusal, HttpRequest, HttpVerdict};
pub use live::LiveConfig;
pub use machine::Gateway;
pub use metrics::{CallEnded, Ended, WorkEnded, WorkKind, WorkLog};
pub use nodes::{
    CommandRefusal, CustomCommands, NodeCommandPolicy, NodeProfile, PlatformClass, Reach, Talk,
    UnknownNode,
};
pub use presence::PresenceEntry;
pub use setup::{GatewaySetup, HostInfo};

//! The bodies of the fuzz targets. They are plain functions of bytes that panic when a promise is
//! broken, so that an ordinary test can replay what a fuzzer has found.

#![allow(
    clippy::panic,
    reason = "panicking is how a body reports a broken promise"
)]

mod agent;
mod client;
mod config;
mod credentials;
mod edit;
mod frame;
mod gateway;
mod headers;
mod pem;
mod policy;
mod script;
mod secret_ref;
mod server;
mod signature;
mod telegram;

pub use agent::{agent_lines, sse};
pub use client::client_handshake;
pub use config::config;
pub use credentials::credentials;
pub use edit::config_edit;
pub use frame::frame;
pub use gateway::gateway;
pub use headers::headers;
pub use pem::pem;
pub use policy::{endpoint, policy_text};
pub use secret_ref::secret_ref;
pub use server::server_handshake;
pub use signature::signature;
pub use telegram::telegram;

/// A body: takes whatever bytes there are, and panics when a promise is broken.
pub type Body = fn(&[u8]);

/// All targets by name. The name is also that of the file in `fuzz/fuzz_targets` and of the folder
/// in `fuzz/corpus`.
pub const TARGETS: &[(&str, Body)] = &[
    ("agent_lines", agent_lines),
    ("client_handshake", client_handshake),
    ("config", config),
    ("config_edit", config_edit),
    ("credentials", credentials),
    ("endpoint", endpoint),
    ("frame", frame),
    ("gateway", gateway),
    ("headers", headers),
    ("pem", pem),
    ("policy_text", policy_text),
    ("secret_ref", secret_ref),
    ("server_handshake", server_handshake),
    ("signature", signature),
    ("sse", sse),
    ("telegram", telegram),
];

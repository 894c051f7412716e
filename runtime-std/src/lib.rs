//! The blocking clawgate client: std threads, tungstenite, rustls. It carries out what
//! [`clawgate_core::client`] decides.
//!
//! - [`call`] makes one call over a connection of its own.
//! - [`Connection`] makes several calls, also at once, from one thread.
//! - [`look_at_certificate`] tells which certificate a gateway shows, before anything is sent.
//! - [`Node`] is a headless node: it carries out what [`clawgate_core::node`] decides.
//! - [`Hold`] holds an SSH tunnel open, for every program of this user that needs it.
//! - [`Client`] stays connected, delivers events, and can be used from any thread.
//!
//! [`read_secrets`] reads the files and runs the programs that secret references name.
//!
//! Everything that waits has a deadline, and can be cancelled from another thread with a
//! [`Cancel`].
#![forbid(unsafe_code)]

mod budget;
mod client;
mod connection;
mod dial;
mod error;
mod first_use;
mod node;
mod os;
mod owner;
mod page;
mod resolve;
mod secrets;
mod socket;
mod system_program;
mod timings;
mod tls;
mod tunnel;
mod waiter;
mod worker;

pub mod websocket;

pub use budget::Cancel;
pub use client::{Client, ClientEvent, ClientOptions, PendingCall};
pub use connection::{Connection, Options, call};
pub use error::{CallError, ConnectError, Problem, TokenFate};
pub use first_use::look_at_certificate;
pub use node::{
    Node, NodeEnd, NodeEvent, NodeSetup, NodeStop, find_program, read_approvals, replace_approvals,
};
pub use page::{PageAnswer, ask_for_page};
pub use secrets::read_secrets;
pub use system_program::{MissingProgram, system_program};
pub use timings::{Stage, Timings};
pub use tunnel::{
    Held, Hold, HoldEnd, HoldOptions, HoldRequest, Holder, Stopper, TunnelFiles, find_ssh,
    is_running, run_as_child, service_holds, spawn_holder, try_tunnel,
};

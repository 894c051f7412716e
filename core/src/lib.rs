//! The sans-IO core of clawgate: bytes and events in; bytes, effects and deadlines out.
//!
//! Nothing here touches a socket, a file, a thread, the environment, a clock or a source of
//! randomness: those are arguments. So every rule of the gateway protocol, of credentials and of host
//! policy can be used from any transport, and tested in virtual time.
//!
//! | to | use |
//! | --- | --- |
//! | serve one connection | [`server::ServerConn`] |
//! | decide who comes in and answer calls | [`gateway::Gateway`] |
//! | speak to a gateway over one connection | [`client::ClientConn`] |
//! | stay connected to one | [`client::Session`] |
//! | be a node | [`node::NodeHost`] |
//! | find the token and password to send, and where | [`credentials::resolve()`] |
//! | hold an SSH tunnel open | [`tunnel::Tunnel`] |
//! | judge a gateway URL | [`policy::Endpoint::parse`] |
//! | read `openclaw.json` | [`config::ConfigFile::parse`] |
//!
//! # Driving a machine
//!
//! 1. Give it an input, with the time: a text message, a close, written bytes, a delivery.
//! 2. Drain `poll_event` (and, for the gateway, `poll_delivery` and `poll_effect`) until `None`.
//! 3. Write what `poll_transmit` gives, as far as the transport takes it, and report it as written.
//! 4. Wait for the next input or for `poll_timeout`, whichever comes first; then call
//!    `handle_timeout`.
//!
//! Debug builds assert step 2. The example `in_memory` does all four in 200 lines.
#![forbid(unsafe_code)]

pub mod agent;
pub mod channel;
pub mod client;
pub mod config;
pub mod credentials;
pub mod device;
pub mod discovery;
pub mod doctor;
pub mod error;
pub mod frame;
pub mod gateway;
pub mod ids;
pub mod job;
pub mod limits;
pub mod methods;
pub mod metrics;
pub mod node;
pub mod policy;
pub mod protocol;
pub mod rng;
pub mod scope;
pub mod secret;
pub mod secrets;
pub mod server;
pub mod store;
pub mod support;
pub mod tailscale;
pub mod time;
pub mod trace;
pub mod transmit;
pub mod tunnel;
pub mod wake;

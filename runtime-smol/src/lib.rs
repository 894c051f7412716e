//! The clawgate gateway on smol: one listener for WebSocket and HTTP, a task for each connection.
//!
//! Everything here carries out what [`clawgate_core`] decides: it reads and writes sockets, keeps
//! time, and does the effects that the gateway machine asks for.
//!
//! ```no_run
//! use clawgate_core::gateway::GatewaySetup;
//! use clawgate_smol::{Server, ServerOptions};
//!
//! # fn setup() -> GatewaySetup { unimplemented!() }
//! # fn options() -> ServerOptions { unimplemented!() }
//! # fn main() -> std::io::Result<()> {
//! let listeners = vec![std::net::TcpListener::bind("127.0.0.1:0")?];
//! let server = Server::start(listeners, setup(), options())?;
//! server.stopper().stop("gateway stopping");
//! server.join();
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod bind;
mod conn;
mod effects;
mod http;
mod hub;
mod listener;
mod server;
mod socket;
mod tap;

pub mod websocket;

pub use bind::listen;
pub use effects::HostFiles;
pub use server::{Server, ServerOptions, Stopper};

//! The clawgate gateway on smol: one listener for WebSocket and HTTP, a task for each connection.
//!
//! Everything here carries out what [`clawgate_core`] decides: it reads and writes sockets, keeps
//! time, keeps rows on disk ([`store`]), and does the effects that the gateway machine asks for.
//!
//! ```
//! use clawgate_core::gateway::GatewaySetup;
//! use clawgate_smol::{Server, ServerOptions};
//!
//! fn serve_for_a_moment(setup: GatewaySetup, options: ServerOptions) -> std::io::Result<()> {
//!     let listeners = vec![clawgate_smol::listen([127, 0, 0, 1].into(), 0)?];
//!     let server = Server::start(listeners, setup, options)?;
//!     println!("listening on {:?}", server.addresses());
//!     server.stopper().stop("gateway stopping");
//!     server.join();
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

mod bind;
mod conn;
mod effects;
mod head;
mod heads;
mod http;
mod hub;
mod interfaces;
mod listener;
mod live;
mod locks;
#[cfg(feature = "mdns")]
pub mod mdns;
mod owner;
mod post;
mod sample;
mod server;
mod socket;
mod tailscale;
mod tap;
mod tls;

pub mod jobs;
pub mod store;
pub mod websocket;
mod work_log;

pub use bind::listen;
pub use effects::{ApprovalsHost, HostFiles, SecretsHost};
pub use hub::now;
pub use live::Live;
pub use locks::Locks;
pub use owner::OwnerSocket;
pub use server::{ManagedPort, Newcomers, Server, ServerOptions, State, Stopper};
pub use tailscale::{Tailscale, TailscaleError};
pub use tls::{
    MadeCertificate, Refreshed, TlsLoadError, TlsPort, ValidityWarning, make_certificate,
};

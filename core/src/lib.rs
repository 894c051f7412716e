//! The sans-IO core of clawgate: bytes and events in; bytes, effects and deadlines out.
#![forbid(unsafe_code)]

pub mod client;
pub mod config;
pub mod credentials;
pub mod device;
pub mod error;
pub mod frame;
pub mod gateway;
pub mod ids;
pub mod limits;
pub mod methods;
pub mod policy;
pub mod protocol;
pub mod rng;
pub mod scope;
pub mod secret;
pub mod server;
pub mod time;
pub mod transmit;

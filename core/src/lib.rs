//! The sans-IO core of clawgate: bytes and events in; bytes, effects and deadlines out.
#![forbid(unsafe_code)]

pub mod config;
pub mod credentials;
pub mod policy;
pub mod secret;

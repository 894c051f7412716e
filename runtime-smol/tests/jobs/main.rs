//! Jobs against a scripted server on loopback and against real programs.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod http;
#[cfg(unix)]
mod programs;
mod rig;

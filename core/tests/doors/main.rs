//! Every door of the gateway, and who gets through it: each mode with each program, each identity,
//! each credential and each way to come, against rules that are written down a second time.
//!
//! `cells` names the ways, `scene` makes them real, `oracle` knows the verdicts;
//! `http` is the same for requests without a WebSocket.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test panics when a promise is broken"
)]
#![allow(unreachable_pub, reason = "modules of one test")]

mod cells;
#[path = "../common/mod.rs"]
mod common;
mod http;
mod oracle;
mod scene;
mod table;

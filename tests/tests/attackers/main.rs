//! Attackers with real sockets: what they try, and that it gets them nowhere while others are served.
//!
//! A certificate that is swapped between two connections is tested where pins are
//! (`runtime-std/tests/tls.rs`), and half-open TLS handshakes with TLS (`sockets/tls.rs`).
#![allow(
    clippy::indexing_slicing,
    reason = "an answer that lacks a field fails the test, which is what it is for"
)]

mod devices;
mod downgrade;
mod flood;
mod guessing;
mod headers;
#[allow(dead_code, reason = "made for the tests of sockets")]
#[path = "../sockets/raw.rs"]
mod raw;
mod replay;
#[allow(dead_code, reason = "made for the tests of sockets")]
#[path = "../sockets/server.rs"]
mod server;
mod stolen;

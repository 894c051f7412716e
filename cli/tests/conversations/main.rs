//! `agent`, `chat`, `sessions` and `demo` with real processes on loopback.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;

mod agent;
mod chat;
mod demo;
mod sessions;
mod support;

//! What can be seen of a running gateway: its log, and `gateway top`.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test panics when a promise is broken"
)]

mod gateway;
mod log;
#[cfg(unix)]
mod terminal;
mod top;

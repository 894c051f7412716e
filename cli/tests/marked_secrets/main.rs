//! Every command and many ways to fail, with secrets that carry marks; then the marks are looked for
//! in everything that was written: output, logs, state, arguments and environments of children.
#![cfg(unix)]
#![allow(
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are outside of test functions"
)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod marks;
mod runs;
mod search;

//! Devices, their tokens and join tokens, with the built gateway, the built command line and the
//! published client as real processes.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

mod command_line;
mod invites;
mod pairing;
mod support;
mod tokens;

//! Nodes as operators, agents and nodes themselves meet them.
//!
//! `CLAWGATE_SIM_SEED=7 cargo test -p clawgate-core --test nodes` repeats one run of the simulation;
//! `CLAWGATE_SIM_RUNS=10000` makes many.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test panics when a promise is broken"
)]
#![allow(unreachable_pub, reason = "modules of one test")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../system/dice.rs"]
#[allow(dead_code, reason = "made for the whole system")]
mod dice;

mod invoking;
mod listing;
mod pairing;
mod property;
mod reports;
mod scene;
mod simulation;
mod trouble;

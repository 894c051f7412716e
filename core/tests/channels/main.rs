//! Messages from a service to an agent and back, with a fault at every step.
//!
//! `CLAWGATE_SIM_SEED=7 cargo test -p clawgate-core --test channels` repeats one run of the simulation;
//! `CLAWGATE_SIM_RUNS=10000` makes many.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics when a promise is broken"
)]
#![allow(unreachable_pub, reason = "modules of one test")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../system/dice.rs"]
#[allow(dead_code, reason = "made for the whole system")]
mod dice;

mod agent;
mod behaviour;
mod calls;
mod service;
mod simulation;
mod toy;
mod world;

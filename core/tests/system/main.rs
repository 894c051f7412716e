//! The whole system in memory: real clients and a real gateway in virtual time, over a network that
//! delays, stalls, loses and cuts.
//!
//! Every run follows from its seed. `CLAWGATE_SIM_SEED=7 cargo test -p clawgate-core --test system`
//! repeats one random run; `CLAWGATE_SIM_RUNS=10000` makes many.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test panics when a promise is broken"
)]
#![allow(unreachable_pub, reason = "modules of one test")]

mod cast;
mod client;
mod client_side;
mod dice;
mod disk;
mod ledger;
mod network;
mod peace;
mod runs;
mod script;
mod server_side;
mod work;
mod world;

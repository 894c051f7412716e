//! The whole way of a message on real processes: a client, the gateway, an agent, a node with an
//! identity of its own, and back (seed 002, *Command flow*).
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]
#![allow(clippy::print_stdout, reason = "times of hops are printed")]

mod approvals;
mod builtin;
mod command;
mod losses;
mod openai;
mod reference;
mod support;

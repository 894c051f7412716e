//! The whole way of a message from a chat on real processes: a stand-in for Telegram's Bot API, the
//! gateway, an agent, a node with an identity of its own, and the reply in the chat (seed 002, *Command
//! flow*).
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]
#![allow(clippy::print_stdout, reason = "times of hops are printed")]

mod faults;
mod flow;
mod people;
mod support;

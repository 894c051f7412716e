//! The stand-in as bots meet it: over HTTP on a real port.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod faults;
mod files;
mod polling;
mod protocol;
mod sending;

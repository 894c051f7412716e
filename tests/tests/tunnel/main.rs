//! SSH tunnels against a real `sshd` on loopback: commands that share one, what is done about everything
//! that can go wrong, and strangers who must never hear a credential (seed 002; spec hostpolicy §7).
#![cfg(target_os = "linux")]
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]
#![allow(clippy::print_stdout, reason = "times of recovery are printed")]

mod commands;
mod errors;
mod faults;
mod install;
mod strangers;
mod support;

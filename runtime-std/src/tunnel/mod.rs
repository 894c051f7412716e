//! Carries out what [`clawgate_core::tunnel`] decides: runs the system's `ssh`, holds tunnels open, and
//! shares them among the programs of one user.
//!
//! Two files lie in the folder of tunnels for each of them, beside its record: a lock that the holder
//! keeps for as long as it lives, and a lock that everybody who uses the tunnel shares. So neither a crash
//! nor a number that a process had before can mislead anybody.

mod child;
mod files;
mod hold;
mod listener;
mod open;
mod process;
mod program;
mod ssh;

pub use child::run_as_child;
pub use files::{Held, TunnelFiles};
pub use hold::{Hold, HoldEnd, HoldOptions, HoldRequest, Holder, Stopper};
pub use process::is_running;
pub use program::find_ssh;

pub(crate) use open::{Way, open};
pub use open::{service_holds, spawn_holder, try_tunnel};

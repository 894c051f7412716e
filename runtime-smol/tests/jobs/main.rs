//! Jobs against a scripted server on loopback and against real programs.

#[path = "rig.rs"]
mod rig;

mod http;
#[cfg(unix)]
mod programs;

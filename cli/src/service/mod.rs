//! Programs that the user's service manager keeps running: what such a service is
//! ([`Service`]), the files that say so to systemd ([`systemd`]) and to launchd ([`launchd`]), and
//! asking the manager for it ([`Manager`]).
//!
//! The two generators are pure: the same description gives the same files on every platform.

mod description;
mod env_file;
mod failure;
mod files;
pub(crate) mod launchd;
mod manager;
mod program;
mod state;
pub(crate) mod systemd;

pub(crate) use description::{
    Hardening, Readiness, Refused, Restart, Service, ServiceName, Socket, Value,
};
pub(crate) use env_file::EnvFile;
pub(crate) use failure::ServiceError;
pub(crate) use files::{Audience, OnDisk, ServiceFile};
pub(crate) use manager::{Kind, Manager};
#[allow(unused_imports, reason = "tunnels find ssh by it")]
pub(crate) use program::find_trusted;
pub(crate) use state::{Activity, State};

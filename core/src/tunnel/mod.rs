//! SSH tunnels to a gateway that listens on its own machine only (seed 002; spec hostpolicy §7).
//!
//! A [`TunnelSpec`] says what is forwarded, and how the system's `ssh` is called for it. The machine
//! [`Tunnel`] says when `ssh` is started, looked at, stopped and started again. A [`TunnelFailure`] is what
//! `ssh` meant, with what to do about it. A [`TunnelRecord`] tells other programs of the same user where an
//! open tunnel is.
//!
//! Nothing is ever sent to a local port only because somebody listens there: the host has to find that the
//! listener is the very `ssh` that it started ([`Listener`]). Which machine is behind it, `ssh` knows by
//! the host's key. Which gateway is behind it, only a pinned certificate says (`wss://` and
//! `gateway.remote.tlsFingerprint`); without one, it is whoever listens on that port of that machine.

mod failure;
mod machine;
mod program;
mod record;
mod spec;
mod ssh_config;
mod through;
mod words;

pub use failure::{FailureKind, Mending, TunnelFailure};
pub use machine::{
    Action, Event, Exit, KILL_AFTER, LOOK_EVERY, Listener, Patience, Tunnel, TunnelSettings,
};
pub use program::{FOLDERS, PROGRAM};
pub use record::{
    Holding, LastError, MAX_RECORD, ProcessMark, RecordError, TunnelRecord, TunnelState,
};
pub use spec::{
    DEFAULT_GATEWAY_PORT, HostKeyPolicy, KeepAlive, SSH_CONFIG_ENV, TunnelKey, TunnelSpec,
};
pub use ssh_config::{host_block, own_options, with_include, without_include};
pub use through::{Through, TunnelKeeper, TunnelService};

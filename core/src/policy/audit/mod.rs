//! What is wrong with how a gateway is set up: its config, its environment, its files
//! (seed 002, *Security rules*; spec hostpolicy and credentials for each rule).
//!
//! Everything here is a pure function of [`Facts`]. A finding names a value by its key or a file by
//! its path, never by what is in it.
//!
//! ```
//! use clawgate_core::config::{ConfigFile, EnvVars};
//! use clawgate_core::policy::audit::{Facts, Logins, Severity, audit};
//! use clawgate_core::policy::bind::{HostFacts, Surroundings};
//!
//! let text = "{ gateway: { auth: { mode: 'none' } } }";
//! let config = ConfigFile::parse("openclaw.json", text).unwrap();
//! let findings = audit(&Facts {
//!     config: &config,
//!     env: &EnvVars::new(),
//!     bind: &HostFacts {
//!         surroundings: Surroundings::Machine,
//!         tailnet_ipv4: None,
//!         bindable: vec![[127, 0, 0, 1].into()],
//!     },
//!     kept_token: None,
//!     logins: Logins::Known(1),
//!     user: Some(1000),
//!     files: &[],
//! });
//! assert_eq!((findings[0].id.as_str(), findings[0].severity), ("auth.none", Severity::Warn));
//! ```

mod auth;
mod client;
mod exposure;
mod files;
mod finding;
mod flags;

pub use files::{FileFact, FileKind, FileRole, Mend};
pub use finding::{Finding, Place, Severity};

use core::net::IpAddr;

use super::bind::{HostFacts, bind_host};
use crate::config::{ConfigFile, EnvVars, TailscaleMode};
use crate::secret::Secret;

/// Everything that is looked at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The config file, which may be missing.
    pub config: &'a ConfigFile,
    /// The environment of whoever asks; a service's may differ.
    pub env: &'a EnvVars,
    /// What `gateway.bind` depends on.
    pub bind: &'a HostFacts,
    /// The token that the gateway made for itself, if there is one.
    pub kept_token: Option<&'a Secret>,
    /// Who can log in on this machine.
    pub logins: Logins,
    /// The number of the user who asks, where the system has such numbers.
    pub user: Option<u32>,
    /// Files and folders that matter.
    pub files: &'a [FileFact],
}

/// How many people can log in on this machine, whoever asks among them. The system's administrator
/// does not count: nothing here protects from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logins {
    /// So many.
    Known(usize),
    /// The system does not say.
    Unknown,
}

impl Logins {
    const fn are_shared(self) -> bool {
        matches!(self, Self::Known(2..))
    }
}

/// Who can reach the gateway's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Programs on this machine.
    Machine,
    /// Members of the tailnet, through an encrypted network.
    Tailnet,
    /// Whoever is on the same networks.
    Network(IpAddr),
    /// Everybody.
    Internet,
}

impl Reach {
    fn of(facts: &Facts<'_>) -> Self {
        let gateway = &facts.config.config.gateway;
        match gateway.tailscale {
            TailscaleMode::Funnel => return Self::Internet,
            TailscaleMode::Serve => return Self::Tailnet,
            TailscaleMode::Off => {}
        }
        // A bind that cannot be resolved never becomes a listener; the start says why.
        match bind_host(gateway, facts.bind) {
            Ok(IpAddr::V4(ip)) if Some(ip) == facts.bind.tailnet_ipv4 => Self::Tailnet,
            Ok(ip) if !ip.is_loopback() => Self::Network(ip),
            Ok(_) | Err(_) => Self::Machine,
        }
    }

    const fn is_exposed(self) -> bool {
        !matches!(self, Self::Machine)
    }
}

/// Looks at everything. The gravest findings come first.
pub fn audit(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A machine whose clients use a gateway elsewhere runs none.
    if !facts.config.config.gateway.mode.is_remote() {
        let reach = Reach::of(facts);
        auth::check(facts, reach, &mut findings);
        exposure::check(facts, reach, &mut findings);
    }
    client::check(facts, &mut findings);
    flags::check(facts, &mut findings);
    files::check(facts, &mut findings);
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
    findings
}

#[cfg(test)]
mod tests;

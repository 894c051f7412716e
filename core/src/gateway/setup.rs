//! What a gateway is started with.

use std::{path::PathBuf, sync::Arc};

use super::admission::AdmissionPolicy;
use crate::{device::DeviceIdentity, limits::Limits, policy::server_auth::ServerSecretSource};

/// Facts about the machine and the installation, read by the host.
#[derive(Clone, Debug)]
pub struct HostInfo {
    /// The gateway's version.
    pub version: String,
    /// The machine's name.
    pub hostname: String,
    /// Such as `linux`.
    pub platform: String,
    /// Such as `Linux`.
    pub device_family: String,
    /// The process.
    pub pid: u32,
    /// The configuration file, whether it exists or not.
    pub config_path: PathBuf,
    /// SHA-256 of the configuration that was applied, in hexadecimal.
    pub config_hash: Option<String>,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The file of exec approvals of this host.
    pub exec_approvals: PathBuf,
    /// Ids of the configured agents; never empty.
    pub agents: Vec<String>,
    /// The URL by which others reach this gateway, if it listens on more than loopback.
    pub url: Option<String>,
    /// SHA-256 of the certificate that it shows, in hexadecimal, if it speaks TLS.
    pub tls_fingerprint: Option<String>,
    /// Where the shared secret comes from, if the gateway asks for one.
    pub secret_source: Option<ServerSecretSource>,
    /// What went wrong at the start and does not keep the gateway from running, in words for
    /// people; shown as degraded health.
    pub problems: Vec<String>,
    /// The same about the config: that it cannot be used, or needs a restart. They change while the
    /// gateway runs.
    pub config_problems: Vec<String>,
}

impl HostInfo {
    /// A host that is known by name only: one agent, no files. Set what is known beside it.
    pub fn new(version: impl Into<String>, hostname: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            hostname: hostname.into(),
            platform: "unknown".into(),
            device_family: "Unknown".into(),
            pid: 0,
            config_path: "openclaw.json".into(),
            config_hash: None,
            state_dir: "state".into(),
            exec_approvals: "state/exec-approvals.json".into(),
            agents: vec!["main".into()],
            url: None,
            tls_fingerprint: None,
            secret_source: None,
            problems: Vec::new(),
            config_problems: Vec::new(),
        }
    }

    /// The agent that is meant when none is named.
    pub fn default_agent(&self) -> &str {
        self.agents.first().map_or("main", String::as_str)
    }
}

/// Everything that a gateway is started with.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    /// Limits.
    pub limits: Arc<Limits>,
    /// Who may come in.
    pub admission: AdmissionPolicy,
    /// Facts about the host.
    pub host: HostInfo,
    /// The gateway's own key.
    pub identity: Arc<DeviceIdentity>,
}

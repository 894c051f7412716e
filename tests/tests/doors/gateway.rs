//! A gateway in this process, with whatever its configuration says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clawgate_core::channel::Channels;
use clawgate_core::config::{Config, EnvVars};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::gateway::{AdmissionPolicy, GatewaySetup, HostInfo};
use clawgate_core::limits::Limits;
use clawgate_core::policy::server_auth::{AuthOverride, resolve_server_auth};
use clawgate_core::tailscale::Publication;
use clawgate_smol::store::{FILE_NAME, Reader, StoreFile, StoreOptions};
use clawgate_smol::{HostFiles, ManagedPort, Server, ServerOptions, State, Tailscale};
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::caller::Caller;

pub(crate) const TOKEN: &str = "token-of-the-tests";

/// A gateway that ends with the test.
pub(crate) struct Gateway {
    server: Server,
    address: SocketAddr,
    managed: Option<SocketAddr>,
    folder: TempDir,
}

impl Gateway {
    /// Starts a gateway with this `gateway` part of a configuration.
    pub(crate) fn start(config: &Value) -> TestResult<Self> {
        Self::start_with(config, Tailscale::of_system())
    }

    /// Starts a gateway that asks for [`TOKEN`], with more of a configuration.
    pub(crate) fn with_token(mut config: Value) -> TestResult<Self> {
        config["auth"]["mode"] = json!("token");
        config["auth"]["token"] = json!(TOKEN);
        Self::start(&config)
    }

    /// Starts a gateway with this `tailscale` program.
    pub(crate) fn start_with(config: &Value, tailscale: Tailscale) -> TestResult<Self> {
        let folder = TempDir::new()?;
        let config = Config::from_value(&json!({ "gateway": config })).gateway;
        let auth = resolve_server_auth(&config, &EnvVars::new(), &AuthOverride::default());
        let files = HostFiles {
            config: folder.path().join("openclaw.json"),
            log: folder.path().join("gateway.log"),
        };
        let setup = GatewaySetup {
            limits: Arc::new(Limits::default()),
            admission: AdmissionPolicy::of_config(&auth, &config),
            host: HostInfo {
                config_path: files.config.clone(),
                state_dir: folder.path().to_owned(),
                ..HostInfo::new("0.0.0", "host")
            },
            identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
        };
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let managed = Publication::of_mode(config.tailscale)
            .map(|publication| {
                let listener = clawgate_smol::listen(loopback, 0)?;
                std::io::Result::Ok(ManagedPort {
                    listener,
                    publication,
                })
            })
            .transpose()?;
        let managed_address = managed
            .as_ref()
            .map(|port| port.listener.local_addr())
            .transpose()?;
        let store = StoreFile::open(&folder.path().join(FILE_NAME), StoreOptions::default())?;
        let options = ServerOptions {
            seed: [2; 32],
            agent: None,
            state: State::Kept(store.file, store.rows),
            secrets: None,
            approvals: None,
            locks: None,
            channels: Channels::default(),
            owner: None,
            managed,
            tailscale,
            threads: 2,
            files,
            tls: None,
        };
        let listener = clawgate_smol::listen(loopback, 0)?;
        let address = listener.local_addr()?;
        Ok(Self {
            server: Server::start(vec![listener], setup, options)?,
            address,
            managed: managed_address,
            folder,
        })
    }

    /// Somebody who comes to the gateway's own port, from 127.0.0.1.
    pub(crate) fn caller(&self) -> Caller {
        Caller::to(self.address)
    }

    /// Somebody who comes to the port that Tailscale forwards to.
    pub(crate) fn by_tailscale(&self) -> Caller {
        Caller::to(self.managed.unwrap_or(self.address))
    }

    /// The audit log, as soon as it has `count` entries that fit; the oldest first.
    pub(crate) fn audit(
        &self,
        count: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> TestResult<Vec<Value>> {
        let path: PathBuf = self.folder.path().join(FILE_NAME);
        Deadline::after(PATIENCE).poll("the audit log", || {
            let page = Reader::open(&path)?.audit(None, 1_000)?;
            let mut found = Vec::new();
            for entry in page.entries.iter().rev() {
                let entry: Value = entry.entry.parse()?;
                if fits(&entry) {
                    found.push(entry);
                }
            }
            Ok((found.len() >= count).then_some(found))
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.stopper().stop("the test is over");
    }
}

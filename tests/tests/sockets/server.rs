//! A gateway of its own for each test, with limits that suit the test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clawgate_core::channel::Channels;
use clawgate_core::device::DeviceIdentity;
use clawgate_core::gateway::{AdmissionPolicy, GatewaySetup, HostInfo};
use clawgate_core::limits::Limits;
use clawgate_core::policy::{AuthRule, SecretKind, TailscaleLogin};
use clawgate_core::secret::Secret;
use clawgate_smol::{HostFiles, Server, ServerOptions, State, Tailscale, TlsPort};
use clawgate_tests::failure::TestResult;
use clawgate_tests::raw_client::RawClient;
use tempfile::TempDir;

pub(crate) const TOKEN: &str = "token-of-the-tests";

/// A server that ends with the test.
pub(crate) struct TestServer {
    server: Option<Server>,
    address: SocketAddr,
    folder: TempDir,
}

impl TestServer {
    pub(crate) fn start() -> TestResult<Self> {
        Self::start_with(|_| {})
    }

    /// Starts a server with limits that differ from the usual ones.
    pub(crate) fn start_with(change: impl FnOnce(&mut Limits)) -> TestResult<Self> {
        Self::start_on(change, |_| {}, None)
    }

    /// Starts a server with limits and rules that differ from the usual ones.
    #[allow(dead_code, reason = "not every test that shares this file needs it")]
    pub(crate) fn start_strict(
        change: impl FnOnce(&mut Limits),
        rules: impl FnOnce(&mut AdmissionPolicy),
    ) -> TestResult<Self> {
        Self::start_on(change, rules, None)
    }

    /// Starts a server that speaks TLS.
    pub(crate) fn start_tls(tls: TlsPort, change: impl FnOnce(&mut Limits)) -> TestResult<Self> {
        Self::start_on(change, |_| {}, Some(tls))
    }

    fn start_on(
        change: impl FnOnce(&mut Limits),
        rules: impl FnOnce(&mut AdmissionPolicy),
        tls: Option<TlsPort>,
    ) -> TestResult<Self> {
        let folder = TempDir::new()?;
        let mut limits = Limits::default();
        change(&mut limits);
        let rule = AuthRule::Shared {
            kind: SecretKind::Token,
            secret: Some(Secret::new(TOKEN)),
            tailscale: TailscaleLogin::Off,
        };
        let mut admission = AdmissionPolicy::new(rule);
        rules(&mut admission);
        let files = HostFiles {
            config: folder.path().join("openclaw.json"),
            log: folder.path().join("gateway.log"),
        };
        let setup = GatewaySetup {
            limits: Arc::new(limits),
            admission,
            host: HostInfo {
                config_path: files.config.clone(),
                state_dir: folder.path().to_owned(),
                ..HostInfo::new("0.0.0", "host")
            },
            identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
        };
        let options = ServerOptions {
            seed: [2; 32],
            secrets: None,
            approvals: None,
            locks: None,
            channels: Channels::default(),
            agent: None,
            state: State::Memory,
            owner: None,
            managed: None,
            tailscale: Tailscale::of_system(),
            threads: 2,
            files,
            tls,
        };
        let listener = clawgate_smol::listen(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)?;
        let address = listener.local_addr()?;
        Ok(Self {
            server: Some(Server::start(vec![listener], setup, options)?),
            address,
            folder,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// A client that is in, with every scope.
    pub(crate) fn client(&self) -> TestResult<RawClient> {
        RawClient::operator(&self.url(), TOKEN, &["operator.admin"])
    }

    /// Makes the log that `logs.tail` reads.
    pub(crate) fn write_log(&self, text: &str) -> TestResult {
        Ok(fs::write(self.folder.path().join("gateway.log"), text)?)
    }

    /// Where `config.get` reads.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("openclaw.json")
    }

    /// Sockets that have become connections and are not gone.
    pub(crate) fn connections(&self) -> usize {
        self.server.as_ref().map_or(0, Server::connections)
    }

    /// Begins the end.
    pub(crate) fn stop(&self, reason: &str) {
        if let Some(server) = &self.server {
            server.stopper().stop(reason);
        }
    }

    /// Waits for the end.
    pub(crate) fn join(&mut self) {
        if let Some(server) = self.server.take() {
            server.join();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop("the test is over");
    }
}

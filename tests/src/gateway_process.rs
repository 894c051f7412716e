//! A gateway of its own for each test: the built `clawgate` program, in a home folder of its own, on a
//! loopback port of its own.
//!
//! The environment variable `CLAWGATE_TEST_GATEWAY` may name another program to run in its place, with
//! the same arguments, environment and configuration file. That is how the tests are compared with
//! other implementations of the protocol.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::deadline::Deadline;
use crate::failure::{Attempt, Failure, TestResult};

/// How long a gateway may take to become ready, or to stop.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(90);

/// How often a gateway is started that stops at once.
const PORT_ATTEMPTS: u32 = 3;

/// A running gateway. Dropping it kills it and removes its folder.
pub struct GatewayProcess {
    home: TempDir,
    port: u16,
    token: String,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

/// How a gateway differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Replaces `gateway.auth` of the configuration file.
    pub auth: Option<Value>,
    /// More keys of `gateway`.
    pub gateway: Vec<(String, Value)>,
    /// More keys beside `gateway`.
    pub config: Vec<(String, Value)>,
    /// More environment variables.
    pub environment: Vec<(String, String)>,
}

impl GatewayProcess {
    /// Starts a gateway that accepts [`token`](Self::token), and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When the program cannot be built or started, or does not become ready; with what it printed.
    pub fn start() -> TestResult<Self> {
        Self::start_with(Settings::default())
    }

    /// Starts a gateway with other settings, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(settings: Settings) -> TestResult<Self> {
        let mut gateway = Self {
            home: TempDir::new()?,
            port: free_port()?,
            token: "token-of-the-tests".to_owned(),
            environment: settings.environment.clone(),
            child: None,
        };
        let mut attempts = 0;
        loop {
            gateway.write_config(&settings)?;
            attempts += 1;
            match gateway.restart() {
                Ok(()) => return Ok(gateway),
                // Somebody else may have taken the port since it was found free.
                Err(_) if gateway.child.is_none() && attempts < PORT_ATTEMPTS => {
                    gateway.port = free_port()?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Starts the gateway again after [`stop`](Self::stop), on the same port and with the same files,
    /// and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> TestResult {
        let program = program()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let child = Command::new(program)
            .args(["gateway", "run", "--port", &self.port.to_string()])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env("OPENCLAW_STATE_DIR", self.state_dir())
            .env(
                "OPENCLAW_CONFIG_PATH",
                self.state_dir().join("openclaw.json"),
            )
            .envs(self.environment.iter().cloned())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .attempt(|| format!("could not start {}", Path::new(program).display()))?;
        self.child = Some(child);
        self.wait_until_ready()
    }

    /// Asks the gateway to stop, as a service manager does, without waiting for it.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn ask_to_stop(&self) -> TestResult {
        let pid = self
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| Failure::new("the gateway is not running"))?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits until the gateway has stopped by itself.
    ///
    /// # Errors
    ///
    /// When it is not running, or does not stop in time.
    pub fn wait_until_stopped(&mut self) -> TestResult<ExitStatus> {
        let mut child = self
            .child
            .take()
            .ok_or_else(|| Failure::new("the gateway is not running"))?;
        let status =
            Deadline::after(GATEWAY_PATIENCE).poll("the gateway to stop", || Ok(child.try_wait()?));
        if status.is_err() {
            self.child = Some(child);
        }
        status
    }

    /// Asks the gateway to stop and waits until it has.
    ///
    /// # Errors
    ///
    /// As the two steps.
    pub fn stop(&mut self) -> TestResult<ExitStatus> {
        self.ask_to_stop()?;
        self.wait_until_stopped()
    }

    /// Ends the gateway as a power cut would, with no chance to write anything.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn kill(&mut self) -> TestResult {
        let mut child = self
            .child
            .take()
            .ok_or_else(|| Failure::new("the gateway is not running"))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The WebSocket URL of the gateway.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The address the gateway listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The token that the gateway accepts, unless the settings say otherwise.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The home folder of the gateway.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder that holds the configuration and the state of the gateway.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.home.path().join(".openclaw")
    }

    /// Everything that the gateway has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Asks for a path over HTTP and gives the status and the body.
    ///
    /// # Errors
    ///
    /// When the gateway cannot be reached, or answers with something that is not HTTP.
    pub fn http_get(&self, path: &str) -> TestResult<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address(), GATEWAY_PATIENCE)?;
        stream.set_read_timeout(Some(GATEWAY_PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            self.port
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let not_http = || Failure::new(format!("not an HTTP answer: {answer:?}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(not_http)?, body.to_owned()))
    }

    fn write_config(&self, settings: &Settings) -> TestResult {
        let token = json!({"mode": "token", "token": self.token});
        let auth = settings.auth.as_ref().unwrap_or(&token);
        // Besides the gateway's own part, what any user's file has: here all of it switched off.
        let mut config = json!({
            "gateway": {"mode": "local", "port": self.port, "bind": "loopback", "auth": auth},
            "update": {"checkOnStart": false},
            "telemetry": {"enabled": false},
            "models": {"catalogRefresh": {"enabled": false}},
            "discovery": {"mdns": {"mode": "off"}},
        });
        for (key, value) in &settings.gateway {
            config["gateway"][key] = value.clone();
        }
        for (key, value) in &settings.config {
            config[key] = value.clone();
        }
        fs::create_dir_all(self.state_dir())?;
        fs::write(self.state_dir().join("openclaw.json"), config.to_string())?;
        Ok(())
    }

    fn wait_until_ready(&mut self) -> TestResult {
        Deadline::after(GATEWAY_PATIENCE)
            .poll("the gateway to become ready", || {
                let exited = self.child.as_mut().map(Child::try_wait).transpose()?;
                if let Some(status) = exited.flatten() {
                    self.child = None;
                    return Err(Failure::new(format!("the gateway stopped early: {status}")));
                }
                Ok(matches!(self.http_get("/readyz"), Ok((200, _))).then_some(()))
            })
            .map_err(|failure| Failure::new(format!("{failure}\nit printed:\n{}", self.log())))
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("gateway.log")
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have exited already; either way nothing is left to do about it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A loopback port that nothing listens on.
///
/// # Errors
///
/// When the system has none left.
pub fn free_port() -> TestResult<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// The gateway program: built once per test process, so that it is never older than its sources.
fn program() -> TestResult<&'static OsString> {
    static PROGRAM: OnceLock<Result<OsString, String>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| match std::env::var_os("CLAWGATE_TEST_GATEWAY") {
            Some(program) => Ok(program),
            None => clawgate().cloned().map_err(|failure| failure.to_string()),
        })
        .as_ref()
        .map_err(Failure::new)
}

/// The built `clawgate`, whichever program is the gateway.
///
/// # Errors
///
/// When it cannot be built.
pub fn clawgate() -> TestResult<&'static OsString> {
    static PROGRAM: OnceLock<Result<OsString, String>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| build_clawgate().map_err(|failure| failure.to_string()))
        .as_ref()
        .map_err(Failure::new)
}

fn build_clawgate() -> TestResult<OsString> {
    let profile_dir = build_dir()?;
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target_dir = profile_dir.parent().unwrap_or(&profile_dir);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "clawgate-cli",
            "--bin",
            "clawgate",
            "--profile",
        ])
        .arg(profile)
        .arg("--target-dir")
        .arg(target_dir)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .stdin(Stdio::null())
        .output()
        .attempt(|| "could not run cargo to build clawgate".to_owned())?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "clawgate could not be built:\n{errors}"
        )));
    }
    Ok(profile_dir
        .join(format!("clawgate{}", std::env::consts::EXE_SUFFIX))
        .into_os_string())
}

/// The folder into which cargo puts the programs of the profile that this test was built with.
pub(crate) fn build_dir() -> TestResult<PathBuf> {
    let test = std::env::current_exe()?;
    test.ancestors()
        .skip(1)
        .find(|folder| folder.file_name().is_some_and(|name| name != "deps"))
        .map(Path::to_path_buf)
        .ok_or_else(|| Failure::new(format!("no build folder above {}", test.display())))
}

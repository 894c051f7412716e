//! A gateway that listens on its own machine only, an `sshd` beside it, and a client elsewhere.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use clawgate_tests::command_line::Machine;
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings, free_port};
use clawgate_tests::ssh_server::{SshServer, signal};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The three of them.
pub(crate) struct Far {
    pub(crate) gateway: GatewayProcess,
    pub(crate) sshd: SshServer,
    pub(crate) client: Client,
    /// The port that the client wants for its end of the tunnel.
    pub(crate) wanted: u16,
}

impl Far {
    /// Starts them. `None` where there is no `sshd`.
    pub(crate) fn new() -> TestResult<Option<Self>> {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> TestResult<Option<Self>> {
        let Some(sshd) = SshServer::start()? else {
            return Ok(None);
        };
        let gateway = GatewayProcess::start_with(settings)?;
        let mut client = Client(Machine::new()?);
        let wanted = free_port()?;
        client.0.set_env(
            "CLAWGATE_SSH_CONFIG",
            sshd.client_config().to_string_lossy(),
        );
        let far = Self {
            gateway,
            sshd,
            client,
            wanted,
        };
        far.configure(&json!({}))?;
        Ok(Some(far))
    }

    /// The client's config, with these keys of `gateway.remote` in place of the usual ones.
    pub(crate) fn configure(&self, changes: &Value) -> TestResult {
        let mut remote = json!({
            "transport": "ssh",
            "sshTarget": self.sshd.target(),
            "url": format!("ws://127.0.0.1:{}", self.wanted),
            "remotePort": self.gateway.address().port(),
            "token": self.gateway.token(),
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            remote[key] = value.clone();
        }
        // `null` takes a key away.
        if let Some(remote) = remote.as_object_mut() {
            remote.retain(|_, value| !value.is_null());
        }
        let config = json!({ "gateway": { "mode": "remote", "remote": remote } });
        self.client.0.configure(&config)
    }

    /// How a command fails.
    pub(crate) fn error_of(&self, arguments: &[&str]) -> TestResult<(i32, Value)> {
        let ran = self.client.0.run(&[arguments, &["--json"]].concat())?;
        Ok((ran.code, ran.error()?))
    }

    /// The only tunnel of the client.
    pub(crate) fn tunnel(&self) -> TestResult<Value> {
        let ran = self.client.0.run(&["tunnel", "status", "--json"])?;
        let status: Value = serde_json::from_str(&ran.stdout)?;
        Ok(status["tunnels"][0].clone())
    }
}

/// The client's machine. Dropping it closes its tunnels.
pub(crate) struct Client(pub(crate) Machine);

impl Drop for Client {
    fn drop(&mut self) {
        // Its folder is removed next, so what is left could not be found any more.
        let _ = self.0.run(&["tunnel", "down"]);
    }
}

/// `tunnel up` in the foreground, and what it says.
pub(crate) struct Up {
    child: Child,
    said: Receiver<String>,
}

impl Up {
    pub(crate) fn start(far: &Far, arguments: &[&str]) -> TestResult<Self> {
        let arguments = [&["tunnel", "up", "--json"], arguments].concat();
        let mut child = far
            .client
            .0
            .command(&arguments)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new("no output"))?;
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, said })
    }

    /// Waits for an event of this name, and gives it.
    pub(crate) fn event(&self, name: &str) -> TestResult<Value> {
        loop {
            let event = self.next()?;
            if event["event"] == name {
                return Ok(event);
            }
        }
    }

    /// The next thing that it says.
    pub(crate) fn next(&self) -> TestResult<Value> {
        let line = self
            .said
            .recv_timeout(PATIENCE)
            .map_err(|_| Failure::new("`tunnel up` said nothing in time, or has ended"))?;
        Ok(serde_json::from_str(&line)?)
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(&mut self) -> TestResult<Option<i32>> {
        let child = &mut self.child;
        let status = Deadline::after(PATIENCE).poll("`tunnel up` to end", || Ok(child.try_wait()?));
        Ok(status?.code())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody else who listens on a port, and keeps all that is said to him.
pub(crate) struct Stranger {
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Stranger {
    pub(crate) fn on(port: u16) -> TestResult<Self> {
        let listener = Deadline::after(PATIENCE).poll("the port to be free", || {
            Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        })?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        // Ends with the test, which is a process of its own.
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let ears = Arc::clone(&ears);
                thread::spawn(move || {
                    // A gateway speaks first, and says this.
                    let _ = stream.write_all(b"");
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        if let Ok(mut heard) = ears.lock() {
                            heard.extend(buffer.iter().take(count));
                        }
                    }
                });
            }
        });
        Ok(Self { heard })
    }

    /// How many bytes he has heard.
    pub(crate) fn heard(&self) -> usize {
        self.heard.lock().map_or(usize::MAX, |heard| heard.len())
    }
}

/// The number of a process from a JSON value.
pub(crate) fn pid_in(value: &Value) -> TestResult<i32> {
    value
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .ok_or_else(|| Failure::new(format!("no number of a process: {value}")))
}

/// Waits until a process is gone.
pub(crate) fn wait_until_gone(pid: i32) -> TestResult {
    Deadline::after(PATIENCE).poll("a process to end", || Ok((!runs(pid)).then_some(())))
}

/// Whether a process runs; one that nobody has taken note of does not.
pub(crate) fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    })
}

/// Ends a process as a power cut would.
pub(crate) fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

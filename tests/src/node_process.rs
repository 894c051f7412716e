//! A node of its own for a test: `clawgate node run`, on a machine of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use serde_json::{Value, json};

use crate::command_line::Machine;
use crate::deadline::{Deadline, PATIENCE};
use crate::failure::{Attempt, Failure, TestResult};
use crate::gateway_process::{GatewayProcess, clawgate};

/// What a node offers.
#[derive(Clone, Debug, Default)]
pub struct NodeSetup {
    /// The name by which agents know it.
    pub name: String,
    /// Commands by `--command`, with the program of each.
    pub commands: Vec<(String, PathBuf)>,
    /// `node` of its configuration file.
    pub config: Value,
    /// What `system.run` may run, by `--exec`.
    pub exec: Option<String>,
}

/// A running node. Dropping it kills it and removes its folder.
pub struct NodeProcess {
    machine: Machine,
    setup: NodeSetup,
    id: String,
    running: Option<Running>,
}

struct Running {
    child: Child,
    states: Receiver<String>,
}

impl NodeProcess {
    /// Starts a node, lets the owner of the gateway approve it by the command line, and waits until
    /// it is ready.
    ///
    /// # Errors
    ///
    /// When a step fails; with what the node said.
    pub fn approved(gateway: &GatewayProcess, setup: NodeSetup) -> TestResult<Self> {
        let mut node = Self {
            machine: Machine::new()?,
            setup,
            id: String::new(),
            running: None,
        };
        node.start(gateway)?;
        let owner = Machine::of(gateway);
        let approve = |what: &str, state: &Value| -> TestResult {
            let request = state["requestId"]
                .as_str()
                .ok_or_else(|| Failure::new(format!("no request: {state}")))?;
            owner.json(&[what, "approve", request]).map(|_| ())
        };
        let deadline = Deadline::after(PATIENCE);
        loop {
            let state = node.next_state(deadline)?;
            match state["state"].as_str() {
                Some("awaiting-pairing") => approve("devices", &state)?,
                Some("awaiting-approval") => approve("nodes", &state)?,
                Some("connected") => {
                    state["nodeId"]
                        .as_str()
                        .unwrap_or_default()
                        .clone_into(&mut node.id);
                }
                Some("ready") => return Ok(node),
                Some(_) | None => {}
            }
        }
    }

    /// Starts it, again perhaps, with the same identity.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&mut self, gateway: &GatewayProcess) -> TestResult {
        let state_dir = self.machine.state_dir();
        fs::create_dir_all(&state_dir)?;
        if !self.setup.config.is_null() {
            let config = json!({ "node": self.setup.config });
            fs::write(state_dir.join("openclaw.json"), config.to_string())?;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let program = clawgate()?;
        let mut command = Command::new(program);
        command
            .args(["node", "run", "--json", "--host", "127.0.0.1"])
            .args(["--port", &gateway.address().port().to_string()])
            .args(["--display-name", &self.setup.name])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.machine.home())
            .env("OPENCLAW_GATEWAY_TOKEN", gateway.token())
            .env("TOOL_LOG", self.tool_log())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        for (name, program) in &self.setup.commands {
            command.arg("--command");
            command.arg(format!("{name}={}", program.display()));
        }
        if let Some(policy) = &self.setup.exec {
            command.args(["--exec", policy]);
        }
        let mut child = command
            .spawn()
            .attempt(|| format!("could not start {}", Path::new(program).display()))?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new("the node has no output"))?;
        let (sender, states) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        self.running = Some(Running { child, states });
        Ok(())
    }

    /// Waits until it says that it is in this state, and gives all that it says of it.
    ///
    /// # Errors
    ///
    /// When it does not in time, or has ended.
    pub fn state(&self, name: &str) -> TestResult<Value> {
        let deadline = Deadline::after(PATIENCE);
        loop {
            let state = self
                .next_state(deadline)
                .attempt(|| format!("waiting for {name}"))?;
            if state["state"] == name {
                return Ok(state);
            }
        }
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn kill(&mut self) -> TestResult {
        let mut running = self
            .running
            .take()
            .ok_or_else(|| Failure::new("the node is not running"))?;
        running.child.kill()?;
        running.child.wait()?;
        Ok(())
    }

    /// The id of the node, which is that of its device.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The parameters of each run of the test's own command, the first first.
    ///
    /// # Errors
    ///
    /// When a line of them is no JSON.
    pub fn ran(&self) -> TestResult<Vec<Value>> {
        let text = fs::read_to_string(self.tool_log()).unwrap_or_default();
        text.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }

    /// What it complained about.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn next_state(&self, deadline: Deadline) -> TestResult<Value> {
        let states = self.running.as_ref().map(|running| &running.states);
        let states = states.ok_or_else(|| Failure::new("the node is not running"))?;
        let left = deadline.remaining().unwrap_or_default();
        match states.recv_timeout(left) {
            Ok(line) => Ok(serde_json::from_str(&line).attempt(|| format!("no JSON: {line}"))?),
            Err(error) => {
                let what = match error {
                    RecvTimeoutError::Timeout => "the node said nothing in time",
                    RecvTimeoutError::Disconnected => "the node ended",
                };
                Err(Failure::new(format!(
                    "{what}; it complained:\n{}",
                    self.log()
                )))
            }
        }
    }

    fn tool_log(&self) -> PathBuf {
        self.machine.home().join("tool.log")
    }

    fn log_path(&self) -> PathBuf {
        self.machine.home().join("node.log")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have exited already; either way nothing is left to do about it.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

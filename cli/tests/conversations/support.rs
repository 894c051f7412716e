//! A gateway, a node and a gate: real processes on loopback. A run that says `wait` ends when the test
//! opens the gate, and not before.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::{Outcome, Sandbox};

pub const TOKEN: &str = "token-of-the-tests";

/// A child that does not outlive the test.
pub struct Running {
    pub child: Child,
    pub lines: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    pub fn interrupt(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    }

    /// Closes its input and waits for its end.
    pub fn end(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let mut stdout = String::new();
        self.lines.read_to_string(&mut stdout).unwrap();
        let mut stderr = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut stderr).unwrap();
        }
        let code = self.child.wait().unwrap().code().unwrap();
        Outcome {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct World {
    pub sandbox: Sandbox,
    pub port: u16,
    // The node goes first.
    _node: Option<Running>,
    _gateway: Running,
}

impl World {
    pub fn new() -> Self {
        Self::configured(&json!({}))
    }

    /// The same with more in the config.
    pub fn configured(more: &Value) -> Self {
        let sandbox = Sandbox::new();
        let script = sandbox.write(
            "wait.sh",
            &format!(
                "#!/bin/sh\necho asked > '{asked}'\nread word < '{gate}'\nprintf '{{\"said\":\"%s\"}}' \"$word\"\n",
                asked = sandbox.path("asked").display(),
                gate = sandbox.path("gate").display(),
            ),
        );
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let mut config = json!({
            "gateway": { "mode": "local", "bind": "loopback", "auth": { "mode": "token", "token": TOKEN } },
            "agents": { "defaults": { "rules": [{
                "match": "wait", "node": "door", "command": "gate.wait",
                "reply": "the gate said {result.said}",
            }] } },
            "node": { "exec": { "policy": "deny" }, "commands": { "gate.wait": {
                "program": script, "description": "Waits at the gate.",
            } } },
        });
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        sandbox.write(".openclaw/openclaw.json", &config.to_string());
        for name in ["asked", "gate"] {
            let path = sandbox.path(name);
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        }
        let mut gateway = Running::start(
            sandbox
                .command(&["gateway", "run", "--port", "0"])
                .stderr(Stdio::null()),
        );
        let ready = gateway.line();
        let url = ready
            .split_whitespace()
            .find(|word| word.starts_with("ws://"))
            .unwrap_or_else(|| panic!("no address in {ready:?}"));
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        Self {
            sandbox,
            port,
            _node: None,
            _gateway: gateway,
        }
    }

    /// The same with the node at the gate.
    pub fn with_node() -> Self {
        let mut world = Self::new();
        let port = world.port.to_string();
        let args = [
            "node",
            "run",
            "--json",
            "--display-name",
            "door",
            "--port",
            &port,
        ];
        let mut node = Running::start(world.sandbox.command(&args).stderr(Stdio::null()));
        loop {
            let line = node.line();
            let said: Value =
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"));
            match said["state"].as_str().unwrap() {
                "awaiting-approval" => {
                    if let Some(request) = said["requestId"].as_str() {
                        let approved = world.run(&["nodes", "approve", request]);
                        assert_eq!(approved.code, 0, "{approved:?}");
                    }
                }
                "ready" => break,
                _ => {}
            }
        }
        world._node = Some(node);
        world
    }

    /// A command for this gateway.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_at(self.port, args)
    }

    /// The same by another port.
    pub fn command_at(&self, port: u16, args: &[&str]) -> Command {
        let port = port.to_string();
        self.sandbox
            .command(&[args, &["--port", &port, "--token", TOKEN]].concat())
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, "")
    }

    pub fn run_with(&self, args: &[&str], input: &str) -> Outcome {
        let port = self.port.to_string();
        let target = ["--port", &port, "--token", TOKEN];
        self.sandbox.run_with(&[args, &target].concat(), input)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let outcome = self.run(&[args, &["--json"]].concat());
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:?}");
        outcome.json()
    }

    /// A conversation whose input stays open.
    pub fn chat_at(&self, port: u16, args: &[&str]) -> Running {
        let all = [&["chat"], args].concat();
        Running::start(self.command_at(port, &all).stdin(Stdio::piped()))
    }

    /// Waits until the node is at the gate.
    pub fn is_asked(&self) {
        let asked = fs::read_to_string(self.sandbox.path("asked")).unwrap();
        assert_eq!(asked, "asked\n");
    }

    /// Lets the node through.
    pub fn open_gate(&self, word: &str) {
        fs::write(self.sandbox.path("gate"), format!("{word}\n")).unwrap();
    }

    /// The run under way.
    pub fn active_run(&self) -> String {
        let session = self.json(&["sessions", "show", "main"]);
        session["activeRunIds"][0].as_str().unwrap().to_owned()
    }

    /// Waits at the gateway itself until a run is over.
    pub fn is_over(&self, run: &str) {
        let params = json!({ "runId": run, "timeoutMs": 60_000 }).to_string();
        let args = [
            "gateway",
            "call",
            "agent.wait",
            "--params",
            &params,
            "--timeout",
            "60000",
        ];
        assert_eq!(self.json(&args)["runId"], run);
    }

    /// What was said in the main session, by role.
    pub fn said(&self) -> Vec<(String, String)> {
        let history = self.json(&["sessions", "history", "main"]);
        let messages = history["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| {
                let content = &message["content"];
                let text = content.as_str().or_else(|| content[0]["text"].as_str());
                (
                    message["role"].as_str().unwrap().to_owned(),
                    text.unwrap().to_owned(),
                )
            })
            .collect()
    }
}

/// A way to the gateway that can be cut.
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    streams: Vec<TcpStream>,
}

impl Proxy {
    pub fn new(gateway: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let seen = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut state = seen.lock().unwrap();
                if state.is_cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", gateway)) else {
                    continue;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                state.streams.extend([near, far]);
            }
        });
        Self { port, state }
    }

    /// Ends every connection, and lets none through.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_cut = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.state.lock().unwrap().is_cut = false;
    }
}

/// What lies in a folder.
pub fn names(folder: &PathBuf) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

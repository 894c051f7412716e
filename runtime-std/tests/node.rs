//! A node with real programs, at a gateway of hand-made frames.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use clawgate_core::{
    client::Profile,
    device::DeviceIdentity,
    node::{
        CommandName, CustomCommand, ExecPolicy, NodeCommands, NodeHost, NodeLimits, NodeOptions,
    },
    protocol::{ClientId, ClientInfo, ClientMode},
};
use clawgate_std::{ClientOptions, Node, NodeEnd, NodeEvent, NodeSetup};
use common::{FakeGateway, Peer, signal};
use serde_json::{Value, json};

/// A node with programs of its own in a folder that goes with it.
struct Bench {
    folder: tempfile::TempDir,
    commands: NodeCommands,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            commands: NodeCommands {
                exec: ExecPolicy::Allowlist,
                ..NodeCommands::default()
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A shell script as a command.
    fn command(mut self, name: &str, script: &str) -> Self {
        let path = self.path(name);
        fs::write(&path, script).unwrap();
        // A file that was just written cannot always be run at once: the shell reads it.
        let command = CustomCommand {
            args: vec![path.to_str().unwrap().to_owned()],
            ..CustomCommand::new("/bin/sh".into())
        };
        let name = CommandName::parse(name).unwrap();
        self.commands.custom.insert(name, command);
        self
    }

    fn allow(self, pattern: &str) -> Self {
        let file = json!({ "version": 1, "agents": { "main": { "allowlist": [pattern] } } });
        fs::write(self.path("exec-approvals.json"), file.to_string()).unwrap();
        self
    }

    /// Runs the node while `serve` is its gateway.
    fn run(self, serve: impl FnOnce(&mut Gateway<'_>) + Send + 'static) {
        let identity = Arc::new(DeviceIdentity::from_seed(&[7; 32]));
        let node_id = identity.id().as_str().to_owned();
        let options = NodeOptions {
            node_id: node_id.clone(),
            commands: self.commands.clone(),
            approvals_path: "exec-approvals.json".into(),
            limits: NodeLimits {
                max_output: 1000,
                max_result: 100_000,
                ..NodeLimits::default()
            },
            ..NodeOptions::default()
        };
        let info = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux");
        let profile = Profile {
            caps: options.commands.caps(),
            commands: options.commands.names(),
            ..Profile::node(info, identity)
        };
        let mut serve = Some(serve);
        let (done, is_done) = signal();
        let fake = FakeGateway::start(1, move |_, stream: TcpStream| {
            let mut peer = Peer::accept(stream);
            let connect = peer.welcome();
            let mut gateway = Gateway {
                peer: &mut peer,
                node: node_id.clone(),
                connect,
            };
            serve.take().unwrap()(&mut gateway);
            done.send(()).unwrap();
            while peer.request().is_some() {}
        });
        let (node, stop) = Node::new(NodeSetup {
            target: fake.target(),
            profile,
            client: ClientOptions::default(),
            host: NodeHost::new(options),
            approvals: self.path("exec-approvals.json"),
            home: self.folder.path().to_owned(),
        });
        let thread = thread::spawn(move || {
            node.run(|event| assert!(!matches!(event, NodeEvent::Warning(_)), "{event:?}"))
        });
        // An assertion of the script that failed drops the sender.
        let _ = is_done.recv();
        stop.stop();
        assert!(matches!(thread.join().unwrap().unwrap(), NodeEnd::Stopped));
        fake.join();
    }
}

/// The gateway's side of the script.
struct Gateway<'a> {
    peer: &'a mut Peer<TcpStream>,
    node: String,
    connect: Value,
}

impl Gateway<'_> {
    fn invoke(&mut self, id: &str, command: &str, params: &Value, timeout: u64) {
        let payload = json!({
            "id": id, "nodeId": self.node, "command": command, "timeoutMs": timeout,
            "paramsJSON": params.to_string(),
        });
        let event = json!({ "type": "event", "event": "node.invoke.request", "payload": payload });
        self.peer.send(&event);
    }

    fn cancel(&mut self, id: &str) {
        let payload = json!({ "invokeId": id, "nodeId": self.node });
        let event = json!({ "type": "event", "event": "node.invoke.cancel", "payload": payload });
        self.peer.send(&event);
    }

    /// Answers everything until the node sends a call of this method; gives its parameters.
    fn wait(&mut self, method: &str) -> Value {
        loop {
            let request = self.peer.request().expect("the node is connected");
            self.peer.answer(&request, json!({ "ok": true }));
            if request["method"] == method {
                return request["params"].clone();
            }
        }
    }

    fn ask(&mut self, command: &str, params: &Value) -> Result<Value, Value> {
        self.ask_within(command, params, 60_000)
    }

    fn ask_within(&mut self, command: &str, params: &Value, timeout: u64) -> Result<Value, Value> {
        self.invoke("i", command, params, timeout);
        let answer = self.wait("node.invoke.result");
        assert_eq!(answer["id"], "i");
        if answer["ok"] == true {
            Ok(serde_json::from_str(answer["payloadJSON"].as_str().unwrap()).unwrap())
        } else {
            Err(answer["error"].clone())
        }
    }
}

/// Waits until a process is gone, or only waits for its parent.
fn gone(pid: &str) {
    let stat = Path::new("/proc").join(pid.trim()).join("stat");
    while let Ok(stat) = fs::read_to_string(&stat) {
        if stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim().starts_with('Z'))
        {
            return;
        }
        thread::yield_now();
    }
}

#[test]
fn a_node_says_what_it_offers_and_tells_its_figures() {
    Bench::new().command("lights.set", "cat").run(|gateway| {
        let params = &gateway.connect["params"];
        assert_eq!(params["role"], "node");
        let commands: Vec<&str> = params["commands"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert!(commands.contains(&"lights.set") && commands.contains(&"system.run"));
        assert!(params["device"]["signature"].is_string());
        let stats = gateway.wait("node.event");
        assert_eq!(stats["event"], "node.host.stats");
    });
}

#[test]
fn a_command_reads_json_and_prints_json() {
    let bench = Bench::new()
        .command("echo", "cat")
        .command("text", "echo hello")
        .command("crash", "echo oops >&2; exit 3")
        .command("killed", "kill -9 $$")
        .command("long", "head -c 300000 /dev/zero | tr '\\0' 1")
        .command("env", "printf '\"%s\"' \"$CLAWGATE_COMMAND\"");
    bench.run(|gateway| {
        let params = json!({ "on": true, "text": "ä\n\"" });
        assert_eq!(gateway.ask("echo", &params).unwrap(), params);
        let big = json!("x".repeat(80_000));
        assert_eq!(gateway.ask("echo", &big).unwrap(), big);
        assert_eq!(gateway.ask("env", &json!({})).unwrap(), json!("env"));
        for (command, code, words) in [
            ("text", "COMMAND_OUTPUT_INVALID", "not JSON at line 1"),
            ("crash", "COMMAND_FAILED", "exit code 3): oops"),
            ("killed", "COMMAND_FAILED", "signal"),
            ("long", "RESULT_TOO_LARGE", "100000 bytes"),
            ("nothing", "UNAVAILABLE", "not supported"),
        ] {
            let error = gateway.ask(command, &json!({})).unwrap_err();
            assert_eq!(error["code"], code);
            assert!(
                error["message"].as_str().unwrap().contains(words),
                "{error}"
            );
        }
    });
}

#[test]
fn a_program_that_is_gone_is_told_of() {
    let mut bench = Bench::new();
    let gone = CustomCommand::new(bench.path("gone"));
    let name = CommandName::parse("gone").unwrap();
    bench.commands.custom.insert(name, gone);
    bench.run(|gateway| {
        let error = gateway.ask("gone", &json!({})).unwrap_err();
        assert_eq!(error["code"], "COMMAND_NOT_STARTED");
    });
}

#[test]
fn time_and_cancel_end_the_whole_group() {
    let bench = Bench::new();
    let (late, cancelled) = (bench.path("late"), bench.path("cancelled"));
    let script = |path: &Path| {
        // The shell and its child stay until they are ended.
        format!(
            "sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait",
            path.display()
        )
    };
    let bench = bench
        .command("late.one", &script(&late))
        .command("cancelled.one", &script(&cancelled));
    bench.run(move |gateway| {
        let error = gateway
            .ask_within("late.one", &json!({}), 1000)
            .unwrap_err();
        assert_eq!(error["code"], "TIMEOUT");
        if let Ok(pid) = fs::read_to_string(&late) {
            gone(&pid);
        }
        gateway.invoke("c", "cancelled.one", &json!({}), 0);
        let pid = loop {
            match fs::read_to_string(&cancelled) {
                Ok(pid) => break pid,
                Err(_) => thread::yield_now(),
            }
        };
        gateway.cancel("c");
        gone(&pid);
        // Nothing is answered to what was cancelled.
        let answer = gateway.ask("device.info", &json!({})).unwrap();
        assert!(answer["deviceName"].is_string());
    });
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let bench = Bench::new();
    let left = bench.path("left");
    let script = format!("sleep 1000 & echo $! > {}; echo 1", left.display());
    bench.command("leave", &script).run(move |gateway| {
        assert_eq!(gateway.ask("leave", &json!({})).unwrap(), json!(1));
        gone(&fs::read_to_string(&left).unwrap());
    });
}

#[test]
fn only_what_is_allowed_runs_and_without_a_shell() {
    let bench = Bench::new().allow("/**/printf");
    bench.run(|gateway| {
        let params = json!({ "command": ["printf", "%s", "$HOME; id"] });
        let result = gateway.ask("system.run", &params).unwrap();
        assert_eq!(
            (&result["stdout"], &result["exitCode"]),
            (&json!("$HOME; id"), &json!(0))
        );
        let params = json!({ "command": ["sh", "-c", "printf x"] });
        let error = gateway.ask("system.run", &params).unwrap_err();
        assert_eq!(error["code"], "SYSTEM_RUN_DENIED");
        let which = gateway
            .ask("system.which", &json!({ "bins": ["sh", "no-such"] }))
            .unwrap();
        assert!(which["bins"]["sh"].is_string() && which["bins"]["no-such"].is_null());
    });
}

#[test]
fn output_beyond_the_limit_is_dropped_and_marked() {
    let bench = Bench::new().allow("/**/seq");
    bench.run(|gateway| {
        let params = json!({ "command": ["seq", "100000"] });
        let result = gateway.ask("system.run", &params).unwrap();
        assert_eq!(result["truncated"], true);
        let stdout = result["stdout"].as_str().unwrap();
        assert!(stdout.starts_with("1\n2\n") && stdout.len() < 1100);
        assert_eq!(result["exitCode"], 0, "the program could write all of it");
    });
}

#[test]
fn the_rules_can_be_read_and_replaced() {
    let bench = Bench::new().allow("/bin/one");
    let file = bench.path("exec-approvals.json");
    bench.run(move |gateway| {
        let get = json!({});
        let before = gateway.ask("system.execApprovals.get", &get).unwrap();
        assert_eq!(
            before["file"]["agents"]["main"]["allowlist"][0]["pattern"],
            "/bin/one"
        );
        let new = json!({ "version": 1, "defaults": { "security": "deny" }, "agents": {} });
        let set = json!({ "file": new, "baseHash": before["hash"] });
        let after = gateway.ask("system.execApprovals.set", &set).unwrap();
        assert_ne!(after["hash"], before["hash"]);
        assert!(fs::read_to_string(&file).unwrap().contains("deny"));
        let stale = gateway.ask("system.execApprovals.set", &set).unwrap_err();
        assert!(stale["message"].as_str().unwrap().contains("changed"));
    });
}

#[test]
fn a_node_that_is_not_let_in_ends_and_one_that_waits_comes_again() {
    let identity = Arc::new(DeviceIdentity::from_seed(&[7; 32]));
    let info = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux");
    let fake = FakeGateway::start(2, |number, stream| {
        let mut peer = Peer::accept(stream);
        peer.challenge();
        let connect = peer.request().unwrap();
        let code = ["PAIRING_REQUIRED", "AUTH_TOKEN_MISMATCH"][number];
        let details = json!({ "code": code, "requestId": "r-1" });
        let error = json!({ "code": "NOT_PAIRED", "message": "no", "details": details });
        peer.refuse(&connect, error);
        while peer.request().is_some() {}
    });
    let folder = tempfile::tempdir().unwrap();
    let (node, _stop) = Node::new(NodeSetup {
        target: fake.target(),
        profile: Profile::node(info, identity),
        client: ClientOptions::default(),
        host: NodeHost::new(NodeOptions::default()),
        approvals: folder.path().join("x"),
        home: folder.path().to_owned(),
    });
    let mut waits: Vec<Duration> = Vec::new();
    let end = node.run(|event| {
        if let NodeEvent::Disconnected { again, .. } = event {
            waits.extend(again);
        }
    });
    assert!(
        matches!(end.unwrap(), NodeEnd::Refused(_, reason) if reason.code == "AUTH_TOKEN_MISMATCH")
    );
    assert_eq!(waits.len(), 1);
    fake.join();
}

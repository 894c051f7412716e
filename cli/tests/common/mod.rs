//! The real binary in a home of its own, and small gateways on loopback for it to meet.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test binary uses its part"
)]

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// A value that must never be seen.
pub const SECRET: &str = "hunter2-hunter2-hunter2";

/// A home folder of its own, and an environment with nothing else in it.
pub struct Sandbox {
    home: TempDir,
    env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self {
            home: TempDir::new().unwrap(),
            env: Vec::new(),
        }
    }

    pub fn with_config(text: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write(".openclaw/openclaw.json", text);
        sandbox
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file below the home folder and gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// A path below the home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end. No output may ever hold the secret.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, "")
    }

    pub fn run_with(&self, args: &[&str], stdin: &str) -> Outcome {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // A command that does not read its input may have ended.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let outcome = Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            !shown.contains(SECRET),
            "{args:?} shows the secret: {shown}"
        );
        outcome
    }
}

impl Outcome {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The error object of `--json`, which always has its three fixed fields.
    pub fn error(&self) -> Value {
        let answer = self.json();
        assert_eq!(answer["ok"], false, "{self:?}");
        let error = answer["error"].clone();
        for field in ["code", "message", "next"] {
            assert!(error[field].is_string(), "{field}: {self:?}");
        }
        error
    }
}

/// What a fake gateway does with who comes.
#[derive(Clone)]
pub enum Manner {
    /// Takes the TCP connection and says nothing.
    Mute,
    /// Answers HTTP, not WebSocket.
    Http,
    /// Refuses every `connect` with this error.
    Refuse(Value),
    /// Lets everybody in, with scopes and a token for devices only, and answers calls.
    Devices,
    /// Lets everybody in and answers calls.
    Answer(fn(&str, &Value) -> Result<Value, Value>),
}

/// A gateway on loopback that remembers what it was told.
pub struct Fake {
    pub port: u16,
    connects: Arc<Mutex<Vec<Value>>>,
    accepted: mpsc::Receiver<()>,
}

impl Fake {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connects = Arc::new(Mutex::new(Vec::new()));
        let (sender, accepted) = mpsc::channel();
        let seen = Arc::clone(&connects);
        thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming().flatten() {
                let _ = sender.send(());
                if matches!(manner, Manner::Mute) {
                    kept.push(stream);
                    continue;
                }
                let (manner, seen) = (manner.clone(), Arc::clone(&seen));
                thread::spawn(move || serve(stream, &manner, &seen));
            }
        });
        Self {
            port,
            connects,
            accepted,
        }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The parameters of every `connect` so far.
    pub fn connects(&self) -> Vec<Value> {
        self.connects.lock().unwrap().clone()
    }

    /// Waits until somebody comes.
    pub fn wait(&self) {
        self.accepted.recv().unwrap();
    }

    /// Whether somebody has come.
    pub fn was_visited(&self) -> bool {
        self.accepted.try_recv().is_ok()
    }
}

/// A port on loopback where nobody listens.
pub fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn serve(mut stream: TcpStream, manner: &Manner, seen: &Mutex<Vec<Value>>) {
    if matches!(manner, Manner::Http) {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        return;
    }
    let Ok(mut socket) = tungstenite::accept(stream) else {
        return;
    };
    let challenge = json!({
        "type": "event", "event": "connect.challenge",
        "payload": { "nonce": "n", "ts": 1_737_264_000_000_u64 },
    });
    let _ = socket.send(Message::text(challenge.to_string()));
    while let Some(request) = next(&mut socket) {
        let method = request["method"].as_str().unwrap_or_default();
        let params = &request["params"];
        let outcome = match manner {
            _ if method == "connect" => {
                seen.lock().unwrap().push(params.clone());
                match manner {
                    Manner::Refuse(error) => Err(error.clone()),
                    Manner::Devices => Ok(hello_to_device(params)),
                    Manner::Answer(_) | Manner::Mute | Manner::Http => Ok(hello(params)),
                }
            }
            Manner::Answer(answer) => answer(method, params),
            Manner::Devices => small_gateway(method, params),
            Manner::Mute | Manner::Http | Manner::Refuse(_) => return,
        };
        let refused = outcome.is_err() && method == "connect";
        let frame = match outcome {
            Ok(payload) => {
                json!({ "type": "res", "id": request["id"], "ok": true, "payload": payload })
            }
            Err(error) => {
                json!({ "type": "res", "id": request["id"], "ok": false, "error": error })
            }
        };
        let _ = socket.send(Message::text(frame.to_string()));
        if refused {
            let _ = socket.close(None);
        }
    }
}

fn next(socket: &mut WebSocket<TcpStream>) -> Option<Value> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

fn hello(params: &Value) -> Value {
    json!({
        "type": "hello-ok",
        "protocol": 4,
        "server": { "version": "9.9.9", "connId": "c" },
        "features": { "methods": ["health", "status"], "events": ["tick"] },
        "auth": { "role": "operator", "scopes": params["scopes"] },
        "policy": { "tickIntervalMs": 30_000 },
    })
}

/// The token that a device gets is the secret that nobody may see.
fn hello_to_device(params: &Value) -> Value {
    let mut hello = hello(params);
    if params["device"].is_object() {
        hello["auth"]["deviceToken"] = SECRET.into();
    } else {
        hello["auth"]["scopes"] = json!([]);
    }
    hello
}

/// Answers as a small gateway does.
pub fn small_gateway(method: &str, _params: &Value) -> Result<Value, Value> {
    match method {
        "health" => Ok(json!({
            "ok": true, "channels": {}, "agents": [{ "agentId": "main" }],
            "sessions": { "count": 2 },
        })),
        "status" => Ok(json!({ "uptimeMs": 200_000 })),
        "system-presence" => Ok(json!([{ "host": "h" }])),
        method => Err(json!({
            "code": "INVALID_REQUEST", "message": format!("unknown method: {method}"),
        })),
    }
}

/// A gateway that lets everybody in and allows nothing.
pub fn no_scopes(method: &str, _params: &Value) -> Result<Value, Value> {
    if method == "health" {
        return Ok(json!({ "ok": true }));
    }
    Err(json!({
        "code": "FORBIDDEN", "message": "missing scope: operator.read",
        "details": { "code": "MISSING_SCOPE", "missingScope": "operator.read" },
    }))
}

/// How a gateway refuses a wrong token.
pub fn wrong_token() -> Value {
    json!({
        "code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch",
        "details": { "code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch" },
    })
}

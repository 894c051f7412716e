//! A gateway of its own for each test, and a client that says exactly what it is told to.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket, client::IntoClientRequest, stream::MaybeTlsStream};

pub const TOKEN: &str = "canary-of-the-token";

pub struct Gateway {
    home: TempDir,
    child: Child,
    pub port: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    pub fn start(flags: &[&str], logging: &Value) -> Self {
        let home = TempDir::new().unwrap();
        let config = json!({
            "gateway": {
                "mode": "local",
                "bind": "loopback",
                "auth": { "mode": "token", "token": TOKEN },
            },
            "logging": logging,
        });
        fs::create_dir_all(home.path().join(".openclaw")).unwrap();
        let path = home.path().join(".openclaw/openclaw.json");
        fs::write(path, config.to_string()).unwrap();
        let stderr = File::create(home.path().join("stderr")).unwrap();
        let mut child = command(home.path())
            .args(["gateway", "run", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("ws://"));
        let url = url.unwrap_or_else(|| panic!("no address in {line:?}: {home:?}"));
        let port = url.rsplit(':').next().unwrap().to_owned();
        Self { home, child, port }
    }

    /// The command line of the same user.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.home.path());
        command.args(args).args(["--port", &self.port]);
        command
    }

    /// Ends in order, and gives what it wrote: on standard error, and in its file.
    pub fn end(mut self) -> (String, String) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(status.unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        let stderr = read(self.home.path().join("stderr"));
        (stderr, read(self.log()))
    }

    pub fn log(&self) -> PathBuf {
        self.home.path().join(".openclaw/clawgate/gateway.log")
    }

    pub fn client(&self, token: &str, headers: &[(&'static str, &str)]) -> Client {
        let url = format!("ws://127.0.0.1:{}/", self.port);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = tungstenite::connect(request).unwrap();
        let mut client = Client { socket };
        if let MaybeTlsStream::Plain(stream) = client.socket.get_ref() {
            let patience = Some(Duration::from_secs(60));
            stream.set_read_timeout(patience).unwrap();
        }
        client.send(&json!({
            "type": "req", "id": "c", "method": "connect",
            "params": {
                "minProtocol": 4, "maxProtocol": 4,
                "client": {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"},
                "auth": {"token": token}, "role": "operator", "scopes": ["operator.admin"],
            },
        }));
        client
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    command
}

pub struct Client {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub fn send(&mut self, frame: &Value) {
        let message = Message::Text(frame.to_string().into());
        self.socket.send(message).unwrap();
    }

    /// The answer of this id.
    pub fn answer(&mut self, id: &str) -> Value {
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "res" && frame["id"] == id {
                return frame;
            }
        }
    }
}

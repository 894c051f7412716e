//! A gateway of hand-made frames on a loopback socket. Each connection is served by a script.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests; each test binary uses its part"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use clawgate_core::{
    client::{Call, Profile, Route, Target},
    frame::RawJson,
    policy::{Endpoint, UrlPolicy},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
    secret::Secret,
};
use clawgate_std::{Cancel, Options};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// Long enough that no test meets it by accident.
pub const LONG: Duration = Duration::from_secs(60);
/// A deadline that a test means to meet, where it does not matter what was reached before.
pub const SHORT: Duration = Duration::from_millis(150);

/// Deadlines that a test means to meet, one after the other: a slow machine may need a longer one
/// to reach the stage that is tested.
pub const DEADLINES: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(16),
];

pub struct FakeGateway {
    pub addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl FakeGateway {
    /// Serves `connections` TCP connections, one after the other.
    pub fn start(connections: usize, serve: impl FnMut(usize, TcpStream) + Send + 'static) -> Self {
        Self::on("127.0.0.1:0", connections, serve).unwrap()
    }

    pub fn on(
        addr: &str,
        connections: usize,
        mut serve: impl FnMut(usize, TcpStream) + Send + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        let thread = thread::spawn(move || {
            for number in 0..connections {
                let (stream, _) = listener.accept().unwrap();
                serve(number, stream);
            }
        });
        Ok(Self {
            addr,
            thread: Some(thread),
        })
    }

    pub fn target(&self) -> Target {
        target(&format!("ws://{}", self.addr))
    }

    /// Waits for the scripts, so that their assertions count.
    pub fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

pub fn target(url: &str) -> Target {
    let route = Route::unpinned(Endpoint::parse(url, UrlPolicy::Strict).unwrap());
    Target::new(route, token(), None)
}

pub fn token() -> AuthParams {
    AuthParams {
        token: Some(Secret::new("hunter2")),
        ..AuthParams::default()
    }
}

pub fn profile() -> Profile {
    let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
    Profile::operator(info, vec!["operator.read".into()])
}

pub fn within(total: Duration) -> Options {
    Options {
        total: Some(total),
        ..Options::default()
    }
}

pub fn cancellable(cancel: &Cancel) -> Options {
    Options {
        cancel: cancel.clone(),
        ..within(LONG)
    }
}

pub fn call(method: &str) -> Call {
    Call::new(method, RawJson::empty_object())
}

/// The gateway's end of a WebSocket.
pub struct Peer<S> {
    pub socket: WebSocket<S>,
}

impl<S: Read + Write> Peer<S> {
    pub fn accept(stream: S) -> Self {
        let socket = tungstenite::accept(stream).unwrap_or_else(|error| panic!("{error}"));
        Self { socket }
    }

    pub fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    /// The next request; `None` when the client closed or is gone.
    pub fn request(&mut self) -> Option<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(_)) => {
                    let _ = self.socket.flush();
                    return None;
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    pub fn answer(&mut self, request: &Value, payload: Value) {
        self.send(&json!({"type":"res","id":request["id"],"ok":true,"payload":payload}));
    }

    pub fn refuse(&mut self, request: &Value, error: Value) {
        self.send(&json!({"type":"res","id":request["id"],"ok":false,"error":error}));
    }

    pub fn challenge(&mut self) {
        self.send(&json!({"type":"event","event":"connect.challenge",
            "payload":{"nonce":"n","ts":1}}));
    }

    /// Challenge, `connect`, hello.
    pub fn welcome(&mut self) -> Value {
        self.challenge();
        let connect = self.request().expect("connect");
        assert_eq!(connect["method"], "connect");
        self.answer(&connect, json!({"server":{"version":"9"}}));
        connect
    }

    /// Answers every call with its method's name until the client closes.
    pub fn echo(&mut self) {
        while let Some(request) = self.request() {
            self.answer(&request, json!({"method": request["method"]}));
        }
    }
}

/// Waits until the other side is gone.
pub fn drain(mut stream: TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen);
    seen
}

/// Something that one thread tells another.
pub fn signal() -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
    mpsc::channel()
}

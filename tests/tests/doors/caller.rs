//! Somebody who comes to a gateway: from an address, with headers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use clawgate_core::device::{DeviceIdentity, PayloadVersion};
use clawgate_core::protocol::{ClientId, ClientInfo, ClientMode, Role};
use clawgate_tests::deadline::PATIENCE;
use clawgate_tests::failure::{Attempt, Failure, TestResult};
use clawgate_tests::signer::{self, Said};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::protocol::{Role as WsRole, WebSocket};
use tungstenite::{Message, Utf8Bytes};

/// Somebody, who may come several times.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    from: Ipv4Addr,
    to: SocketAddr,
    headers: Vec<(String, String)>,
}

/// An answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The lines of the head, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> TestResult<Value> {
        serde_json::from_str(&self.body).attempt(|| format!("no JSON: {self:?}"))
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A program, and what it shows for itself.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    client: ClientInfo,
    role: Role,
    auth: Value,
    scopes: Vec<String>,
    device: Option<u8>,
}

impl Program {
    /// The command line of an operator, without a device.
    pub(crate) fn cli() -> Self {
        Self {
            client: ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux"),
            role: Role::Operator,
            auth: json!({}),
            scopes: vec!["operator.admin".into()],
            device: None,
        }
    }

    /// The Control UI in a browser, with the key of a device.
    pub(crate) fn control_ui(seed: u8) -> Self {
        Self {
            client: ClientInfo::new(ClientId::OpenclawControlUi, ClientMode::Webchat, "1", "web"),
            ..Self::cli().on_device(seed)
        }
    }

    /// A node.
    pub(crate) fn node(seed: u8) -> Self {
        Self {
            client: ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux"),
            role: Role::Node,
            scopes: Vec::new(),
            ..Self::cli().on_device(seed)
        }
    }

    pub(crate) fn on_device(mut self, seed: u8) -> Self {
        self.device = Some(seed);
        self
    }

    /// Sets one field of `auth`.
    pub(crate) fn showing(mut self, field: &str, secret: &str) -> Self {
        self.auth[field] = json!(secret);
        self
    }

    fn params(&self, challenge: &Value) -> TestResult<Value> {
        let mut params = json!({
            "minProtocol": 4,
            "maxProtocol": 4,
            "client": self.client,
            "auth": self.auth,
            "role": self.role,
            "scopes": self.scopes,
        });
        if let Some(seed) = self.device {
            let identity = DeviceIdentity::from_seed(&[seed; 32]);
            let said = Said {
                client: &self.client,
                role: self.role,
                scopes: &self.scopes,
                auth: &self.auth,
            };
            let proof = signer::prove(&identity, said, challenge, PayloadVersion::V3)?;
            params["device"] = json!(proof);
        }
        Ok(params)
    }
}

impl Caller {
    pub(crate) fn to(to: SocketAddr) -> Self {
        Self {
            from: Ipv4Addr::LOCALHOST,
            to,
            headers: vec![("Host".into(), to.to_string())],
        }
    }

    /// From 127.0.0.`last`.
    pub(crate) fn from(mut self, last: u8) -> Self {
        self.from = Ipv4Addr::new(127, 0, 0, last);
        self
    }

    /// With a header more; `Host` is replaced.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if name == "Host" {
            self.headers.retain(|(name, _)| name != "Host");
        }
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a secret in `Authorization`.
    pub(crate) fn bearing(self, secret: &str) -> Self {
        self.with("Authorization", &format!("Bearer {secret}"))
    }

    /// Forwarded by a proxy for this client.
    pub(crate) fn for_client(self, client: &str) -> Self {
        self.with("X-Forwarded-For", client)
    }

    /// Asks for a path.
    pub(crate) fn get(&self, path: &str) -> TestResult<Answer> {
        self.ask("GET", path)
    }

    /// Asks for a path with another method.
    pub(crate) fn ask(&self, method: &str, path: &str) -> TestResult<Answer> {
        let mut stream = self.dial()?;
        stream.write_all(self.head(method, path, "").as_bytes())?;
        let head = read_head(&mut stream)?;
        finish(stream, &head)
    }

    /// Asks for the upgrade.
    pub(crate) fn upgrade(&self) -> TestResult<Result<WebSocket<TcpStream>, Answer>> {
        let mut stream = self.dial()?;
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        stream.write_all(self.head("GET", "/", fields).as_bytes())?;
        let head = read_head(&mut stream)?;
        if head.starts_with("http/1.1 101 ") {
            Ok(Ok(WebSocket::from_raw_socket(stream, WsRole::Client, None)))
        } else {
            finish(stream, &head).map(Err)
        }
    }

    /// Connects, and gives the answer to `connect`.
    pub(crate) fn connect(&self, program: &Program) -> TestResult<Value> {
        let mut socket = self
            .upgrade()?
            .map_err(|answer| Failure::new(format!("the upgrade was refused: {answer:?}")))?;
        let challenge = message(&mut socket)?;
        let params = program.params(&challenge)?;
        let connect = json!({"type": "req", "id": "1", "method": "connect", "params": params});
        socket.send(Message::Text(Utf8Bytes::from(connect.to_string())))?;
        loop {
            let answer = message(&mut socket)?;
            if answer["type"] == "res" {
                return Ok(answer);
            }
        }
    }

    /// Connects, and must be let in; gives `auth` of the hello.
    pub(crate) fn enter(&self, program: &Program) -> TestResult<Value> {
        let answer = self.connect(program)?;
        if answer["ok"] == true {
            Ok(answer["payload"]["auth"].clone())
        } else {
            Err(Failure::new(format!("not let in: {answer}")))
        }
    }

    /// Connects, and must be turned away; gives the details of the error.
    pub(crate) fn refused(&self, program: &Program) -> TestResult<Value> {
        let answer = self.connect(program)?;
        if answer["ok"] == false {
            Ok(answer["error"].clone())
        } else {
            Err(Failure::new(format!("let in: {answer}")))
        }
    }

    /// Connects, must be turned away, and gives the stable name of the reason.
    pub(crate) fn refused_for(&self, program: &Program) -> TestResult<String> {
        let error = self.refused(program)?;
        let details = &error["details"];
        [&details["authReason"], &details["code"]]
            .iter()
            .find_map(|name| name.as_str().map(Into::into))
            .ok_or_else(|| Failure::new(format!("no reason: {error}")))
    }

    fn dial(&self) -> TestResult<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.from, 0)).into())?;
        socket.connect(&self.to.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\n{more}");
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

fn message(socket: &mut WebSocket<TcpStream>) -> TestResult<Value> {
    loop {
        match socket.read()? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(frame) => return Err(Failure::new(format!("closed: {frame:?}"))),
            Message::Binary(_) | Message::Frame(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

fn read_head(stream: &mut TcpStream) -> TestResult<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .attempt(|| format!("reading a head after {}", String::from_utf8_lossy(&head)))?;
        head.extend(byte);
    }
    Ok(String::from_utf8(head)?.to_lowercase())
}

fn finish(mut stream: TcpStream, head: &str) -> TestResult<Answer> {
    let mut body = String::new();
    stream.read_to_string(&mut body)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(Answer {
        status: status.parse()?,
        head: head.to_owned(),
        body,
    })
}

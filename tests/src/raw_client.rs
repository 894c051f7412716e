//! A blocking WebSocket client that sends whatever a test wants and checks whatever it gets.
//!
//! Every frame that arrives is checked against the published schema, so each test that uses this client
//! is a schema test too. Nothing that arrives is lost: what a call does not wait for is kept for later.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use crate::deadline::{Deadline, PATIENCE};
use crate::failure::{Attempt, Failure, TestResult};
use crate::schema::Conversation;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The close code: 1005 when the close frame had none, 1006 when there was no close frame.
    pub code: u16,
    /// The reason, often empty.
    pub reason: String,
}

/// What came next on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A response or an event.
    Frame(Value),
    /// The end of the connection.
    Closed(Closed),
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The payload.
    Payload(Value),
    /// The error.
    Refused(Value),
}

impl Answer {
    /// The payload of a call that had to succeed.
    ///
    /// # Errors
    ///
    /// When the call was refused.
    pub fn payload(self) -> TestResult<Value> {
        match self {
            Self::Payload(payload) => Ok(payload),
            Self::Refused(error) => Err(Failure::new(format!("the call was refused: {error}"))),
        }
    }

    /// The error of a call that had to be refused.
    ///
    /// # Errors
    ///
    /// When the call succeeded.
    pub fn refusal(self) -> TestResult<Value> {
        match self {
            Self::Payload(payload) => Err(Failure::new(format!(
                "the call should have been refused: {payload}"
            ))),
            Self::Refused(error) => Ok(error),
        }
    }
}

/// A connection to a gateway.
pub struct RawClient {
    socket: WebSocket<TcpStream>,
    conversation: Conversation,
    kept: VecDeque<Value>,
    patience: Duration,
    calls: u64,
    recorded: Option<String>,
}

impl RawClient {
    /// Dials `url` (`ws://host:port/path`) and completes the WebSocket handshake, no more.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses the upgrade.
    pub fn dial(url: &str) -> TestResult<Self> {
        let attempt = || format!("could not open {url}");
        let authority = url
            .strip_prefix("ws://")
            .and_then(|rest| rest.split('/').next())
            .ok_or_else(|| Failure::new(format!("not a ws:// URL: {url}")))?;
        let address = authority
            .to_socket_addrs()
            .attempt(attempt)?
            .next()
            .ok_or_else(|| Failure::new(format!("no address behind {authority}")))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).attempt(attempt)?;
        stream.set_nodelay(true).attempt(attempt)?;
        stream.set_read_timeout(Some(PATIENCE)).attempt(attempt)?;
        stream.set_write_timeout(Some(PATIENCE)).attempt(attempt)?;
        // The limits under test are the gateway's, so this side has none.
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let (socket, _) =
            tungstenite::client::client_with_config(url, stream, Some(config)).attempt(attempt)?;
        Ok(Self {
            socket,
            conversation: Conversation::new(),
            kept: VecDeque::new(),
            patience: PATIENCE,
            calls: 0,
            recorded: None,
        })
    }

    /// Dials, waits for the challenge, and connects as a local operator with these scopes.
    ///
    /// # Errors
    ///
    /// When any step fails, or the gateway refuses.
    pub fn operator(url: &str, token: &str, scopes: &[&str]) -> TestResult<Self> {
        let mut client = Self::dial(url)?;
        client.event("connect.challenge")?;
        client
            .call("connect", operator_params(token, scopes))?
            .payload()?;
        Ok(client)
    }

    /// The same, with capabilities.
    ///
    /// # Errors
    ///
    /// As [`operator`](Self::operator).
    pub fn operator_with_caps(
        url: &str,
        token: &str,
        scopes: &[&str],
        caps: &[&str],
    ) -> TestResult<Self> {
        let mut client = Self::dial(url)?;
        client.event("connect.challenge")?;
        let mut params = operator_params(token, scopes);
        params["caps"] = json!(caps);
        client.call("connect", params)?.payload()?;
        Ok(client)
    }

    /// Keeps the text of every frame from now on, for [`recorded`](Self::recorded).
    pub fn record(&mut self) {
        self.recorded.get_or_insert_default();
    }

    /// The frames that came since [`record`](Self::record), one a line.
    #[must_use]
    pub fn recorded(&self) -> &str {
        self.recorded.as_deref().unwrap_or_default()
    }

    /// Waits longer, or shorter, than usual from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sends a text message as it is.
    ///
    /// # Errors
    ///
    /// When the socket refuses it.
    pub fn send_text(&mut self, text: impl Into<String>) -> TestResult {
        self.send(Message::text(text.into()))
    }

    /// Sends a frame that is not what the protocol wants, and expects it to be answered under `id`.
    ///
    /// # Errors
    ///
    /// When the socket refuses it.
    pub fn send_broken(&mut self, text: &str, id: &str) -> TestResult {
        self.conversation.expect_answer(id, "");
        self.send_text(text)
    }

    /// Sends any message as it is.
    ///
    /// # Errors
    ///
    /// When the socket refuses it.
    pub fn send(&mut self, message: Message) -> TestResult {
        self.socket
            .send(message)
            .attempt(|| "could not send".to_owned())
    }

    /// Sends a close frame with this code, or an empty one.
    ///
    /// # Errors
    ///
    /// When the socket refuses it.
    pub fn send_close(&mut self, code: Option<u16>) -> TestResult {
        let frame = code.map(|code| tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: String::new().into(),
        });
        self.socket
            .close(frame)
            .attempt(|| "could not close".to_owned())
    }

    /// Sends a request and gives its id, without waiting for the answer.
    ///
    /// # Errors
    ///
    /// When the socket refuses it.
    pub fn request(&mut self, method: &str, params: Value) -> TestResult<String> {
        self.calls += 1;
        let id = request_id(self.calls);
        self.conversation.expect_answer(&id, method);
        self.send_text(request_frame(&id, method, &params))?;
        Ok(id)
    }

    /// Bytes that the first request of a connection has beside its parameters.
    #[must_use]
    pub fn request_overhead(method: &str) -> usize {
        request_frame(&request_id(1), method, &Value::Null).len() - "null".len()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// When no answer comes in time or the connection ends first. A refusal is an [`Answer`].
    pub fn call(&mut self, method: &str, params: Value) -> TestResult<Answer> {
        let id = self.request(method, params)?;
        self.answer(&id).attempt(|| format!("calling {method}"))
    }

    /// Waits for the answer to the request with this id.
    ///
    /// # Errors
    ///
    /// When none comes in time or the connection ends first.
    pub fn answer(&mut self, id: &str) -> TestResult<Answer> {
        let mut frame = self.wait_for(&format!("the answer to {id}"), |frame| frame["id"] == id)?;
        if frame["ok"] == true {
            Ok(Answer::Payload(frame["payload"].take()))
        } else {
            Ok(Answer::Refused(frame["error"].take()))
        }
    }

    /// Waits for the next event of this name and gives the whole frame.
    ///
    /// # Errors
    ///
    /// When none comes in time or the connection ends first.
    pub fn event(&mut self, name: &str) -> TestResult<Value> {
        self.wait_for(&format!("the event {name}"), |frame| frame["event"] == name)
    }

    /// Waits for the first frame, among those not yet taken, that satisfies `wanted`.
    ///
    /// # Errors
    ///
    /// When none comes in time or the connection ends first; `what` names it in the message.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> TestResult<Value> {
        if let Some(place) = self.kept.iter().position(&wanted)
            && let Some(frame) = self.kept.remove(place)
        {
            return Ok(frame);
        }
        let deadline = Deadline::after(self.patience);
        loop {
            match self
                .read(deadline)
                .attempt(|| format!("waiting for {what}"))?
            {
                Incoming::Frame(frame) if wanted(&frame) => return Ok(frame),
                Incoming::Frame(frame) => self.kept.push_back(frame),
                Incoming::Closed(closed) => {
                    return Err(Failure::new(format!(
                        "waiting for {what}, the connection ended: {closed:?}"
                    )));
                }
            }
        }
    }

    /// Waits for the end of the connection. Frames that come before it are kept.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn closed(&mut self) -> TestResult<Closed> {
        let deadline = Deadline::after(self.patience);
        loop {
            match self
                .read(deadline)
                .attempt(|| "waiting for the close".to_owned())?
            {
                Incoming::Frame(frame) => self.kept.push_back(frame),
                Incoming::Closed(closed) => return Ok(closed),
            }
        }
    }

    /// The frames that arrived and were not taken, in the order of arrival.
    pub fn kept(&self) -> impl Iterator<Item = &Value> {
        self.kept.iter()
    }

    /// The local address of the connection, as the gateway sees its peer.
    ///
    /// # Errors
    ///
    /// When the socket has none.
    pub fn local_address(&self) -> TestResult<std::net::SocketAddr> {
        Ok(self.socket.get_ref().local_addr()?)
    }

    fn read(&mut self, deadline: Deadline) -> TestResult<Incoming> {
        loop {
            let Some(left) = deadline.remaining() else {
                return Err(Failure::new("nothing came in time"));
            };
            self.socket.get_ref().set_read_timeout(Some(left))?;
            match self.socket.read() {
                Ok(Message::Text(text)) => return self.parse(text.as_str()),
                Ok(Message::Binary(bytes)) => {
                    return Err(Failure::new(format!(
                        "a binary message of {} bytes",
                        bytes.len()
                    )));
                }
                Ok(Message::Close(frame)) => {
                    let closed = match frame {
                        Some(frame) => Closed {
                            code: frame.code.into(),
                            reason: frame.reason.to_string(),
                        },
                        None => Closed {
                            code: 1005,
                            reason: String::new(),
                        },
                    };
                    // Sends the answer that reading the close frame has queued. The peer may be gone.
                    let _ = self.socket.flush();
                    return Ok(Incoming::Closed(closed));
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {}
                Err(
                    tungstenite::Error::Io(_)
                    | tungstenite::Error::ConnectionClosed
                    | tungstenite::Error::AlreadyClosed
                    | tungstenite::Error::Protocol(
                        tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
                    ),
                ) => {
                    return Ok(Incoming::Closed(Closed {
                        code: 1006,
                        reason: String::new(),
                    }));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn parse(&mut self, text: &str) -> TestResult<Incoming> {
        if let Some(recorded) = &mut self.recorded {
            recorded.push_str(text);
            recorded.push('\n');
        }
        let frame: Value =
            serde_json::from_str(text).attempt(|| format!("not a JSON frame: {text}"))?;
        self.conversation
            .check(&frame)
            .attempt(|| format!("the gateway sent {text}"))?;
        Ok(Incoming::Frame(frame))
    }
}

/// The parameters with which a local program connects as an operator: it may have any scope without a
/// device of its own.
#[must_use]
pub fn operator_params(token: &str, scopes: &[&str]) -> Value {
    json!({
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": {"id": "gateway-client", "version": "0.0.0", "platform": "linux", "mode": "backend"},
        "role": "operator",
        "scopes": scopes,
        "auth": {"token": token},
    })
}

fn request_id(call: u64) -> String {
    format!("raw-{call}")
}

fn request_frame(id: &str, method: &str, params: &Value) -> String {
    json!({"type": "req", "id": id, "method": method, "params": params}).to_string()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

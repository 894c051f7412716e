//! The HTTP side of the port: probes, and the upgrade to WebSocket (spec protocol §9).

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use async_tungstenite::tungstenite::{
    handshake::server::{create_response, write_response},
    http,
};
use clawgate_core::{
    gateway::OpenRefusal,
    policy::{Ingress, RequestHeaders},
    server::PeerFacts,
};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use serde_json::{Value, json};

use crate::{
    conn::Arrival,
    hub::{Hub, Line},
};

/// Bytes that a request head may have.
const MAX_HEAD: usize = 16 * 1024;

/// Header fields that a request may have.
const MAX_FIELDS: usize = 64;

/// What a socket turned out to be.
pub(crate) enum Accepted {
    /// It was answered and is done.
    Answered,
    /// The upgrade was accepted.
    WebSocket {
        /// The connection's machine.
        line: Arc<Line>,
        /// Bytes that came after the head.
        rest: Vec<u8>,
    },
}

struct Head {
    method: String,
    path: String,
    version: http::Version,
    fields: Vec<(String, String)>,
    rest: Vec<u8>,
}

/// Why a head was not understood.
enum BadHead {
    Io(io::Error),
    Malformed,
    TooLarge,
}

/// Reads the request head and answers it, before `until`. `open` claims a place for a WebSocket connection.
pub(crate) async fn accept<S>(
    stream: &mut S,
    arrival: Arrival,
    hub: &Hub,
    until: Instant,
    open: impl FnOnce(PeerFacts) -> Result<Arc<Line>, OpenRefusal>,
) -> io::Result<Accepted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let late = async {
        smol::Timer::at(until).await;
        Err(io::Error::from(io::ErrorKind::TimedOut))
    };
    // The state of the request is large; it is gone before the connection begins.
    Box::pin(serve(stream, arrival, hub, open).or(late)).await
}

/// Answers a client that speaks plaintext to a port with TLS.
pub(crate) async fn ask_for_tls<S>(stream: &mut S, grace: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = "This port speaks TLS: use wss:// or https://";
    answer(stream, Reply::text(400, text), grace).await
}

async fn serve<S>(
    stream: &mut S,
    arrival: Arrival,
    hub: &Hub,
    open: impl FnOnce(PeerFacts) -> Result<Arc<Line>, OpenRefusal>,
) -> io::Result<Accepted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reply = match read_head(stream).await {
        Ok(head) => match judge(&head, arrival, hub, open) {
            Ok((line, response)) => {
                stream.write_all(&response).await?;
                stream.flush().await?;
                let rest = head.rest;
                return Ok(Accepted::WebSocket { line, rest });
            }
            Err(reply) if head.method == "HEAD" => reply.without_body(),
            Err(reply) => reply,
        },
        Err(BadHead::Io(error)) => return Err(error),
        Err(BadHead::Malformed) => Reply::bad_request(),
        Err(BadHead::TooLarge) => Reply::text(431, "Request Header Fields Too Large"),
    };
    answer(stream, reply, hub.limits().close_grace).await?;
    Ok(Accepted::Answered)
}

/// Takes the connection, and gives the bytes that say so; or says no.
fn judge(
    head: &Head,
    arrival: Arrival,
    hub: &Hub,
    open: impl FnOnce(PeerFacts) -> Result<Arc<Line>, OpenRefusal>,
) -> Result<(Arc<Line>, Vec<u8>), Reply> {
    let headers = RequestHeaders::new(head.fields.iter().map(|(name, value)| (name, value)));
    let ingress = hub.classify(arrival, &headers);
    let Some(upgrade) = headers.get("upgrade") else {
        return Err(probe(head, hub, ingress));
    };
    if !upgrade.eq_ignore_ascii_case("websocket") || head.method != "GET" {
        return Err(Reply::bad_request());
    }
    if ingress == Ingress::Unattributable {
        let message = "proxy headers from a peer that is not in gateway.trustedProxies";
        let body = json!({ "error": { "message": message, "type": "proxy_attribution_required" } });
        return Err(Reply::json(403, &body));
    }
    if headers.get("sec-websocket-version").as_deref() != Some("13") {
        // RFC 6455 §4.2.2 wants the version in the answer, RFC 9110 §15.5.22 the protocol.
        return Err(Reply {
            extra: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ..Reply::text(426, "Upgrade Required")
        });
    }
    let response = switching(head).ok_or_else(Reply::bad_request)?;
    let peer = PeerFacts {
        ip: arrival.ip(),
        headers,
        ingress,
    };
    let line = open(peer).map_err(|refusal| Reply::text(503, &refusal.to_string()))?;
    Ok((line, response))
}

/// Reads a request head and accepts the upgrade, whoever asks. Gives the bytes that came after the
/// head.
pub(crate) async fn upgrade<S>(stream: &mut S) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = match read_head(stream).await {
        Ok(head) => head,
        Err(BadHead::Io(error)) => return Err(error),
        Err(BadHead::Malformed | BadHead::TooLarge) => {
            return Err(io::ErrorKind::InvalidData.into());
        }
    };
    let response = switching(&head).ok_or(io::ErrorKind::InvalidData)?;
    stream.write_all(&response).await?;
    stream.flush().await?;
    Ok(head.rest)
}

/// The answer that accepts an upgrade, if the request is one (RFC 6455 §4.2).
fn switching(head: &Head) -> Option<Vec<u8>> {
    let mut request = http::Request::builder()
        .method(head.method.as_str())
        .uri(head.path.as_str())
        .version(head.version);
    for (name, value) in &head.fields {
        request = request.header(name, value);
    }
    let response = create_response(&request.body(()).ok()?).ok()?;
    let mut text = Vec::with_capacity(256);
    write_response(&mut text, &response).ok()?;
    Some(text)
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Head, BadHead> {
    let mut buffer = Vec::with_capacity(1024);
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk).await.map_err(BadHead::Io)?;
        if count == 0 {
            return Err(BadHead::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.extend(chunk.iter().take(count));
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&buffer) {
            Ok(httparse::Status::Complete(end)) => {
                let text = |value: &[u8]| String::from_utf8(value.to_vec()).ok();
                let fields = request
                    .headers
                    .iter()
                    .map(|field| Some((field.name.to_owned(), text(field.value)?)))
                    .collect::<Option<Vec<_>>>()
                    .ok_or(BadHead::Malformed)?;
                return Ok(Head {
                    method: request.method.unwrap_or_default().to_owned(),
                    path: request.path.unwrap_or_default().to_owned(),
                    version: match request.version {
                        Some(0) => http::Version::HTTP_10,
                        _ => http::Version::HTTP_11,
                    },
                    fields,
                    rest: buffer.get(end..).unwrap_or_default().to_vec(),
                });
            }
            Ok(httparse::Status::Partial) if buffer.len() >= MAX_HEAD => {
                return Err(BadHead::TooLarge);
            }
            Ok(httparse::Status::Partial) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLarge),
            Err(_) => return Err(BadHead::Malformed),
        }
    }
}

/// An answer.
struct Reply {
    status: u16,
    content_type: &'static str,
    extra: &'static str,
    body: String,
    body_len: usize,
}

impl Reply {
    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            extra: "",
            body_len: body.len(),
            body,
        }
    }

    fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text.into())
    }

    /// For `HEAD`: the length is told all the same.
    fn without_body(self) -> Self {
        let body = String::new();
        Self { body, ..self }
    }

    fn bad_request() -> Self {
        Self::text(400, "Bad Request")
    }

    fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }
}

/// The answer to a request that is no upgrade. Details are for callers on this machine.
fn probe(head: &Head, hub: &Hub, ingress: Ingress) -> Reply {
    let path = head.path.split(['?', '#']).next().unwrap_or_default();
    let detailed = ingress.is_direct_local();
    let (status, mut body) = match path {
        "/health" | "/healthz" => (200, json!({ "ok": true, "status": "live" })),
        "/ready" | "/readyz" => {
            let ready = hub.is_running();
            let status = if ready { 200 } else { 503 };
            let failing = if ready {
                json!([])
            } else {
                json!(["stopping"])
            };
            (status, json!({ "ready": ready, "failing": failing }))
        }
        "/startup" | "/startupz" => {
            let version = hub.version();
            (
                200,
                json!({ "ok": true, "status": "started", "version": version }),
            )
        }
        _ => return Reply::text(404, "Not Found"),
    };
    if let Value::Object(fields) = &mut body {
        if detailed {
            fields.insert("uptimeMs".into(), uptime(hub.started()).into());
        } else {
            fields.retain(|name, _| matches!(name.as_str(), "ok" | "ready" | "status"));
        }
    }
    match head.method.as_str() {
        "GET" | "HEAD" => Reply::json(status, &body),
        _ => Reply {
            extra: "Allow: GET, HEAD\r\n",
            ..Reply::text(405, "Method Not Allowed")
        },
    }
}

fn uptime(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Writes an answer and ends the connection.
async fn answer<S>(stream: &mut S, reply: Reply, grace: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reason = http::StatusCode::from_u16(reply.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let text = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{}Connection: close\r\n\r\n{}",
        reply.status, reply.content_type, reply.body_len, reply.extra, reply.body
    );
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    stream.close().await?;
    // Dropping a socket that has unread bytes resets the connection, and the answer is lost.
    let unread = async { futures_lite::io::copy(stream, futures_lite::io::sink()).await };
    let late = async {
        smol::Timer::after(grace).await;
        Ok(0)
    };
    unread.or(late).await?;
    Ok(())
}

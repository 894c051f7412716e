//! The HTTP side of the port: what the core decides on a request head is written back, or the socket
//! becomes a WebSocket (spec protocol §9).

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
    channel::PostId,
    gateway::{HttpAnswer, HttpRequest, HttpVerdict, OpenRefusal},
    policy::RequestHeaders,
    server::PeerFacts,
};
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt};
use tracing::warn;

use crate::{
    conn::Arrival,
    head::{self, BadHead, Head},
    hub::{Hub, Line},
    post::{self, Wanted},
};

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

/// Reads the request head and answers it, before `until`. `open` claims a place for a WebSocket
/// connection.
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
    match Box::pin(serve(stream, arrival, hub, open).or(late)).await? {
        Served::Done(accepted) => Ok(accepted),
        Served::Body(wanted) => {
            Box::pin(post::exchange(stream, *wanted, hub, until)).await?;
            Ok(Accepted::Answered)
        }
    }
}

/// How far a request has come with its head.
enum Served {
    Done(Accepted),
    /// Its body is to be read.
    Body(Box<Wanted>),
}

/// Answers a client that speaks plaintext to a port with TLS.
pub(crate) async fn ask_for_tls<S>(stream: &mut S, grace: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = "This port speaks TLS: use wss:// or https://";
    write(stream, &HttpAnswer::text(400, text), Body::Sent, grace).await
}

async fn serve<S>(
    stream: &mut S,
    arrival: Arrival,
    hub: &Hub,
    open: impl FnOnce(PeerFacts) -> Result<Arc<Line>, OpenRefusal>,
) -> io::Result<Served>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut body = Body::Sent;
    let answer = match head::read(stream).await {
        Ok(head) => match judge(&head, arrival, hub, open) {
            Ok(Judged::WebSocket(line, response)) => {
                stream.write_all(&response).await?;
                stream.flush().await?;
                let rest = head.rest;
                return Ok(Served::Done(Accepted::WebSocket { line, rest }));
            }
            Ok(Judged::Body { post, length, peer }) => {
                return Ok(Served::Body(Box::new(Wanted {
                    post,
                    length,
                    head,
                    peer,
                })));
            }
            Err(answer) => {
                if head.method == "HEAD" {
                    body = Body::LeftOut;
                }
                answer
            }
        },
        Err(BadHead::Io(error)) => return Err(error),
        Err(BadHead::Malformed) => bad_request(),
        Err(BadHead::TooLarge) => HttpAnswer::text(431, "Request Header Fields Too Large"),
    };
    hold_back(&answer).await;
    write(stream, &answer, body, hub.limits().close_grace).await?;
    Ok(Served::Done(Accepted::Answered))
}

/// Says what the operator should know, and waits before an answer that has to be slow.
pub(crate) async fn hold_back(answer: &HttpAnswer) {
    if let Some(warning) = &answer.warning {
        warn!("{warning}");
    }
    if !answer.delay.is_zero() {
        smol::Timer::after(answer.delay).await;
    }
}

/// What is not answered at once.
enum Judged {
    /// The connection, and the bytes that accept it.
    WebSocket(Arc<Line>, Vec<u8>),
    Body {
        post: PostId,
        length: usize,
        peer: PeerFacts,
    },
}

/// Takes the connection, or the request with its body; or says no.
fn judge(
    head: &Head,
    arrival: Arrival,
    hub: &Hub,
    open: impl FnOnce(PeerFacts) -> Result<Arc<Line>, OpenRefusal>,
) -> Result<Judged, HttpAnswer> {
    let headers = RequestHeaders::new(head.fields.iter().map(|(name, value)| (name, value)));
    let peer = hub.peer(arrival, headers);
    let request = HttpRequest {
        method: &head.method,
        target: &head.target,
        peer: &peer,
    };
    match hub.handle_http(&request) {
        HttpVerdict::Answer(answer) => return Err(answer),
        HttpVerdict::Body { post, length } => {
            return Ok(Judged::Body { post, length, peer });
        }
        HttpVerdict::Metrics(form) => return Err(hub.metrics_page(form)),
        HttpVerdict::Upgrade => {}
    }
    if peer.headers.get("sec-websocket-version").as_deref() != Some("13") {
        // RFC 6455 §4.2.2 wants the version in the answer, RFC 9110 §15.5.22 the protocol.
        return Err(HttpAnswer::text(426, "Upgrade Required")
            .with("Upgrade", "websocket")
            .with("Sec-WebSocket-Version", "13"));
    }
    let response = switching(head).ok_or_else(bad_request)?;
    let line = open(peer).map_err(|refusal| HttpAnswer::text(503, &refusal.to_string()))?;
    Ok(Judged::WebSocket(line, response))
}

/// Reads a request head and accepts the upgrade, whoever asks. Gives the bytes that came after the
/// head.
pub(crate) async fn upgrade<S>(stream: &mut S) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = match head::read(stream).await {
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
        .uri(head.target.as_str())
        .version(head.version);
    for (name, value) in &head.fields {
        request = request.header(name, value);
    }
    let response = create_response(&request.body(()).ok()?).ok()?;
    let mut text = Vec::with_capacity(256);
    write_response(&mut text, &response).ok()?;
    Some(text)
}

fn bad_request() -> HttpAnswer {
    HttpAnswer::text(400, "Bad Request")
}

/// Whether the body follows. For `HEAD` it does not; its length is told all the same.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    LeftOut,
    Sent,
}

/// Writes an answer and ends the connection.
pub(crate) async fn write<S>(
    stream: &mut S,
    answer: &HttpAnswer,
    body: Body,
    grace: Duration,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reason = http::StatusCode::from_u16(answer.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("Connection: close\r\n\r\n");
    match body {
        Body::Sent => text.push_str(&answer.body),
        Body::LeftOut => {}
    }
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

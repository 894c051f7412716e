//! One request with a body, from its head to its answer.

use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clawgate_core::{
    channel::PostId,
    gateway::{HttpAnswer, HttpRequest},
    server::PeerFacts,
};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};

use crate::{
    head::Head,
    http::{self, Body},
    hub::Hub,
};

/// Room for a body that is taken at once; the rest as it comes.
const FIRST_ROOM: usize = 64 * 1024;

/// A request whose body is wanted.
pub(crate) struct Wanted {
    pub(crate) post: PostId,
    pub(crate) length: usize,
    pub(crate) head: Head,
    pub(crate) peer: PeerFacts,
}

/// Reads the body before `until`, hands it over, and writes the answer. When the socket goes away, so
/// does the request.
pub(crate) async fn exchange<S>(
    stream: &mut S,
    wanted: Wanted,
    hub: &Hub,
    until: Instant,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Wanted {
        post,
        length,
        mut head,
        peer,
    } = wanted;
    // From here on, the request is forgotten however this ends.
    let place = hub.hold_post(post);
    let rest = std::mem::take(&mut head.rest);
    let expects = peer
        .headers
        .get("expect")
        .is_some_and(|what| what.eq_ignore_ascii_case("100-continue"));
    let late = async {
        smol::Timer::at(until).await;
        Ok(None)
    };
    let body = async { read(stream, rest, length, expects).await.map(Some) };
    let answer = match body.or(late).await? {
        None => HttpAnswer::text(408, "Request Timeout: the body did not come in time"),
        Some(body) => {
            let request = HttpRequest {
                method: &head.method,
                target: &head.target,
                peer: &peer,
            };
            let answer = place.ask(&request, body);
            let gone = gone(stream);
            match answer.or(gone).await {
                Some(answer) => answer,
                None => return Ok(()),
            }
        }
    };
    let limits = hub.limits();
    http::hold_back(&answer).await;
    let written = http::write(stream, &answer, Body::Sent, limits.close_grace);
    within(limits.request_head, written).await
}

/// Reads the whole body. What comes after it is nobody's.
async fn read<S>(stream: &mut S, rest: Vec<u8>, length: usize, expects: bool) -> io::Result<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut body = rest;
    if expects && body.len() < length {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        stream.flush().await?;
    }
    body.truncate(length);
    body.reserve((length - body.len()).min(FIRST_ROOM));
    let left = u64::try_from(length - body.len()).unwrap_or(u64::MAX);
    stream.take(left).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body.into())
}

/// Ends when the other side does.
async fn gone<S: AsyncRead + Unpin>(stream: &mut S) -> Option<HttpAnswer> {
    let mut chunk = [0; 256];
    while let Ok(1..) = stream.read(&mut chunk).await {}
    None
}

async fn within(time: Duration, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let late = async {
        smol::Timer::after(time).await;
        Err(io::Error::from(io::ErrorKind::TimedOut))
    };
    work.or(late).await
}

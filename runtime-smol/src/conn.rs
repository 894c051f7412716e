//! The task of one connection.

use std::{
    future::{Future, poll_fn},
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message, Utf8Bytes,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use bytestring::ByteString;
use clawgate_core::{ids::ConnId, policy::Listener, transmit::Transmit};
use futures_lite::{AsyncRead, AsyncWrite, Stream};
use futures_util::Sink;
use tracing::debug;

use crate::{
    http::{self, Accepted},
    hub::{self, Hub, Line},
    tap::Tap,
    websocket,
};

/// Messages that one connection may have handled before others get their turn.
const TURN: usize = 64;

/// Outgoing bytes that are given to the codec before they are flushed.
const BATCH: usize = 64 * 1024;

/// A message from which on the codec's buffers count as swollen.
const LARGE: usize = 4 * 1024;

/// By which of the gateway's sockets somebody came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival {
    /// By the socket of the owner.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no such socket"))]
    Owner,
    /// By TCP, from this address, which is not IPv4-mapped.
    Tcp(IpAddr, Listener),
}

impl Arrival {
    /// The address of the other end.
    pub(crate) const fn ip(self) -> IpAddr {
        match self {
            Self::Owner => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Tcp(ip, _) => ip,
        }
    }
}

/// Serves a socket from its first byte to its end.
/// `place` is held, and `until` is the deadline, until the request head is done.
pub(crate) async fn serve<S, P>(
    mut stream: S,
    arrival: Arrival,
    hub: Arc<Hub>,
    until: Instant,
    place: P,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let id = hub.next_conn();
    let mut opened = false;
    let accepted = http::accept(&mut stream, arrival, &hub, until, |peer| {
        hub.open(id, peer).inspect(|_| opened = true)
    })
    .await;
    drop(place);
    match accepted {
        Ok(Accepted::WebSocket { line, rest }) => run(stream, rest, id, line, &hub).await,
        Ok(Accepted::Answered) => {}
        Err(error) => debug!(conn = %id, %error, "no request"),
    }
    if opened {
        hub.detach(id);
    }
}

async fn run<S>(stream: S, rest: Vec<u8>, id: ConnId, line: Arc<Line>, hub: &Arc<Hub>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = hub.limits();
    let tap = Tap::new(stream, rest, limits.pre_auth_frame);
    // Making a codec takes a future that the task need not keep room for.
    let mut socket = Box::pin(websocket::codec(tap, limits)).await;
    let mut task = Task {
        id,
        hub: Arc::clone(hub),
        line,
        fed: 0,
        unflushed: false,
        buffers: Buffers::Small,
        established: false,
        reading: Reading::Messages,
        closing: false,
        timer: None,
        armed: None,
    };
    loop {
        let step = poll_fn(|cx| task.poll(&mut socket, cx)).await;
        match step {
            Step::End => break,
            Step::Shrink => {
                // The codec never gives memory back, so a fresh one takes its place.
                socket = Box::pin(websocket::codec(socket.into_inner(), limits)).await;
            }
        }
    }
    task.line.conn().handle_closed();
}

enum Step {
    End,
    /// Nothing is in the codec's buffers, and they are large.
    Shrink,
}

/// What the codec keeps for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buffers {
    Small,
    /// They took a large message and would stay as large for ever.
    Swollen,
}

/// What is done with bytes that come in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// They are thrown away: the close frame is on its way, and unread bytes would cut it off.
    Discard,
    Messages,
}

struct Task {
    id: ConnId,
    hub: Arc<Hub>,
    line: Arc<Line>,
    /// Bytes of text that the codec has and the socket may not have yet.
    fed: usize,
    /// The codec may have something that the socket has not.
    unflushed: bool,
    buffers: Buffers,
    established: bool,
    reading: Reading,
    /// The close frame has been given to the codec.
    closing: bool,
    timer: Option<smol::Timer>,
    armed: Option<Instant>,
}

impl Task {
    fn poll<S>(&mut self, socket: &mut WebSocketStream<Tap<S>>, cx: &mut Context<'_>) -> Poll<Step>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.line.waker.register(cx.waker());
        // A delivery may have released frames that came before the client was let in.
        self.hand_over();
        let more = match self.poll_read(socket, cx) {
            Ok(more) => more,
            Err(Ended) => return Poll::Ready(Step::End),
        };
        if self.poll_write(socket, cx).is_err() {
            return Poll::Ready(Step::End);
        }
        if more {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.may_shrink(socket, cx) {
            self.buffers = Buffers::Small;
            return Poll::Ready(Step::Shrink);
        }
        self.poll_time(socket, cx)
    }

    /// Whether the codec's buffers are swollen and hold nothing. Giving them back at once, and not
    /// after a while, lets the next connection use the same memory.
    fn may_shrink<S>(&self, socket: &mut WebSocketStream<Tap<S>>, cx: &mut Context<'_>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.buffers == Buffers::Swollen
            && self.reading == Reading::Messages
            && !self.closing
            && self.fed == 0
            && socket.get_ref().at_boundary()
            // Flushing takes along the answers to pings that the codec keeps to itself.
            && matches!(Pin::new(socket).poll_flush(cx), Poll::Ready(Ok(())))
    }

    /// Takes what has come. `true` when there may be more.
    fn poll_read<S>(
        &mut self,
        socket: &mut WebSocketStream<Tap<S>>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.reading == Reading::Discard {
            return discard(socket, cx);
        }
        for _ in 0..TURN {
            match Pin::new(&mut *socket).poll_next(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Err(Ended),
                Poll::Ready(Some(Err(error))) => {
                    self.failed(&error, socket)?;
                    return Ok(true);
                }
                Poll::Ready(Some(Ok(message))) => self.take(message, socket),
            }
        }
        Ok(true)
    }

    fn take<S>(&mut self, message: Message, socket: &mut WebSocketStream<Tap<S>>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let now = hub::now();
        let mut conn = self.line.conn();
        if message.len() >= LARGE {
            self.buffers = Buffers::Swollen;
        }
        // What a failure means is already in the connection's outbound queue.
        let _ = match message {
            Message::Text(text) => match ByteString::try_from(bytes::Bytes::from(text)) {
                Ok(text) => conn.handle_text(now, text),
                Err(_) => Ok(()),
            },
            Message::Binary(bytes) => conn.handle_binary(now, bytes),
            Message::Pong(_) => {
                conn.handle_pong();
                Ok(())
            }
            Message::Close(_) | Message::Frame(_) | Message::Ping(_) => Ok(()),
        };
        drop(conn);
        self.hand_over();
        let conn = self.line.conn();
        if !self.established && conn.is_established() {
            self.established = true;
            socket.get_mut().set_limit(conn.frame_limit());
            self.buffers = Buffers::Swollen;
        }
    }

    /// Gives the gateway what the connection has for it.
    fn hand_over(&self) {
        loop {
            // The gateway may have something for this connection at once.
            let Some(event) = self.line.conn().poll_event() else {
                return;
            };
            self.hub.handle_event(hub::now(), self.id, event);
        }
    }

    /// The codec gave up. The other side is told why, where it can still listen.
    fn failed<S>(
        &mut self,
        error: &WsError,
        socket: &mut WebSocketStream<Tap<S>>,
    ) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        debug!(conn = %self.id, %error, "socket failed");
        let Some(fault) = websocket::fault(error) else {
            return Err(Ended);
        };
        self.line.conn().handle_fault(hub::now(), fault);
        self.reading = Reading::Discard;
        socket.get_mut().stop_watching();
        Ok(())
    }

    /// Gives the codec what the connection has to say, as far as the socket takes it.
    fn poll_write<S>(
        &mut self,
        socket: &mut WebSocketStream<Tap<S>>,
        cx: &mut Context<'_>,
    ) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // A full socket takes nothing, not even the order to drop it.
        if self.line.conn().is_terminated() {
            return Err(Ended);
        }
        loop {
            let mut batch = 0;
            while batch < BATCH {
                match Pin::new(&mut *socket).poll_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(Ended),
                    Poll::Pending => return Ok(()),
                }
                let Some(transmit) = self.line.conn().poll_transmit() else {
                    break;
                };
                let message = match transmit {
                    Transmit::Text(text) => {
                        let bytes = text.into_bytes();
                        batch += bytes.len();
                        self.fed += bytes.len();
                        let Ok(text) = Utf8Bytes::try_from(bytes) else {
                            continue;
                        };
                        Message::Text(text)
                    }
                    Transmit::Ping => {
                        batch += 1;
                        Message::Ping(bytes::Bytes::new())
                    }
                    Transmit::Close { code, reason } => {
                        batch += 1;
                        self.closing = true;
                        Message::Close(Some(CloseFrame {
                            code: CloseCode::from(code.code()),
                            reason: reason.as_str().into(),
                        }))
                    }
                    Transmit::Terminate => return Err(Ended),
                };
                self.unflushed = true;
                if Pin::new(&mut *socket).start_send(message).is_err() {
                    return Err(Ended);
                }
            }
            if !self.unflushed {
                return Ok(());
            }
            if batch >= LARGE {
                self.buffers = Buffers::Swollen;
            }
            match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.line.conn().handle_written(self.fed);
                    self.fed = 0;
                    self.unflushed = false;
                }
                Poll::Ready(Err(_)) => return Err(Ended),
                Poll::Pending => return Ok(()),
            }
            if batch < BATCH {
                return Ok(());
            }
        }
    }

    /// Waits for the next deadline, and acts on those that have come.
    fn poll_time<S>(
        &mut self,
        socket: &mut WebSocketStream<Tap<S>>,
        cx: &mut Context<'_>,
    ) -> Poll<Step>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let Some((at, _)) = self.line.conn().poll_timeout() else {
                self.timer = None;
                self.armed = None;
                return Poll::Pending;
            };
            // A deadline that moved back is noticed when the earlier one fires.
            if self.armed.is_none_or(|armed| at < armed) {
                self.armed = Some(at);
                match &mut self.timer {
                    Some(timer) => timer.set_at(at),
                    None => self.timer = Some(smol::Timer::at(at)),
                }
            }
            if let Some(timer) = &mut self.timer {
                ready!(Pin::new(timer).poll(cx));
            }
            self.timer = None;
            self.armed = None;
            let now = hub::now();
            if at <= now.mono {
                self.line.conn().handle_timeout(now);
                if self.poll_write(socket, cx).is_err() {
                    return Poll::Ready(Step::End);
                }
            }
        }
    }
}

fn discard<S>(socket: &mut WebSocketStream<Tap<S>>, cx: &mut Context<'_>) -> Result<bool, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut scratch = [0; 4096];
    for _ in 0..TURN {
        match Pin::new(socket.get_mut()).poll_read(cx, &mut scratch) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => return Err(Ended),
            Poll::Ready(Ok(_)) => {}
        }
    }
    Ok(true)
}

/// The connection is over.
struct Ended;

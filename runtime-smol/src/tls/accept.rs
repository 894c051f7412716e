//! The handshake.

use std::{io, net::TcpStream, sync::Arc, time::Instant};

use futures_lite::FutureExt;
use futures_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use super::TlsPort;
use crate::{
    conn::{self, Arrival},
    http,
    hub::Hub,
    socket::Socket,
};

/// The first byte of a TLS connection: the type of a handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;

/// Serves a socket of a TLS port from its first byte to its end. `place` is held, and `until` is the
/// deadline, until the request head is done.
pub(crate) async fn serve<P>(
    socket: Socket<TcpStream>,
    arrival: Arrival,
    hub: Arc<Hub>,
    tls: TlsPort,
    until: Instant,
    place: P,
) {
    let late = async {
        smol::Timer::at(until).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    // The state of the handshake is large; it is gone before the connection begins.
    let stream = Box::pin(handshake(socket, &hub, &tls).or(late)).await;
    drop(tls);
    match stream {
        Ok(Some(stream)) => conn::serve(stream, arrival, hub, until, place).await,
        Ok(None) => {}
        Err(error) => {
            hub.turned.for_tls();
            debug!(ip = %arrival.ip(), %error, "no TLS handshake");
        }
    }
}

/// `None` when the other side speaks no TLS: it was told so, if it speaks HTTP.
async fn handshake(
    mut socket: Socket<TcpStream>,
    hub: &Hub,
    tls: &TlsPort,
) -> io::Result<Option<Box<TlsStream<Socket<TcpStream>>>>> {
    let mut first = [0];
    socket.0.peek(&mut first).await?;
    let [first] = first;
    if first == HANDSHAKE {
        let stream = TlsAcceptor::from(tls.config()).accept(socket).await?;
        return Ok(Some(Box::new(stream)));
    }
    if first.is_ascii_uppercase() {
        http::ask_for_tls(&mut socket, hub.limits().close_grace).await?;
    }
    Ok(None)
}

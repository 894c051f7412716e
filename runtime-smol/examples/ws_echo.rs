//! Echoes WebSocket messages twice over: once through the gateway's own listener, upgrade and codec
//! settings, once through the bare codec library. A WebSocket test suite run against both tells
//! whether the gateway's settings lose anything.
//!
//! Prints `gateway ADDRESS` and `bare ADDRESS`, and serves until its standard input ends.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use async_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
use clawgate_core::{limits::Limits, server::TransportFault};
use clawgate_smol::websocket;
use futures_lite::{FutureExt, StreamExt};
use smol::Async;

fn main() -> Result<(), Box<dyn Error>> {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let gateway = clawgate_smol::listen(loopback, 0)?;
    let bare = TcpListener::bind((loopback, 0))?;
    let mut out = io::stdout().lock();
    writeln!(out, "gateway {}", gateway.local_addr()?)?;
    writeln!(out, "bare {}", bare.local_addr()?)?;
    out.flush()?;
    thread::spawn(move || smol::block_on(serve_as_gateway(gateway)));
    thread::spawn(move || serve_bare(&bare));
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn serve_as_gateway(listener: TcpListener) -> io::Result<()> {
    let listener = Async::new(listener)?;
    let limits = Arc::new(Limits::default());
    let executor = smol::Executor::new();
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let limits = Arc::clone(&limits);
            // How a connection of the suite ends is the suite's business.
            let echo = async move { drop(echo_as_gateway(stream, &limits).await) };
            executor.spawn(echo).detach();
        }
    };
    executor.run(accepting).await
}

/// Echoes until the other side closes or does something wrong, and then tells it what, as a
/// connection of the gateway does.
async fn echo_as_gateway(
    stream: Async<TcpStream>,
    limits: &Limits,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut socket = websocket::accept(stream, limits).await?;
    while let Some(message) = socket.next().await {
        let error = match message {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                socket.send(message).await?;
                continue;
            }
            Ok(_) => continue,
            Err(error) => error,
        };
        let Some(fault) = websocket::fault(&error) else {
            break;
        };
        let code = match fault {
            TransportFault::NotUtf8 => CloseCode::Invalid,
            TransportFault::Oversized => CloseCode::Size,
            TransportFault::Protocol => CloseCode::Protocol,
        };
        let reason = "".into();
        socket
            .send(Message::Close(Some(CloseFrame { code, reason })))
            .await?;
        // What is left unread would reset the connection and take the close frame with it.
        let rest =
            async { futures_lite::io::copy(socket.get_mut(), futures_lite::io::sink()).await };
        let grace = async {
            smol::Timer::after(limits.close_grace).await;
            Ok(0)
        };
        rest.or(grace).await?;
        break;
    }
    Ok(())
}

fn serve_bare(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || drop(echo_bare(stream)));
    }
}

fn echo_bare(stream: TcpStream) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let mut socket = tungstenite::accept(stream)?;
    loop {
        let message = socket.read()?;
        if message.is_text() || message.is_binary() {
            socket.send(message)?;
        }
    }
}

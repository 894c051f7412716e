//! A client that echoes, for a WebSocket test suite that plays the server (the fuzzing server of the
//! Autobahn cases): it asks how many cases there are, lets each happen to it, and asks for the
//! report.
//!
//! `ws_echo_client gateway|bare ADDRESS`: `gateway` dials and reads as the clients of this crate do,
//! `bare` uses the codec library with its defaults, to compare with.

use std::{env, error::Error, net::TcpStream, time::Duration};

use clawgate_core::{
    client::Route,
    policy::{Endpoint, UrlPolicy},
};
use clawgate_std::{Cancel, Options, websocket};
use tungstenite::{Message, client::client};

/// Far more than the slowest case takes.
const CASE_TIME: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [kind, address] = arguments.as_slice() else {
        return Err("usage: ws_echo_client gateway|bare ADDRESS".into());
    };
    let open = match kind.as_str() {
        "gateway" => open_as_gateway_client,
        "bare" => open_bare,
        _ => return Err("the first argument is gateway or bare".into()),
    };
    let base = format!("ws://{address}");
    let count = open(&format!("{base}/getCaseCount"), Echo::First)?;
    let count: u32 = count.ok_or("the server gave no number of cases")?.parse()?;
    for case in 1..=count {
        // How a case ends is the server's to judge, a failed upgrade included.
        let _ = open(
            &format!("{base}/runCase?case={case}&agent={kind}"),
            Echo::All,
        );
    }
    open(&format!("{base}/updateReports?agent={kind}"), Echo::All)?;
    Ok(())
}

/// What is done with messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    /// All are echoed, to the end.
    All,
    /// The first one is what was asked for.
    First,
}

fn open_as_gateway_client(url: &str, echo: Echo) -> Result<Option<String>, Box<dyn Error>> {
    let route = Route::unpinned(Endpoint::parse(url, UrlPolicy::Strict)?);
    let options = Options {
        total: Some(CASE_TIME),
        cancel: Cancel::new(),
        ..Options::default()
    };
    let mut socket = websocket::connect(&route, &options)?;
    while let Some(message) = socket.receive() {
        if echo == Echo::First {
            return Ok(Some(message.to_text()?.to_owned()));
        }
        socket.send(message);
    }
    Ok(None)
}

fn open_bare(url: &str, echo: Echo) -> Result<Option<String>, Box<dyn Error>> {
    let address = url.trim_start_matches("ws://");
    let address = address.split('/').next().unwrap_or_default();
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(CASE_TIME))?;
    let (mut socket, _) = client(url, stream)?;
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                if echo == Echo::First {
                    return Ok(Some(message.to_text()?.to_owned()));
                }
                socket.send(message)?;
            }
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
    }
}

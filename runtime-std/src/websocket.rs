//! The client's WebSocket alone, without a gateway's protocol on it: for programs that test or
//! measure this layer, or speak to something else than a gateway.

use clawgate_core::client::Route;
use tungstenite::Message;

use crate::{
    budget::Budget,
    connection::Options,
    dial::{Dialled, dial},
    error::ConnectError,
    socket::{Received, Sent, Socket},
    timings::Timings,
    waiter::Waiter,
};

/// An open WebSocket: dialled, bounded and read as those of [`crate::Connection`] are.
#[derive(Debug)]
pub struct WebSocket {
    socket: Socket,
    waiter: Waiter,
    budget: Budget,
    timings: Timings,
}

/// Dials a route and upgrades. Nothing is sent beyond the upgrade.
///
/// ```no_run
/// use clawgate_core::{client::Route, policy::{Endpoint, Scheme}};
/// use clawgate_std::{Options, websocket};
///
/// let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
/// let mut socket = websocket::connect(&route, &Options::default())?;
/// let challenge = socket.receive();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When that fails, with the stage that it came to.
pub fn connect(route: &Route, options: &Options) -> Result<WebSocket, Box<ConnectError>> {
    let mut waiter = Waiter::new().map_err(|error| ConnectError::of_system(route, &error))?;
    let budget = Budget::new(options.total, &options.cancel);
    let Dialled {
        socket, timings, ..
    } = dial(route, &mut waiter, &budget)?;
    Ok(WebSocket {
        socket,
        waiter,
        budget,
        timings,
    })
}

impl WebSocket {
    /// Waits for the next text or binary message. `None` when the other side closed, broke the
    /// protocol or is gone, or the time is over: then drop this.
    pub fn receive(&mut self) -> Option<Message> {
        loop {
            match self.socket.receive() {
                Received::Binary(bytes) => return Some(Message::Binary(bytes)),
                Received::Text(text) => return Some(Message::text(&*text)),
                Received::Other => {}
                Received::Nothing => self.wait()?,
                Received::Close { .. } | Received::Lost | Received::Oversized => return None,
            }
        }
    }

    /// Writes a message, all of it.
    pub fn send(&mut self, message: Message) {
        self.socket.write(message);
        while self.socket.transmit(|| None) == Sent::Later {
            if self.wait().is_none() {
                return;
            }
        }
    }

    /// How long each stage of dialling took.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    fn wait(&mut self) -> Option<()> {
        self.waiter.wait_within(&self.budget).ok()?.ok()
    }
}

//! Accepting sockets.

use std::{
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clawgate_core::policy::Listener;
use event_listener::Event;
use smol::{Async, lock::Semaphore};
use tracing::warn;

use crate::{
    conn::{self, Arrival},
    heads::Heads,
    hub::Hub,
    socket::Socket,
    tls::{self, TlsPort},
};

/// Sockets that may be in their request head at once. More wait in the kernel's queue.
const MAX_HEADS: usize = 1_024;

/// Pause after a failed accept, such as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sockets that were accepted and whose request is not done yet, on all listeners.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<(AtomicUsize, Event)>);

/// One of them, until it is dropped.
struct Flight(InFlight);

impl InFlight {
    fn begin(&self) -> Flight {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Flight(self.clone())
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        let (count, changed) = &*self.0;
        loop {
            let change = changed.listen();
            if count.load(Ordering::SeqCst) == 0 {
                return;
            }
            change.await;
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (count, changed) = &*self.0.0;
        count.fetch_sub(1, Ordering::SeqCst);
        changed.notify(usize::MAX);
    }
}

/// Accepts for as long as it is polled, and gives each socket a task of its own.
pub(crate) async fn accept(
    listener: Async<TcpListener>,
    kind: Listener,
    tls: Option<TlsPort>,
    hub: Arc<Hub>,
    executor: Arc<smol::Executor<'static>>,
    flights: InFlight,
) {
    let all = Arc::new(Semaphore::new(MAX_HEADS));
    let heads = Heads::default();
    loop {
        let permit = all.acquire_arc().await;
        match listener.accept().await {
            Ok((stream, address)) => {
                if let Err(error) = stream.get_ref().set_nodelay(true) {
                    warn!(%error, "could not set TCP_NODELAY");
                }
                let Some(place) = heads.take(address.ip(), hub.limits().max_pre_auth_per_ip) else {
                    hub.turned.for_heads();
                    continue;
                };
                let hub = Arc::clone(&hub);
                let arrival = Arrival::Tcp(address.ip().to_canonical(), kind);
                let until = Instant::now() + hub.limits().request_head;
                let place = (permit, place, flights.begin());
                let socket = Socket(stream);
                // Two kinds of task: one that may become either would be as large as both.
                match tls.clone() {
                    None => executor.spawn(conn::serve(socket, arrival, hub, until, place)),
                    Some(tls) => {
                        executor.spawn(tls::serve(socket, arrival, hub, tls, until, place))
                    }
                }
                .detach();
            }
            Err(error) if is_about_one_socket(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again");
                smol::Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

//! The port and its connections. All of it ends when the server is dropped.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::connection;
use crate::state::State;

/// What the threads of a server share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// The state, and who is connected.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) stopping: bool,
    connections: HashMap<u64, TcpStream>,
    next: u64,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whoever waits for that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner.state);
        drop(inner);
        self.changed.notify_all();
        result
    }

    /// Waits for a change, but no longer than until this moment.
    pub(crate) fn wait<'a>(
        &self,
        inner: MutexGuard<'a, Inner>,
        until: Instant,
    ) -> MutexGuard<'a, Inner> {
        let left = until.saturating_duration_since(Instant::now());
        self.changed
            .wait_timeout(inner, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Lets time pass. Gives `false` at once when the server stops.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut inner = self.lock();
        while !inner.stopping && Instant::now() < until {
            inner = self.wait(inner, until);
        }
        !inner.stopping
    }

    fn enter(&self, stream: &TcpStream) -> Option<u64> {
        let stream = stream.try_clone().ok()?;
        let mut inner = self.lock();
        if inner.stopping {
            return None;
        }
        let number = inner.next;
        inner.next += 1;
        inner.connections.insert(number, stream);
        Some(number)
    }

    fn leave(&self, number: u64) {
        self.lock().connections.remove(&number);
        self.changed.notify_all();
    }
}

/// A server on a loopback port.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    address: SocketAddr,
    accepts: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepts = thread::Builder::new().name("bot-api".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        })?;
        Ok(Self {
            shared,
            address,
            accepts: Some(accepts),
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.stopping = true;
        for stream in inner.connections.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(inner);
        self.shared.changed.notify_all();
        // The thread that accepts sees that it is over with the next connection.
        let woken = TcpStream::connect(self.address).is_ok();
        if let (Some(accepts), true) = (self.accepts.take(), woken) {
            let _ = accepts.join();
        }
        let mut inner = self.shared.lock();
        while !inner.connections.is_empty() {
            inner = self
                .shared
                .wait(inner, Instant::now() + Duration::from_secs(1));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().stopping {
            return;
        }
        let Ok(stream) = stream else {
            // Too many open files, as a rule: one of them may close meanwhile.
            shared.pause(Duration::from_millis(20));
            continue;
        };
        let Some(number) = shared.enter(&stream) else {
            return;
        };
        let own = Arc::clone(shared);
        let started = thread::Builder::new()
            .name("bot-api connection".to_owned())
            .spawn(move || {
                connection::serve(&stream, &own);
                // A reset needs all copies of the stream closed.
                own.lock().connections.remove(&number);
                drop(stream);
                own.changed.notify_all();
            });
        if started.is_err() {
            shared.leave(number);
        }
    }
}

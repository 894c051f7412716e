//! Waiting for one socket, a wake-up from another thread, or a moment.

use std::{io, sync::Arc, time::Instant};

use mio::{Events, Interest, Poll, Token, Waker, event::Source};

use crate::budget::{Budget, Interrupt};

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

#[derive(Debug)]
pub(crate) struct Waiter {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(4),
            waker,
        })
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    pub(crate) fn add(&self, stream: &mut (impl Source + ?Sized)) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, SOCKET, interest)
    }

    pub(crate) fn remove(&self, stream: &mut (impl Source + ?Sized)) -> io::Result<()> {
        self.poll.registry().deregister(stream)
    }

    /// Waits until the socket may have something, somebody wakes, or `until` has come. It may
    /// return early: look again, then wait again.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// The same under a budget.
    pub(crate) fn wait_within(&mut self, budget: &Budget) -> Result<io::Result<()>, Interrupt> {
        budget.check()?;
        let result = self.wait(budget.deadline);
        budget.check()?;
        Ok(result)
    }
}

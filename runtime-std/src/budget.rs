//! How long something may take, and who may stop it.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mio::Waker;

/// Stops waiting calls from another thread. Clones stop the same calls. Once cancelled, it stays
/// cancelled.
///
/// ```
/// use clawgate_std::Cancel;
///
/// let cancel = Cancel::new();
/// let for_another_thread = cancel.clone();
/// for_another_thread.cancel();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    wakers: Mutex<Vec<Weak<Waker>>>,
}

impl Cancel {
    /// Not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops everything that was started with this or a clone of it.
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::SeqCst);
        let mut wakers = self
            .inner
            .wakers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for waker in wakers.drain(..).filter_map(|waker| waker.upgrade()) {
            // A thread that cannot be woken still sees the flag at its deadline.
            let _ = waker.wake();
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::SeqCst)
    }

    /// Wakes a waiting thread on cancellation.
    pub(crate) fn attach(&self, waker: &Arc<Waker>) {
        let mut wakers = self
            .inner
            .wakers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        wakers.retain(|waker| waker.strong_count() > 0);
        wakers.push(Arc::downgrade(waker));
        if self.is_cancelled() {
            let _ = waker.wake();
        }
    }
}

/// One deadline for all stages together, and the handle that ends them early.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Cancel,
}

/// Why waiting ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Cancelled,
    Deadline,
}

impl Budget {
    pub(crate) fn new(total: Option<Duration>, cancel: &Cancel) -> Self {
        Self {
            deadline: total.and_then(|total| Instant::now().checked_add(total)),
            cancel: cancel.clone(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Interrupt> {
        if self.cancel.is_cancelled() {
            return Err(Interrupt::Cancelled);
        }
        match self.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(Interrupt::Deadline),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// A part of it: at most `share` from now.
    pub(crate) fn at_most(&self, share: Duration) -> Self {
        let end = Instant::now().checked_add(share);
        Self {
            deadline: match (self.deadline, end) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            cancel: self.cancel.clone(),
        }
    }
}

//! The thread that writes: order, groups, and what fails with what.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use clawgate_core::store::{Commit, CommitId, Epoch, StoreFailure};

use super::{database::Database, open::StoreFile};

/// Commits in one transaction. More would make those who wait for the first ones wait for too long.
const GROUP: usize = 1_024;

/// A database that is written to, by a thread of its own.
pub struct Store {
    /// Gone when the store is closed.
    queue: Mutex<Option<Sender<Work>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
}

enum Work {
    Write(Commit),
    /// A commit for which there was no room. Its turn to fail comes after those before it.
    Refuse(CommitId, Epoch),
}

impl Work {
    const fn epoch(&self) -> Epoch {
        match self {
            Self::Write(commit) => commit.epoch,
            Self::Refuse(_, epoch) => *epoch,
        }
    }
}

impl Store {
    /// Starts the thread. It calls `outcome` once for each commit, in the order of
    /// [`Store::submit`]: a success when the commit is on disk, a failure when it is not there. After
    /// a failure, the later commits of its epoch fail without being tried.
    ///
    /// A commit that was reported as failed may come back after a crash that follows at once: where
    /// the disk refused to confirm it, nobody knows what it kept.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        file: StoreFile,
        outcome: impl FnMut(CommitId, Result<(), StoreFailure>) + Send + 'static,
    ) -> io::Result<Self> {
        let database = file.0;
        let max_waiting = database.max_waiting();
        let (queue, work) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut writer = Writer {
            database: *database,
            outcome,
            failed: None,
        };
        let counter = Arc::clone(&waiting);
        let thread = thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || writer.run(&work, &counter))?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            waiting,
            max_waiting,
        })
    }

    /// Hands a commit to the thread. This never waits. Commits that are handed in after
    /// [`Store::close`] are dropped, and nothing is reported for them.
    pub fn submit(&self, commit: Commit) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            return;
        };
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let work = if before < self.max_waiting {
            Work::Write(commit)
        } else {
            Work::Refuse(commit.id, commit.epoch)
        };
        // The thread outlives the queue, unless `outcome` panicked.
        let _ = queue.send(work);
    }

    /// Writes what was submitted, reports it, folds the journal back, and ends the thread. Not to be
    /// called from `outcome`.
    pub fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        drop(queue.take());
        drop(queue);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic has been reported on standard error.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("waiting", &self.waiting.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

struct Writer<F> {
    database: Database,
    outcome: F,
    /// The epoch of the last failure, and its reason.
    failed: Option<(Epoch, StoreFailure)>,
}

impl<F: FnMut(CommitId, Result<(), StoreFailure>)> Writer<F> {
    /// Ends when the queue is closed and empty.
    fn run(&mut self, work: &Receiver<Work>, waiting: &AtomicUsize) {
        while let Ok(first) = work.recv() {
            let mut batch = vec![first];
            batch.extend(work.try_iter().take(GROUP - 1));
            waiting.fetch_sub(batch.len(), Ordering::Relaxed);
            self.settle(batch);
        }
    }

    /// Settles a batch in order. Commits of one epoch share a transaction.
    fn settle(&mut self, batch: Vec<Work>) {
        let mut group: Vec<Commit> = Vec::new();
        for work in batch {
            if group
                .first()
                .is_some_and(|first| first.epoch != work.epoch())
            {
                self.write(std::mem::take(&mut group));
            }
            match work {
                Work::Write(commit) => group.push(commit),
                Work::Refuse(id, epoch) => {
                    self.write(std::mem::take(&mut group));
                    let failure = self.earlier(epoch).unwrap_or_else(|| {
                        StoreFailure::Io("the disk is too slow: too much waits for it".into())
                    });
                    self.fail(epoch, id, failure);
                }
            }
        }
        self.write(group);
    }

    fn write(&mut self, group: Vec<Commit>) {
        let Some(epoch) = group.first().map(|first| first.epoch) else {
            return;
        };
        let done = match self.earlier(epoch) {
            Some(failure) => Err(failure),
            None => self.database.write(&group),
        };
        match done {
            Ok(()) => {
                for commit in group {
                    (self.outcome)(commit.id, Ok(()));
                }
            }
            Err(failure) => {
                for commit in group {
                    self.fail(epoch, commit.id, failure.clone());
                }
            }
        }
    }

    /// Why commits of this epoch cannot succeed any more.
    fn earlier(&self, epoch: Epoch) -> Option<StoreFailure> {
        let (failed, reason) = self.failed.as_ref()?;
        (*failed == epoch).then(|| reason.clone())
    }

    fn fail(&mut self, epoch: Epoch, id: CommitId, failure: StoreFailure) {
        self.failed = Some((epoch, failure.clone()));
        (self.outcome)(id, Err(failure));
    }
}

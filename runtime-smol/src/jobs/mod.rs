//! Long pieces of work that the core asks for: HTTP exchanges with streamed answers, and programs with
//! lines in and out ([`clawgate_core::job`]).

mod dial;
mod http;
mod program;
mod request;
mod response;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use clawgate_core::{
    ids::EffectId,
    job::{JobEvent, JobSpec},
};
use futures_rustls::rustls::ClientConfig;
use smol::channel::{Receiver, Sender};

use dial::Trust;

/// Jobs under way. They run on the executor that is given; when this value is dropped, all end.
///
/// ```
/// use std::sync::{Arc, mpsc};
/// use clawgate_core::{ids::EffectId, job::{JobEvent, JobSpec, ProgramJob}};
/// use clawgate_smol::jobs::Jobs;
///
/// let executor = Arc::new(smol::Executor::new());
/// let jobs = Jobs::new(Arc::clone(&executor));
/// let (tell, told) = mpsc::channel();
/// let spec = JobSpec::Program(ProgramJob {
///     argv: vec!["/bin/echo".into(), "hello".into()],
///     cwd: None,
///     env: Default::default(),
///     withheld: Default::default(),
///     max_output: 1_000,
///     grace: std::time::Duration::from_secs(1),
/// });
/// jobs.start(EffectId(1), spec, move |_, event| tell.send(event).unwrap());
/// let first = smol::block_on(executor.run(smol::unblock(move || told.recv().unwrap())));
/// assert_eq!(first, JobEvent::Data("hello\n".into()));
/// ```
pub struct Jobs {
    executor: Arc<smol::Executor<'static>>,
    trust: Trust,
    running: Arc<Mutex<BTreeMap<EffectId, Running>>>,
}

/// What ends a job, or feeds it.
struct Running {
    /// Nothing is told any more.
    over: Arc<AtomicBool>,
    /// Its other end learns of the end when this is dropped.
    _stop: Sender<Infallible>,
    /// Where a program's standard input comes from.
    input: Option<Sender<Bytes>>,
}

impl Jobs {
    /// TLS certificates are judged by the platform's verifier.
    pub fn new(executor: Arc<smol::Executor<'static>>) -> Self {
        Self::with(executor, Trust::platform())
    }

    /// TLS certificates are judged as this says.
    pub fn with_tls(executor: Arc<smol::Executor<'static>>, config: Arc<ClientConfig>) -> Self {
        Self::with(executor, Trust::given(config))
    }

    fn with(executor: Arc<smol::Executor<'static>>, trust: Trust) -> Self {
        Self {
            executor,
            trust,
            running: Arc::default(),
        }
    }

    /// Starts a job under an id that no other job has. What comes of it is given to `tell`, in order,
    /// from one of the executor's threads; `tell` should be quick.
    pub fn start(
        &self,
        id: EffectId,
        spec: JobSpec,
        tell: impl Fn(EffectId, JobEvent) + Send + Sync + 'static,
    ) {
        let over = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = smol::channel::bounded(1);
        let teller = Teller {
            id,
            over: Arc::clone(&over),
            tell: Box::new(tell),
        };
        let (input, fed) = match spec {
            JobSpec::Program(_) => {
                let (input, fed) = smol::channel::unbounded();
                (Some(input), Some(fed))
            }
            JobSpec::Http(_) => (None, None),
        };
        let entry = Running {
            over,
            _stop: stop,
            input,
        };
        lock(&self.running).insert(id, entry);
        let (running, trust) = (Arc::clone(&self.running), self.trust.clone());
        let executor = Arc::downgrade(&self.executor);
        self.executor
            .spawn(async move {
                let stopped = Stopped(stopped);
                let last = match (spec, fed) {
                    (JobSpec::Http(job), _) => http::run(job, &trust, &stopped, &teller).await,
                    (JobSpec::Program(job), Some(fed)) => {
                        program::run(job, fed, &stopped, &teller, &executor).await
                    }
                    (JobSpec::Program(_), None) => None,
                };
                lock(&running).remove(&id);
                if let Some(last) = last {
                    teller.tell(last);
                }
            })
            .detach();
    }

    /// Writes to a program's standard input. A job that has ended hears nothing.
    pub fn feed(&self, id: EffectId, bytes: Bytes) {
        if let Some(Running {
            input: Some(input), ..
        }) = lock(&self.running).get(&id)
        {
            // A closed channel means that the program has closed its input.
            let _ = input.try_send(bytes);
        }
    }

    /// Ends a job: an exchange at once, a program as its grace says. Nothing more is told of it, but
    /// for an event that is being told at this moment.
    pub fn stop(&self, id: EffectId) {
        if let Some(running) = lock(&self.running).remove(&id) {
            running.over.store(true, Ordering::Release);
        }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        lock(&self.running).len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for (_, running) in std::mem::take(&mut *lock(&self.running)) {
            running.over.store(true, Ordering::Release);
        }
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running: Vec<EffectId> = lock(&self.running).keys().copied().collect();
        f.debug_struct("Jobs")
            .field("running", &running)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what comes of one job, until it is stopped.
struct Teller {
    id: EffectId,
    over: Arc<AtomicBool>,
    tell: Box<dyn Fn(EffectId, JobEvent) + Send + Sync>,
}

impl Teller {
    fn tell(&self, event: JobEvent) {
        if !self.over.load(Ordering::Acquire) {
            (self.tell)(self.id, event);
        }
    }
}

/// Learns that a job is stopped.
struct Stopped(Receiver<Infallible>);

impl Stopped {
    /// Ends when it is.
    async fn wait(&self) {
        let _ = self.0.recv().await;
    }
}

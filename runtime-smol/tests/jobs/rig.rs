//! Jobs on an executor of their own, and what they tell.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clawgate_core::ids::EffectId;
use clawgate_core::job::{JobEvent, JobSpec};
use clawgate_smol::jobs::Jobs;
use futures_rustls::rustls::ClientConfig;

/// Longer than anything takes, so that a test that fails also ends.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) jobs: Jobs,
    _end: smol::channel::Sender<()>,
    next: u64,
}

/// What one job tells.
pub(crate) struct Told {
    pub(crate) id: EffectId,
    events: mpsc::Receiver<(EffectId, JobEvent)>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Jobs::new)
    }

    pub(crate) fn trusting(config: ClientConfig) -> Self {
        Self::with(|executor| Jobs::with_tls(executor, Arc::new(config)))
    }

    fn with(make: impl FnOnce(Arc<smol::Executor<'static>>) -> Jobs) -> Self {
        let executor = Arc::new(smol::Executor::new());
        let (end, ended) = smol::channel::bounded::<()>(1);
        let jobs = make(Arc::clone(&executor));
        thread::spawn(move || smol::block_on(executor.run(ended.recv())));
        Self {
            jobs,
            _end: end,
            next: 0,
        }
    }

    pub(crate) fn start(&mut self, spec: JobSpec) -> Told {
        self.next += 1;
        let id = EffectId(self.next);
        let (tell, events) = mpsc::channel();
        self.jobs.start(id, spec, move |id, event| {
            // A test that has seen enough no longer listens.
            let _ = tell.send((id, event));
        });
        Told { id, events }
    }
}

impl Told {
    pub(crate) fn next(&self) -> JobEvent {
        let (id, event) = self.events.recv_timeout(PATIENCE).unwrap();
        assert_eq!(id, self.id);
        event
    }

    /// Whether nothing more can come: the job is gone with everything that tells of it.
    pub(crate) fn ends_silently(&self) -> bool {
        self.events.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Disconnected)
    }

    /// The data up to the end, and the end.
    pub(crate) fn rest(&self) -> (Vec<u8>, JobEvent) {
        let mut data = Vec::new();
        loop {
            match self.next() {
                JobEvent::Data(bytes) => data.extend_from_slice(&bytes),
                JobEvent::Head(head) => panic!("{head:?}"),
                last @ (JobEvent::Ended(_) | JobEvent::Failed(_)) => {
                    assert!(self.ends_silently(), "something follows the end");
                    return (data, last);
                }
            }
        }
    }

    /// Data until it holds this.
    pub(crate) fn until(&self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            match self.next() {
                JobEvent::Data(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                other => panic!("{other:?} after {text:?}"),
            }
        }
        text
    }
}

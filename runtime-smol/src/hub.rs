//! The gateway machine, the connections that it speaks to, and the moving of values between them.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use clawgate_core::{
    agent::{Agent, Agents},
    channel::{Channels, PostId},
    gateway::{
        Effect, EffectOutcome, EffectRequest, Ended, Gateway, GatewaySetup, HttpAnswer,
        HttpRequest, HttpVerdict, IngressPolicy, OpenRefusal, Phase, WorkLog,
    },
    ids::{ConnId, EffectId},
    job::JobSpec,
    limits::Limits,
    metrics::Form,
    policy::{LocalAddresses, RequestHeaders},
    rng::{Rng, Seed},
    server::{Event, PeerFacts, ServerConn},
    store::{CommitId, MemoryStore, Row, StoreFailure},
    time::{Now, WallTime},
};
use event_listener::{Event as Signal, EventListener};
use tracing::warn;

use crate::{
    conn::Arrival,
    effects::LockRequest,
    interfaces,
    jobs::Jobs,
    sample::Turned,
    store::{Store, StoreFile},
    work_log,
};

/// Reads both clocks.
pub fn now() -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono: Instant::now(),
        wall: WallTime(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// One connection, shared by its task and whoever has something for it.
#[derive(Debug)]
pub(crate) struct Line {
    conn: Mutex<ServerConn>,
    /// Wakes the task.
    pub(crate) waker: AtomicWaker,
}

impl Line {
    pub(crate) fn conn(&self) -> MutexGuard<'_, ServerConn> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a request with a body.
pub(crate) struct PostPlace<'a> {
    hub: &'a Hub,
    post: PostId,
}

impl PostPlace<'_> {
    /// Hands the body over. The answer may never come, as when the process ends.
    pub(crate) fn ask(
        &self,
        request: &HttpRequest<'_>,
        body: Bytes,
    ) -> impl Future<Output = Option<HttpAnswer>> + use<> {
        let (answer, answered) = smol::channel::bounded(1);
        self.hub.lock().posts.insert(self.post, answer);
        self.hub
            .with(|gateway, now| gateway.handle_post(now, self.post, request, body));
        async move { answered.recv().await.ok() }
    }
}

impl Drop for PostPlace<'_> {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.posts.remove(&self.post);
        state.gateway.forget_post(self.post);
        drop(state);
        self.hub.changed.notify(usize::MAX);
    }
}

/// Where the gateway's effects go.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) effects: smol::channel::Sender<EffectRequest>,
    pub(crate) locks: smol::channel::Sender<LockRequest>,
    pub(crate) jobs: Jobs,
}

impl Outside {
    /// A closed queue means that the process ends.
    fn work(&self, request: EffectRequest) {
        let _ = self.effects.try_send(request);
    }

    fn lock(&self, request: LockRequest) {
        let _ = self.locks.try_send(request);
    }
}

/// The gateway's place in the process.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    limits: Arc<Limits>,
    ingress: IngressPolicy,
    next_conn: AtomicU64,
    /// Sockets that never became anything.
    pub(crate) turned: Turned,
    outside: Outside,
    /// The hub itself, for what comes of jobs.
    own: Weak<Self>,
    /// Where changes are kept, if they are kept at all.
    store: OnceLock<Store>,
    /// Told when the gateway's deadline moved forward.
    rearm: Signal,
    /// Told when a connection went away or the gateway changed its phase.
    changed: Signal,
}

#[derive(Debug)]
struct State {
    gateway: Gateway,
    /// What is kept where there is no disk.
    memory: MemoryStore,
    lines: HashMap<ConnId, Arc<Line>>,
    /// Where the answers go that somebody waits for.
    posts: HashMap<PostId, smol::channel::Sender<HttpAnswer>>,
    rng: Rng,
    /// The deadline that the timer task waits for.
    armed: Option<Instant>,
}

impl Hub {
    pub(crate) fn new(
        setup: GatewaySetup,
        rows: &[Row],
        seed: Seed,
        outside: Outside,
        agent: Option<Box<dyn Agent>>,
        channels: Channels,
    ) -> Arc<Self> {
        let mut rng = Rng::new(seed);
        let now = now();
        let (limits, ingress) = (Arc::clone(&setup.limits), setup.admission.ingress());
        let mut gateway = Gateway::restore(setup, rows, rng.seed(), now)
            .with_channels(channels)
            .with_work_log(WorkLog::Kept);
        if let Some(agent) = agent {
            gateway = gateway.with_agent(agent);
        }
        Arc::new_cyclic(|own| Self {
            state: Mutex::new(State {
                gateway,
                memory: MemoryStore::default(),
                lines: HashMap::new(),
                posts: HashMap::new(),
                rng,
                armed: None,
            }),
            limits,
            ingress,
            next_conn: AtomicU64::new(0),
            turned: Turned::default(),
            outside,
            own: Weak::clone(own),
            store: OnceLock::new(),
            rearm: Signal::new(),
            changed: Signal::new(),
        })
    }

    fn start_job(&self, id: EffectId, spec: JobSpec) {
        let own = Weak::clone(&self.own);
        self.outside.jobs.start(id, spec, move |id, event| {
            if let Some(hub) = own.upgrade() {
                hub.with(|gateway, now| gateway.handle_job(now, id, event));
                hub.changed.notify(usize::MAX);
            }
        });
    }

    /// From now on, changes are written to this file.
    ///
    /// # Errors
    /// When the system gives no thread for it.
    pub(crate) fn keep_in(self: &Arc<Self>, file: StoreFile) -> io::Result<()> {
        let hub = Arc::downgrade(self);
        let store = Store::start(file, move |commit, outcome| {
            if let Some(hub) = hub.upgrade() {
                hub.committed(commit, outcome);
            }
        })?;
        let _ = self.store.set(store);
        Ok(())
    }

    /// Writes what is left to write. Blocks.
    pub(crate) fn close_store(&self) {
        if let Some(store) = self.store.get() {
            store.close();
        }
    }

    fn committed(&self, commit: CommitId, outcome: Result<(), StoreFailure>) {
        if let Err(failure) = &outcome {
            warn!(%failure, "a change could not be saved, and was not made");
        }
        self.with(|gateway, now| gateway.handle_committed(now, commit, outcome));
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// What is known of the other side of a socket.
    pub(crate) fn peer(&self, arrival: Arrival, headers: RequestHeaders) -> PeerFacts {
        match arrival {
            Arrival::Owner => PeerFacts {
                headers,
                ..PeerFacts::owner()
            },
            Arrival::Tcp(ip, listener) => PeerFacts {
                ip,
                ingress: self.ingress.classify(listener, ip, &headers),
                local_addresses: if self.ingress.needs_local_addresses(ip) {
                    interfaces::local_addresses()
                } else {
                    LocalAddresses::Unavailable
                },
                headers,
            },
        }
    }

    /// What becomes of an HTTP request.
    pub(crate) fn handle_http(&self, request: &HttpRequest<'_>) -> HttpVerdict {
        self.with(|gateway, now| gateway.handle_http(now, request))
    }

    /// The numbers of the gateway, as text.
    pub(crate) fn metrics_page(&self, form: Form) -> HttpAnswer {
        let state = self.lock();
        let sample = self.turned.sample(&state.lines);
        state.gateway.metrics_page(now(), form, &sample)
    }

    /// Keeps a request whose body is wanted until the value is dropped.
    pub(crate) fn hold_post(&self, post: PostId) -> PostPlace<'_> {
        PostPlace { hub: self, post }
    }

    /// Requests that wait for their answer, or for the socket to take it.
    pub(crate) fn posts(&self) -> usize {
        self.lock().posts.len()
    }

    /// A number for a socket that may become a connection.
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a connection, so that from now on it hears what the gateway says to it.
    pub(crate) fn open(&self, id: ConnId, peer: PeerFacts) -> Result<Arc<Line>, OpenRefusal> {
        let mut state = self.lock();
        state.gateway.open(id, peer.client_ip())?;
        let seed = state.rng.seed();
        let conn = ServerConn::new(Arc::clone(&self.limits), peer, seed, now());
        let line = Arc::new(Line {
            conn: Mutex::new(conn),
            waker: AtomicWaker::new(),
        });
        state.lines.insert(id, Arc::clone(&line));
        Ok(line)
    }

    /// A connection is gone, or never came to be.
    pub(crate) fn detach(&self, id: ConnId) {
        let mut state = self.lock();
        // In one step, so that nothing is counted twice or not at all in between.
        let counts = state.lines.remove(&id).map(|line| line.conn().counts());
        if let Some(counts) = &counts {
            state.gateway.count_gone(counts);
        }
        drop(state);
        if let Some(counts) = &counts {
            work_log::gone(id, counts);
        }
        self.with(|gateway, now| gateway.close(now, id));
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn handle_event(&self, now: Now, id: ConnId, event: Event) {
        if let Event::Connect(request) = &event {
            work_log::connect(id, request);
        }
        self.with_at(now, Some(id), |gateway| {
            gateway.handle_event(now, id, event);
        });
    }

    pub(crate) fn complete(&self, id: EffectId, outcome: EffectOutcome) {
        self.with(|gateway, now| gateway.complete(now, id, outcome));
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn take_up_agents(&self, agents: Agents) {
        self.with(|gateway, _| gateway.take_up_agents(agents));
    }

    pub(crate) fn take_up_channels(&self, channels: Channels) {
        self.with(|gateway, now| gateway.take_up_channels(now, channels));
    }

    pub(crate) fn shutdown(&self, reason: &str) {
        self.with(|gateway, now| gateway.shutdown(now, reason));
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn connections(&self) -> usize {
        self.lock().lines.len()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.lock().gateway.phase() == Phase::Stopped
    }

    pub(crate) fn on_change(&self) -> EventListener {
        self.changed.listen()
    }

    /// Drives the gateway's own deadlines for as long as it is polled.
    pub(crate) async fn keep_time(&self) {
        loop {
            let moved = self.rearm.listen();
            let at = {
                let mut state = self.lock();
                state.armed = state.gateway.poll_timeout().map(|(at, _)| at);
                state.armed
            };
            let due = async {
                match at {
                    Some(at) => {
                        smol::Timer::at(at).await;
                    }
                    None => std::future::pending().await,
                }
            };
            futures_lite::future::or(due, moved).await;
            self.with(|gateway, now| gateway.handle_timeout(now));
            if self.is_stopped() {
                self.changed.notify(usize::MAX);
            }
        }
    }

    /// One input from outside any connection's task.
    pub(crate) fn with<R>(&self, input: impl FnOnce(&mut Gateway, Now) -> R) -> R {
        let now = now();
        self.with_at(now, None, |gateway| input(gateway, now))
    }

    /// One input for the gateway, and everything that comes of it. Deliveries are applied under the
    /// gateway's lock, so that all connections see one order. `current` needs no waking: its task
    /// is the caller.
    fn with_at<R>(
        &self,
        now: Now,
        current: Option<ConnId>,
        input: impl FnOnce(&mut Gateway) -> R,
    ) -> R {
        let mut state = self.lock();
        let result = input(&mut state.gateway);
        self.carry_out(&mut state, now, current);
        let ended: Vec<Ended> = std::iter::from_fn(|| state.gateway.poll_ended()).collect();
        drop(state);
        // A slow disk must not hold up the gateway.
        ended.iter().for_each(work_log::ended);
        result
    }

    /// Everything that comes of an input.
    fn carry_out(&self, state: &mut State, now: Now, current: Option<ConnId>) {
        // The input took some time, too.
        state.gateway.advance(Instant::now());
        let mut answered = VecDeque::new();
        let mut sampled = VecDeque::new();
        loop {
            while let Some((id, delivery)) = state.gateway.poll_delivery() {
                if let Some(line) = state.lines.get(&id) {
                    line.conn().deliver(now, delivery);
                    if current != Some(id) {
                        line.waker.wake();
                    }
                }
            }
            while let Some((post, answer)) = state.gateway.poll_answer() {
                if let Some(waiting) = state.posts.get(&post) {
                    // There is room for the one answer.
                    let _ = waiting.try_send(answer);
                }
            }
            while let Some(request) = state.gateway.poll_effect() {
                let EffectRequest { id, effect } = request;
                match (effect, self.store.get()) {
                    (Effect::ReadTranscript(query), None) => {
                        answered.push_back((id, state.memory.query(&query)));
                    }
                    (Effect::StartJob(spec), _) => self.start_job(id, *spec),
                    (Effect::FeedJob(job, bytes), _) => self.outside.jobs.feed(job, bytes),
                    (Effect::StopJob(job), _) => self.outside.jobs.stop(job),
                    (Effect::HoldLock(name), _) => {
                        self.outside.lock(LockRequest::Hold(id, name));
                    }
                    (Effect::ReleaseLock(name), _) => {
                        self.outside.lock(LockRequest::Release(name));
                    }
                    (Effect::SampleHost, _) => sampled.push_back(id),
                    (effect, _) => self.outside.work(EffectRequest { id, effect }),
                }
            }
            if let Some(commit) = state.gateway.poll_commit() {
                match self.store.get() {
                    Some(store) => store.submit(commit),
                    // Nothing is on a disk, so nothing has to be waited for.
                    None => {
                        state.memory.apply(&commit);
                        state.gateway.handle_committed(now, commit.id, Ok(()));
                    }
                }
            } else if let Some((id, page)) = answered.pop_front() {
                let outcome = EffectOutcome::Transcript(page);
                state.gateway.complete(now, id, outcome);
            } else if let Some(id) = sampled.pop_front() {
                let sample = self.turned.sample(&state.lines);
                state.gateway.handle_sample(now, id, &sample);
            } else {
                break;
            }
        }
        let next = state.gateway.poll_timeout().map(|(at, _)| at);
        if next.is_some_and(|at| state.armed.is_none_or(|armed| at < armed)) {
            state.armed = next;
            self.rearm.notify(usize::MAX);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

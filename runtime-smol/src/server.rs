//! The running gateway: threads, tasks, and the orderly end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use clawgate_core::{
    agent::Agent, channel::Channels, gateway::GatewaySetup, policy::Listener, rng::Seed,
    store::Row, tailscale::Publication,
};
use smol::Async;
use tracing::{info, warn};

use crate::{
    effects::{self, ApprovalsHost, HostFiles, SecretsHost, Tools},
    hub::{Hub, Outside},
    jobs::Jobs,
    listener::{self, InFlight},
    live::Live,
    locks::Locks,
    owner::OwnerSocket,
    store::{Readers, StoreFile},
    tailscale::Tailscale,
    tls::TlsPort,
};

/// Effects that are carried out at once: a slow file must not hold up the others.
const EFFECT_WORKERS: usize = 8;

/// Questions to Tailscale that may be open at once.
const WHOIS_WORKERS: usize = 4;

/// What a server needs beside the gateway's own setup.
#[derive(Debug)]
pub struct ServerOptions {
    /// 32 bytes from the operating system.
    pub seed: Seed,
    /// Threads of the executor; 0 for one for each core.
    pub threads: usize,
    /// Files that calls read.
    pub files: HostFiles,
    /// Where the secrets are read again; nothing where they never change.
    pub secrets: Option<Arc<dyn SecretsHost>>,
    /// The file of exec approvals; nothing where none is kept.
    pub approvals: Option<Arc<dyn ApprovalsHost>>,
    /// Locks against other gateways of this machine; without them, no account that needs one starts.
    pub locks: Option<Locks>,
    /// Who answers messages; nothing for the built-in agent without rules.
    pub agent: Option<Box<dyn Agent>>,
    /// Where people write from outside.
    pub channels: Channels,
    /// What is kept across restarts.
    pub state: State,
    /// The way in for the owner of the gateway's files.
    pub owner: Option<OwnerSocket>,
    /// The port that Tailscale alone forwards to.
    pub managed: Option<ManagedPort>,
    /// The program that says who is at an address of the tailnet.
    pub tailscale: Tailscale,
    /// TLS on every listener; without it they speak plaintext.
    pub tls: Option<TlsPort>,
}

/// A loopback port that only a managed `tailscale serve` or `funnel` forwards to. It never speaks
/// TLS: Tailscale does that in front of it.
#[derive(Debug)]
pub struct ManagedPort {
    /// The socket, bound and listening.
    pub listener: TcpListener,
    /// To whom it is published.
    pub publication: Publication,
}

/// Where a gateway keeps its state.
#[derive(Debug)]
pub enum State {
    /// In a database, with the rows that were found there.
    Kept(StoreFile, Vec<Row>),
    /// In memory: it is gone with the process.
    Memory,
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    addresses: Vec<SocketAddr>,
    stop: smol::channel::Sender<End>,
    main: JoinHandle<()>,
}

/// Ends a server from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(smol::channel::Sender<End>);

/// How a server is to end.
#[derive(Debug)]
struct End {
    reason: String,
    newcomers: Newcomers,
}

/// What becomes of those who come while the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomers {
    /// They are told that the gateway stops.
    Told,
    /// They are left to whoever else has the listening sockets open: nobody accepts them here from
    /// the first moment, and they wait.
    Left,
}

impl Stopper {
    /// Begins the orderly end: new work is refused, running work finishes, clients are told
    /// `reason`. A second call changes nothing.
    pub fn stop(&self, reason: &str) {
        self.end(reason, Newcomers::Told);
    }

    /// The same, with a choice of what becomes of newcomers.
    pub fn end(&self, reason: &str, newcomers: Newcomers) {
        // A full or closed channel means that the end has begun.
        let _ = self.0.try_send(End {
            reason: reason.into(),
            newcomers,
        });
    }
}

impl Server {
    /// Starts serving on sockets that are already bound and listening.
    ///
    /// # Errors
    /// When a socket cannot be used, or a thread cannot be started.
    pub fn start(
        listeners: Vec<TcpListener>,
        setup: GatewaySetup,
        options: ServerOptions,
    ) -> io::Result<Self> {
        let addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        // As long as the calls in flight, which the limits bound; a bounded queue would take its
        // room at once.
        let (effects, queue) = smol::channel::unbounded();
        let (whois, questions) = smol::channel::unbounded();
        let (locks, wanted_locks) = smol::channel::unbounded();
        let (file, rows) = match options.state {
            State::Kept(file, rows) => (Some(file), rows),
            State::Memory => (None, Vec::new()),
        };
        let transcripts = file
            .as_ref()
            .map(|file| Arc::new(Readers::new(file.path().to_owned())));
        let executor = Arc::new(smol::Executor::new());
        let outside = Outside {
            effects,
            locks,
            jobs: Jobs::new(Arc::clone(&executor)),
        };
        let hub = Hub::new(
            setup,
            &rows,
            options.seed,
            outside,
            options.agent,
            options.channels,
        );
        if let Some(file) = file {
            hub.keep_in(file)?;
        }
        let managed = options.managed.map(|port| {
            let kind = port.publication.listener();
            (port.listener, kind, None)
        });
        let flights = InFlight::default();
        let mut accepting = listeners
            .into_iter()
            .map(|listener| (listener, Listener::Ordinary, options.tls.clone()))
            .chain(managed)
            .map(|(listener, kind, tls)| {
                let listener = Async::new(listener)?;
                let (hub, tasks) = (Arc::clone(&hub), Arc::clone(&executor));
                Ok(executor.spawn(listener::accept(
                    listener,
                    kind,
                    tls,
                    hub,
                    tasks,
                    flights.clone(),
                )))
            })
            .collect::<io::Result<Vec<_>>>()?;
        if let Some(owner) = options.owner {
            let accept = owner.accept(Arc::clone(&hub), Arc::clone(&executor));
            accepting.push(executor.spawn(async move {
                if let Err(error) = accept.await {
                    warn!(%error, "the owner's socket does not work");
                }
            }));
        }
        let tools = Tools {
            files: options.files,
            secrets: options.secrets,
            approvals: options.approvals,
            transcripts,
        };
        for _ in 0..EFFECT_WORKERS {
            let (hub, queue, tools) = (Arc::clone(&hub), queue.clone(), tools.clone());
            let work = effects::work(hub, queue, tools, whois.clone());
            executor.spawn(work).detach();
        }
        let locks = options.locks.map(Arc::new);
        executor
            .spawn(effects::keep_locks(Arc::clone(&hub), wanted_locks, locks))
            .detach();
        for _ in 0..WHOIS_WORKERS {
            let (hub, queue) = (Arc::clone(&hub), questions.clone());
            let ask = effects::ask_tailscale(hub, queue, options.tailscale.clone());
            executor.spawn(ask).detach();
        }
        if let Some(tls) = options.tls {
            executor.spawn(tls.keep()).detach();
        }
        let keeper = Arc::clone(&hub);
        executor
            .spawn(async move { keeper.keep_time().await })
            .detach();

        let (stop, stopped) = smol::channel::bounded::<End>(1);
        let ended = Arc::new(event_listener::Event::<()>::new());
        let threads = match options.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        for index in 1..threads {
            let (executor, ended) = (Arc::clone(&executor), ended.listen());
            thread::Builder::new()
                .name(format!("gateway-{index}"))
                .spawn(move || {
                    smol::block_on(executor.run(ended));
                })?;
        }
        let (main_hub, main_executor) = (Arc::clone(&hub), Arc::clone(&executor));
        let main = thread::Builder::new()
            .name("gateway-0".into())
            .spawn(move || {
                let draining = &main_hub;
                smol::block_on(main_executor.run(async {
                    let End { reason, newcomers } = stopped.recv().await.unwrap_or(End {
                        reason: String::new(),
                        newcomers: Newcomers::Told,
                    });
                    if newcomers == Newcomers::Left {
                        stop_accepting(&mut accepting).await;
                    }
                    drain(draining, &reason).await;
                    stop_accepting(&mut accepting).await;
                    answer_the_last(draining, &flights).await;
                }));
                main_hub.close_store();
                ended.notify(usize::MAX);
            })?;
        Ok(Self {
            hub,
            addresses,
            stop,
            main,
        })
    }

    /// The addresses that it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.hub.connections()
    }

    /// A handle by which it hears of a changed config.
    pub fn live(&self) -> Live {
        Live::of(&self.hub)
    }

    /// A handle that ends it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Waits until it has ended. Its ports are free then.
    pub fn join(self) {
        // A panic in the thread has already been reported on standard error.
        let _ = self.main.join();
    }
}

async fn stop_accepting(accepting: &mut Vec<smol::Task<()>>) {
    for accept in accepting.drain(..) {
        accept.cancel().await;
    }
}

/// Requests that came in just before the end get their answers.
async fn answer_the_last(hub: &Hub, flights: &InFlight) {
    let late = hub.limits().close_grace;
    futures_lite::future::or(flights.none(), async {
        smol::Timer::after(late).await;
    })
    .await;
}

/// Waits until every call is answered and every client has been told, within the limits.
async fn drain(hub: &Hub, reason: &str) {
    let reason = if reason.is_empty() {
        "gateway stopping"
    } else {
        reason
    };
    info!(reason, connections = hub.connections(), "stopping");
    hub.shutdown(reason);
    let limits = hub.limits();
    let late = limits.drain + limits.close_grace * 2 + Duration::from_secs(1);
    let done = async {
        loop {
            let changed = hub.on_change();
            if hub.is_stopped() && hub.connections() == 0 && hub.posts() == 0 {
                return;
            }
            changed.await;
        }
    };
    futures_lite::future::or(done, async {
        smol::Timer::after(late).await;
    })
    .await;
    info!("stopped");
}

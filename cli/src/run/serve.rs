//! Serving until somebody says what comes next.

use std::io;
use std::process;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use async_signal::{Signal, Signals};
use clawgate_smol::{Newcomers, Server};
use futures_lite::StreamExt;
use tracing::{info, warn};

use super::hand_over::Successor;
use super::notify::Notifier;
use super::state::{GatewayLock, Phase};
use super::watchdog::Ending;

/// What comes after the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing.
    End,
    /// The same process starts anew.
    Restart,
}

/// Everything that has to know about the end.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) lock: GatewayLock,
    pub(super) notifier: Arc<Notifier>,
    pub(super) ending: Ending,
    /// Whether somebody else keeps the sockets open for the next start.
    pub(super) newcomers: Newcomers,
    pub(super) successor: Option<Successor>,
}

/// Signals that a gateway answers: the end, and on Unix the new start.
pub(super) fn signals() -> io::Result<Signals> {
    #[cfg(unix)]
    let wanted = [Signal::Int, Signal::Term, Signal::Usr2].as_slice();
    #[cfg(not(unix))]
    let wanted = [Signal::Int].as_slice();
    Signals::new(wanted)
}

/// What happened while it served.
enum News {
    /// It is to end.
    Stop,
    /// It is to start anew.
    Restart,
    /// The new program was asked whether it would start.
    Checked(Result<(), String>),
    /// It has ended.
    Ended,
}

/// Serves until it has ended. The first signal begins the orderly end; the second one ends at once.
pub(super) fn until_signal(server: Server, signals: Signals, watch: Watch) -> (After, GatewayLock) {
    let stopper = server.stopper();
    let (tell, news) = smol::channel::unbounded::<News>();
    let ended = tell.clone();
    let waiter = thread::spawn(move || {
        server.join();
        let _ = ended.try_send(News::Ended);
    });
    let Watch {
        lock,
        notifier,
        ending,
        newcomers,
        successor,
    } = watch;
    let lock = Mutex::new(lock);
    let note = |change: &dyn Fn(&mut GatewayLock) -> io::Result<()>| {
        let mut lock = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = change(&mut lock) {
            warn!(%error, "cannot write the lock");
        }
    };
    let mut after = After::End;
    smol::block_on(async {
        let mut signals = signals.filter_map(|signal| {
            let restart = signal.ok()? == Signal::Usr2;
            Some(if restart { News::Restart } else { News::Stop })
        });
        let mut stopping = false;
        let mut checking = false;
        loop {
            let signal = async {
                match signals.next().await {
                    Some(news) => news,
                    // Without signals, only the end itself is waited for.
                    None => std::future::pending().await,
                }
            };
            let other = async { news.recv().await.unwrap_or(News::Ended) };
            match futures_lite::future::or(signal, other).await {
                News::Ended => return,
                News::Stop if stopping && after == After::End => {
                    warn!("second signal: ending at once");
                    process::exit(130);
                }
                News::Stop => {
                    // A new start that was under way becomes an end.
                    after = After::End;
                    stopping = true;
                    ending.store(true, Ordering::SeqCst);
                    note(&|lock| lock.enter(Phase::Stopping));
                    notifier.stopping("stopping");
                    stopper.end("gateway stopping", newcomers);
                }
                News::Restart if stopping || checking => {}
                News::Restart => {
                    checking = true;
                    check(successor.clone(), tell.clone());
                }
                News::Checked(_) if stopping => {}
                News::Checked(Ok(())) => {
                    info!("starting anew");
                    after = After::Restart;
                    stopping = true;
                    ending.store(true, Ordering::SeqCst);
                    note(&|lock| lock.enter(Phase::Restarting));
                    notifier.reloading("starting anew");
                    stopper.end("gateway restarting", Newcomers::Left);
                }
                News::Checked(Err(why)) => {
                    checking = false;
                    warn!(why, "not started anew: the gateway goes on as it is");
                    note(&|lock| lock.not_restarted(why.clone()));
                }
            }
        }
    });
    let _ = waiter.join();
    let lock = lock.into_inner().unwrap_or_else(PoisonError::into_inner);
    (after, lock)
}

/// Asks in a thread of its own: the program may take a while.
fn check(successor: Option<Successor>, tell: smol::channel::Sender<News>) {
    thread::spawn(move || {
        let checked = match successor {
            Some(successor) => successor.check(),
            None => Err("the system does not say how it was started".into()),
        };
        let _ = tell.try_send(News::Checked(checked));
    });
}

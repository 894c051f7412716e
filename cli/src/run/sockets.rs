//! The listening sockets: those that were passed to this process, and those that it opens itself.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    process,
};

use clawgate_core::{
    config::EnvVars,
    policy::{
        PassedBy, PassedSocket, PassedVerdict, bind, judge_passed,
        port::{GatewayPort, PortSource},
    },
};
use tracing::{info, warn};

use super::{error::RunError, facts, notify};

/// More sockets than anybody passes on purpose.
const MAX_PASSED: usize = 64;

/// Listening sockets, and how long they live.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) listeners: Vec<TcpListener>,
    /// Who opened them.
    pub(super) opened_by: OpenedBy,
}

/// Who opened the sockets that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenedBy {
    /// This process, or one of its predecessors.
    Gateway,
    /// The service manager, which keeps them open.
    Manager,
}

impl OpenedBy {
    /// What such sockets are called in `LISTEN_FDNAMES`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => notify::KEPT,
            Self::Manager => crate::service::systemd::SOCKET_NAME,
        }
    }
}

/// A socket that came with the process.
#[derive(Debug)]
pub(super) struct Passed {
    listener: TcpListener,
    facts: PassedSocket,
}

/// Takes the sockets that were passed to this process (sd_listen_fds(3)). To be called once, before
/// anything else is opened.
///
/// # Errors
/// [`RunError::Passed`] for something that is no listening TCP socket.
#[cfg(unix)]
pub(super) fn take_passed(env: &EnvVars) -> Result<Vec<Passed>, RunError> {
    let for_another = env
        .non_blank("LISTEN_PID")
        .is_some_and(|pid| pid.parse() != Ok(process::id()));
    let count = env.non_blank("LISTEN_FDS").map(str::parse::<usize>);
    let count = match count {
        None => return Ok(Vec::new()),
        Some(_) if for_another => return Ok(Vec::new()),
        Some(Ok(count)) if count <= MAX_PASSED => count,
        Some(_) => return Err(RunError::Passed("LISTEN_FDS is not a small number".into())),
    };
    let names: Vec<&str> = env
        .get("LISTEN_FDNAMES")
        .map(|names| names.split(':').collect())
        .unwrap_or_default();
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut passed = Vec::new();
    for index in 0..count {
        let wrong = |why: &dyn std::fmt::Display| {
            RunError::Passed(format!(
                "descriptor {} is no listening TCP socket ({why})",
                index + 3
            ))
        };
        let listener = match descriptors.take_tcp_listener(index) {
            Ok(Some(listener)) => listener,
            Ok(None) => return Err(wrong(&"it is not there")),
            Err(error) => return Err(wrong(&error)),
        };
        match rustix::net::sockopt::socket_acceptconn(&listener) {
            Ok(true) => {}
            Ok(false) => return Err(wrong(&"nobody called listen on it")),
            Err(error) => return Err(wrong(&error)),
        }
        let address = listener.local_addr().map_err(|error| wrong(&error))?;
        let by = if names.get(index) == Some(&notify::KEPT) {
            PassedBy::Gateway
        } else {
            PassedBy::Manager
        };
        passed.push(Passed {
            listener,
            facts: PassedSocket { address, by },
        });
    }
    Ok(passed)
}

/// Other systems pass no sockets.
#[cfg(not(unix))]
pub(super) fn take_passed(_env: &EnvVars) -> Result<Vec<Passed>, RunError> {
    Ok(Vec::new())
}

/// The sockets that are served: those of a service manager if there are any, which then have to agree
/// with the configuration; else those of an earlier gateway that still agree with it, and new ones for
/// the rest.
pub(super) fn open(
    passed: Vec<Passed>,
    host: IpAddr,
    wanted: GatewayPort,
) -> Result<Sockets, RunError> {
    let mut kept = Vec::new();
    let mut managed = Vec::new();
    for Passed { listener, facts } in passed {
        match judge_passed(facts, host, wanted)? {
            PassedVerdict::Close => {
                info!(address = %facts.address, "a socket of the last start is not wanted any more");
            }
            PassedVerdict::Serve if facts.by == PassedBy::Manager => managed.push(listener),
            PassedVerdict::Serve => kept.push((listener, facts.address)),
        }
    }
    if !managed.is_empty() {
        info!(
            sockets = managed.len(),
            "serving on sockets of the service manager"
        );
        return Ok(Sockets {
            listeners: managed,
            opened_by: OpenedBy::Manager,
        });
    }
    let mut listeners = Vec::new();
    let mut port = wanted.port;
    for ip in bind::listen_hosts(host, facts::ipv6_loopback()) {
        let address = SocketAddr::new(ip, port);
        let known = kept
            .iter()
            .position(|(_, at)| at.ip() == ip && (port == 0 || at.port() == port));
        let opened = match known {
            Some(index) => Ok(kept.swap_remove(index).0),
            None => clawgate_smol::listen(ip, port),
        };
        match opened {
            Ok(listener) => {
                if let Ok(bound) = listener.local_addr() {
                    port = bound.port();
                }
                listeners.push(listener);
            }
            // The second loopback address is a courtesy.
            Err(source) if listeners.is_empty() || !ip.is_ipv6() => {
                return Err(RunError::Listen {
                    address,
                    fixed: wanted.source == PortSource::Flag,
                    holder: crate::port_holder::find(address),
                    source,
                });
            }
            Err(error) => warn!(%address, %error, "not listening on IPv6 loopback"),
        }
    }
    Ok(Sockets {
        listeners,
        opened_by: OpenedBy::Gateway,
    })
}

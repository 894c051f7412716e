//! What can go wrong, in words for people: where, what, and what to do next.

use std::{borrow::Cow, fmt, io, net::SocketAddr};

use clawgate_core::{
    client::{self, Ending, RequestError, Route},
    policy::{TlsFingerprint, TlsPins},
    protocol::RpcError,
    tunnel::{Mending, TunnelFailure, TunnelSpec},
};
use thiserror::Error;

use crate::timings::{Stage, Timings};

/// There is no connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot connect to {url} (stage {stage}): {problem}")]
pub struct ConnectError {
    /// Where to, without anything secret.
    pub url: String,
    /// How far it came.
    pub stage: Stage,
    /// What was wrong.
    pub problem: Problem,
    /// The stages that were completed.
    pub timings: Timings,
    /// Whether the host is this machine.
    pub loopback: bool,
    /// Whether that is only the end of a tunnel.
    pub tunnelled: bool,
    /// Whether the stored device token was refused and should be deleted.
    pub token: TokenFate,
}

/// What became of the stored device token of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFate {
    /// It was not sent, or not refused.
    #[default]
    Kept,
    /// The gateway refused it for good.
    Spoilt,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The caller cancelled.
    Cancelled,
    /// The system's authorities do not vouch for the certificate.
    Certificate(String),
    /// The deadline passed.
    Deadline,
    /// The name could not be resolved.
    Dns(String),
    /// The connection was made, and ended before the hello.
    Ended(Ending),
    /// The transport ended.
    Lost(String),
    /// The system has no certificate authorities.
    NoAuthorities,
    /// What answered speaks no TLS.
    NotTls,
    /// What answered is no WebSocket server.
    NotWebSocket(String),
    /// Another certificate than the pinned ones was shown. Nothing was sent.
    PinMismatch {
        /// The expected fingerprints.
        pinned: TlsPins,
        /// The one that was shown.
        seen: TlsFingerprint,
    },
    /// The upgrade was answered with a redirect, which is never followed: credentials are for one
    /// endpoint.
    Redirected {
        /// The status.
        status: u16,
        /// The host that it led to, if it named one.
        host: Option<String>,
    },
    /// The socket of the gateway's owner cannot be used.
    Socket {
        /// Whether nobody listens there: there is no such file, or its gateway is gone.
        is_gone: bool,
        /// In words.
        why: String,
    },
    /// No address accepted a TCP connection.
    Tcp(Vec<(SocketAddr, String)>),
    /// TLS failed otherwise.
    Tls(String),
    /// There is no tunnel to the gateway, or what it leads to is not there.
    Tunnel {
        /// What is wrong with it.
        failure: TunnelFailure,
        /// Which tunnel.
        spec: Box<TunnelSpec>,
    },
    /// This machine lacks something.
    System(String),
    /// The upgrade was refused over HTTP.
    Upgrade {
        /// The status.
        status: u16,
        /// The start of the body, at most 2048 bytes.
        body: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Certificate(why) => write!(f, "the certificate is not trusted: {why}"),
            Self::Deadline => f.write_str("no answer before the deadline"),
            Self::Dns(why) => write!(f, "the name could not be resolved: {why}"),
            Self::Ended(ending) => ending.fmt(f),
            Self::Lost(why) => write!(f, "the connection was lost: {why}"),
            Self::NoAuthorities => f.write_str("this system has no certificate authorities"),
            Self::NotTls => f.write_str("what answered does not speak TLS"),
            Self::NotWebSocket(why) => write!(f, "what answered is no gateway: {why}"),
            Self::PinMismatch { pinned, seen } => write!(
                f,
                "the certificate is not the pinned one (expected sha256:{}, got sha256:{seen}); \
                 nothing was sent",
                pinned.to_string().replace(", ", " or sha256:")
            ),
            Self::Redirected { status, host } => {
                write!(f, "it answered with a redirect (HTTP {status}")?;
                match host {
                    Some(host) => write!(f, " to {host}), which is not followed"),
                    None => f.write_str("), which is not followed"),
                }
            }
            Self::Tcp(attempts) => {
                for (index, (addr, why)) in attempts.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{addr}: {why}")?;
                }
                Ok(())
            }
            Self::Socket { why, .. } => {
                write!(f, "the socket of the gateway's owner cannot be used: {why}")
            }
            Self::Tunnel { failure, spec } => {
                f.write_str(failure.message(spec).trim_end_matches('.'))
            }
            Self::Tls(why) => write!(f, "TLS failed: {why}"),
            Self::System(why) => write!(f, "this system refused: {why}"),
            Self::Upgrade { status, body } => {
                write!(f, "the WebSocket upgrade was refused with HTTP {status}")?;
                match message_of(body) {
                    None => Ok(()),
                    Some(message) => write!(f, ": {message}"),
                }
            }
        }
    }
}

impl ConnectError {
    pub(crate) fn new(route: &Route, stage: Stage, problem: Problem, timings: Timings) -> Self {
        Self {
            url: route.endpoint().url(),
            stage,
            problem,
            timings,
            loopback: route.endpoint().is_loopback(),
            tunnelled: route.endpoint().tunnel().is_some(),
            token: TokenFate::Kept,
        }
    }

    pub(crate) fn of_system(route: &Route, error: &io::Error) -> Self {
        let problem = Problem::System(error.to_string());
        Self::new(route, Stage::Dns, problem, Timings::default())
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match &self.problem {
            Problem::Certificate(_) | Problem::NoAuthorities | Problem::PinMismatch { .. } => false,
            Problem::Tunnel { failure, .. } => failure.kind().mending() == Mending::Time,
            Problem::Cancelled
            | Problem::Deadline
            | Problem::Dns(_)
            | Problem::Ended(_)
            | Problem::Lost(_)
            | Problem::NotTls
            | Problem::NotWebSocket(_)
            | Problem::Redirected { .. }
            | Problem::Socket { .. }
            | Problem::Tcp(_)
            | Problem::Tls(_)
            | Problem::System(_)
            | Problem::Upgrade { .. } => true,
        }
    }

    /// The gateway's error, if it refused the `connect`.
    pub fn refusal(&self) -> Option<&RpcError> {
        if let Some(Ending::Refused(error)) = self.ending() {
            Some(error)
        } else {
            None
        }
    }

    /// How the connection ended, if there was one. With it,
    /// [`Target::is_stored_token_spoilt`](client::Target::is_stored_token_spoilt) tells whether to
    /// delete the stored device token.
    pub fn ending(&self) -> Option<&Ending> {
        if let Problem::Ended(ending) = &self.problem {
            Some(ending)
        } else {
            None
        }
    }

    /// What a person can do about it.
    pub fn next_step(&self) -> Option<Cow<'static, str>> {
        if let Problem::Tunnel { failure, spec } = &self.problem {
            let step = failure.next_step(spec);
            return Some(Cow::Owned(step.trim_end_matches('.').to_owned()));
        }
        self.fixed_step().map(Cow::Borrowed)
    }

    fn fixed_step(&self) -> Option<&'static str> {
        Some(match &self.problem {
            Problem::Cancelled | Problem::System(_) | Problem::Tunnel { .. } => return None,
            Problem::Certificate(_) => {
                "pin the certificate with gateway.remote.tlsFingerprint, or install the authority \
                 that signed it"
            }
            Problem::Deadline => match self.stage {
                Stage::Dns => "check the name and the network, or raise the timeout",
                Stage::Tunnel => {
                    "the tunnel takes long to open; `clawgate tunnel status` tells how it stands"
                }
                Stage::Tcp => "check the address, the firewall and the VPN, or raise the timeout",
                Stage::Socket | Stage::Tls | Stage::Upgrade => {
                    "something listens there and does not answer; check that it is the gateway's \
                     port, or raise the timeout"
                }
                Stage::Challenge | Stage::Hello | Stage::Call => {
                    "the gateway is slow or stuck; look at its log, or raise the timeout"
                }
            },
            Problem::Dns(_) => "check the spelling of the host, and that the network or VPN is up",
            Problem::Ended(Ending::Refused(error)) => return refusal_step(error),
            Problem::Ended(_) | Problem::Lost(_) => "look at the gateway's log",
            Problem::NoAuthorities => {
                "install the system's CA certificates, or pin the gateway's certificate with \
                 gateway.remote.tlsFingerprint"
            }
            Problem::NotTls => "the port speaks no TLS; use ws:// if the host is near, or a tunnel",
            Problem::NotWebSocket(_) => {
                "check the port; if the gateway has TLS, use wss:// in place of ws://"
            }
            Problem::PinMismatch { .. } => {
                "if the gateway's certificate was replaced on purpose, set \
                 gateway.remote.tlsFingerprint to the new fingerprint; if not, do not connect"
            }
            Problem::Redirected { .. } => {
                "set the URL of the gateway itself; a sign-in page in front of it asks for \
                 gateway.remote.edgeAuth"
            }
            Problem::Socket { .. } => {
                "start the gateway with `clawgate gateway run`, as the user who owns its files"
            }
            Problem::Tcp(_) if self.tunnelled => "the tunnel was closed just now; try again",
            Problem::Tcp(_) if self.loopback => {
                "start the gateway with `clawgate gateway run`, or check the port"
            }
            Problem::Tcp(_) => "check that the gateway runs and listens on that address and port",
            Problem::Tls(_) => "check that the port is the gateway's, and look at its log",
            Problem::Upgrade { status, .. } => match status {
                429 | 503 => "wait a little and try again",
                _ => "check the port and the path; a proxy in between must let WebSockets through",
            },
        })
    }
}

/// What a person can do about a refused `connect`.
fn refusal_step(error: &RpcError) -> Option<&'static str> {
    Some(match error.detail_code()? {
        "AUTH_PASSWORD_MISMATCH" | "AUTH_TOKEN_MISMATCH" => {
            "use the credential that the gateway was started with; `clawgate auth explain` shows \
             which one is sent, and from where"
        }
        "AUTH_PASSWORD_MISSING" | "AUTH_REQUIRED" | "AUTH_TOKEN_MISSING" => {
            "give the gateway's token or password"
        }
        "AUTH_RATE_LIMITED" => "too many failed logins; wait, then use the right credential",
        "DEVICE_IDENTITY_REQUIRED" => {
            "give the gateway's token or password, or use a paired device"
        }
        "PAIRING_REQUIRED" => "approve this device on the gateway, then try again",
        "PROTOCOL_MISMATCH" => "update the older of the two sides",
        _ => return None,
    })
}

/// The words of a refused upgrade: the message of a JSON body, or its first line.
fn message_of(body: &str) -> Option<String> {
    let message = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|json| Some(json.get("error")?.get("message")?.as_str()?.to_owned()))
        .or_else(|| body.lines().next().map(str::to_owned))?;
    let shown: String = message
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    (!shown.is_empty()).then_some(shown)
}

/// A call has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The call was sent and has no good answer.
    #[error(transparent)]
    Answer(#[from] client::CallError),
    /// The caller cancelled. Whether the gateway carried the call out is not known.
    #[error("cancelled")]
    Cancelled,
    /// There was no connection.
    #[error(transparent)]
    Connect(#[from] Box<ConnectError>),
    /// The call was not sent.
    #[error(transparent)]
    NotSent(#[from] RequestError),
}

impl CallError {
    /// The gateway's error, if it was the gateway that said no.
    pub fn rpc(&self) -> Option<&RpcError> {
        match self {
            Self::Answer(client::CallError::Rpc(error)) => Some(error),
            Self::Connect(connect) => connect.refusal(),
            Self::Answer(client::CallError::Ended(_) | client::CallError::Timeout)
            | Self::Cancelled
            | Self::NotSent(_) => None,
        }
    }
}

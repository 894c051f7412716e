//! Listening sockets that somebody else opened: a service manager, or the gateway before this one.
//! They have to agree with what the gateway itself would open (spec hostpolicy §3): a socket that
//! others can reach is never wider than `gateway.bind`, whose start was judged with its auth.

use core::net::{IpAddr, SocketAddr};
use std::fmt;

use super::port::GatewayPort;

/// Who opened a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedBy {
    /// The service manager, by a file of its own.
    Manager,
    /// A gateway before this one, which opened it by the same rules.
    Gateway,
}

/// A socket that came from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedSocket {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who opened it.
    pub by: PassedBy,
}

/// What becomes of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedVerdict {
    /// It is served.
    Serve,
    /// It is closed: the configuration has changed since an earlier gateway opened it.
    Close,
}

/// Why a gateway does not start on a socket of its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedRefusal {
    /// Others can reach it than `gateway.bind` says.
    Wider {
        /// Where it listens.
        address: SocketAddr,
        /// Where the gateway would listen.
        bind: IpAddr,
    },
    /// It listens on another port than clients are told.
    OtherPort {
        /// Where it listens.
        address: SocketAddr,
        /// The gateway's port.
        port: u16,
    },
}

impl PassedRefusal {
    /// A stable name for scripts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Wider { .. } => "passed_socket_wider_than_bind",
            Self::OtherPort { .. } => "passed_socket_other_port",
        }
    }
}

impl fmt::Display for PassedRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wider { address, bind } => write!(
                f,
                "The service manager passed a socket on {address}, but gateway.bind allows {bind} \
                 only. Change ListenStream= in the socket unit, or gateway.bind with a secret for \
                 the gateway."
            ),
            Self::OtherPort { address, port } => write!(
                f,
                "The service manager passed a socket on {address}, but the gateway's port is \
                 {port}. Make both the same: ListenStream= in the socket unit and gateway.port."
            ),
        }
    }
}

impl std::error::Error for PassedRefusal {}

/// Judges one socket. `bind` is the address that the start was allowed for, `port` the gateway's port,
/// where 0 stands for any.
///
/// A socket on loopback is never too wide, and one address of this machine is not wider than all of
/// them.
///
/// ```
/// use clawgate_core::policy::{PassedBy, PassedSocket, PassedVerdict, judge_passed};
/// use clawgate_core::policy::port::{GatewayPort, PortSource};
///
/// let port = GatewayPort { port: 18789, source: PortSource::Default };
/// let socket = PassedSocket { address: "127.0.0.1:18789".parse().unwrap(), by: PassedBy::Manager };
/// let loopback = "127.0.0.1".parse().unwrap();
/// assert_eq!(judge_passed(socket, loopback, port), Ok(PassedVerdict::Serve));
///
/// let open = PassedSocket { address: "0.0.0.0:18789".parse().unwrap(), ..socket };
/// assert!(judge_passed(open, loopback, port).is_err());
/// ```
///
/// # Errors
/// [`PassedRefusal`], for sockets of the manager only: those of an earlier gateway are closed instead.
pub fn judge_passed(
    socket: PassedSocket,
    bind: IpAddr,
    port: GatewayPort,
) -> Result<PassedVerdict, PassedRefusal> {
    let PassedSocket { address, by } = socket;
    let ip = address.ip().to_canonical();
    let refusal = if !(ip.is_loopback() || bind.is_unspecified() || ip == bind) {
        PassedRefusal::Wider { address, bind }
    } else if port.port != 0 && address.port() != port.port {
        PassedRefusal::OtherPort {
            address,
            port: port.port,
        }
    } else {
        return Ok(PassedVerdict::Serve);
    };
    match by {
        PassedBy::Manager => Err(refusal),
        PassedBy::Gateway => Ok(PassedVerdict::Close),
    }
}

#[cfg(test)]
mod tests {
    use super::super::port::PortSource;
    use super::*;

    fn judge(address: &str, by: PassedBy, bind: &str) -> Result<PassedVerdict, &'static str> {
        let socket = PassedSocket {
            address: address.parse().unwrap(),
            by,
        };
        let port = GatewayPort {
            port: 1,
            source: PortSource::Config,
        };
        judge_passed(socket, bind.parse().unwrap(), port).map_err(PassedRefusal::code)
    }

    #[test]
    fn a_socket_is_never_wider_than_the_bind() {
        let wider = Err("passed_socket_wider_than_bind");
        let serve = Ok(PassedVerdict::Serve);
        for (address, bind, verdict) in [
            ("127.0.0.1:1", "127.0.0.1", serve),
            ("[::1]:1", "127.0.0.1", serve),
            ("0.0.0.0:1", "127.0.0.1", wider),
            ("[::]:1", "127.0.0.1", wider),
            ("192.168.1.5:1", "127.0.0.1", wider),
            ("[::ffff:192.168.1.5]:1", "127.0.0.1", wider),
            ("192.168.1.5:1", "192.168.1.5", serve),
            ("127.0.0.1:1", "192.168.1.5", serve),
            ("0.0.0.0:1", "192.168.1.5", wider),
            ("192.168.1.5:1", "0.0.0.0", serve),
            ("[::]:1", "0.0.0.0", serve),
        ] {
            assert_eq!(
                judge(address, PassedBy::Manager, bind),
                verdict,
                "{address} {bind}"
            );
        }
    }

    #[test]
    fn clients_find_the_port_that_they_are_told() {
        let manager = judge("127.0.0.1:2", PassedBy::Manager, "127.0.0.1");
        assert_eq!(manager, Err("passed_socket_other_port"));
        let earlier = judge("127.0.0.1:2", PassedBy::Gateway, "127.0.0.1");
        assert_eq!(earlier, Ok(PassedVerdict::Close));
        let any = GatewayPort {
            port: 0,
            source: PortSource::Flag,
        };
        let socket = PassedSocket {
            address: "127.0.0.1:2".parse().unwrap(),
            by: PassedBy::Gateway,
        };
        let loopback = "127.0.0.1".parse().unwrap();
        assert_eq!(
            judge_passed(socket, loopback, any),
            Ok(PassedVerdict::Serve)
        );
    }
}

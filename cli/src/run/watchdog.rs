//! Feeding the service manager's watchdog: only while the gateway answers a request that goes the way
//! of every request, from the socket through its tasks to its state and back.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tracing::{error, warn};

use super::notify::Notifier;

/// What is asked. It needs no secret.
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// How a gateway that lives begins its answer.
const ALIVE: &[u8] = b"HTTP/1.1 200 ";

/// Where a gateway can be asked how it is.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// Its port, in plaintext.
    Port(SocketAddr),
    /// The owner's socket, where the port speaks TLS.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no such socket"))]
    Owner(PathBuf),
}

impl Door {
    /// The port at this address. All addresses are reached over loopback.
    pub(super) fn port(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        Self::Port(SocketAddr::new(ip, address.port()))
    }

    /// Asks, and waits for the answer no longer than this for each step.
    ///
    /// # Errors
    /// When no answer comes, or another one.
    pub(super) fn ask(&self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Port(address) => {
                let stream = TcpStream::connect_timeout(address, patience)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                exchange(stream)
            }
            #[cfg(unix)]
            Self::Owner(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                exchange(stream)
            }
            #[cfg(not(unix))]
            Self::Owner(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn exchange(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut start = [0; ALIVE.len()];
    stream.read_exact(&mut start)?;
    if start == ALIVE {
        Ok(())
    } else {
        Err(io::Error::other("it does not say that it is alive"))
    }
}

/// Whether the gateway ends, so that it is not asked any more.
pub(super) type Ending = Arc<AtomicBool>;

/// Feeds the watchdog from a thread of its own, three times as often as it has to be, until the
/// process ends. Nothing happens where nobody watches.
pub(super) fn feed(notifier: &Arc<Notifier>, door: Door, ending: Ending) -> io::Result<()> {
    let Some(time) = notifier.watchdog() else {
        return Ok(());
    };
    let pause = time / 3;
    let notifier = Arc::clone(notifier);
    let mut failures = 0_u32;
    thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            loop {
                // Its end is watched by the time that it may take.
                let alive = if ending.load(Ordering::SeqCst) {
                    Ok(())
                } else {
                    door.ask(pause)
                };
                match alive {
                    Ok(()) => {
                        notifier.alive();
                        failures = 0;
                    }
                    Err(why) => {
                        failures += 1;
                        if failures == 1 {
                            warn!(error = %why, "the gateway does not answer its own question");
                        } else {
                            error!(error = %why, failures, "the gateway still does not answer");
                        }
                    }
                }
                thread::sleep(pause);
            }
        })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(200);

    fn gateway(answer: &'static [u8]) -> Door {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; REQUEST.len()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        Door::port(address)
    }

    #[test]
    fn only_a_gateway_that_answers_is_alive() {
        assert!(
            gateway(b"HTTP/1.1 200 OK\r\n\r\n")
                .ask(Duration::from_secs(10))
                .is_ok()
        );
        assert!(
            gateway(b"HTTP/1.1 503 No\r\n\r\n")
                .ask(Duration::from_secs(10))
                .is_err()
        );
        assert!(gateway(b"").ask(Duration::from_secs(10)).is_err());
    }

    #[test]
    fn an_open_port_is_not_enough() {
        // The system completes connections that nobody ever accepts.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let door = Door::port(listener.local_addr().unwrap());
        assert!(door.ask(MOMENT).is_err());
    }

    #[test]
    fn every_address_is_asked_over_loopback() {
        let door = Door::port("0.0.0.0:9".parse().unwrap());
        assert!(matches!(door, Door::Port(at) if at == "127.0.0.1:9".parse().unwrap()));
    }
}

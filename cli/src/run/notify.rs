//! What a gateway tells its service manager (sd_notify(3)): that it is ready, what it does, that it
//! lives. Without a manager nothing is said.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use clawgate_core::config::EnvVars;
use tracing::debug;

/// What earlier sockets are called that the manager keeps from one start to the next.
pub(crate) const KEPT: &str = "clawgate-kept";

/// The way to the manager.
#[derive(Debug)]
pub(crate) struct Notifier {
    #[cfg(unix)]
    socket: Option<std::os::unix::net::UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads where the manager listens, and how often it wants to hear from this process.
    pub(crate) fn of_env(env: &EnvVars) -> Self {
        Self {
            #[cfg(unix)]
            socket: env.non_blank("NOTIFY_SOCKET").and_then(|address| {
                unix::connect(address)
                    .inspect_err(
                        |error| debug!(%error, "the service manager cannot be told anything"),
                    )
                    .ok()
            }),
            watchdog: watchdog(env, std::process::id()),
        }
    }

    /// Whether there is a manager to tell.
    pub(crate) fn is_connected(&self) -> bool {
        #[cfg(unix)]
        return self.socket.is_some();
        #[cfg(not(unix))]
        false
    }

    /// Within what time the manager wants to hear from this process again and again.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.is_connected())
    }

    /// The gateway serves.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", crate::text::plain(status)));
    }

    /// It ends.
    pub(crate) fn stopping(&self, status: &str) {
        self.tell(&format!(
            "STOPPING=1\nSTATUS={}",
            crate::text::plain(status)
        ));
    }

    /// It starts itself anew, in the same process.
    pub(crate) fn reloading(&self, status: &str) {
        let status = crate::text::plain(status);
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS={status}",
            monotonic_micros()
        ));
    }

    /// It lives.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Has the manager keep listening sockets for the next start, in place of those that it had.
    pub(crate) fn keep(&self, listeners: &[TcpListener]) {
        #[cfg(unix)]
        if let Some(socket) = &self.socket {
            self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={KEPT}"));
            for listener in listeners {
                if let Err(error) = unix::store(socket, listener) {
                    debug!(%error, "the service manager was not given a socket");
                }
            }
        }
        #[cfg(not(unix))]
        let _ = listeners;
    }

    /// A manager that does not hear is no reason to stop.
    fn tell(&self, message: &str) {
        #[cfg(unix)]
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            debug!(%error, "the service manager does not hear");
        }
        #[cfg(not(unix))]
        let _ = message;
    }
}

/// The time of the watchdog, where it is meant for this process.
fn watchdog(env: &EnvVars, pid: u32) -> Option<Duration> {
    let number = |name: &str| env.non_blank(name).map(str::parse::<u64>);
    match number("WATCHDOG_PID") {
        Some(Ok(other)) if other != u64::from(pid) => return None,
        Some(Err(_)) => return None,
        Some(Ok(_)) | None => {}
    }
    number("WATCHDOG_USEC")?
        .ok()
        .filter(|micros| *micros > 0)
        .map(Duration::from_micros)
}

#[cfg(unix)]
fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let whole = u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000;
    whole + u64::try_from(now.tv_nsec / 1_000).unwrap_or_default()
}

#[cfg(not(unix))]
fn monotonic_micros() -> u64 {
    0
}

#[cfg(unix)]
mod unix {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::{KEPT, TcpListener, io};

    /// A path, or on Linux an abstract name after `@`.
    pub(super) fn connect(address: &str) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        match address.strip_prefix('@') {
            Some(name) => connect_abstract(&socket, name)?,
            None => socket.connect(address)?,
        }
        // A manager that does not read must not hold up the gateway.
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    #[cfg(target_os = "linux")]
    fn connect_abstract(socket: &UnixDatagram, name: &str) -> io::Result<()> {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        socket.connect_addr(&address)
    }

    #[cfg(not(target_os = "linux"))]
    fn connect_abstract(_socket: &UnixDatagram, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends a copy of the descriptor.
    pub(super) fn store(socket: &UnixDatagram, listener: &TcpListener) -> io::Result<()> {
        let message = format!("FDSTORE=1\nFDNAME={KEPT}");
        let descriptors = [listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let parts = [IoSlice::new(message.as_bytes())];
        sendmsg(socket, &parts, &mut control, SendFlags::empty())?;
        Ok(())
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> EnvVars {
        pairs.iter().copied().collect()
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_is_told_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::of_env(&env(&[("NOTIFY_SOCKET", path.to_str().unwrap())]));
        notifier.ready("listening\non a\u{1b}");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=listening on a");
        notifier.reloading("again");
        let said = heard(&manager);
        assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
        notifier.stopping("bye");
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=bye");
        notifier.alive();
        assert_eq!(heard(&manager), "WATCHDOG=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_manager_is_told_by_an_abstract_name() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("clawgate-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::of_env(&env(&[("NOTIFY_SOCKET", &format!("@{name}"))]));
        notifier.ready("x");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=x");
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        for pairs in [&[][..], &[("NOTIFY_SOCKET", "/nowhere/at/all")]] {
            let notifier = Notifier::of_env(&env(pairs));
            assert!(!notifier.is_connected() && notifier.watchdog().is_none());
            notifier.ready("x");
        }
    }

    #[test]
    fn the_watchdog_is_for_one_process() {
        let time = Some(Duration::from_secs(30));
        let usec = ("WATCHDOG_USEC", "30000000");
        assert_eq!(watchdog(&env(&[usec]), 7), time);
        assert_eq!(watchdog(&env(&[usec, ("WATCHDOG_PID", "7")]), 7), time);
        assert_eq!(watchdog(&env(&[usec, ("WATCHDOG_PID", "8")]), 7), None);
        assert_eq!(watchdog(&env(&[usec, ("WATCHDOG_PID", "x")]), 7), None);
        assert_eq!(watchdog(&env(&[("WATCHDOG_USEC", "0")]), 7), None);
    }
}

//! Who listens on a port of this machine, as far as the system tells this user.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::run::Holder;

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortHolder {
    /// Its number; nothing when it is another user's.
    pub(crate) pid: Option<u32>,
    /// Its program.
    pub(crate) name: Option<String>,
    /// The number of the user that it runs as.
    pub(crate) user: Option<u32>,
    /// The gateway that it is, when it is one of clawgate's and this user's.
    pub(crate) gateway: Option<Box<Holder>>,
}

impl PortHolder {
    /// A few words on it.
    pub(crate) fn words(&self) -> String {
        let process = match (self.pid, &self.name, self.user) {
            (Some(pid), Some(name), _) => format!("process {pid} ({name})"),
            (Some(pid), None, _) => format!("process {pid}"),
            (None, _, Some(user)) => format!("a process of user {user}"),
            (None, _, None) => "another process".into(),
        };
        match &self.gateway {
            Some(gateway) => format!("{process}, the gateway of {}", gateway.whose()),
            None => process,
        }
    }
}

/// Who listens on this address, or on all addresses with this port. `None` when nobody does, or the
/// system does not say.
pub(crate) fn find(address: SocketAddr) -> Option<PortHolder> {
    listed::find(address)
}

#[cfg(target_os = "linux")]
mod listed {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::path::Path;

    use super::{Holder, PathBuf, PortHolder, SocketAddr};

    /// The state of a listening socket in the system's tables.
    const LISTEN: &str = "0A";

    /// More entries than are looked through.
    const MAX_PROCESSES: usize = 100_000;

    /// A line of `/proc/net/tcp`.
    struct Entry {
        address: SocketAddr,
        user: u32,
        inode: u64,
    }

    pub(super) fn find(address: SocketAddr) -> Option<PortHolder> {
        let entry = entries().find(|entry| concerns(entry.address, address))?;
        let mut holders = processes_of(entry.inode);
        // A service manager keeps the sockets of its services open too.
        holders.sort_by_key(|(_, name, gateway)| (gateway.is_none(), name.starts_with("systemd")));
        let (pid, name, gateway) = match holders.into_iter().next() {
            Some((pid, name, gateway)) => (Some(pid), Some(name), gateway.map(Box::new)),
            None => (None, None, None),
        };
        Some(PortHolder {
            pid,
            name: name.filter(|name| !name.is_empty()),
            user: Some(entry.user),
            gateway,
        })
    }

    fn concerns(held: SocketAddr, wanted: SocketAddr) -> bool {
        let (at, to) = (held.ip().to_canonical(), wanted.ip().to_canonical());
        let same_family = at.is_ipv4() == to.is_ipv4();
        // `::` may hold the port for IPv4 too.
        let all = at.is_unspecified() && (same_family || at.is_ipv6());
        held.port() == wanted.port() && (at == to || all || (to.is_unspecified() && same_family))
    }

    fn entries() -> impl Iterator<Item = Entry> {
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .into_iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|text| text.lines().skip(1).filter_map(entry).collect::<Vec<_>>())
    }

    fn entry(line: &str) -> Option<Entry> {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let user = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        (state == LISTEN).then_some(Entry {
            address: parse(local)?,
            user,
            inode,
        })
    }

    /// An address as the tables have it: words of 32 bits in the machine's own order.
    fn parse(text: &str) -> Option<SocketAddr> {
        let (ip, port) = text.split_once(':')?;
        let words: Vec<u8> = ip
            .as_bytes()
            .chunks(8)
            .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
            .collect::<Option<Vec<u32>>>()?
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let ip = if let Ok(bytes) = <[u8; 4]>::try_from(words.as_slice()) {
            IpAddr::V4(Ipv4Addr::from(bytes))
        } else {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.as_slice()).ok()?))
        };
        Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
    }

    /// The processes that have this socket open, with their names and what gateways they are. Those of
    /// other users do not show theirs.
    fn processes_of(inode: u64) -> Vec<(u32, String, Option<Holder>)> {
        let wanted = PathBuf::from(format!("socket:[{inode}]"));
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .take(MAX_PROCESSES)
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|pid| {
                let folder = Path::new("/proc").join(pid.to_string());
                open_files(&folder).find(|file| *file == wanted)?;
                let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
                Some((pid, crate::text::plain(name.trim()), gateway_of(&folder)))
            })
            .collect()
    }

    fn open_files(process: &Path) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
    }

    /// A gateway of clawgate's has its lock open.
    fn gateway_of(process: &Path) -> Option<Holder> {
        let lock = open_files(process).find(|file| file.ends_with(crate::run::LOCK))?;
        crate::run::running_gateway(lock.parent()?)
    }

    #[cfg(test)]
    mod tests {
        use std::net::TcpListener;

        use super::*;

        #[test]
        fn a_listener_of_this_process_is_found() {
            for ip in ["127.0.0.1", "0.0.0.0"] {
                let listener = TcpListener::bind((ip, 0)).unwrap();
                let port = listener.local_addr().unwrap().port();
                let asked = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
                let holder = find(asked).unwrap();
                assert_eq!(holder.pid, Some(std::process::id()), "{ip}");
                assert!(holder.gateway.is_none());
                assert!(holder.words().starts_with("process "), "{holder:?}");
                drop(listener);
                assert!(find(asked).is_none_or(|holder| holder.pid != Some(std::process::id())));
            }
        }

        #[test]
        fn addresses_are_read_as_the_system_writes_them() {
            let v4 = u32::from_ne_bytes([127, 0, 0, 1]);
            assert_eq!(
                parse(&format!("{v4:08X}:4965")),
                "127.0.0.1:18789".parse().ok()
            );
            let last = u32::from_ne_bytes([0, 0, 0, 1]);
            let v6 = format!("{:024X}{last:08X}:0050", 0);
            assert_eq!(parse(&v6), "[::1]:80".parse().ok());
            assert_eq!(parse("zz:1"), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod listed {
    use super::{PortHolder, SocketAddr};

    pub(super) fn find(_address: SocketAddr) -> Option<PortHolder> {
        None
    }
}

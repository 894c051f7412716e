//! Whose a listener is. A credential must never reach a program that only happens to listen where a tunnel
//! was (spec hostpolicy §7).

use clawgate_core::tunnel::ProcessMark;

use super::process::is_running;

/// Who listens on a port of 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// This process, by this socket.
    Ours(Socket),
    Nobody,
    Stranger,
}

/// Which socket of a process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    /// The one of this number, which no other socket has as long as it is open.
    Inode(u64),
    /// The system does not tell. The process runs, it was told to end if it could not listen, and nobody
    /// listened there before it was started.
    Unknown,
}

/// Looks.
pub(super) fn look(port: u16, process: &ProcessMark) -> Seen {
    if !is_running(process) {
        return match listens(port) {
            true => Seen::Stranger,
            false => Seen::Nobody,
        };
    }
    match sockets(port) {
        Some(found) if found.is_empty() => Seen::Nobody,
        Some(found) => found
            .into_iter()
            .find(|inode| has(process.pid, *inode))
            .map_or(Seen::Stranger, |inode| Seen::Ours(Socket::Inode(inode))),
        None if listens(port) => Seen::Ours(Socket::Unknown),
        None => Seen::Nobody,
    }
}

/// The `ssh` of this user that holds a tunnel by the system's service manager: it runs the system's program,
/// was called for this name, and listens on the port. Somebody else cannot run a process of this user.
pub(super) fn service(port: u16, alias: &str) -> Option<(ProcessMark, Socket)> {
    let ssh = super::find_ssh().ok()?;
    holders(port).into_iter().find_map(|pid| {
        let line = super::process::command_line(pid)?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = words.contains(&"-N") && words.last() == Some(&alias);
        let mark = super::process::mark(pid).filter(|_| is_it && runs_for_us(pid, &ssh))?;
        match look(port, &mark) {
            Seen::Ours(socket) => Some((mark, socket)),
            Seen::Nobody | Seen::Stranger => None,
        }
    })
}

/// The processes that listen on a port, as far as they are this user's.
#[cfg(target_os = "linux")]
fn holders(port: u16) -> Vec<u32> {
    let found = sockets(port).unwrap_or_default();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| found.iter().any(|inode| has(*pid, *inode)))
        .collect()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn holders(port: u16) -> Vec<u32> {
    let output = std::process::Command::new("/usr/sbin/lsof")
        .args(["-nP", "-sTCP:LISTEN", "-Fp", "-a", "-u"])
        .arg(rustix::process::geteuid().as_raw().to_string())
        .arg(format!("-iTCP@127.0.0.1:{port}"))
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let lines = text.unwrap_or_default();
    lines
        .lines()
        .filter_map(|line| line.strip_prefix('p')?.parse().ok())
        .collect()
}

#[cfg(not(unix))]
fn holders(_port: u16) -> Vec<u32> {
    Vec::new()
}

/// Whether a process is this user's and runs this program.
#[cfg(target_os = "linux")]
fn runs_for_us(pid: u32, program: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let folder = std::path::PathBuf::from(format!("/proc/{pid}"));
    let is_ours = std::fs::metadata(&folder)
        .is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw());
    is_ours && std::fs::read_link(folder.join("exe")).is_ok_and(|exe| exe == program)
}

/// `lsof` was asked for processes of this user only.
#[cfg(not(target_os = "linux"))]
fn runs_for_us(pid: u32, program: &std::path::Path) -> bool {
    super::process::command_line(pid)
        .is_some_and(|line| line.starts_with(&*program.to_string_lossy()))
}

fn listens(port: u16) -> bool {
    match sockets(port) {
        Some(found) => !found.is_empty(),
        None => std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
    }
}

/// The sockets that listen on a port of 127.0.0.1; `None` where the system does not tell.
#[cfg(target_os = "linux")]
fn sockets(port: u16) -> Option<Vec<u64>> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    Some(in_table(&table, port))
}

#[cfg(not(target_os = "linux"))]
fn sockets(_port: u16) -> Option<Vec<u64>> {
    None
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
#[cfg(target_os = "linux")]
fn in_table(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let address = format!("{:08X}:{port:04X}", u32::from_ne_bytes([127, 0, 0, 1]));
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let is_it = fields.nth(1)? == address;
            let listens = fields.nth(1)? == LISTEN;
            let inode = fields.nth(5)?.parse().ok()?;
            (is_it && listens).then_some(inode)
        })
        .collect()
}

#[cfg(target_os = "linux")]
fn has(pid: u32, inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .any(|link| link.as_os_str() == name.as_str())
}

#[cfg(not(target_os = "linux"))]
fn has(_pid: u32, _inode: u64) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{net::TcpListener, process};

    use super::{super::process::mark, *};

    #[test]
    fn a_listener_is_told_from_a_strangers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = mark(process::id()).unwrap();
        let Seen::Ours(socket) = look(port, &own) else {
            panic!()
        };
        assert_eq!(look(port, &own), Seen::Ours(socket));
        // The first process of the system surely does not listen there.
        assert_eq!(look(port, &mark(1).unwrap()), Seen::Stranger);
        let ended = ProcessMark {
            pid: own.pid,
            started: "1".into(),
        };
        assert_eq!(look(port, &ended), Seen::Stranger);
        drop(listener);
        assert_eq!(look(port, &own), Seen::Nobody);
        // A later listener of the same process is another socket.
        let again = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(matches!(look(port, &own), Seen::Ours(other) if other != socket));
        drop(again);
    }
}

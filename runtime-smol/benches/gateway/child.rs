//! A server in a process of its own, and what the kernel knows of it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use crate::{Outcome, servers::Kind};

/// A running server. Dropping it ends it.
pub(crate) struct ServerProcess {
    child: Child,
    /// It serves for as long as this is open.
    stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
}

impl ServerProcess {
    /// Starts a server that answers with `text`, where its kind does.
    pub(crate) fn start(kind: Kind, text: &str) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", kind.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().ok_or("no pipe to the server")?;
        writeln!(stdin, "{text}")?;
        let stdout = child.stdout.take().ok_or("no pipe from the server")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self {
            address: line.trim().parse()?,
            child,
            stdin: Some(stdin),
            kind,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory.
    pub(crate) fn rss_bytes(&self) -> Outcome<u64> {
        rss_bytes(self.pid())
    }

    /// The most that was ever resident.
    pub(crate) fn largest_rss_bytes(&self) -> Outcome<u64> {
        memory(self.pid(), "VmHWM:")
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        cpu_time(&format!("/proc/{}/task", self.pid()))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stdin = None;
        // It ends by itself; nothing is left to do where it already has.
        let _ = self.child.wait();
    }
}

/// Resident memory of a process.
pub(crate) fn rss_bytes(pid: u32) -> Outcome<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or_else(|| format!("no {field} this measurement needs Linux"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// CPU time of this process so far.
pub(crate) fn own_cpu_time() -> Option<Duration> {
    cpu_time("/proc/self/task")
}

/// Adds up what the scheduler counted for each thread, in nanoseconds.
fn cpu_time(tasks: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(tasks).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        let nanos = text.split(' ').next()?.parse().ok()?;
        total += Duration::from_nanos(nanos);
    }
    Some(total)
}

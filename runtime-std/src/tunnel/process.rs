//! Processes that are known again, and signals for no other one.

use std::io;

use clawgate_core::tunnel::ProcessMark;

/// The mark of a process that runs. `None` for one that has ended, also if nobody has taken note of it.
#[cfg(target_os = "linux")]
pub(super) fn mark(pid: u32) -> Option<ProcessMark> {
    use std::fs;

    // The name in parentheses may hold anything; after the last one come the state and 18 more fields
    // before the time of the start, in ticks since the machine was started.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(ProcessMark {
        pid,
        started: format!("{}/{ticks}", boot.trim()),
    })
}

/// The same by the system's `ps`.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn mark(pid: u32) -> Option<ProcessMark> {
    let started = ps("lstart=", pid)?;
    let state = ps("stat=", pid)?;
    (!state.starts_with('Z')).then_some(ProcessMark { pid, started })
}

#[cfg(not(unix))]
pub(super) fn mark(_pid: u32) -> Option<ProcessMark> {
    None
}

/// The arguments of a process, in one text with blanks between them.
#[cfg(target_os = "linux")]
pub(super) fn command_line(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn command_line(pid: u32) -> Option<String> {
    ps("command=", pid)
}

#[cfg(not(unix))]
pub(super) fn command_line(_pid: u32) -> Option<String> {
    None
}

#[cfg(all(unix, not(target_os = "linux")))]
fn ps(what: &str, pid: u32) -> Option<String> {
    let output = std::process::Command::new("/bin/ps")
        .args(["-o", what, "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Whether the very process of a mark runs.
pub fn is_running(process: &ProcessMark) -> bool {
    mark(process.pid).as_ref() == Some(process)
}

/// How a process is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Politely,
    Firmly,
}

/// Sends a signal to the very process of a mark, and to no other one that has its number by now.
#[cfg(target_os = "linux")]
pub(super) fn ask_to_end(process: &ProcessMark, ask: Ask) -> io::Result<()> {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = i32::try_from(process.pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(gone)?;
    // Once it is open, it stays with the process that it was opened for.
    let open = pidfd_open(pid, PidfdFlags::empty())?;
    if !is_running(process) {
        return Err(gone());
    }
    let signal = match ask {
        Ask::Politely => Signal::TERM,
        Ask::Firmly => Signal::KILL,
    };
    Ok(pidfd_send_signal(open, signal)?)
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn ask_to_end(process: &ProcessMark, ask: Ask) -> io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};

    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let (Some(pid), true) = (pid, is_running(process)) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let signal = match ask {
        Ask::Politely => Signal::TERM,
        Ask::Firmly => Signal::KILL,
    };
    Ok(kill_process(pid, signal)?)
}

#[cfg(not(unix))]
pub(super) fn ask_to_end(_process: &ProcessMark, _ask: Ask) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_ends() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = mark(child.id()).unwrap();
        assert!(is_running(&process));
        assert!(command_line(process.pid).unwrap().contains("600"));
        // Another one that had the same number.
        let earlier = ProcessMark {
            pid: process.pid,
            started: "1".into(),
        };
        assert!(!is_running(&earlier));
        assert!(ask_to_end(&earlier, Ask::Firmly).is_err());
        assert!(is_running(&process));
        ask_to_end(&process, Ask::Firmly).unwrap();
        child.wait().unwrap();
        assert!(!is_running(&process));
        assert!(ask_to_end(&process, Ask::Politely).is_err());
    }
}

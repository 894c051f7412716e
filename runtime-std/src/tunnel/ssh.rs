//! The process of one `ssh`.

use std::{
    io::Read,
    process::{Child, ChildStderr, ExitStatus},
};

use clawgate_core::tunnel::Exit;

/// The longest line that is taken from it, in bytes.
const MAX_LINE: usize = 4096;

/// Hands out what `ssh` says, line by line, until it ends or nobody listens.
pub(super) fn read_lines(mut stderr: ChildStderr, mut say: impl FnMut(String) -> bool) {
    let mut line = Vec::new();
    let mut buffer = [0; 1024];
    let mut say = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        line.clear();
        text.is_empty() || say(text)
    };
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        for &byte in buffer.iter().take(count) {
            if byte != b'\n' {
                line.push(byte);
            }
            if (byte == b'\n' || line.len() >= MAX_LINE) && !say(&mut line) {
                return;
            }
        }
    }
    say(&mut line);
}

/// How it ended.
pub(super) fn exit_of(status: ExitStatus) -> Exit {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Exit::Signal(signal);
    }
    status.code().map_or(Exit::Unknown, Exit::Code)
}

/// The child was not waited for, so its number is still its own.
#[cfg(unix)]
#[expect(
    clippy::needless_pass_by_ref_mut,
    reason = "other systems end a child by its handle"
)]
pub(super) fn terminate(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process};

    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by now.
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(not(unix))]
pub(super) fn terminate(child: &mut Child) {
    let _ = child.kill();
}

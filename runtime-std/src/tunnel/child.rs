//! The step between the holder and its `ssh`: it arranges that `ssh` never outlives the holder.

use std::{ffi::OsString, io};

/// Becomes a program that ends when the process `parent`, which has started this one, ends. Does not
/// return where that succeeds. Only Linux knows such a bond; elsewhere an orphan is ended by the next
/// holder of its tunnel.
///
/// # Errors
/// When the parent is gone already, or the program cannot be run.
#[cfg(unix)]
pub fn run_as_child(parent: u32, command: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt;

    let Some((program, arguments)) = command.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};

        if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
            return error.into();
        }
        // It may have ended before the bond was made.
        let is_there =
            getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent);
        if !is_there {
            return io::Error::other("the holder of the tunnel is gone");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    std::process::Command::new(program).args(arguments).exec()
}

/// There is no such bond here.
#[cfg(not(unix))]
pub fn run_as_child(_parent: u32, _command: &[OsString]) -> io::Error {
    io::ErrorKind::Unsupported.into()
}

//! Which `ssh` is run. It sees the user's keys and decides which machine is behind a port, so it is looked
//! for where only the system's owner installs programs, never along `PATH` (spec hostpolicy §7). The host
//! judges what it finds by [`check_program`](crate::policy::check_program).

/// The program's file name.
pub const PROGRAM: &str = if cfg!(windows) { "ssh.exe" } else { "ssh" };

/// The folders in which the program is looked for, in this order.
pub const FOLDERS: &[&str] = if cfg!(windows) {
    &["C:\\Windows\\System32\\OpenSSH"]
} else {
    &[
        "/usr/bin",
        "/bin",
        "/usr/sbin",
        "/sbin",
        "/usr/local/bin",
        "/run/current-system/sw/bin",
    ]
};

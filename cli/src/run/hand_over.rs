//! Starting anew without closing the door: the process becomes the program that now lies where its own
//! did, with the listening sockets open all the while (sd_listen_fds(3)). Whoever connects meanwhile
//! waits in their queue. The number of the process stays, so terminals, containers and service managers
//! do not notice.
//!
//! The new program is asked first whether it would start. The old one goes on if not.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::sockets::OpenedBy;
use crate::text::short;

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 600;

/// How this process was started.
#[derive(Clone, Debug)]
pub(super) struct Successor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Successor {
    /// Remembers the program by the name that it was started with, not by the file that this led to: an
    /// upgrade may put another one in its place. To be called at the start, in the folder of the start.
    ///
    /// # Errors
    /// When the system does not say.
    pub(super) fn of_process() -> io::Result<Self> {
        let mut words = env::args_os();
        let name = words.next().map(PathBuf::from).unwrap_or_default();
        let program = if name.components().count() > 1 {
            std::path::absolute(&name)?
        } else {
            on_path(&name).map_or_else(env::current_exe, Ok)?
        };
        Ok(Self {
            program,
            arguments: words.collect(),
        })
    }

    /// The program.
    pub(super) fn into_program(self) -> PathBuf {
        self.program
    }

    /// Asks the program whether it would start like this.
    ///
    /// # Errors
    /// Why it would not, in its own words.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.reads_standard_input() {
            return Err("its secret came by standard input, which cannot be read again".into());
        }
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .arg("--check")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run {}: {error}", self.program.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        if said.is_empty() {
            let said = String::from_utf8_lossy(&output.stdout);
            return Err(short(&format!("{}: {said}", output.status), MAX_REASON));
        }
        Err(short(said.trim_start_matches("error: "), MAX_REASON))
    }

    /// Becomes the program. Gives the error if that fails.
    #[cfg(unix)]
    pub(super) fn become_it(&self, listeners: Vec<TcpListener>, opened_by: OpenedBy) -> io::Error {
        use std::os::unix::process::CommandExt;

        use command_fds::{CommandFdExt, FdMapping};

        let count = listeners.len();
        let mappings = (3..)
            .zip(listeners)
            .map(|(child_fd, listener)| FdMapping {
                parent_fd: listener.into(),
                child_fd,
            })
            .collect();
        let names = vec![opened_by.name(); count].join(":");
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", count.to_string())
            .env("LISTEN_FDNAMES", names)
            .env("LISTEN_PID", std::process::id().to_string());
        match command.fd_mappings(mappings) {
            Ok(command) => command.exec(),
            Err(error) => io::Error::other(error),
        }
    }

    /// Other systems cannot do this, and are never asked to.
    #[cfg(not(unix))]
    pub(super) fn become_it(&self, _listeners: Vec<TcpListener>, _by: OpenedBy) -> io::Error {
        io::ErrorKind::Unsupported.into()
    }

    fn reads_standard_input(&self) -> bool {
        let flags = ["--token-file", "--password-file"];
        let pairs = self.arguments.iter().zip(self.arguments.iter().skip(1));
        let apart = |(flag, value): (&OsString, &OsString)| {
            value == "-" && flags.iter().any(|name| flag == *name)
        };
        let joined = |word: &OsString| flags.iter().any(|name| *word == *format!("{name}=-"));
        pairs.into_iter().any(apart) || self.arguments.iter().any(joined)
    }
}

/// The first file of this name on the search path.
fn on_path(name: &Path) -> Option<PathBuf> {
    if name.as_os_str() == OsStr::new("") {
        return None;
    }
    env::split_paths(&env::var_os("PATH")?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn successor(program: &str, words: &[&str]) -> Successor {
        Successor {
            program: program.into(),
            arguments: words.iter().map(OsString::from).collect(),
        }
    }

    #[test]
    fn a_secret_from_standard_input_cannot_be_had_twice() {
        for words in [&["--token-file", "-"][..], &["--password-file=-"]] {
            let why = successor("/nowhere", words).check().unwrap_err();
            assert!(why.contains("standard input"), "{why}");
        }
    }

    #[test]
    fn a_program_that_is_gone_or_refuses_is_not_started() {
        let why = successor("/nowhere/clawgate", &[]).check().unwrap_err();
        assert!(why.contains("cannot run /nowhere/clawgate"), "{why}");
        #[cfg(unix)]
        {
            let refuses = ["-c", "echo 'error: no such key' >&2; exit 78"];
            let why = successor("/bin/sh", &refuses).check().unwrap_err();
            assert_eq!(why, "no such key");
            assert_eq!(successor("/bin/sh", &["-c", "exit 0"]).check(), Ok(()));
        }
    }
}

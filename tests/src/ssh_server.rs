//! An `sshd` of its own for a test: on a loopback port of its own, with keys and configuration of its own,
//! and the client's side of it. Nothing of the machine's own SSH is read or changed.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::deadline::{Deadline, PATIENCE};
use crate::failure::{Attempt, Failure, TestResult};
use crate::gateway_process::free_port;

/// Where systems put the server.
const SSHD: [&str; 2] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];

/// A running server. Dropping it kills it, its sessions, and removes its folder.
pub struct SshServer {
    folder: TempDir,
    port: u16,
    more: String,
    child: Option<Child>,
}

impl SshServer {
    /// Starts a server that lets in the key of [`Self::client_config`]. `None` where there is no server on
    /// this machine, which is said so that nobody can miss it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start() -> TestResult<Option<Self>> {
        Self::start_with("")
    }

    /// Starts it with more lines of `sshd_config`.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with(more: &str) -> TestResult<Option<Self>> {
        if program().is_none() {
            // Past the capture of the test harness.
            writeln!(
                io::stderr(),
                "NOT TESTED: there is no sshd on this machine, so nothing about tunnels was run; \
                 `apt-get install openssh-server openssh-client` brings it"
            )?;
            return Ok(None);
        }
        let mut server = Self {
            folder: TempDir::new()?,
            port: free_port()?,
            more: more.to_owned(),
            child: None,
        };
        server.make_key("host_key")?;
        server.make_key("client_key")?;
        fs::copy(
            server.path("client_key.pub"),
            server.path("authorized_keys"),
        )?;
        server.know_host("")?;
        let config = format!(
            "UserKnownHostsFile {folder}/known_hosts\n\
             GlobalKnownHostsFile /dev/null\n\
             IdentityFile {folder}/client_key\n\
             IdentityAgent none\n\
             IdentitiesOnly yes\n",
            folder = server.folder.path().display()
        );
        fs::write(server.client_config(), config)?;
        // Where the server of the system was never started, its folder is missing.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        server.restart()?;
        Ok(Some(server))
    }

    /// Starts it again, on the same port, and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// When it cannot be started; with what it said.
    pub fn restart(&mut self) -> TestResult {
        let folder = self.folder.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n\
             AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nUsePAM no\nStrictModes no\n\
             PidFile none\n{more}\n",
            port = self.port,
            more = self.more
        );
        fs::write(self.path("sshd_config"), config)?;
        let program = program().ok_or_else(|| Failure::new("there is no sshd"))?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))?;
        let child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(self.path("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .attempt(|| "could not start sshd".to_owned())?;
        self.child = Some(child);
        let listens = Deadline::after(PATIENCE).poll("sshd to listen", || {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?;
            if let Some(status) = ended.flatten() {
                return Err(Failure::new(format!("sshd ended: {status}")));
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .ok()
                .map(|_| ()))
        });
        listens.map_err(|failure| Failure::new(format!("{failure}\nit said:\n{}", self.log())))
    }

    /// Ends the server and all its sessions, as a power cut would.
    pub fn kill(&mut self) {
        for pid in self.sessions() {
            signal(pid, Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended already; either way nothing is left to do about it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops all sessions where they stand, or lets them go on: the network in between, so to speak, loses
    /// everything.
    pub fn freeze(&self, is_frozen: bool) {
        let what = if is_frozen {
            Signal::STOP
        } else {
            Signal::CONT
        };
        for pid in self.sessions() {
            signal(pid, what);
        }
    }

    /// The processes of the server that are about one connection each.
    #[must_use]
    pub fn sessions(&self) -> Vec<i32> {
        let Some(child) = &self.child else {
            return Vec::new();
        };
        let parents = parents();
        let mut found = vec![i32::try_from(child.id()).unwrap_or_default()];
        let mut index = 0;
        while let Some(parent) = found.get(index).copied() {
            found.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(pid, _)| *pid),
            );
            index += 1;
        }
        found.remove(0);
        found
    }

    /// Gives the server another host key, from its next start on.
    ///
    /// # Errors
    ///
    /// When there is no key.
    pub fn replace_host_key(&self) -> TestResult {
        fs::remove_file(self.path("host_key"))?;
        self.make_key("host_key")
    }

    /// Writes the present host key into the client's `known_hosts`, after a marker if there is one, and
    /// nothing else.
    ///
    /// # Errors
    ///
    /// When there is no key.
    pub fn know_host(&self, marker: &str) -> TestResult {
        let public = fs::read_to_string(self.path("host_key.pub"))?;
        let line = format!("{marker}[127.0.0.1]:{} {public}", self.port);
        Ok(fs::write(self.path("known_hosts"), line)?)
    }

    /// Makes a key pair, in files of this name and of the same with `.pub`.
    ///
    /// # Errors
    ///
    /// When `ssh-keygen` fails.
    pub fn make_key(&self, name: &str) -> TestResult {
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f"])
            .arg(self.path(name))
            .stdin(Stdio::null())
            .status()
            .attempt(|| "could not run ssh-keygen".to_owned())?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new("ssh-keygen failed")),
        }
    }

    /// Writes a file beside the keys, for its owner or for everybody to read.
    ///
    /// # Errors
    ///
    /// When there is no room.
    pub fn write(&self, name: &str, text: &str, mode: u32) -> TestResult<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(path)
    }

    /// The `ssh_config` of clients, for `CLAWGATE_SSH_CONFIG`.
    #[must_use]
    pub fn client_config(&self) -> PathBuf {
        self.path("ssh_config")
    }

    /// A file of the server's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The machine as `gateway.remote.sshTarget` names it.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}@127.0.0.1:{}", user(), self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Everything that it said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The user who runs the tests, and who logs in.
#[must_use]
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// Sends a signal; whoever is gone gets none.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

fn program() -> Option<&'static Path> {
    SSHD.iter().map(Path::new).find(|path| path.exists())
}

/// Each process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

//! What `ssh` meant by what it said, and what a person can do about it. OpenSSH has one exit code for
//! everything, so its words decide. They are asked for in English (`LC_ALL=C`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::machine::Exit;
use super::spec::TunnelSpec;

/// The longest line that is kept of what `ssh` said.
const MAX_SAID: usize = 300;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// There is no `ssh` in the system's folders.
    NoSsh,
    /// It could not be started, or may not be trusted.
    CannotStart,
    /// The host's key is not known.
    HostKeyUnknown,
    /// The host shows another key than the known one.
    HostKeyChanged,
    /// The host's key was revoked.
    HostKeyRevoked,
    /// The host let none of the keys in.
    KeyRefused,
    /// The host ended it after too many keys.
    TooManyKeys,
    /// The file of the key is not there.
    IdentityMissing,
    /// Others may read the file of the key, so `ssh` does not use it.
    IdentityExposed,
    /// The file of the key cannot be read as one.
    IdentityUnusable,
    /// The host's name has no address.
    NameNotFound,
    /// The host refused the connection: no `sshd` on that port.
    Refused,
    /// There is no way to the host.
    NoRoute,
    /// The host did not answer in time.
    TimedOut,
    /// Both sides know no common algorithm.
    NoCommonAlgorithm,
    /// The connection was closed before anybody logged in.
    ClosedEarly,
    /// A connection that stood became silent.
    Silent,
    /// A connection that stood was lost.
    Lost,
    /// Somebody else listens on the local port.
    LocalPortTaken,
    /// The local port may not be used.
    LocalPortForbidden,
    /// Over there, nobody listens on the gateway's port.
    GatewayAbsent,
    /// The host does not forward.
    ForwardForbidden,
    /// `ssh` cannot use its configuration.
    BadSshConfig,
    /// `ssh` runs, and does not listen.
    NotListening,
    /// Somebody who is not our `ssh` listens on its port.
    Stranger,
    /// Nobody opens the tunnel.
    NotHeld,
    /// Something else.
    Other,
}

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mending {
    /// Somebody has to do something; another attempt would end the same.
    Hand,
    /// Another attempt may succeed.
    Time,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 27] = [
        Self::NoSsh,
        Self::CannotStart,
        Self::HostKeyUnknown,
        Self::HostKeyChanged,
        Self::HostKeyRevoked,
        Self::KeyRefused,
        Self::TooManyKeys,
        Self::IdentityMissing,
        Self::IdentityExposed,
        Self::IdentityUnusable,
        Self::NameNotFound,
        Self::Refused,
        Self::NoRoute,
        Self::TimedOut,
        Self::NoCommonAlgorithm,
        Self::ClosedEarly,
        Self::Silent,
        Self::Lost,
        Self::LocalPortTaken,
        Self::LocalPortForbidden,
        Self::GatewayAbsent,
        Self::ForwardForbidden,
        Self::BadSshConfig,
        Self::NotListening,
        Self::Stranger,
        Self::NotHeld,
        Self::Other,
    ];

    /// A stable name for scripts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoSsh => "ssh_not_found",
            Self::CannotStart => "ssh_cannot_start",
            Self::HostKeyUnknown => "ssh_host_key_unknown",
            Self::HostKeyChanged => "ssh_host_key_changed",
            Self::HostKeyRevoked => "ssh_host_key_revoked",
            Self::KeyRefused => "ssh_key_refused",
            Self::TooManyKeys => "ssh_too_many_keys",
            Self::IdentityMissing => "ssh_identity_missing",
            Self::IdentityExposed => "ssh_identity_exposed",
            Self::IdentityUnusable => "ssh_identity_unusable",
            Self::NameNotFound => "ssh_name_not_found",
            Self::Refused => "ssh_refused",
            Self::NoRoute => "ssh_no_route",
            Self::TimedOut => "ssh_timeout",
            Self::NoCommonAlgorithm => "ssh_no_common_algorithm",
            Self::ClosedEarly => "ssh_closed_early",
            Self::Silent => "ssh_silent",
            Self::Lost => "ssh_lost",
            Self::LocalPortTaken => "tunnel_port_taken",
            Self::LocalPortForbidden => "tunnel_port_forbidden",
            Self::GatewayAbsent => "tunnel_gateway_absent",
            Self::ForwardForbidden => "tunnel_forward_forbidden",
            Self::BadSshConfig => "ssh_config_invalid",
            Self::NotListening => "tunnel_not_listening",
            Self::Stranger => "tunnel_stranger",
            Self::NotHeld => "tunnel_not_held",
            Self::Other => "ssh_failed",
        }
    }

    /// Who can mend it. A host that is off, a network that is down and a port that is taken come right by
    /// themselves; keys and configurations do not.
    pub const fn mending(self) -> Mending {
        match self {
            Self::NameNotFound
            | Self::Refused
            | Self::NoRoute
            | Self::TimedOut
            | Self::ClosedEarly
            | Self::Silent
            | Self::Lost
            | Self::LocalPortTaken
            | Self::GatewayAbsent
            | Self::NotListening
            | Self::Stranger
            | Self::NotHeld
            | Self::Other => Mending::Time,
            Self::NoSsh
            | Self::CannotStart
            | Self::HostKeyUnknown
            | Self::HostKeyChanged
            | Self::HostKeyRevoked
            | Self::KeyRefused
            | Self::TooManyKeys
            | Self::IdentityMissing
            | Self::IdentityExposed
            | Self::IdentityUnusable
            | Self::NoCommonAlgorithm
            | Self::LocalPortForbidden
            | Self::ForwardForbidden
            | Self::BadSshConfig => Mending::Hand,
        }
    }
}

/// A tunnel that is not there, or not whole.
///
/// ```
/// use clawgate_core::policy::SshTarget;
/// use clawgate_core::tunnel::{Exit, FailureKind, TunnelFailure, TunnelSpec};
///
/// let said = "No ED25519 host key is known for [studio]:2222 and you have requested strict checking.\n\
///             Host key verification failed.\n";
/// let failure = TunnelFailure::of_exit(Exit::Code(255), said);
/// assert_eq!(failure.kind(), FailureKind::HostKeyUnknown);
/// let spec = TunnelSpec::new(SshTarget::parse("nick@studio:2222").unwrap(), 18789);
/// assert!(failure.next_step(&spec).contains("`ssh -p 2222 nick@studio exit`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelFailure {
    kind: FailureKind,
    said: String,
}

/// Words that decide, in the order in which they count: what keeps two machines apart comes before what
/// `ssh` remarked about a key file on the way.
const WORDS: &[(&str, FailureKind)] = &[
    ("bad configuration option", FailureKind::BadSshConfig),
    ("can't open user config file", FailureKind::BadSshConfig),
    ("bad owner or permissions on", FailureKind::BadSshConfig),
    ("could not resolve hostname", FailureKind::NameNotFound),
    ("no route to host", FailureKind::NoRoute),
    ("network is unreachable", FailureKind::NoRoute),
    ("host is down", FailureKind::NoRoute),
    ("operation not permitted", FailureKind::NoRoute),
    ("timed out", FailureKind::TimedOut),
    ("connection refused", FailureKind::Refused),
    ("unable to negotiate", FailureKind::NoCommonAlgorithm),
    (
        "host identification has changed",
        FailureKind::HostKeyChanged,
    ),
    ("revoked host key", FailureKind::HostKeyRevoked),
    ("host key is known for", FailureKind::HostKeyUnknown),
    ("host key verification failed", FailureKind::HostKeyUnknown),
    ("too many authentication failures", FailureKind::TooManyKeys),
    ("address already in use", FailureKind::LocalPortTaken),
    ("cannot listen to port", FailureKind::LocalPortForbidden),
    (
        "could not request local forwarding",
        FailureKind::LocalPortForbidden,
    ),
    ("not responding", FailureKind::Silent),
    ("kex_exchange_identification", FailureKind::ClosedEarly),
    ("banner exchange", FailureKind::ClosedEarly),
    ("send disconnect", FailureKind::Lost),
    ("closed by remote host", FailureKind::Lost),
    ("connection closed by", FailureKind::ClosedEarly),
    ("connection reset by", FailureKind::ClosedEarly),
];

/// The same, where the host let nobody in: why the key was not even tried.
const WORDS_OF_KEYS: &[(&str, FailureKind)] = &[
    ("not accessible: no such file", FailureKind::IdentityMissing),
    ("are too open", FailureKind::IdentityExposed),
    ("bad permissions", FailureKind::IdentityExposed),
    ("warning: identity file", FailureKind::IdentityUnusable),
    ("load key", FailureKind::IdentityUnusable),
];

impl TunnelFailure {
    /// A failure without any words of `ssh`.
    pub fn new(kind: FailureKind, said: impl AsRef<str>) -> Self {
        Self {
            kind,
            said: bounded(said.as_ref()),
        }
    }

    /// What an `ssh` meant that has ended, by all that it said on standard error.
    pub fn of_exit(exit: Exit, stderr: &str) -> Self {
        let lines = || {
            stderr
                .lines()
                .map(str::trim)
                .filter(|line| !is_of_channel(line))
        };
        let find = |words: &[(&str, FailureKind)]| {
            words.iter().find_map(|(word, kind)| {
                let line = lines().find(|line| line.to_lowercase().contains(word))?;
                Some(Self::new(*kind, line))
            })
        };
        let denied = lines().find(|line| line.contains("Permission denied ("));
        let found = match denied {
            None => find(WORDS),
            Some(line) => {
                find(WORDS_OF_KEYS).or_else(|| Some(Self::new(FailureKind::KeyRefused, line)))
            }
        };
        match found {
            Some(failure) if failure.kind == FailureKind::HostKeyChanged => {
                let place = lines().find(|line| line.starts_with("Offending "));
                let name = lines().find_map(|line| {
                    let (name, _) = line
                        .strip_prefix("Host key for ")?
                        .split_once(" has changed")?;
                    Some(name)
                });
                match (place, name) {
                    (None, _) => failure,
                    (Some(place), None) => Self::new(FailureKind::HostKeyChanged, place),
                    (Some(place), Some(name)) => {
                        Self::new(FailureKind::HostKeyChanged, format!("{place} for {name}"))
                    }
                }
            }
            Some(failure) => failure,
            None => {
                let last = lines().rfind(|line| !line.is_empty());
                Self::new(FailureKind::Other, last.unwrap_or(&exit.to_string()))
            }
        }
    }

    /// What a line means that a running `ssh` said: a connection could not be made over there. Other lines
    /// mean nothing as long as it runs.
    pub fn of_line(line: &str) -> Option<Self> {
        if !is_of_channel(line) {
            return None;
        }
        let kind = if line.contains("connect failed") {
            FailureKind::GatewayAbsent
        } else {
            FailureKind::ForwardForbidden
        };
        Some(Self::new(kind, line))
    }

    /// What it is.
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What `ssh` said, or the system. One line.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// What was wrong, as a sentence.
    pub fn message(&self, spec: &TunnelSpec) -> String {
        let target = &spec.target;
        let (host, port) = (spec.bare_host(), target.port());
        let what = match self.kind {
            FailureKind::NoSsh => "There is no `ssh` in the system's folders".to_owned(),
            FailureKind::CannotStart => "`ssh` cannot be run".to_owned(),
            FailureKind::HostKeyUnknown => format!("The host key of {host} is not known yet"),
            FailureKind::HostKeyChanged => {
                format!(
                    "{host} shows another host key than the known one: this may be another machine"
                )
            }
            FailureKind::HostKeyRevoked => format!("The host key of {host} was revoked"),
            FailureKind::KeyRefused => format!("{target} does not accept this user's SSH keys"),
            FailureKind::TooManyKeys => {
                format!("{target} refused after too many SSH keys were offered")
            }
            FailureKind::IdentityMissing => "The SSH key file does not exist".to_owned(),
            FailureKind::IdentityExposed => {
                "Other users may read the SSH key file, so `ssh` does not use it".to_owned()
            }
            FailureKind::IdentityUnusable => "The SSH key file cannot be used".to_owned(),
            FailureKind::NameNotFound => format!("The name {host} cannot be resolved"),
            FailureKind::Refused => format!("{host} refuses connections to port {port}"),
            FailureKind::NoRoute => format!("There is no way to {host}"),
            FailureKind::TimedOut => format!("{host} port {port} does not answer"),
            FailureKind::NoCommonAlgorithm => {
                format!("{host} and the `ssh` of this machine have no algorithm in common")
            }
            FailureKind::ClosedEarly => {
                format!("{host} port {port} closed the connection before the login")
            }
            FailureKind::Silent => format!("{host} has become silent"),
            FailureKind::Lost => format!("The SSH connection to {host} was lost"),
            FailureKind::LocalPortTaken => {
                format!("Port {} of this machine is taken", spec.local_port)
            }
            FailureKind::LocalPortForbidden => {
                format!("Port {} of this machine may not be used", spec.local_port)
            }
            FailureKind::GatewayAbsent => {
                format!(
                    "The tunnel to {host} is open, but nothing listens there on port {}",
                    spec.remote_port
                )
            }
            FailureKind::ForwardForbidden => format!("{host} does not allow port forwarding"),
            FailureKind::BadSshConfig => "`ssh` cannot use its configuration".to_owned(),
            FailureKind::NotListening => {
                format!("`ssh` did not open the tunnel to {target} in time")
            }
            FailureKind::Stranger => {
                "Another program listens on the tunnel's port; nothing was sent to it".to_owned()
            }
            FailureKind::NotHeld => format!("Nothing holds the tunnel to {target} open"),
            FailureKind::Other => format!("`ssh` to {target} ended"),
        };
        if self.said.is_empty() {
            format!("{what}.")
        } else {
            format!("{what} ({}).", self.said.trim_end_matches('.'))
        }
    }

    /// What to do next: the exact command, where there is one.
    pub fn next_step(&self, spec: &TunnelSpec) -> String {
        let port = spec.target.port();
        match self.kind {
            FailureKind::NoSsh => "Install OpenSSH's client: on Debian `apt install openssh-client`."
                .to_owned(),
            FailureKind::CannotStart => {
                "`ssh` and the folders above it must belong to root, and nobody else may write there."
                    .to_owned()
            }
            FailureKind::HostKeyUnknown => format!(
                "Connect once by hand, compare the fingerprint with the one that `ssh-keygen -lf \
                 /etc/ssh/ssh_host_ed25519_key.pub` prints on that machine, and accept it: `{}`.",
                by_hand(spec, "exit")
            ),
            FailureKind::HostKeyChanged => format!(
                "Do not go on unless you know that the machine or its key was replaced. If it was: \
                 `ssh-keygen -R {}{}`, then connect once by hand and compare the fingerprint: `{}`.",
                quoted(
                    self.known_hosts()
                        .and_then(|(_, name)| name)
                        .unwrap_or(&known_name(spec))
                ),
                self.known_hosts()
                    .map_or_else(String::new, |(file, _)| format!(" -f {}", quoted(file))),
                by_hand(spec, "exit")
            ),
            FailureKind::HostKeyRevoked => {
                "Do not connect. Ask whoever runs that machine for its new host key.".to_owned()
            }
            FailureKind::KeyRefused => format!(
                "Copy your public key there once: `{}`. A key with a passphrase has to be in the agent: \
                 `ssh-add`.",
                copy_id(spec)
            ),
            FailureKind::TooManyKeys => format!(
                "Name the one key in gateway.remote.sshIdentity, and write `IdentitiesOnly yes` for {} in \
                 your ssh_config.",
                spec.bare_host()
            ),
            FailureKind::IdentityMissing => format!(
                "Correct gateway.remote.sshIdentity, or make the key: `ssh-keygen -t ed25519{}`.",
                spec.identity
                    .as_ref()
                    .map_or_else(String::new, |file| format!(" -f {}", quoted(file)))
            ),
            FailureKind::IdentityExposed => format!(
                "`chmod 600 {}`.",
                spec.identity.as_deref().map_or_else(|| "KEYFILE".into(), quoted)
            ),
            FailureKind::IdentityUnusable => format!(
                "Check that it is a private key, and that its passphrase is in the agent (`ssh-add`): \
                 `ssh-keygen -y -f {}`.",
                spec.identity.as_deref().map_or_else(|| "KEYFILE".into(), quoted)
            ),
            FailureKind::NameNotFound => {
                "Check gateway.remote.sshTarget, and that the network or VPN is up.".to_owned()
            }
            FailureKind::Refused => format!(
                "Check that sshd runs there, and on port {port}; another port is written as \
                 USER@HOST:PORT in gateway.remote.sshTarget."
            ),
            FailureKind::NoRoute | FailureKind::TimedOut => {
                "Check that the machine is on, and the network, the VPN and the firewall.".to_owned()
            }
            FailureKind::NoCommonAlgorithm => {
                "Update OpenSSH on the older of the two machines.".to_owned()
            }
            FailureKind::ClosedEarly => format!(
                "Check that it is sshd that listens on port {port}, and look into its log; a busy sshd \
                 does this too."
            ),
            FailureKind::Silent | FailureKind::Lost => {
                "It is opened again by the next command; `clawgate tunnel up` does so by itself."
                    .to_owned()
            }
            FailureKind::LocalPortTaken => {
                "Try again; a free port is taken where the wanted one is in use.".to_owned()
            }
            FailureKind::LocalPortForbidden => {
                "Write a port from 1024 on into gateway.remote.url, as in ws://127.0.0.1:18789."
                    .to_owned()
            }
            FailureKind::GatewayAbsent => format!(
                "Start the gateway there, or set gateway.remote.remotePort to its port: `{}` tells.",
                by_hand(spec, "clawgate gateway status")
            ),
            FailureKind::ForwardForbidden => format!(
                "Whoever runs that machine has to allow it: `AllowTcpForwarding local` in its sshd_config, \
                 and `permitopen=\"127.0.0.1:{}\"` for keys that are limited.",
                spec.remote_port
            ),
            FailureKind::BadSshConfig => format!(
                "Correct the file that it names; `{}` shows what it reads.",
                by_hand(spec, "-G")
            ),
            FailureKind::NotListening => format!(
                "Try it by hand: `{}`. A key that asks for a touch or a passphrase cannot be used unasked.",
                by_hand(spec, "exit")
            ),
            FailureKind::Stranger => {
                "Try again: the tunnel takes another port. `clawgate tunnel status` shows which."
                    .to_owned()
            }
            FailureKind::NotHeld => "Open it with `clawgate tunnel up`.".to_owned(),
            FailureKind::Other => format!("Try it by hand: `{}`.", by_hand(spec, "exit")),
        }
    }

    /// The file in which the old key stands, and for whom: `Offending ED25519 key in FILE:LINE for NAME`.
    fn known_hosts(&self) -> Option<(&str, Option<&str>)> {
        let (_, place) = self.said.strip_prefix("Offending ")?.split_once(" in ")?;
        let (place, name) = match place.rsplit_once(" for ") {
            Some((place, name)) => (place, Some(name)),
            None => (place, None),
        };
        let (file, line) = place.rsplit_once(':')?;
        let is_number = line.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some((file, name))
    }
}

impl fmt::Display for TunnelFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.code())?;
        if self.said.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.said)
        }
    }
}

/// `channel 2: open failed: connect failed: Connection refused`.
fn is_of_channel(line: &str) -> bool {
    line.contains("open failed: ") && line.trim_start().starts_with("channel ")
}

/// One line without control characters, of a length that a terminal bears.
fn bounded(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SAID)
        .collect()
}

/// The command that a person types to reach the same machine.
fn by_hand(spec: &TunnelSpec, rest: &str) -> String {
    let mut words = ssh_words(spec, "ssh");
    if rest == "-G" {
        words.push("-G".into());
        words.push(quoted(&spec.destination()));
    } else {
        words.push(quoted(&spec.destination()));
        words.push(rest.into());
    }
    words.join(" ")
}

/// The command that lets a key in.
fn copy_id(spec: &TunnelSpec) -> String {
    let mut words = ssh_words(spec, "ssh-copy-id");
    words.push(quoted(&spec.destination()));
    words.join(" ")
}

fn ssh_words(spec: &TunnelSpec, program: &str) -> Vec<String> {
    let mut words = vec![program.to_owned()];
    if let Some(file) = &spec.config_file {
        words.extend(["-F".to_owned(), quoted(file)]);
    }
    if spec.target.port() != 22 {
        words.extend(["-p".to_owned(), spec.target.port().to_string()]);
    }
    if let Some(identity) = &spec.identity {
        words.extend(["-i".to_owned(), quoted(identity)]);
    }
    words
}

/// The name under which `known_hosts` has a host.
fn known_name(spec: &TunnelSpec) -> String {
    let host = spec.bare_host();
    match spec.target.port() {
        22 => host.to_owned(),
        port => format!("[{host}]:{port}"),
    }
}

/// A word as a shell takes it, whatever is in it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/@:~+,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

impl TunnelSpec {
    /// The command that copies this user's public key to the machine (seed 002, step 2).
    pub fn copy_id_command(&self) -> String {
        copy_id(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SshTarget;

    fn kind(said: &str) -> FailureKind {
        TunnelFailure::of_exit(Exit::Code(255), said).kind()
    }

    #[test]
    fn words_of_openssh_are_understood() {
        use FailureKind as K;
        for (said, expected) in [
            ("Host key verification failed.", K::HostKeyUnknown),
            (
                "No RSA host key is known for studio and you have requested strict checking.\nHost key verification failed.",
                K::HostKeyUnknown,
            ),
            (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nOffending ED25519 key in /h/known_hosts:3\nHost key verification failed.",
                K::HostKeyChanged,
            ),
            (
                "@       WARNING: REVOKED HOST KEY DETECTED!               @\nHost key verification failed.",
                K::HostKeyRevoked,
            ),
            (
                "nick@studio: Permission denied (publickey,password).",
                K::KeyRefused,
            ),
            (
                "Received disconnect from 10.0.0.2 port 22:2: Too many authentication failures\nDisconnected from 10.0.0.2 port 22",
                K::TooManyKeys,
            ),
            (
                "Warning: Identity file x not accessible: No such file or directory.\nnick@studio: Permission denied (publickey).",
                K::IdentityMissing,
            ),
            (
                "Warning: Identity file x not accessible: No such file or directory.\nssh: connect to host studio port 22: Connection refused",
                K::Refused,
            ),
            (
                "Permissions 0644 for 'x' are too open.\nIt is required that your private key files are NOT accessible by others.\nLoad key \"x\": bad permissions\nnick@studio: Permission denied (publickey).",
                K::IdentityExposed,
            ),
            (
                "Load key \"x\": error in libcrypto\nnick@studio: Permission denied (publickey).",
                K::IdentityUnusable,
            ),
            (
                "Load key \"x\": invalid format\nnick@studio: Permission denied (publickey).",
                K::IdentityUnusable,
            ),
            (
                "ssh: Could not resolve hostname studio: Name or service not known",
                K::NameNotFound,
            ),
            (
                "ssh: Could not resolve hostname studio: nodename nor servname provided, or not known",
                K::NameNotFound,
            ),
            (
                "ssh: connect to host studio port 22: Connection refused",
                K::Refused,
            ),
            (
                "ssh: connect to host studio port 22: No route to host",
                K::NoRoute,
            ),
            (
                "ssh: connect to host studio port 22: Network is unreachable",
                K::NoRoute,
            ),
            (
                "ssh: connect to host studio port 22: Connection timed out",
                K::TimedOut,
            ),
            (
                "ssh: connect to host studio port 22: Operation timed out",
                K::TimedOut,
            ),
            (
                "Connection timed out during banner exchange\nConnection to 10.0.0.2 port 22 timed out",
                K::TimedOut,
            ),
            (
                "Unable to negotiate with 10.0.0.2 port 22: no matching host key type found. Their offer: ssh-rsa",
                K::NoCommonAlgorithm,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host",
                K::ClosedEarly,
            ),
            (
                "kex_exchange_identification: read: Connection reset by peer",
                K::ClosedEarly,
            ),
            (
                "banner exchange: Connection to 127.0.0.1 port 1: invalid format",
                K::ClosedEarly,
            ),
            ("Connection closed by 127.0.0.1 port 2299", K::ClosedEarly),
            ("Timeout, server studio not responding.", K::Silent),
            ("client_loop: send disconnect: Broken pipe", K::Lost),
            ("Connection to studio closed by remote host.", K::Lost),
            (
                "bind [127.0.0.1]:18789: Address already in use\nchannel_setup_fwd_listener_tcpip: cannot listen to port: 18789\nCould not request local forwarding.",
                K::LocalPortTaken,
            ),
            (
                "bind [127.0.0.1]:80: Permission denied\nchannel_setup_fwd_listener_tcpip: cannot listen to port: 80\nCould not request local forwarding.",
                K::LocalPortForbidden,
            ),
            (
                "Bad owner or permissions on /root/.ssh/config",
                K::BadSshConfig,
            ),
            (
                "c line 1: no argument after keyword \"junk\"\nc: terminating, 1 bad configuration options",
                K::BadSshConfig,
            ),
            (
                "c: line 1: Bad configuration option: junk\nc: terminating, 1 bad configuration options",
                K::BadSshConfig,
            ),
            ("", K::Other),
            // What happened to single connections is not why it ended.
            (
                "channel 2: open failed: connect failed: Connection refused\nTimeout, server studio not responding.",
                K::Silent,
            ),
        ] {
            assert_eq!(kind(said), expected, "{said}");
        }
    }

    #[test]
    fn lines_of_a_running_ssh_tell_of_the_other_end() {
        let kind = |line| TunnelFailure::of_line(line).map(|failure| failure.kind());
        assert_eq!(
            kind("channel 2: open failed: connect failed: Connection refused"),
            Some(FailureKind::GatewayAbsent)
        );
        assert_eq!(
            kind("channel 3: open failed: administratively prohibited: open failed"),
            Some(FailureKind::ForwardForbidden)
        );
        assert_eq!(kind("Warning: Permanently added 'x'"), None);
    }

    #[test]
    fn every_kind_says_what_to_do() {
        let spec = TunnelSpec::new(SshTarget::parse("nick@studio:2222").unwrap(), 18789);
        let mut codes = std::collections::BTreeSet::new();
        for kind in FailureKind::ALL {
            assert!(codes.insert(kind.code()), "{kind:?}");
            let failure = TunnelFailure::new(kind, "words");
            for text in [failure.message(&spec), failure.next_step(&spec)] {
                assert!(text.ends_with('.') && text.len() > 10, "{kind:?}: {text}");
            }
        }
    }

    #[test]
    fn a_changed_key_names_the_file_and_the_entry() {
        let said = "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\n\
                    Offending ED25519 key in /home/a b/known_hosts:12\n";
        let spec = TunnelSpec::new(SshTarget::parse("nick@studio:2222").unwrap(), 18789);
        let next = TunnelFailure::of_exit(Exit::Code(255), said).next_step(&spec);
        assert!(
            next.contains("`ssh-keygen -R '[studio]:2222' -f '/home/a b/known_hosts'`"),
            "{next}"
        );
        // `ssh` may know the machine by another name.
        let said = format!(
            "{said}Host key for [10.0.0.7]:2222 has changed and you have requested strict checking.\n"
        );
        let next = TunnelFailure::of_exit(Exit::Code(255), &said).next_step(&spec);
        assert!(
            next.contains("`ssh-keygen -R '[10.0.0.7]:2222' -f '/home/a b/known_hosts'`"),
            "{next}"
        );
    }

    #[test]
    fn commands_can_be_pasted_whatever_a_target_holds() {
        let spec = TunnelSpec::new(SshTarget::parse("nick@h;rm$(x)'y").unwrap(), 18789);
        let next = TunnelFailure::new(FailureKind::KeyRefused, "").next_step(&spec);
        assert!(
            next.contains("`ssh-copy-id 'nick@h;rm$(x)'\\''y'`"),
            "{next}"
        );
    }

    #[test]
    fn what_ssh_says_is_one_bounded_line() {
        let long = format!("x\u{1b}[2J{}", "y".repeat(5_000));
        let failure = TunnelFailure::of_exit(Exit::Code(255), &long);
        assert!(failure.said().len() <= MAX_SAID);
        assert!(!failure.said().contains('\u{1b}'));
    }
}

//! What `ssh` meant by what it said, and what a person can do about it. OpenSSH has one exit code for
//! everything, so its words decide. They are asked for in English (`LC_ALL=C`).

use std::fmt;

use serde::{Deserialize, Serialize};

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

impl TunnelFailure {
    /// A failure without any words of `ssh`.
    pub fn new(kind: FailureKind, said: impl AsRef<str>) -> Self {
        Self {
            kind,
            said: bounded(said.as_ref()),
        }
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
mod tests;

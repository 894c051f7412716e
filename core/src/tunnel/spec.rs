//! What is forwarded, and the command line for it (spec hostpolicy §7).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy::SshTarget;

/// The gateway's port where nothing names one.
pub const DEFAULT_GATEWAY_PORT: u16 = 18_789;

/// Names another file than `~/.ssh/config` and the system's for `ssh` to read, as its option `-F` does.
pub const SSH_CONFIG_ENV: &str = "CLAWGATE_SSH_CONFIG";

/// `gateway.remote.sshHostKeyPolicy`: what to do about a host whose key is not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKeyPolicy {
    /// Refuse it.
    #[default]
    Strict,
    /// Whatever the user's `ssh_config` says. Nobody can be asked, so `ask` refuses it too.
    OpenSsh,
}

/// How soon a silent connection counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepAlive {
    /// Seconds of silence before `ssh` asks for a sign of life.
    pub interval: u16,
    /// Unanswered questions after which it ends.
    pub count: u16,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            interval: 15,
            count: 3,
        }
    }
}

/// One tunnel: from a port of this machine to a port of the gateway's.
///
/// ```
/// use clawgate_core::policy::SshTarget;
/// use clawgate_core::tunnel::{KeepAlive, TunnelSpec};
///
/// let spec = TunnelSpec::new(SshTarget::parse("nick@studio:2222").unwrap(), 18789);
/// let arguments = spec.arguments(50_123, KeepAlive::default());
/// assert!(arguments.contains(&"127.0.0.1:50123:127.0.0.1:18789".to_owned()));
/// assert_eq!(arguments.last().unwrap(), "nick@studio");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelSpec {
    /// The machine of the gateway.
    #[serde(with = "target_text")]
    pub target: SshTarget,
    /// The file of the key to log in with, beside those that `ssh` knows.
    pub identity: Option<String>,
    /// What to do about an unknown host.
    pub host_keys: HostKeyPolicy,
    /// The `ssh_config` to read in place of the usual ones.
    pub config_file: Option<String>,
    /// The gateway's port over there.
    pub remote_port: u16,
    /// The port that is wanted here; another one is taken where somebody has it.
    pub local_port: u16,
}

impl TunnelSpec {
    /// A tunnel with strict host keys, and the same port on both sides.
    pub fn new(target: SshTarget, remote_port: u16) -> Self {
        Self {
            target,
            identity: None,
            host_keys: HostKeyPolicy::Strict,
            config_file: None,
            remote_port,
            local_port: remote_port,
        }
    }

    /// What `ssh` is called with. Nothing of it is read by a shell, and no part of the target can be taken
    /// for an option. A connection is never shared with another `ssh`: the listener has to be this one's.
    pub fn arguments(&self, local_port: u16, keep_alive: KeepAlive) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |texts: &[&str]| arguments.extend(texts.iter().map(|&text| text.to_owned()));
        if let Some(file) = &self.config_file {
            add(&["-F", file]);
        }
        add(&["-N", "-L", &self.forward(local_port)]);
        add(&["-p", &self.target.port().to_string()]);
        add(&["-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes"]);
        match self.host_keys {
            HostKeyPolicy::Strict => add(&["-o", "StrictHostKeyChecking=yes"]),
            HostKeyPolicy::OpenSsh => {}
        }
        add(&["-o", "UpdateHostKeys=yes", "-o", "ConnectTimeout=5"]);
        let KeepAlive { interval, count } = keep_alive;
        add(&["-o", &format!("ServerAliveInterval={interval}")]);
        add(&["-o", &format!("ServerAliveCountMax={count}")]);
        add(&["-o", "ControlMaster=no", "-o", "ControlPath=none"]);
        add(&["-o", "LogLevel=INFO"]);
        if let Some(identity) = &self.identity {
            add(&["-i", identity]);
        }
        add(&["--", &self.destination()]);
        arguments
    }

    /// The argument of `-L`, by which the command line of a running `ssh` is known again.
    pub fn forward(&self, local_port: u16) -> String {
        format!("127.0.0.1:{local_port}:127.0.0.1:{}", self.remote_port)
    }

    /// `user@host`, as `ssh` takes it: an IPv6 address without brackets.
    pub fn destination(&self) -> String {
        let host = self.bare_host();
        match self.target.user() {
            Some(user) => format!("{user}@{host}"),
            None => host.to_owned(),
        }
    }

    pub(super) fn bare_host(&self) -> &str {
        let host = self.target.host();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The name by which programs that want this very tunnel find each other.
    pub fn key(&self) -> TunnelKey {
        // A struct of texts and numbers always has a text.
        let text = serde_json::to_string(self).unwrap_or_default();
        let hash = Sha256::digest(text.as_bytes());
        let digits = hash.iter().take(8).map(|byte| format!("{byte:02x}"));
        TunnelKey(digits.collect())
    }
}

impl fmt::Display for TunnelSpec {
    /// Writes `nick@studio:2222 port 18789`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.target, self.remote_port)
    }
}

/// The name of the files of a tunnel: 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TunnelKey(String);

impl TunnelKey {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

mod target_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::policy::SshTarget;

    pub(super) fn serialize<S: Serializer>(
        target: &SshTarget,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(target)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SshTarget, D::Error> {
        let text = String::deserialize(deserializer)?;
        SshTarget::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(target: &str) -> TunnelSpec {
        TunnelSpec::new(SshTarget::parse(target).unwrap(), 18789)
    }

    #[test]
    fn the_command_line_is_the_one_of_the_contract() {
        let line = spec("nick@studio")
            .arguments(18790, KeepAlive::default())
            .join(" ");
        assert_eq!(
            line,
            "-N -L 127.0.0.1:18790:127.0.0.1:18789 -p 22 -o ExitOnForwardFailure=yes -o BatchMode=yes -o \
             StrictHostKeyChecking=yes -o UpdateHostKeys=yes -o ConnectTimeout=5 -o \
             ServerAliveInterval=15 -o ServerAliveCountMax=3 -o ControlMaster=no -o ControlPath=none -o \
             LogLevel=INFO -- nick@studio"
        );
    }

    #[test]
    fn options_of_a_tunnel_are_passed_on() {
        let spec = TunnelSpec {
            identity: Some("~/.ssh/gw".into()),
            host_keys: HostKeyPolicy::OpenSsh,
            config_file: Some("/etc/gw.conf".into()),
            ..spec("[::1]:2222")
        };
        let keep_alive = KeepAlive {
            interval: 1,
            count: 2,
        };
        let line = spec.arguments(1, keep_alive).join(" ");
        assert!(line.starts_with("-F /etc/gw.conf -N "), "{line}");
        assert!(line.ends_with("-i ~/.ssh/gw -- ::1"), "{line}");
        assert!(line.contains("-p 2222") && !line.contains("StrictHostKeyChecking"));
        assert!(line.contains("ServerAliveInterval=1 -o ServerAliveCountMax=2"));
    }

    #[test]
    fn equal_tunnels_have_equal_names() {
        let key = |target| spec(target).key();
        assert_eq!(key("studio"), key(" studio:22"));
        assert_ne!(key("studio"), key("nick@studio"));
        assert_eq!(key("studio").as_str().len(), 16);
        let other_port = TunnelSpec {
            remote_port: 1,
            ..spec("studio")
        };
        assert_ne!(key("studio"), other_port.key());
    }

    #[test]
    fn a_spec_survives_its_text() {
        for target in ["studio", "nick@studio:2222", "[::1]:22", "a:b:7"] {
            let spec = spec(target);
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<TunnelSpec>(&text).unwrap(), spec);
        }
    }
}

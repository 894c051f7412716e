//! Where an SSH tunnel goes (spec hostpolicy §7).

use std::fmt;

use serde::Serialize;

/// The target of `ssh`, taken apart so that no part of it can be read as an option.
///
/// ```
/// use clawgate_core::policy::SshTarget;
///
/// let target = SshTarget::parse("ssh nick@studio:2222").unwrap();
/// assert_eq!((target.user(), target.host(), target.port()), (Some("nick"), "studio", 2222));
/// assert!(SshTarget::parse("-oProxyCommand=x").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SshTarget {
    user: Option<String>,
    host: String,
    port: u16,
}

/// What is wrong with the text of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSshTarget {
    /// No host.
    #[error("the SSH target names no host; write HOST, USER@HOST or USER@HOST:PORT")]
    NoHost,
    /// Not a number from 1 to 65535 behind the last colon.
    #[error("the SSH port is not a number from 1 to 65535")]
    Port,
    /// A user or host that `ssh` could misread.
    #[error(
        "the SSH user or host starts with `-`, or holds a blank, a control character, a second \
         `@` or a stray colon; put IPv6 addresses in brackets, with a port"
    )]
    Characters,
}

impl SshTarget {
    /// Reads `[ssh ][user@]host[:port]`. The port is 22 when it is left out.
    ///
    /// # Errors
    /// [`InvalidSshTarget`] for anything that a command line could take for something else.
    pub fn parse(text: &str) -> Result<Self, InvalidSshTarget> {
        let text = text.trim();
        let text = match text.strip_prefix("ssh") {
            Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
            Some(_) | None => text,
        };
        let (user, address) = match text.split_once('@') {
            Some((user, address)) => (user.trim(), address.trim()),
            None => ("", text),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.is_empty() => {
                (host.trim(), parse_port(port.trim())?)
            }
            Some(_) | None => (address, 22),
        };
        if host.is_empty() {
            return Err(InvalidSshTarget::NoHost);
        }
        let stray_colon = host.starts_with(':') || host.ends_with(':');
        if stray_colon || !is_safe(user) || !is_safe(host) {
            return Err(InvalidSshTarget::Characters);
        }
        Ok(Self {
            user: (!user.is_empty()).then(|| user.to_owned()),
            host: host.to_owned(),
            port,
        })
    }

    /// The user, when one is named.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host, as `ssh` takes it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 22 by default.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for SshTarget {
    /// Writes `user@host:port` without the default port, as [`SshTarget::parse`] reads it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if self.port == 22 && !self.host.contains(':') {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidSshTarget> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidSshTarget::Port);
    }
    match digits.parse() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(InvalidSshTarget::Port),
    }
}

fn is_safe(part: &str) -> bool {
    !part.starts_with('-')
        && !part.contains(|c: char| c.is_control() || c.is_whitespace() || c == '@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        for (text, user, host, port) in [
            ("host", None, "host", 22),
            (" user@host ", Some("user"), "host", 22),
            ("@host", None, "host", 22),
            ("ssh", None, "ssh", 22),
            ("ssh  host:+22", None, "host", 22),
            ("[::1]:2222", None, "[::1]", 2222),
            ("user@host:22:33", Some("user"), "host:22", 33),
        ] {
            let target = SshTarget::parse(text).unwrap();
            assert_eq!(
                (target.user(), target.host(), target.port()),
                (user, host, port),
                "{text}"
            );
        }
    }

    #[test]
    fn unsafe_targets_are_refused() {
        for (text, error) in [
            ("", InvalidSshTarget::NoHost),
            ("user@", InvalidSshTarget::NoHost),
            ("host:0", InvalidSshTarget::Port),
            ("host:65536", InvalidSshTarget::Port),
            ("host:1e2", InvalidSshTarget::Port),
            ("host:", InvalidSshTarget::Characters),
            (":22", InvalidSshTarget::Characters),
            ("::1", InvalidSshTarget::Characters),
            ("-oProxyCommand=x", InvalidSshTarget::Characters),
            ("-lroot@host", InvalidSshTarget::Characters),
            ("user@-host:22", InvalidSshTarget::Characters),
            ("user@host name", InvalidSshTarget::Characters),
            ("user@h@host", InvalidSshTarget::Characters),
            ("user@host\n-oX", InvalidSshTarget::Characters),
        ] {
            assert_eq!(SshTarget::parse(text), Err(error), "{text:?}");
        }
    }
}

//! Which port a gateway has (spec hostpolicy §2).

use std::fmt;

use serde::Serialize;

use crate::config::EnvVars;
use crate::config::paths::Profile;

/// The port when nothing says otherwise.
pub const DEFAULT_PORT: u16 = 18789;
/// The port of the profile `dev` when the environment names none.
pub const DEV_PORT: u16 = 19001;
/// The variable that names the port.
pub const PORT_ENV: &str = "OPENCLAW_GATEWAY_PORT";

/// Where a port comes from, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortSource {
    /// `--port`.
    Flag,
    /// `OPENCLAW_GATEWAY_PORT`.
    Env,
    /// The profile `dev`.
    Dev,
    /// `gateway.port`.
    Config,
    /// Derived from the name of the profile.
    Profile,
    /// [`DEFAULT_PORT`].
    Default,
}

/// The port of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayPort {
    /// The port.
    pub port: u16,
    /// What named it.
    pub source: PortSource,
}

/// Chooses the port of a gateway. `config` is `gateway.port`.
///
/// ```
/// use clawgate_core::config::{EnvVars, paths::Profile};
/// use clawgate_core::policy::port::{PortSource, gateway_port};
///
/// let env: EnvVars = [("OPENCLAW_GATEWAY_PORT", "127.0.0.1:20001")].into_iter().collect();
/// let chosen = gateway_port(None, &env, Some(19001), &Profile::Default);
/// assert_eq!((chosen.port, chosen.source), (20001, PortSource::Env));
/// ```
pub fn gateway_port(
    flag: Option<u16>,
    env: &EnvVars,
    config: Option<u16>,
    profile: &Profile,
) -> GatewayPort {
    let of = |source| move |port| GatewayPort { port, source };
    let dev = (*profile == Profile::Dev && env.non_blank(PORT_ENV).is_none()).then_some(DEV_PORT);
    let derived = match profile {
        Profile::Named(name) => Some(port_of_profile(name.as_str())),
        Profile::Default | Profile::Dev => None,
    };
    flag.map(of(PortSource::Flag))
        .or_else(|| {
            env.get(PORT_ENV)
                .and_then(parse_port_env)
                .map(of(PortSource::Env))
        })
        .or_else(|| dev.map(of(PortSource::Dev)))
        .or_else(|| config.map(of(PortSource::Config)))
        .or_else(|| derived.map(of(PortSource::Profile)))
        .unwrap_or_else(|| of(PortSource::Default)(DEFAULT_PORT))
}

/// The port of a named profile: 20000 to 59999, by the FNV-1a hash of the name, so that two profiles
/// on one host do not collide.
pub fn port_of_profile(name: &str) -> u16 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // At most 59999, which is a port.
    u16::try_from(20_000 + hash % 40_000).unwrap_or(DEFAULT_PORT)
}

/// Reads the value of `OPENCLAW_GATEWAY_PORT`: digits, `host:port` or `[v6]:port`. Anything else is
/// ignored, so that the next source counts.
pub fn parse_port_env(value: &str) -> Option<u16> {
    let value = value.trim();
    let port = match value.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once("]:")?;
            (!host.is_empty() && !host.contains(']')).then_some(port)?
        }
        None => match value.split_once(':') {
            Some(("", _)) => return None,
            Some((_, port)) => port,
            None => value,
        },
    };
    parse_digits(port)
}

/// Reads `--port`.
///
/// # Errors
/// [`InvalidPort`] unless it is a plain number from 1 to 65535, with or without blanks around it.
pub fn parse_port_option(value: &str) -> Result<u16, InvalidPort> {
    parse_digits(value.trim()).ok_or(InvalidPort)
}

fn parse_digits(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Leading zeros may make the text longer than any number type.
    let text = digits.then(|| text.trim_start_matches('0'))?;
    text.parse().ok().filter(|&port| port != 0)
}

/// `--port` is not a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPort;

impl InvalidPort {
    /// A stable name for scripts.
    pub const fn code(self) -> &'static str {
        "invalid_port"
    }
}

impl fmt::Display for InvalidPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "--port is not a port. Give a plain number from 1 to 65535, as in --port 18789.",
        )
    }
}

impl std::error::Error for InvalidPort {}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(port: &str) -> EnvVars {
        [(PORT_ENV, port)].into_iter().collect()
    }

    #[test]
    fn a_profile_has_the_port_that_openclaw_gives_it() {
        assert_eq!(port_of_profile("rescue"), 23532);
    }

    #[test]
    fn junk_in_the_environment_gives_way_to_the_next_source() {
        for junk in [
            "",
            "abc",
            "0",
            "65536",
            "-1",
            "1.5",
            "::1:20001",
            ":20001",
            "[]:1",
            "a:b:1",
            "[::1]",
            "1e3",
        ] {
            let chosen = gateway_port(None, &env(junk), Some(19001), &Profile::Default);
            assert_eq!(chosen.source, PortSource::Config, "{junk:?}");
        }
        for good in [
            "20001",
            " 20001 ",
            "localhost:20001",
            "[::1]:20001",
            "020001",
        ] {
            assert_eq!(parse_port_env(good), Some(20001), "{good:?}");
        }
    }

    #[test]
    fn the_dev_profile_stands_where_the_environment_would() {
        let none = EnvVars::new();
        let chosen = gateway_port(None, &none, Some(1234), &Profile::Dev);
        assert_eq!((chosen.port, chosen.source), (DEV_PORT, PortSource::Dev));
        let chosen = gateway_port(Some(1), &env("2"), Some(3), &Profile::Dev);
        assert_eq!(chosen.source, PortSource::Flag);
        assert_eq!(gateway_port(None, &env("2"), None, &Profile::Dev).port, 2);
    }

    #[test]
    fn the_flag_takes_plain_numbers_only() {
        for bad in ["0x10", "1e3", "18789.0", "", "+1", "0", "65536", "1 2"] {
            assert_eq!(parse_port_option(bad), Err(InvalidPort), "{bad:?}");
        }
        assert_eq!(parse_port_option(" 18789 "), Ok(18789));
    }
}

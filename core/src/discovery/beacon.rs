//! Whether a gateway tells its network where it is, and in which words.

use core::net::IpAddr;

use super::text::{clean, cut, is_host_label};
use crate::config::EnvVars;
use crate::policy::bind::Surroundings;
use crate::policy::{HostClass, TlsFingerprint};

/// Turns advertising off when true, and on in a container when false.
const DISABLE: &str = "OPENCLAW_DISABLE_BONJOUR";
/// The longest label of a name in bytes (RFC 1035).
const MAX_LABEL: usize = 63;
/// The longest value of a TXT key in bytes: a whole string has 255 (RFC 6763 §6.1).
const MAX_VALUE: usize = 200;

/// `discovery.mdns.mode`: how much a beacon says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MdnsMode {
    /// There is no beacon.
    Off,
    /// What a client needs to connect.
    #[default]
    Minimal,
    /// The same, and what helps to get in by SSH or a tailnet.
    Full,
}

impl MdnsMode {
    /// Reads the name in the config.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "off" => Self::Off,
            "minimal" => Self::Minimal,
            "full" => Self::Full,
            _ => return None,
        })
    }

    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Minimal => "minimal",
            Self::Full => "full",
        }
    }
}

/// What the decision depends on.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// `discovery.mdns.mode`.
    pub mode: MdnsMode,
    /// The environment of the gateway.
    pub env: &'a EnvVars,
    /// Multicast seldom leaves a container.
    pub surroundings: Surroundings,
    /// The address that the gateway listens on; unspecified for all of them.
    pub listening: IpAddr,
    /// The port that it got.
    pub port: u16,
    /// The certificate that it shows, if it speaks TLS.
    pub tls: Option<&'a TlsFingerprint>,
    /// The name of the machine.
    pub machine: &'a str,
    /// The program, for those who come by SSH.
    pub program: Option<&'a str>,
}

/// On which networks a beacon is to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// On all but this machine's own.
    Every,
    /// On the one of this address.
    Of(IpAddr),
}

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// The name of the instance, for people.
    pub instance: String,
    /// The machine's name, ending in `.local.`.
    pub host: String,
    /// The port.
    pub port: u16,
    /// TXT keys and values.
    pub txt: Vec<(&'static str, String)>,
    /// Where it is heard.
    pub network: Network,
}

/// Why there is no beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// `discovery.mdns.mode` is `off`.
    Mode,
    /// The environment says so.
    Environment,
    /// The gateway runs in a container.
    Container,
    /// Nobody elsewhere could connect.
    Loopback,
    /// A tailnet carries no multicast, and no other network is listened on.
    Tailnet,
}

impl Withheld {
    /// The reason in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "discovery.mdns.mode is off",
            Self::Environment => "OPENCLAW_DISABLE_BONJOUR is set",
            Self::Container => {
                "this is a container; OPENCLAW_DISABLE_BONJOUR=0 advertises all the same"
            }
            Self::Loopback => "it listens on loopback only",
            Self::Tailnet => "it listens in the tailnet only, which carries no multicast",
        }
    }
}

/// Decides whether a gateway advertises itself, and what it says (spec hostpolicy §9).
///
/// A gateway that other machines cannot connect to is advertised in full mode only, for clients that
/// come by SSH. No beacon names a version, a user, a path (but in full mode), or a secret.
///
/// # Errors
/// The reason why there is no beacon.
///
/// ```
/// use clawgate_core::config::EnvVars;
/// use clawgate_core::discovery::{MdnsMode, Situation, Withheld, decide};
/// use clawgate_core::policy::bind::Surroundings;
///
/// let mut situation = Situation {
///     mode: MdnsMode::Minimal,
///     env: &EnvVars::new(),
///     surroundings: Surroundings::Machine,
///     listening: [0, 0, 0, 0].into(),
///     port: 18789,
///     tls: None,
///     machine: "attic",
///     program: None,
/// };
/// let beacon = decide(&situation).unwrap();
/// assert_eq!(beacon.host, "attic.local.");
/// situation.listening = [127, 0, 0, 1].into();
/// assert_eq!(decide(&situation), Err(Withheld::Loopback));
/// ```
pub fn decide(situation: &Situation<'_>) -> Result<Beacon, Withheld> {
    let Situation { mode, env, .. } = situation;
    if *mode == MdnsMode::Off {
        return Err(Withheld::Mode);
    }
    match env.non_blank(DISABLE).and_then(boolean) {
        Some(true) => return Err(Withheld::Environment),
        Some(false) => {}
        None if in_container(situation) => return Err(Withheld::Container),
        None => {}
    }
    let full = *mode == MdnsMode::Full;
    let (network, reachable) = match HostClass::of_ip(situation.listening) {
        HostClass::Loopback if full => (Network::Every, false),
        HostClass::Loopback => return Err(Withheld::Loopback),
        HostClass::Cgnat | HostClass::Tailnet if full => (Network::Every, false),
        HostClass::Cgnat | HostClass::Tailnet => return Err(Withheld::Tailnet),
        HostClass::Unspecified => (Network::Every, true),
        HostClass::Private
        | HostClass::LinkLocal
        | HostClass::UniqueLocal
        | HostClass::SiteLocal
        | HostClass::Mdns
        | HostClass::PrivateName
        | HostClass::Multicast
        | HostClass::Documentation
        | HostClass::Transition
        | HostClass::Reserved
        | HostClass::Public => (Network::Of(situation.listening), true),
    };
    let label = host_label(situation);
    let name = Some(clean(situation.machine, MAX_LABEL))
        .filter(|name| !name.is_empty() && env.non_blank("OPENCLAW_MDNS_HOSTNAME").is_none());
    let name = name.as_deref().unwrap_or(&label);
    Ok(Beacon {
        instance: instance(name),
        host: format!("{label}.local."),
        port: situation.port,
        txt: txt(situation, name, &label, reachable),
        network,
    })
}

fn txt(
    situation: &Situation<'_>,
    name: &str,
    label: &str,
    reachable: bool,
) -> Vec<(&'static str, String)> {
    let mut txt = vec![
        ("role", "gateway".to_owned()),
        ("transport", "gateway".to_owned()),
        ("displayName", cut(name, MAX_LABEL).to_owned()),
        ("lanHost", format!("{label}.local")),
        ("gatewayPort", situation.port.to_string()),
    ];
    if let Some(fingerprint) = situation.tls {
        txt.push(("gatewayTls", "1".to_owned()));
        txt.push(("gatewayTlsSha256", fingerprint.to_string()));
    }
    if reachable {
        txt.push(("gatewayDirectReachable", "1".to_owned()));
    }
    if situation.mode == MdnsMode::Full {
        let env = situation.env;
        let tailnet = env
            .non_blank("OPENCLAW_TAILNET_DNS")
            .map(|name| name.strip_suffix('.').unwrap_or(name));
        let ssh = env.non_blank("OPENCLAW_SSH_PORT").and_then(port);
        let program = env.non_blank("OPENCLAW_CLI_PATH").or(situation.program);
        txt.push(("sshPort", ssh.unwrap_or(22).to_string()));
        for (key, value) in [("tailnetDns", tailnet), ("cliPath", program)] {
            // Half of a name or a path is of no use.
            if let Some(value) = value.filter(|value| value.len() <= MAX_VALUE) {
                txt.push((key, value.to_owned()));
            }
        }
    }
    txt
}

/// `NAME (OpenClaw)`, as clients expect it.
fn instance(name: &str) -> String {
    const END: &str = " (OpenClaw)";
    if name.to_ascii_lowercase().contains("openclaw") {
        return cut(name, MAX_LABEL).to_owned();
    }
    format!("{}{END}", cut(name, MAX_LABEL - END.len()))
}

/// The first label of the name that was asked for, else of the machine's.
fn host_label(situation: &Situation<'_>) -> String {
    let asked = situation.env.non_blank("OPENCLAW_MDNS_HOSTNAME");
    [asked, Some(situation.machine)]
        .into_iter()
        .flatten()
        .filter_map(|name| name.trim().split('.').next())
        .find(|label| is_host_label(label))
        .unwrap_or("openclaw")
        .to_owned()
}

fn in_container(situation: &Situation<'_>) -> bool {
    let fly = ["FLY_MACHINE_ID", "FLY_APP_NAME"];
    situation.surroundings == Surroundings::Container
        || fly
            .iter()
            .all(|name| situation.env.non_blank(name).is_some())
}

/// Words that mean yes or no in OpenClaw's environment; anything else means nothing.
fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "attic";

    fn situation<'a>(mode: MdnsMode, env: &'a EnvVars, listening: &str) -> Situation<'a> {
        Situation {
            mode,
            env,
            surroundings: Surroundings::Machine,
            listening: listening.parse().unwrap(),
            port: 4321,
            tls: None,
            machine: MACHINE,
            program: Some("/usr/bin/clawgate"),
        }
    }

    fn keys(beacon: &Beacon) -> Vec<&'static str> {
        beacon.txt.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn a_minimal_beacon_says_what_a_client_needs() {
        let env = EnvVars::new();
        let fingerprint = TlsFingerprint::from([7; 32]);
        let beacon = decide(&Situation {
            tls: Some(&fingerprint),
            ..situation(MdnsMode::Minimal, &env, "0.0.0.0")
        })
        .unwrap();
        assert_eq!(beacon.instance, "attic (OpenClaw)");
        assert_eq!(
            (beacon.host.as_str(), beacon.port, beacon.network),
            ("attic.local.", 4321, Network::Every)
        );
        let sha = "07".repeat(32);
        let said: Vec<(&str, &str)> = beacon
            .txt
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                ("role", "gateway"),
                ("transport", "gateway"),
                ("displayName", "attic"),
                ("lanHost", "attic.local"),
                ("gatewayPort", "4321"),
                ("gatewayTls", "1"),
                ("gatewayTlsSha256", sha.as_str()),
                ("gatewayDirectReachable", "1"),
            ]
        );
    }

    #[test]
    fn a_full_beacon_adds_ssh_tailnet_and_program() {
        let env: EnvVars = [
            ("OPENCLAW_TAILNET_DNS", "attic.fish.ts.net."),
            ("OPENCLAW_SSH_PORT", "2222"),
            ("OPENCLAW_CLI_PATH", "/opt/openclaw"),
        ]
        .into_iter()
        .collect();
        let beacon = decide(&situation(MdnsMode::Full, &env, "0.0.0.0")).unwrap();
        let end = beacon.txt.get(beacon.txt.len() - 3..).unwrap();
        assert_eq!(
            end,
            [
                ("sshPort", "2222".to_owned()),
                ("tailnetDns", "attic.fish.ts.net".to_owned()),
                ("cliPath", "/opt/openclaw".to_owned()),
            ]
        );
        let none = EnvVars::new();
        let beacon = decide(&situation(MdnsMode::Full, &none, "127.0.0.1")).unwrap();
        assert!(!keys(&beacon).contains(&"gatewayDirectReachable"));
        assert!(beacon.txt.contains(&("sshPort", "22".to_owned())));
        assert!(
            beacon
                .txt
                .contains(&("cliPath", "/usr/bin/clawgate".to_owned()))
        );
        assert!(!keys(&beacon).contains(&"tailnetDns"));
    }

    #[test]
    fn the_environment_turns_it_off_and_containers_need_a_word() {
        let wants = |value: Option<&str>, surroundings| {
            let env: EnvVars = value.map(|value| (DISABLE, value)).into_iter().collect();
            decide(&Situation {
                surroundings,
                ..situation(MdnsMode::Minimal, &env, "0.0.0.0")
            })
            .map(|_| ())
        };
        use Surroundings::{Container, Machine};
        for yes in ["1", "true", "YES", " on "] {
            assert_eq!(
                wants(Some(yes), Machine),
                Err(Withheld::Environment),
                "{yes}"
            );
        }
        for no in ["0", "false", "no", "Off"] {
            assert_eq!(wants(Some(no), Container), Ok(()), "{no}");
        }
        for nothing in [None, Some(""), Some("maybe")] {
            assert_eq!(wants(nothing, Machine), Ok(()));
            assert_eq!(wants(nothing, Container), Err(Withheld::Container));
        }
        let fly: EnvVars = [("FLY_MACHINE_ID", "m"), ("FLY_APP_NAME", "a")]
            .into_iter()
            .collect();
        assert_eq!(
            decide(&situation(MdnsMode::Minimal, &fly, "0.0.0.0")),
            Err(Withheld::Container)
        );
    }

    #[test]
    fn nobody_hears_of_a_gateway_that_they_cannot_reach() {
        let env = EnvVars::new();
        let at = |address| decide(&situation(MdnsMode::Minimal, &env, address));
        assert_eq!(at("127.0.0.1"), Err(Withheld::Loopback));
        assert_eq!(at("100.101.2.3"), Err(Withheld::Tailnet));
        let one = at("192.168.3.4").unwrap();
        assert_eq!(one.network, Network::Of([192, 168, 3, 4].into()));
        let off: EnvVars = [(DISABLE, "0")].into_iter().collect();
        assert_eq!(
            decide(&situation(MdnsMode::Off, &off, "0.0.0.0")),
            Err(Withheld::Mode)
        );
    }

    #[test]
    fn names_fit_into_labels() {
        let beacon = |asked: Option<&str>, machine: &str| {
            let env: EnvVars = asked
                .map(|name| ("OPENCLAW_MDNS_HOSTNAME", name))
                .into_iter()
                .collect();
            let beacon = decide(&Situation {
                machine,
                ..situation(MdnsMode::Minimal, &env, "0.0.0.0")
            })
            .unwrap();
            (beacon.host, beacon.instance)
        };
        let of = |host: &str, instance: &str| (host.to_owned(), instance.to_owned());
        assert_eq!(
            beacon(Some("den.local"), "attic"),
            of("den.local.", "den (OpenClaw)")
        );
        assert_eq!(
            beacon(Some("not a name"), "attic.example.com").0,
            "attic.local."
        );
        assert_eq!(
            beacon(None, "Ada's \u{1b}Mac"),
            of("openclaw.local.", "Ada's Mac (OpenClaw)")
        );
        assert_eq!(beacon(None, ""), of("openclaw.local.", "openclaw"));
        let (_, long) = beacon(None, &"é".repeat(60));
        assert!(
            long.len() <= MAX_LABEL && long.ends_with("é (OpenClaw)"),
            "{long}"
        );
    }
}

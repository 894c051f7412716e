//! What the TXT keys of a beacon say. Anybody on the network can write anything there.

use serde::Serialize;

use super::text::clean;
use crate::policy::TlsFingerprint;

/// The longest value that is shown, in characters.
const MAX_CHARS: usize = 120;

/// Words for people, and nothing else. No field of it is a route, a pin, or a reason to send a
/// credential: a client that wants to pin what is said here must ask its user first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hints {
    /// `displayName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// `role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `transport`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// `lanHost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan_host: Option<String>,
    /// `gatewayPort`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_port: Option<u16>,
    /// `gatewayTls`.
    pub gateway_tls: bool,
    /// `gatewayTlsSha256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_tls_sha256: Option<TlsFingerprint>,
    /// `gatewayDirectReachable`.
    pub gateway_direct_reachable: bool,
    /// `tailnetDns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tailnet_dns: Option<String>,
    /// `sshPort`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_port: Option<u16>,
    /// `cliPath`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cli_path: Option<String>,
}

impl Hints {
    /// Reads the keys that are known. The first of two alike counts (RFC 6763 §6.4).
    pub(super) fn read(txt: &[(String, Vec<u8>)]) -> Self {
        let text = |name: &str| {
            let (_, value) = txt.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            let value = clean(&String::from_utf8_lossy(value), MAX_CHARS);
            (!value.is_empty()).then_some(value)
        };
        let port = |name| text(name)?.parse().ok().filter(|port: &u16| *port > 0);
        let yes = |name| text(name).is_some_and(|value| matches!(&*value, "1" | "true"));
        Self {
            display_name: text("displayName"),
            role: text("role"),
            transport: text("transport"),
            lan_host: text("lanHost"),
            gateway_port: port("gatewayPort"),
            gateway_tls: yes("gatewayTls"),
            gateway_tls_sha256: text("gatewayTlsSha256").and_then(|it| it.parse().ok()),
            gateway_direct_reachable: yes("gatewayDirectReachable"),
            tailnet_dns: text("tailnetDns"),
            ssh_port: port("sshPort"),
            cli_path: text("cliPath"),
        }
    }
}

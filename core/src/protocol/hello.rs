//! The `hello-ok` payload (spec protocol §3.7).

use serde::{Deserialize, Serialize};

use super::Role;
use crate::{frame::RawJson, secret::Secret, time::WallTime};

/// How a client proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum AuthMethod {
    BootstrapToken,
    DeviceToken,
    None,
    Password,
    Tailscale,
    Token,
    TrustedProxy,
}

/// `server`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloServer {
    /// The gateway's version.
    pub version: String,
    /// Changes with each start of the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// This connection.
    pub conn_id: String,
}

/// `features`: what the gateway can do. Clients refuse to call what is not listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HelloFeatures {
    /// Methods.
    pub methods: Vec<String>,
    /// Events.
    pub events: Vec<String>,
    /// Named extras.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// `auth`: what the connection really has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloAuth {
    /// How it was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<AuthMethod>,
    /// The granted role.
    pub role: Role,
    /// The granted scopes; they may be fewer than were asked for.
    pub scopes: Vec<String>,
    /// The token by which the device may come next time.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::secret_field"
    )]
    pub device_token: Option<Secret>,
    /// When the device token was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at_ms: Option<WallTime>,
}

/// `policy`: limits that the client has to keep.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloPolicy {
    /// Bytes of one message to the gateway.
    pub max_payload: u64,
    /// Bytes that the gateway keeps for a slow client.
    pub max_buffered_bytes: u64,
    /// Milliseconds between `tick` events.
    pub tick_interval_ms: u64,
}

/// The payload, as a gateway writes it and a client reads it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HelloOk {
    /// Always `hello-ok`.
    #[serde(rename = "type")]
    pub kind: HelloTag,
    /// The protocol version that is spoken.
    pub protocol: u32,
    /// Who answers.
    pub server: HelloServer,
    /// What it can do.
    pub features: HelloFeatures,
    /// The state at this moment.
    pub snapshot: serde_json::Value,
    /// What was granted.
    pub auth: HelloAuth,
    /// Limits.
    pub policy: HelloPolicy,
}

impl AuthMethod {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BootstrapToken => "bootstrap-token",
            Self::DeviceToken => "device-token",
            Self::None => "none",
            Self::Password => "password",
            Self::Tailscale => "tailscale",
            Self::Token => "token",
            Self::TrustedProxy => "trusted-proxy",
        }
    }
}

impl HelloOk {
    /// As JSON text.
    ///
    /// # Errors
    /// Never: all fields have a JSON form.
    pub fn encode(&self) -> Result<RawJson, serde_json::Error> {
        RawJson::encode(self)
    }
}

/// The word `hello-ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloTag {
    /// The only one.
    #[serde(rename = "hello-ok")]
    HelloOk,
}

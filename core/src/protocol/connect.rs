//! The parameters of `connect` (spec protocol §3.2). A closed object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::VersionRange;
use crate::{
    frame::{RawJson, parse_shape},
    secret::Secret,
};

/// What stands on the other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs commands on a device when the gateway asks.
    Node,
    /// Uses and administers the gateway.
    Operator,
}

impl Role {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
        }
    }
}

/// `client.id`: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum ClientId {
    Cli,
    Fingerprint,
    GatewayClient,
    NodeHost,
    OpenclawAndroid,
    OpenclawBrowserCopilot,
    OpenclawControlUi,
    OpenclawIos,
    OpenclawLinux,
    OpenclawMacos,
    OpenclawProbe,
    OpenclawTui,
    OpenclawWatchos,
    OpenclawWorker,
    Test,
    Webchat,
    WebchatUi,
}

impl ClientId {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Fingerprint => "fingerprint",
            Self::GatewayClient => "gateway-client",
            Self::NodeHost => "node-host",
            Self::OpenclawAndroid => "openclaw-android",
            Self::OpenclawBrowserCopilot => "openclaw-browser-copilot",
            Self::OpenclawControlUi => "openclaw-control-ui",
            Self::OpenclawIos => "openclaw-ios",
            Self::OpenclawLinux => "openclaw-linux",
            Self::OpenclawMacos => "openclaw-macos",
            Self::OpenclawProbe => "openclaw-probe",
            Self::OpenclawTui => "openclaw-tui",
            Self::OpenclawWatchos => "openclaw-watchos",
            Self::OpenclawWorker => "openclaw-worker",
            Self::Test => "test",
            Self::Webchat => "webchat",
            Self::WebchatUi => "webchat-ui",
        }
    }

    /// Clients that run in a browser and whose `Origin` is therefore always checked.
    pub fn is_browser(self) -> bool {
        matches!(
            self,
            Self::OpenclawBrowserCopilot
                | Self::OpenclawControlUi
                | Self::Webchat
                | Self::WebchatUi
        )
    }
}

/// `client.mode`: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum ClientMode {
    Backend,
    Cli,
    Node,
    Probe,
    Test,
    Ui,
    Webchat,
    Worker,
}

impl ClientMode {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Cli => "cli",
            Self::Node => "node",
            Self::Probe => "probe",
            Self::Test => "test",
            Self::Ui => "ui",
            Self::Webchat => "webchat",
            Self::Worker => "worker",
        }
    }

    /// Clients that come for one call: they get no presence row (spec protocol §8.7).
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Self::Backend | Self::Cli | Self::Probe)
    }
}

/// Who a client says it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientInfo {
    /// The program.
    pub id: ClientId,
    /// What it is used as.
    pub mode: ClientMode,
    /// The program's version.
    pub version: String,
    /// Such as `linux`, `macos`.
    pub platform: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// At most 96 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Such as `iPhone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    /// Such as `iPhone17,1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<String>,
    /// At most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Tells installations of one program apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

impl ClientInfo {
    /// A client with only what the protocol demands.
    pub fn new(
        id: ClientId,
        mode: ClientMode,
        version: impl Into<String>,
        platform: impl Into<String>,
    ) -> Self {
        Self {
            id,
            mode,
            version: version.into(),
            platform: platform.into(),
            display_name: None,
            build_id: None,
            device_family: None,
            model_identifier: None,
            time_zone: None,
            instance_id: None,
        }
    }

    fn check(&self) -> Result<(), ParamsError> {
        let required = [
            ("version", Some(&self.version)),
            ("platform", Some(&self.platform)),
        ];
        let optional = [
            ("displayName", self.display_name.as_ref()),
            ("buildId", self.build_id.as_ref()),
            ("deviceFamily", self.device_family.as_ref()),
            ("modelIdentifier", self.model_identifier.as_ref()),
            ("timeZone", self.time_zone.as_ref()),
            ("instanceId", self.instance_id.as_ref()),
        ];
        for (field, value) in required.into_iter().chain(optional) {
            if value.is_some_and(String::is_empty) {
                return Err(ParamsError(format!("client.{field} must not be empty")));
            }
        }
        for (field, value, max) in [
            ("buildId", &self.build_id, 96),
            ("timeZone", &self.time_zone, 64),
        ] {
            if value.as_ref().is_some_and(|value| value.len() > max) {
                return Err(ParamsError(format!("client.{field} is over {max} bytes")));
            }
        }
        Ok(())
    }
}

/// The credentials of a `connect`. `Debug` shows which are there, never what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct AuthParams {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::secret_field"
    )]
    pub token: Option<Secret>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::secret_field"
    )]
    pub bootstrap_token: Option<Secret>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::secret_field"
    )]
    pub device_token: Option<Secret>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::secret_field"
    )]
    pub password: Option<Secret>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::secret_field"
    )]
    pub approval_runtime_token: Option<Secret>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::secret_field"
    )]
    pub agent_runtime_identity_token: Option<Secret>,
}

impl AuthParams {
    /// The secret that a device signature covers: the first of token, device token and bootstrap
    /// token that is there at all, else nothing (spec protocol §3.4). Never the password.
    pub fn signed_secret(&self) -> &str {
        [&self.token, &self.device_token, &self.bootstrap_token]
            .into_iter()
            .flatten()
            .next()
            .map_or("", Secret::expose)
    }
}

/// Proof that the client holds a device's key (spec protocol §3.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceProof {
    /// Lower-case hexadecimal SHA-256 of the raw public key.
    pub id: String,
    /// The raw public key in base64url without padding.
    pub public_key: String,
    /// The signature in base64url without padding.
    pub signature: String,
    /// The `ts` of the challenge.
    pub signed_at: u64,
    /// The `nonce` of the challenge.
    pub nonce: String,
}

/// Parameters that do not fit, in words without any of their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParamsError(pub String);

/// Everything that a `connect` says.
#[derive(Clone, Debug)]
pub struct ConnectParams {
    /// The versions that the client speaks.
    pub versions: VersionRange,
    /// Who it is.
    pub client: ClientInfo,
    /// What it can do (operator) or offers (node).
    pub caps: Vec<String>,
    /// Commands that a node claims.
    pub commands: Vec<String>,
    /// Permissions that a node reports.
    pub permissions: BTreeMap<String, bool>,
    /// A node's `PATH`.
    pub path_env: Option<String>,
    /// What it wants to be; `None` for a name that is neither operator nor node.
    pub role: Option<Role>,
    /// The scopes that it asks for, in the order of the wire, which a signature covers.
    pub scopes: Vec<String>,
    /// Proof of a device.
    pub device: Option<DeviceProof>,
    /// Credentials.
    pub auth: AuthParams,
    /// Such as `en-US`.
    pub locale: Option<String>,
    /// Such as a browser's name.
    pub user_agent: Option<String>,
}

impl ConnectParams {
    /// Parses and checks the parameters.
    ///
    /// # Errors
    /// When a field is missing, unknown, doubled, empty, too long or of the wrong type.
    pub fn parse(params: &RawJson) -> Result<Self, ParamsError> {
        let wire: Wire = parse_shape(params).map_err(ParamsError)?;
        wire.client.check()?;
        if wire.min_protocol < 1 || wire.max_protocol < 1 {
            return Err(ParamsError(
                "minProtocol and maxProtocol must be 1 or more".into(),
            ));
        }
        for (field, list) in [
            ("caps", &wire.caps),
            ("commands", &wire.commands),
            ("scopes", &wire.scopes),
        ] {
            if list.iter().flatten().any(String::is_empty) {
                return Err(ParamsError(format!("{field} must not have empty items")));
            }
        }
        if let Some(device) = &wire.device {
            for (field, value) in [
                ("id", &device.id),
                ("publicKey", &device.public_key),
                ("signature", &device.signature),
                ("nonce", &device.nonce),
            ] {
                if value.is_empty() {
                    return Err(ParamsError(format!("device.{field} must not be empty")));
                }
            }
        }
        let role = match wire.role.as_deref() {
            None | Some("operator") => Some(Role::Operator),
            Some("node") => Some(Role::Node),
            Some("") => return Err(ParamsError("role must not be empty".into())),
            Some(_) => None,
        };
        Ok(Self {
            versions: VersionRange {
                min: wire.min_protocol,
                max: wire.max_protocol,
            },
            client: wire.client,
            caps: wire.caps.unwrap_or_default(),
            commands: wire.commands.unwrap_or_default(),
            permissions: wire.permissions.unwrap_or_default(),
            path_env: wire.path_env,
            role,
            scopes: wire.scopes.unwrap_or_default(),
            device: wire.device,
            auth: wire.auth.unwrap_or_default(),
            locale: wire.locale,
            user_agent: wire.user_agent,
        })
    }

    /// The parameters as JSON text. The text holds the credentials.
    ///
    /// # Errors
    /// Never for values that [`ConnectParams::parse`] accepts.
    pub fn encode(&self) -> Result<RawJson, serde_json::Error> {
        let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        RawJson::encode(&Wire {
            min_protocol: self.versions.min,
            max_protocol: self.versions.max,
            client: self.client.clone(),
            caps: Some(self.caps.clone()),
            commands: list(&self.commands),
            computer_use: None,
            worker_runs: None,
            permissions: (!self.permissions.is_empty()).then(|| self.permissions.clone()),
            path_env: self.path_env.clone(),
            role: self.role.map(|role| role.as_str().into()),
            scopes: Some(self.scopes.clone()),
            model_catalog: None,
            device: self.device.clone(),
            auth: (self.auth != AuthParams::default()).then(|| self.auth.clone()),
            locale: self.locale.clone(),
            user_agent: self.user_agent.clone(),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    min_protocol: u32,
    max_protocol: u32,
    client: ClientInfo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caps: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commands: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    computer_use: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker_runs: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<BTreeMap<String, bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_catalog: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceProof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<AuthParams>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLI: &str = r#"{"minProtocol":4,"maxProtocol":4,"client":{"id":"cli","version":"1",
        "platform":"linux","mode":"cli"},"caps":[],"auth":{"token":"hunter2"},"role":"operator",
        "scopes":["operator.read"]}"#;

    fn parse(text: &str) -> Result<ConnectParams, ParamsError> {
        ConnectParams::parse(&RawJson::checked(text.to_owned()).unwrap())
    }

    #[test]
    fn what_the_official_cli_sends_is_understood() {
        let params = parse(CLI).unwrap();
        assert_eq!(params.role, Some(Role::Operator));
        assert_eq!(params.auth.signed_secret(), "hunter2");
        assert!(!format!("{params:?}").contains("hunter2"));
        let again = ConnectParams::parse(&params.encode().unwrap()).unwrap();
        assert_eq!(again.scopes, params.scopes);
        assert_eq!(again.auth, params.auth);
    }

    #[test]
    fn broken_parameters_name_the_field_and_no_value() {
        for (from, to, part) in [
            ("\"minProtocol\":4", "\"minProtocol\":0", "minProtocol"),
            (
                "\"minProtocol\":4,",
                "",
                "must have required property 'minProtocol'",
            ),
            ("\"caps\":[]", "\"caps\":[\"\"]", "caps"),
            ("\"caps\":[]", "\"cups\":[]", "unknown field 'cups'"),
            ("\"version\":\"1\"", "\"version\":\"\"", "client.version"),
            ("\"id\":\"cli\"", "\"id\":\"ios-node\"", "unknown value"),
            ("{\"token\":\"hunter2\"}", "\"hunter2\"", "wrong type"),
            (
                "\"role\":\"operator\"",
                "\"role\":\"\"",
                "role must not be empty",
            ),
        ] {
            let text = CLI.replace(from, to);
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{to}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let odd_role = CLI.replace("\"role\":\"operator\"", "\"role\":\"worker\"");
        assert_eq!(parse(&odd_role).unwrap().role, None);
    }
}

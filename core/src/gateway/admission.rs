//! Who comes in, and with which scopes (spec protocol §3.5 to §3.7).

use serde_json::{Map, Value, json};

use super::{Gateway, Phase, machine::Client};
use crate::{
    ids::ConnId,
    protocol::{
        AuthMethod, AuthParams, ClientId, ClientMode, CloseCode, CloseReason, ConnectCode,
        HelloAuth, HelloFeatures, HelloOk, HelloPolicy, HelloServer, HelloTag, NextStep, Role,
        RpcError,
    },
    scope::{Scope, ScopeSet},
    secret::Secret,
    server::{Admission, ConnectRequest, Refusal},
    time::{Now, millis},
};

/// Events that this gateway sends, as `features.events` lists them.
const EVENTS: [&str; 5] = [
    "connect.challenge",
    "presence",
    "tick",
    "shutdown",
    "health",
];

/// What the gateway demands of a client.
#[derive(Clone, Debug)]
pub struct AdmissionPolicy {
    /// The shared secret.
    pub auth: SharedAuth,
}

/// The modes of `gateway.auth.mode` that are carried out.
#[derive(Clone, Debug)]
pub enum SharedAuth {
    /// Nothing is asked. Only for a loopback bind.
    None,
    /// The client must know this password.
    Password(Secret),
    /// The client must know this token.
    Token(Secret),
}

/// Why a shared secret was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuthFailure {
    Mismatch,
    Missing,
}

impl SharedAuth {
    /// The mode's name.
    pub fn mode(&self) -> AuthMethod {
        match self {
            Self::None => AuthMethod::None,
            Self::Password(_) => AuthMethod::Password,
            Self::Token(_) => AuthMethod::Token,
        }
    }

    /// A secret that came in the other field counts too; the mode's own field goes first.
    fn check(&self, auth: &AuthParams) -> Result<AuthMethod, AuthFailure> {
        let (expected, presented) = match self {
            Self::None => return Ok(AuthMethod::None),
            Self::Password(expected) => (expected, [&auth.password, &auth.token]),
            Self::Token(expected) => (expected, [&auth.token, &auth.password]),
        };
        let presented = presented
            .into_iter()
            .flatten()
            .find(|secret| !secret.expose().trim().is_empty())
            .ok_or(AuthFailure::Missing)?;
        if expected.ct_eq(presented.expose()) {
            Ok(self.mode())
        } else {
            Err(AuthFailure::Mismatch)
        }
    }
}

impl Gateway {
    /// Decides on a `connect`.
    pub(super) fn decide(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &ConnectRequest,
    ) -> Result<(Client, Admission), Box<Refusal>> {
        if self.phase != Phase::Running {
            return Err(Box::new(stopping()));
        }
        let method = self.authenticate(request).map_err(Box::new)?;
        let scopes = self.grant(request, method).map_err(Box::new)?;
        let params = &request.params;
        let device_id = request
            .device
            .as_ref()
            .map(|device| device.id.as_str().to_owned());
        let client = Client {
            role: request.role,
            scopes: scopes.clone(),
            presence_key: (!params.client.mode.is_ephemeral())
                .then(|| device_id.clone().unwrap_or_else(|| conn.to_string())),
            info: params.client.clone(),
            ip: request.peer.ip,
            device_id,
            caps: params.caps.clone(),
            commands: params.commands.clone(),
            since: now.wall,
        };
        let hello = self.hello(now, request, method, &scopes);
        let hello = hello.encode().map_err(|_| {
            let error = RpcError::retry_later("the gateway could not describe itself", 1_000);
            Box::new(Refusal::new(error, CloseCode::Internal))
        })?;
        Ok((
            client,
            Admission {
                role: request.role,
                scopes,
                hello,
            },
        ))
    }

    fn authenticate(&self, request: &ConnectRequest) -> Result<AuthMethod, Refusal> {
        let failure = match self.setup.admission.auth.check(&request.params.auth) {
            Ok(method) => return Ok(method),
            Err(failure) => failure,
        };
        // A client that shows neither a device nor a secret is asked for the device first.
        if failure == AuthFailure::Missing && request.device.is_none() {
            return Err(device_required());
        }
        let password = matches!(self.setup.admission.auth, SharedAuth::Password(_));
        let (word, hint) = if password {
            ("password", "give the gateway's gateway.auth.password")
        } else {
            ("token", "give the gateway's gateway.auth.token")
        };
        Err(match (failure, password) {
            (AuthFailure::Mismatch, false) => Refusal::unauthorized(
                ConnectCode::AuthTokenMismatch,
                format!("unauthorized: gateway {word} mismatch ({hint})"),
                "token_mismatch",
                NextStep::UpdateAuthCredentials,
            ),
            (AuthFailure::Mismatch, true) => Refusal::unauthorized(
                ConnectCode::AuthPasswordMismatch,
                format!("unauthorized: gateway {word} mismatch ({hint})"),
                "password_mismatch",
                NextStep::UpdateAuthCredentials,
            ),
            (AuthFailure::Missing, false) => Refusal::unauthorized(
                ConnectCode::AuthTokenMissing,
                format!("unauthorized: gateway {word} missing ({hint})"),
                "token_missing",
                NextStep::UpdateAuthConfiguration,
            ),
            (AuthFailure::Missing, true) => Refusal::unauthorized(
                ConnectCode::AuthPasswordMissing,
                format!("unauthorized: gateway {word} missing ({hint})"),
                "password_missing",
                NextStep::UpdateAuthConfiguration,
            ),
        })
    }

    /// The scopes of an authenticated client, or why it may not stay.
    fn grant(&self, request: &ConnectRequest, method: AuthMethod) -> Result<ScopeSet, Refusal> {
        let client = &request.params.client;
        let local = request.peer.is_direct_local() && request.peer.origin.is_none();
        let asked = || match request.role {
            Role::Node => ScopeSet::NONE,
            Role::Operator => ScopeSet::parse(&request.params.scopes),
        };
        if request.device.is_some() {
            return if request.peer.is_direct_local() {
                Ok(asked())
            } else {
                Err(pairing_required())
            };
        }
        if request.role == Role::Node {
            return Err(device_required());
        }
        if client.id == ClientId::OpenclawControlUi {
            return Err(Refusal::invalid(
                ConnectCode::ControlUiDeviceIdentityRequired,
                "control ui requires device identity (use HTTPS or localhost secure context)",
            ));
        }
        let backend =
            local && client.id == ClientId::GatewayClient && client.mode == ClientMode::Backend;
        let cli = local && client.id == ClientId::Cli && client.mode == ClientMode::Cli;
        match method {
            AuthMethod::None if !backend => Err(device_required()),
            _ if backend || cli => Ok(asked()),
            AuthMethod::BootstrapToken
            | AuthMethod::DeviceToken
            | AuthMethod::None
            | AuthMethod::Password
            | AuthMethod::Tailscale
            | AuthMethod::Token
            | AuthMethod::TrustedProxy => Ok(ScopeSet::NONE),
        }
    }

    fn hello(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        method: AuthMethod,
        scopes: &ScopeSet,
    ) -> HelloOk {
        let limits = &self.setup.limits;
        HelloOk {
            kind: HelloTag::HelloOk,
            protocol: request.protocol,
            features: HelloFeatures {
                methods: crate::methods::METHODS
                    .iter()
                    .map(|spec| spec.name.into())
                    .collect(),
                events: EVENTS.iter().map(|name| (*name).into()).collect(),
                capabilities: Vec::new(),
            },
            auth: HelloAuth {
                method: Some(method),
                role: request.role,
                scopes: scopes.names(),
                issued_at_ms: None,
            },
            policy: HelloPolicy {
                max_payload: limits.max_payload as u64,
                max_buffered_bytes: limits.max_buffered_bytes as u64,
                tick_interval_ms: millis(limits.tick_interval),
            },
            snapshot: self.snapshot(now, scopes),
            server: HelloServer {
                version: self.setup.host.version.clone(),
                boot_id: Some(self.boot_id.clone()),
                conn_id: self.rng.uuid(),
            },
        }
    }

    fn snapshot(&self, now: Now, scopes: &ScopeSet) -> Value {
        let host = &self.setup.host;
        let agent = host.default_agent();
        let mut snapshot = Map::new();
        let mut put = |name: &str, value: Value| snapshot.insert(name.into(), value);
        // Who else is connected is for readers.
        let presence = if scopes.allows(Scope::Read) {
            json!(self.presence.entries())
        } else {
            json!([])
        };
        put("presence", presence);
        put("health", self.health.payload().parse().unwrap_or_default());
        put("stateVersion", json!(self.state_version()));
        put(
            "uptimeMs",
            millis(now.mono.saturating_duration_since(self.started)).into(),
        );
        put("suspension", json!({ "phase": "accepting" }));
        put(
            "sessionDefaults",
            json!({
                "defaultAgentId": agent,
                "modelConfigured": false,
                "ownership": if host.agents.len() > 1 { "explicit" } else { "sole" },
                "selectionRequired": false,
                "mainKey": "main",
                "mainSessionKey": format!("agent:{agent}:main"),
                "scope": "per-sender",
            }),
        );
        if scopes.allows(Scope::Admin) {
            put("configPath", json!(host.config_path.to_string_lossy()));
            put("stateDir", json!(host.state_dir.to_string_lossy()));
            put("authMode", json!(self.setup.admission.auth.mode()));
        }
        Value::Object(snapshot)
    }
}

fn stopping() -> Refusal {
    let error = RpcError::retry_later("gateway is stopping; retry when it is back", 1_000);
    let mut refusal = Refusal::new(error, CloseCode::TryAgainLater);
    refusal.reason = CloseReason::new("gateway restart in progress");
    refusal
}

fn device_required() -> Refusal {
    let mut refusal = Refusal::not_paired(
        ConnectCode::DeviceIdentityRequired,
        "device identity required: no usable gateway token or password was sent, and no device",
    );
    refusal.reason = CloseReason::new("device identity required");
    refusal
}

fn pairing_required() -> Refusal {
    let mut refusal = Refusal::not_paired(
        ConnectCode::PairingRequired,
        "pairing required: this gateway does not pair remote devices yet (not implemented); \
         connect from its own host, for example through an SSH tunnel",
    );
    refusal.detail("reason", "not-paired".into());
    refusal.detail(
        "recommendedNextStep",
        NextStep::ReviewAuthConfiguration.as_str().into(),
    );
    refusal.reason = CloseReason::new("pairing required: device is not approved");
    refusal
}

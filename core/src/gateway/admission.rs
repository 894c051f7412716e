//! Who comes in, and with which scopes (spec protocol §3.5 to §3.7).

use core::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Gateway, Phase, machine::Client};
use crate::{
    config::GatewayConfig,
    ids::ConnId,
    policy::{
        self, AuthReason, AuthRequest, AuthRule, Granted, HostHeaderFallback, Ingress, LimitScope,
        LimitSubject, Listener, LocalAddresses, LoopbackRule, OriginPolicy, RateLimitConfig,
        RealIpFallback, RequestHeaders, SecretKind, Surface, TrustedProxies, Whois,
        server_auth::ServerAuth,
    },
    protocol::{
        AuthMethod, ClientId, ClientMode, CloseCode, CloseReason, ConnectCode, HelloAuth,
        HelloFeatures, HelloOk, HelloPolicy, HelloServer, HelloTag, NextStep, Role, RpcError,
    },
    scope::{Scope, ScopeSet},
    secret::Secret,
    server::{Admission, ConnectRequest, Refusal},
    time::{Now, millis},
};

/// A header of the upgrade that narrows what the client may ask for.
const SCOPES_HEADER: &str = "x-openclaw-scopes";

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
    /// The secret or the proxy that vouches for a client.
    pub auth: AuthRule,
    /// Pages that may connect.
    pub origins: OriginPolicy,
    /// Proxies whose headers count.
    pub proxies: TrustedProxies,
    /// This machine's addresses.
    pub local_addresses: LocalAddresses,
    /// How failed attempts are limited.
    pub rate_limit: RateLimitConfig,
}

impl AdmissionPolicy {
    /// A rule alone: no extra origins, no proxies, the default limits.
    pub fn new(auth: AuthRule) -> Self {
        Self {
            auth,
            origins: OriginPolicy::default(),
            proxies: TrustedProxies::default(),
            local_addresses: LocalAddresses::Known(Vec::new()),
            rate_limit: RateLimitConfig::default(),
        }
    }

    /// What a configuration asks for, with the secrets already read.
    pub fn of_config(auth: &ServerAuth, gateway: &GatewayConfig) -> Self {
        let ui = &gateway.control_ui;
        let fallback = if ui.allow_host_header_origin {
            HostHeaderFallback::Dangerous
        } else {
            HostHeaderFallback::Off
        };
        let limit = &gateway.auth.rate_limit;
        Self {
            origins: OriginPolicy::new(&ui.allowed_origins, fallback),
            proxies: TrustedProxies::parse(&gateway.trusted_proxies),
            rate_limit: RateLimitConfig {
                max_attempts: limit.max_attempts,
                window: Duration::from_millis(limit.window_ms),
                lockout: Duration::from_millis(limit.lockout_ms),
                loopback: if limit.exempt_loopback {
                    LoopbackRule::Exempt
                } else {
                    LoopbackRule::Limited
                },
            },
            ..Self::new(auth.rule())
        }
    }

    /// Tells where an upgrade comes from.
    pub fn classify(&self, peer: IpAddr, headers: &RequestHeaders) -> Ingress {
        let (proxies, fallback) = (&self.proxies, RealIpFallback::Off);
        Ingress::classify(Listener::Ordinary, peer, headers, proxies, fallback)
    }

    /// The name of `gateway.auth.mode`.
    fn mode(&self) -> AuthMethod {
        match &self.auth {
            AuthRule::None => AuthMethod::None,
            AuthRule::Shared {
                kind: SecretKind::Token,
                ..
            } => AuthMethod::Token,
            AuthRule::Shared {
                kind: SecretKind::Password,
                ..
            } => AuthMethod::Password,
            AuthRule::TrustedProxy { .. } => AuthMethod::TrustedProxy,
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
        let method = self.authenticate(now, request)?;
        let scopes = self.grant(request, method)?;
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

    fn authenticate(
        &mut self,
        now: Now,
        request: &ConnectRequest,
    ) -> Result<AuthMethod, Box<Refusal>> {
        self.check_origin(request)?;
        let policy = &self.setup.admission;
        let peer = &request.peer;
        let client = LimitSubject::address(peer.ingress.client_ip());
        // Blanks around a secret do not count, and blanks alone are none (spec protocol §3.5).
        let sent = |secret: &Option<Secret>| Secret::non_blank(secret.as_ref()?.expose());
        let (token, password) = (
            sent(&request.params.auth.token),
            sent(&request.params.auth.password),
        );
        let decision = policy::authorize(
            &policy.auth,
            &AuthRequest {
                surface: Surface::WebSocket,
                peer: peer.ip,
                ingress: peer.ingress,
                headers: &peer.headers,
                proxies: &policy.proxies,
                origins: &policy.origins,
                local_addresses: &policy.local_addresses,
                token: token.as_ref(),
                password: password.as_ref(),
                whois: &Whois::Unknown,
                rate: self
                    .failures
                    .check(LimitScope::SharedSecret, client, now.mono),
            },
        );
        policy::settle(&mut self.failures, client, &decision, now.mono);
        match decision {
            Ok(Granted::None) => Ok(AuthMethod::None),
            Ok(Granted::Password) => Ok(AuthMethod::Password),
            Ok(Granted::Tailscale(_)) => Ok(AuthMethod::Tailscale),
            Ok(Granted::Token) => Ok(AuthMethod::Token),
            Ok(Granted::TrustedProxy(_)) => Ok(AuthMethod::TrustedProxy),
            // A client that shows neither a device nor a secret is asked for the device first.
            Err(AuthReason::Missing(_)) if request.device.is_none() => {
                Err(device_required().into())
            }
            Err(reason) => Err(unauthorized(&reason).into()),
        }
    }

    /// Pages are checked wherever they come from; other programs send no `Origin` (spec protocol
    /// §1.2).
    fn check_origin(&self, request: &ConnectRequest) -> Result<(), Box<Refusal>> {
        let peer = &request.peer;
        if !peer.has_origin() && !request.params.client.id.is_browser() {
            return Ok(());
        }
        let (origin, host) = (peer.headers.get("origin"), peer.headers.get("host"));
        let locality = peer.ingress.client_locality();
        self.setup
            .admission
            .origins
            .check(origin.as_deref(), host.as_deref(), locality)
            .map(|_| ())
            .map_err(|refused| {
                let mut refusal = Refusal::invalid(
                    ConnectCode::ControlUiOriginNotAllowed,
                    "origin not allowed (open the page from the gateway's own host, or add its \
                     origin to gateway.controlUi.allowedOrigins)",
                );
                refusal.detail("reason", refused.to_string().into());
                refusal.into()
            })
    }

    /// The scopes of an authenticated client, or why it may not stay.
    fn grant(
        &self,
        request: &ConnectRequest,
        method: AuthMethod,
    ) -> Result<ScopeSet, Box<Refusal>> {
        let client = &request.params.client;
        let local = request.peer.ingress.is_direct_local() && !request.peer.has_origin();
        let asked = || match (request.role, request.peer.headers.get(SCOPES_HEADER)) {
            (Role::Node, _) => ScopeSet::NONE,
            (Role::Operator, None) => ScopeSet::parse(&request.params.scopes),
            (Role::Operator, Some(cap)) => {
                let cap: Vec<&str> = cap.split(',').map(str::trim).collect();
                ScopeSet::parse(&request.params.scopes).capped(&ScopeSet::parse(&cap))
            }
        };
        if request.device.is_some() {
            return if request.peer.ingress.is_direct_local() {
                Ok(asked())
            } else {
                Err(pairing_required().into())
            };
        }
        if request.role == Role::Node {
            return Err(device_required().into());
        }
        if client.id == ClientId::OpenclawControlUi {
            return Err(Refusal::invalid(
                ConnectCode::ControlUiDeviceIdentityRequired,
                "control ui requires device identity (use HTTPS or localhost secure context)",
            )
            .into());
        }
        let backend =
            local && client.id == ClientId::GatewayClient && client.mode == ClientMode::Backend;
        let cli = local && client.id == ClientId::Cli && client.mode == ClientMode::Cli;
        match method {
            AuthMethod::None if !backend => Err(device_required().into()),
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
            put("authMode", json!(self.setup.admission.mode()));
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

/// Each reason has its detail code and its advice (spec protocol §3.5).
fn unauthorized(reason: &AuthReason) -> Refusal {
    let name = reason.as_str();
    let (code, next, message) = match reason {
        AuthReason::Mismatch(kind) => (
            match kind {
                SecretKind::Token => ConnectCode::AuthTokenMismatch,
                SecretKind::Password => ConnectCode::AuthPasswordMismatch,
            },
            NextStep::UpdateAuthCredentials,
            secret_message(*kind, "mismatch"),
        ),
        AuthReason::Missing(kind) => (
            match kind {
                SecretKind::Token => ConnectCode::AuthTokenMissing,
                SecretKind::Password => ConnectCode::AuthPasswordMissing,
            },
            NextStep::UpdateAuthConfiguration,
            secret_message(*kind, "missing"),
        ),
        AuthReason::MissingConfig(kind) | AuthReason::RedactedConfig(kind) => (
            match kind {
                SecretKind::Token => ConnectCode::AuthTokenNotConfigured,
                SecretKind::Password => ConnectCode::AuthPasswordNotConfigured,
            },
            NextStep::UpdateAuthConfiguration,
            format!("unauthorized: the gateway has no usable {}", kind.as_str()),
        ),
        AuthReason::RateLimited { retry_after } => {
            let message = "unauthorized: too many failed attempts; wait before the next one";
            let next = NextStep::WaitThenRetry;
            let mut refusal =
                Refusal::unauthorized(ConnectCode::AuthRateLimited, message, &name, next);
            refusal.error.retryable = Some(true);
            refusal.error.retry_after_ms = Some(millis(*retry_after));
            return refusal;
        }
        AuthReason::ProxyAttributionRequired
        | AuthReason::TrustedProxyConfigMissing
        | AuthReason::TrustedProxyNoProxies
        | AuthReason::TrustedProxyUntrustedSource
        | AuthReason::TrustedProxyLoopbackSource
        | AuthReason::TrustedProxyLocalInterface
        | AuthReason::TrustedProxyLocalInterfaceCheckFailed
        | AuthReason::TrustedProxyMissingHeader(_)
        | AuthReason::TrustedProxyUserMissing
        | AuthReason::TrustedProxyUserNotAllowed
        | AuthReason::TrustedProxyOriginNotAllowed
        | AuthReason::OriginNotAllowed => (
            ConnectCode::AuthUnauthorized,
            NextStep::ReviewAuthConfiguration,
            format!("unauthorized: {name}"),
        ),
    };
    Refusal::unauthorized(code, message, &name, next)
}

fn secret_message(kind: SecretKind, problem: &str) -> String {
    let kind = kind.as_str();
    format!("unauthorized: gateway {kind} {problem} (give the gateway's gateway.auth.{kind})")
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

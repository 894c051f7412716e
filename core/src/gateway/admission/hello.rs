//! The `hello-ok` of a client that is let in (spec protocol §3.7).

use serde_json::{Map, Value, json};

use crate::{
    gateway::{Gateway, clients::Client, devices::IssuedToken},
    protocol::{HelloAuth, HelloFeatures, HelloOk, HelloPolicy, HelloServer, HelloTag, RESUME_CAP},
    scope::{Scope, ScopeSet},
    server::ConnectRequest,
    time::{Now, millis},
};

/// Events that this gateway sends, as `features.events` lists them.
const EVENTS: [&str; 25] = [
    "connect.challenge",
    "presence",
    "tick",
    "shutdown",
    "health",
    "chat",
    "agent",
    "session.message",
    "session.operation",
    "sessions.changed",
    "device.pair.requested",
    "device.pair.resolved",
    "device.pair.changed",
    "node.pair.requested",
    "node.pair.resolved",
    "node.presence",
    "node.hostStats",
    "node.runnerInventory.changed",
    "node.invoke.request",
    "node.invoke.cancel",
    "node.invoke.input",
    "exec.approval.requested",
    "exec.approval.resolved",
    "voicewake.changed",
    "voicewake.routing.changed",
];

impl Gateway {
    pub(super) fn hello(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        client: &Client,
        token: Option<IssuedToken>,
    ) -> HelloOk {
        let scopes = &client.scopes;
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
                // Told only to those who asked: nobody else knows it.
                capabilities: client
                    .resumes()
                    .then(|| RESUME_CAP.into())
                    .into_iter()
                    .collect(),
            },
            auth: HelloAuth {
                method: client.proof.method(),
                role: request.role,
                scopes: scopes.names(),
                issued_at_ms: token.as_ref().map(|issued| issued.issued_at),
                device_token: token.map(|issued| issued.token),
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

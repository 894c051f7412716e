//! What the clients say, as text.

use clawgate_core::{
    device::{DeviceIdentity, PayloadVersion, SignedFacts},
    protocol::{ClientId, ClientInfo, ClientMode, Role},
    secret::Secret,
};
use serde_json::{Value, json};

/// The secret of the measured gateway, which lives as long as a measurement.
pub(crate) const TOKEN: &str = "token-of-the-measurements";

/// A local program that comes as an operator with these capabilities and leaves no presence row.
pub(crate) fn connect(caps: &[&str]) -> String {
    request(
        "connect",
        "connect",
        &json!({
            "minProtocol": 4,
            "maxProtocol": 4,
            "client": {
                "id": "gateway-client",
                "version": "0.0.0",
                "platform": "linux",
                "mode": "backend",
            },
            "caps": caps,
            "role": "operator",
            "scopes": ["operator.admin"],
            "auth": { "token": TOKEN },
        }),
    )
}

/// A request.
pub(crate) fn request(id: &str, method: &str, params: &Value) -> String {
    // The order of the released client.
    format!(r#"{{"type":"req","id":"{id}","method":"{method}","params":{params}}}"#)
}

/// A message for an agent.
pub(crate) fn chat_send(id: &str, session: &str, text: &str) -> String {
    let params = json!({ "sessionKey": session, "message": text, "idempotencyKey": id });
    request(id, "chat.send", &params)
}

/// The capability of clients that hear only sessions that they follow.
pub(crate) const SCOPED: &str = "session-scoped-events";

/// The command that the node of the measurements offers.
pub(crate) const COMMAND: &str = "device.status";

/// A node on this machine.
pub(crate) struct Node(DeviceIdentity);

impl Node {
    pub(crate) fn new() -> Self {
        Self(DeviceIdentity::from_seed(&[7; 32]))
    }

    pub(crate) fn id(&self) -> &str {
        self.0.id().as_str()
    }

    /// Its `connect`, for a challenge.
    pub(crate) fn connect(&self, challenge: &[u8]) -> Option<String> {
        let challenge: Value = serde_json::from_slice(challenge).ok()?;
        let challenge = challenge.get("payload")?;
        let mut client = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "0.0.0", "linux");
        client.device_family = Some("Linux".into());
        let proof = self.0.prove(
            &SignedFacts {
                device_id: self.id(),
                client: &client,
                role: Role::Node,
                scopes: &[],
                signed_at: challenge.get("ts")?.as_u64()?,
                secret: &Secret::new(TOKEN),
                nonce: challenge.get("nonce")?.as_str()?,
            },
            PayloadVersion::V3,
        );
        let params = json!({
            "minProtocol": 4,
            "maxProtocol": 4,
            "client": client,
            "caps": ["device"],
            "commands": [COMMAND],
            "role": "node",
            "scopes": [],
            "auth": { "token": TOKEN },
            "device": proof,
        });
        Some(request("connect", "connect", &params))
    }
}

/// The call that is measured.
pub(crate) fn health() -> String {
    call("00000001")
}

/// A call of about `bytes` bytes whose answer is as long: answers carry the id.
pub(crate) fn large_call(bytes: usize) -> String {
    call(&"x".repeat(bytes))
}

/// A call after which every reader is told of presence, with `bytes` bytes more than is needed.
pub(crate) fn system_event(number: usize, bytes: usize) -> String {
    let more = "x".repeat(bytes);
    format!(
        r#"{{"type":"req","id":"event","method":"system-event","params":{{"text":"Node: round {number}{more}"}}}}"#
    )
}

/// What the event begins with that [`system_event`] causes.
pub(crate) const PRESENCE: &[u8] = br#"{"type":"event","event":"presence""#;

fn call(id: &str) -> String {
    format!(r#"{{"type":"req","id":"{id}","method":"health","params":{{}}}}"#)
}

/// What `chat` events begin with.
pub(crate) const CHAT: &[u8] = br#"{"type":"event","event":"chat""#;

//! What a client reads from the answer to its `connect`. Lenient: like the official clients, it
//! takes any `ok:true` answer and only reads what is there (spec minimal-server, hello-ok).

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, value::RawValue};

use crate::{frame::RawJson, limits::Limits as GatewayLimits, secret::Secret, time::WallTime};

/// The longest interval of ticks that is believed.
const MAX_TICK: Duration = Duration::from_secs(24 * 3600);

/// A device token that the gateway issued. The host keeps it for this gateway, under its device and
/// role (spec protocol §3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token.
    pub token: Secret,
    /// The role that it is for.
    pub role: String,
    /// The scopes that it is for.
    pub scopes: Vec<String>,
    /// When it was issued.
    pub issued_at: Option<WallTime>,
}

/// The hello, as far as the gateway filled it in.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The protocol version that is spoken.
    pub protocol: Option<u32>,
    /// The gateway's version.
    pub server_version: Option<String>,
    /// Changes with each start of the gateway.
    pub boot_id: Option<String>,
    /// The gateway's name for this connection.
    pub conn_id: Option<String>,
    /// The methods that it offers; `None` when it does not say.
    pub methods: Option<Vec<String>>,
    /// The events that it sends; `None` when it does not say.
    pub events: Option<Vec<String>>,
    /// Named extras.
    pub capabilities: Vec<String>,
    /// How this client proved itself, in the protocol's words.
    pub auth_method: Option<String>,
    /// The granted role, in the protocol's words.
    pub role: Option<String>,
    /// The granted scopes, which may be fewer than were asked for; `None` when it does not say.
    pub scopes: Option<Vec<String>>,
    /// A device token to keep.
    pub device_token: Option<IssuedToken>,
    /// Bytes of one message that the gateway takes. 25 MiB when it does not say.
    pub max_payload: usize,
    /// Time between ticks. 30 s when it does not say.
    pub tick_interval: Duration,
    /// The state at this moment, as it came.
    pub snapshot: Option<RawJson>,
}

impl Hello {
    /// Reads an answer. What is missing or has an odd shape counts as not said.
    ///
    /// ```
    /// use clawgate_core::{client::Hello, frame::RawJson};
    ///
    /// let hello = Hello::read(&RawJson::checked(r#"{"server":{"version":"1.2"},"policy":7}"#)?);
    /// assert_eq!(hello.server_version.as_deref(), Some("1.2"));
    /// assert_eq!(hello.tick_interval.as_secs(), 30);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn read(payload: &RawJson) -> Self {
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(payload.as_str()).unwrap_or_default();
        let part = |name: &str| {
            fields
                .get(name)
                .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
                .unwrap_or(Value::Null)
        };
        let (server, features, auth, policy) = (
            part("server"),
            part("features"),
            part("auth"),
            part("policy"),
        );
        let defaults = GatewayLimits::default();
        let role = text(&auth, "role");
        let scopes = list(&auth, "scopes");
        Self {
            protocol: part("protocol")
                .as_u64()
                .and_then(|version| u32::try_from(version).ok()),
            server_version: text(&server, "version"),
            boot_id: text(&server, "bootId"),
            conn_id: text(&server, "connId"),
            methods: list(&features, "methods"),
            events: list(&features, "events"),
            capabilities: list(&features, "capabilities").unwrap_or_default(),
            auth_method: text(&auth, "method"),
            device_token: text(&auth, "deviceToken")
                .filter(|token| !token.trim().is_empty())
                .map(|token| IssuedToken {
                    token: Secret::new(token),
                    role: role.clone().unwrap_or_default(),
                    scopes: scopes.clone().unwrap_or_default(),
                    issued_at: auth.get("issuedAtMs").and_then(Value::as_u64).map(WallTime),
                }),
            role,
            scopes,
            max_payload: positive(&policy, "maxPayload")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(defaults.max_payload),
            tick_interval: positive(&policy, "tickIntervalMs")
                .map_or(defaults.tick_interval, Duration::from_millis)
                .min(MAX_TICK),
            snapshot: fields
                .get("snapshot")
                .and_then(|raw| RawJson::checked(raw.get().to_owned()).ok()),
        }
    }

    /// Whether the gateway offers a method. One that does not say what it offers is believed to
    /// offer everything.
    pub fn offers(&self, method: &str) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|methods| methods.iter().any(|offered| offered == method))
    }
}

fn text(object: &Value, field: &str) -> Option<String> {
    object.get(field)?.as_str().map(Into::into)
}

fn list(object: &Value, field: &str) -> Option<Vec<String>> {
    let items = object.get(field)?.as_array()?;
    Some(
        items
            .iter()
            .filter_map(Value::as_str)
            .map(Into::into)
            .collect(),
    )
}

fn positive(object: &Value, field: &str) -> Option<u64> {
    object.get(field)?.as_u64().filter(|value| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Hello {
        Hello::read(&RawJson::checked(text.to_owned()).unwrap())
    }

    #[test]
    fn any_answer_is_a_hello() {
        for text in [
            "{}",
            "null",
            "[1]",
            r#"{"auth":[],"features":{"methods":3}}"#,
        ] {
            let hello = read(text);
            assert_eq!(hello.tick_interval, Duration::from_secs(30), "{text}");
            assert_eq!(hello.max_payload, 25 * 1024 * 1024, "{text}");
            assert!(hello.offers("anything"), "{text}");
            assert_eq!(hello.device_token, None);
        }
    }

    #[test]
    fn what_is_said_is_read() {
        let hello = read(
            r#"{"type":"hello-ok","protocol":4,"server":{"version":"1","connId":"c"},
            "features":{"methods":["health"],"events":["tick"]},"snapshot":{"presence":[]},
            "auth":{"role":"operator","scopes":["operator.read"],"method":"device-token",
            "deviceToken":"hunter2","issuedAtMs":7},
            "policy":{"maxPayload":10,"tickIntervalMs":5000}}"#,
        );
        assert_eq!(hello.protocol, Some(4));
        assert!(hello.offers("health") && !hello.offers("status"));
        assert_eq!(hello.max_payload, 10);
        assert_eq!(hello.tick_interval, Duration::from_secs(5));
        assert_eq!(
            hello.snapshot.as_ref().unwrap().as_str(),
            r#"{"presence":[]}"#
        );
        assert!(!format!("{hello:?}").contains("hunter2"));
        let token = hello.device_token.unwrap();
        assert_eq!(token.token.expose(), "hunter2");
        assert_eq!(token.scopes, ["operator.read"]);
        assert_eq!(token.issued_at, Some(WallTime(7)));
    }

    #[test]
    fn absurd_intervals_are_capped() {
        let hello = read(r#"{"policy":{"tickIntervalMs":18446744073709551615}}"#);
        assert_eq!(hello.tick_interval, MAX_TICK);
    }
}

//! The events that a gateway sends to a node (spec protocol §8.4).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::frame::RawJson;

/// Time for a request that names none.
const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// A day: a longer time counts as this one.
const LONGEST: u64 = 86_400_000;

/// `node.invoke.request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invoke {
    pub(super) id: String,
    pub(super) node_id: String,
    pub(super) command: String,
    /// The parameters as JSON text; `None` for none.
    pub(super) params: Option<String>,
    /// From now to the answer; `None` for no limit.
    pub(super) time: Option<Duration>,
    pub(super) key: Option<String>,
    pub(super) session: Option<String>,
}

impl Invoke {
    /// Reads it. Nothing can be answered without an id, so what has none is dropped.
    pub(super) fn read(payload: &RawJson) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            id: String,
            node_id: String,
            command: String,
            #[serde(rename = "paramsJSON", default)]
            params_json: Option<String>,
            #[serde(borrow, default)]
            params: Option<&'a RawValue>,
            #[serde(default)]
            timeout_ms: Option<Value>,
            #[serde(default)]
            idempotency_key: Option<String>,
            #[serde(default)]
            session_key: Option<String>,
        }
        let wire: Wire<'_> = serde_json::from_str(payload.as_str()).ok()?;
        let written = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let inline = wire.params.map(|raw| raw.get().to_owned());
        Some(Self {
            params: written(wire.params_json).or_else(|| inline.filter(|text| text != "null")),
            time: match wire.timeout_ms.as_ref().and_then(Value::as_u64) {
                None => Some(DEFAULT_TIME),
                Some(0) => None,
                Some(millis) => Some(Duration::from_millis(millis.min(LONGEST))),
            },
            key: written(wire.idempotency_key),
            session: written(wire.session_key),
            id: Some(wire.id).filter(|id| !id.is_empty())?,
            node_id: wire.node_id,
            command: wire.command,
        })
    }
}

/// The invocation that `node.invoke.cancel` is about.
pub(super) fn cancelled(payload: &RawJson) -> Option<String> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(rename = "invokeId", alias = "id")]
        id: String,
    }
    payload.parse::<Wire>().ok().map(|wire| wire.id)
}

/// `node.pair.resolved`: whether the surface was approved.
pub(super) fn resolved(payload: &RawJson) -> Option<bool> {
    #[derive(Deserialize)]
    struct Wire {
        decision: String,
    }
    let wire: Wire = payload.parse().ok()?;
    Some(wire.decision == "approved")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(more: &Value) -> Option<Invoke> {
        let mut payload = json!({ "id": "i", "nodeId": "n", "command": "c" });
        for (name, value) in more.as_object().unwrap() {
            payload[name] = value.clone();
        }
        Invoke::read(&RawJson::encode(&payload).unwrap())
    }

    #[test]
    fn parameters_come_as_text_or_as_they_are() {
        for (more, params) in [
            (json!({}), None),
            (json!({ "paramsJSON": null }), None),
            (json!({ "paramsJSON": "" }), None),
            (json!({ "paramsJSON": "{\"a\":1}" }), Some(r#"{"a":1}"#)),
            (json!({ "params": { "a": 1 } }), Some(r#"{"a":1}"#)),
            (json!({ "params": null }), None),
        ] {
            assert_eq!(read(&more).unwrap().params.as_deref(), params, "{more}");
        }
    }

    #[test]
    fn zero_is_no_limit_and_nothing_is_the_default() {
        let time = |more| read(&more).unwrap().time;
        assert_eq!(time(json!({})), Some(DEFAULT_TIME));
        assert_eq!(time(json!({ "timeoutMs": 0 })), None);
        let second = Duration::from_secs(1);
        assert_eq!(time(json!({ "timeoutMs": 1000 })), Some(second));
        assert!(time(json!({ "timeoutMs": u64::MAX })).is_some());
    }

    #[test]
    fn what_cannot_be_answered_is_dropped() {
        assert!(read(&json!({ "id": "" })).is_none());
        assert!(read(&json!({ "id": 7 })).is_none());
        assert!(Invoke::read(&RawJson::checked("[]").unwrap()).is_none());
    }
}

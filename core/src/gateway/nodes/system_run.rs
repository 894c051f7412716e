//! What may be said to `system.run` from outside (spec protocol §8.4).
//!
//! A node asks for an approval before it runs a program that is not on its list. Whoever may call
//! `node.invoke` must not be able to say in its parameters that the approval was given.

use serde_json::{Map, Value, json};

use crate::{
    frame::RawJson,
    gateway::approvals::Decision,
    protocol::{RpcCode, RpcError},
};

/// Fields that go to the node.
const FIELDS: [&str; 11] = [
    "agentId",
    "command",
    "cwd",
    "env",
    "needsScreenRecording",
    "rawCommand",
    "runId",
    "sessionKey",
    "suppressNotifyOnExit",
    "systemRunPlan",
    "timeoutMs",
];

/// Fields by which the gateway tells a node that somebody said yes.
const VERDICTS: [&str; 3] = ["approvalDecision", "approvalSource", "approved"];

/// The parameters that a caller may send.
///
/// # Errors
/// When they claim an approval.
pub(crate) fn without_verdict(params: &RawJson) -> Result<RawJson, RpcError> {
    let Ok(mut fields) = params.parse::<Map<String, Value>>() else {
        return Err(RpcError::invalid_request(
            "system.run takes an object as its params",
        ));
    };
    let claims = |name: &&str| match fields.get(*name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(_) => true,
    };
    if VERDICTS.iter().any(claims) {
        let message = "a call of system.run cannot bring its own approval; ask for one by \
                       exec.approval.request";
        return Err(RpcError::invalid_request(message)
            .with_details(json!({ "code": "APPROVALS_UNAVAILABLE" })));
    }
    fields.retain(|name, _| FIELDS.contains(&name.as_str()));
    RawJson::encode(&fields).map_err(|_| {
        RpcError::new(
            RpcCode::Unavailable,
            "the params could not be written as JSON",
        )
    })
}

/// Adds somebody's word.
///
/// # Errors
/// Never: the parameters are an object.
pub(crate) fn with_verdict(
    params: RawJson,
    verdict: Option<Decision>,
) -> Result<RawJson, RpcError> {
    let Some(verdict) = verdict else {
        return Ok(params);
    };
    let mut fields = params.parse::<Map<String, Value>>().unwrap_or_default();
    fields.insert("approved".into(), json!(true));
    fields.insert("approvalDecision".into(), json!(verdict));
    RawJson::encode(&fields).map_err(|_| {
        RpcError::new(
            RpcCode::Unavailable,
            "the params could not be written as JSON",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(params: Value) -> Result<Value, RpcError> {
        let params = RawJson::encode(&params).unwrap();
        without_verdict(&params).map(|kept| kept.parse().unwrap())
    }

    #[test]
    fn nobody_brings_his_own_approval() {
        for claim in [
            json!({"approved": true}),
            json!({"approved": 1}),
            json!({"approvalDecision": "allow-once"}),
            json!({"approvalSource": "ask-fallback"}),
        ] {
            assert!(checked(claim.clone()).is_err(), "{claim}");
        }
        assert!(checked(json!("ls")).is_err());
    }

    #[test]
    fn only_known_fields_pass() {
        let params = json!({"command": ["ls"], "cwd": "/", "approved": false, "other": 1});
        assert_eq!(
            checked(params).unwrap(),
            json!({"command": ["ls"], "cwd": "/"})
        );
    }
}

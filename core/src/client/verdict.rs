//! What a client does after its `connect` was refused (spec protocol §10).

use std::time::Duration;

use serde_json::Value;

use super::RetryHint;
use crate::protocol::{NextStep, RpcCode, RpcError};

/// Refusals that another attempt with the same credentials cannot change.
const PAUSING: [&str; 15] = [
    "AUTH_BOOTSTRAP_TOKEN_INVALID",
    "AUTH_DEVICE_TOKEN_MISMATCH",
    "AUTH_IDENTITY_HEADER_REQUIRED",
    "AUTH_PASSWORD_MISMATCH",
    "AUTH_PASSWORD_MISSING",
    "AUTH_RATE_LIMITED",
    "AUTH_SCOPE_MISMATCH",
    "AUTH_TOKEN_MISMATCH",
    "AUTH_TOKEN_MISSING",
    "AUTH_VERIFIED_USER_REQUIRED",
    "CLIENT_VERSION_MISMATCH",
    "CONTROL_UI_BUILD_MISMATCH",
    "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
    "DEVICE_IDENTITY_REQUIRED",
    "PROTOCOL_MISMATCH",
];

const STARTUP_DEFAULT: Duration = Duration::from_millis(500);

/// What the refused attempt sent, and what else there is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Neither a shared secret that a stored token could replace, nor a stored token.
    Plain,
    /// A token or password was sent; a stored device token is at hand, and the endpoint is trusted
    /// enough to be offered it.
    Replaceable,
    /// A stored device token was sent.
    Stored,
}

/// Why a client waits for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseReason {
    /// The gateway's detail code, such as `AUTH_TOKEN_MISMATCH`.
    pub code: String,
    /// The gateway's words.
    pub message: String,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, until somebody changed something.
    Pause(PauseReason),
    /// Dial again.
    Retry(RetryHint),
    /// Dial again at once, and send the stored device token as well. At most once.
    RetryWithDeviceToken,
}

/// Judges a refusal.
///
/// ```
/// use clawgate_core::{client::{Attempt, Verdict, judge}, protocol::RpcError};
/// use serde_json::json;
///
/// let wrong_token = RpcError::invalid_request("unauthorized")
///     .with_details(json!({ "code": "AUTH_TOKEN_MISMATCH" }));
/// assert!(matches!(judge(&wrong_token, Attempt::Plain), Verdict::Pause(_)));
/// assert_eq!(judge(&wrong_token, Attempt::Replaceable), Verdict::RetryWithDeviceToken);
/// ```
pub fn judge(error: &RpcError, attempt: Attempt) -> Verdict {
    let code = error.detail_code().unwrap_or_default();
    let wait = error.retry_after_ms.map(Duration::from_millis);
    if error.code == RpcCode::Unavailable.as_str()
        && detail(error, "reason").and_then(Value::as_str) == Some("startup-sidecars")
    {
        return Verdict::Retry(RetryHint::Startup(wait.unwrap_or(STARTUP_DEFAULT)));
    }
    let next_step = detail(error, "recommendedNextStep").and_then(Value::as_str);
    let device_token_may_help = code == "AUTH_TOKEN_MISMATCH"
        || next_step == Some(NextStep::RetryWithDeviceToken.as_str())
        || is(error, "canRetryWithDeviceToken", true);
    if attempt == Attempt::Replaceable && device_token_may_help {
        return Verdict::RetryWithDeviceToken;
    }
    let pairing_pauses = code == "PAIRING_REQUIRED"
        && !is(error, "pauseReconnect", false)
        && next_step != Some(NextStep::WaitThenRetry.as_str());
    if pairing_pauses || PAUSING.contains(&code) {
        return Verdict::Pause(PauseReason {
            code: code.into(),
            message: error.message.clone(),
        });
    }
    Verdict::Retry(match (error.retryable, wait) {
        (Some(true), Some(wait)) => RetryHint::NotBefore(wait),
        (Some(true), None) | (Some(false) | None, _) => RetryHint::Backoff,
    })
}

/// Whether a refusal means that the stored device token is worthless.
pub(super) fn spoils_stored_token(error: &RpcError, attempt: Attempt) -> bool {
    attempt == Attempt::Stored && error.detail_code() == Some("AUTH_DEVICE_TOKEN_MISMATCH")
}

/// Whether a close says the same.
pub(super) fn close_spoils_stored_token(code: Option<u16>, reason: &str, attempt: Attempt) -> bool {
    attempt == Attempt::Stored
        && code == Some(1008)
        && reason
            .to_ascii_lowercase()
            .contains("device token mismatch")
}

fn detail<'a>(error: &'a RpcError, field: &str) -> Option<&'a Value> {
    error.details.as_ref()?.get(field)
}

fn is(error: &RpcError, field: &str, expected: bool) -> bool {
    detail(error, field).and_then(Value::as_bool) == Some(expected)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(details: Value) -> RpcError {
        RpcError::invalid_request("no").with_details(details)
    }

    #[test]
    fn hopeless_refusals_pause() {
        for code in PAUSING {
            let verdict = judge(&refusal(json!({ "code": code })), Attempt::Plain);
            assert!(matches!(verdict, Verdict::Pause(reason) if reason.code == code));
        }
    }

    #[test]
    fn pairing_pauses_unless_the_gateway_says_wait() {
        for (extra, pauses) in [
            (json!({}), true),
            (json!({ "pauseReconnect": true }), true),
            (json!({ "pauseReconnect": false }), false),
            (json!({ "recommendedNextStep": "wait_then_retry" }), false),
        ] {
            let mut details = extra.clone();
            details["code"] = "PAIRING_REQUIRED".into();
            let verdict = judge(&refusal(details), Attempt::Plain);
            assert_eq!(matches!(verdict, Verdict::Pause(_)), pauses, "{extra}");
        }
    }

    #[test]
    fn the_stored_token_is_offered_only_where_it_may_help() {
        for (details, helps) in [
            (json!({ "code": "AUTH_TOKEN_MISMATCH" }), true),
            (
                json!({ "code": "X", "canRetryWithDeviceToken": true }),
                true,
            ),
            (
                json!({ "code": "X", "recommendedNextStep": "retry_with_device_token" }),
                true,
            ),
            (
                json!({ "code": "X", "canRetryWithDeviceToken": false }),
                false,
            ),
            (json!({ "code": "PROTOCOL_MISMATCH" }), false),
        ] {
            let error = refusal(details);
            let verdict = judge(&error, Attempt::Replaceable);
            assert_eq!(verdict == Verdict::RetryWithDeviceToken, helps, "{error:?}");
            for attempt in [Attempt::Plain, Attempt::Stored] {
                assert_ne!(judge(&error, attempt), Verdict::RetryWithDeviceToken);
            }
        }
    }

    #[test]
    fn the_gateway_may_ask_for_time() {
        let mut error = RpcError::retry_later("busy", 1_500);
        assert_eq!(
            judge(&error, Attempt::Plain),
            Verdict::Retry(RetryHint::NotBefore(Duration::from_millis(1_500)))
        );
        error.retryable = None;
        assert_eq!(
            judge(&error, Attempt::Plain),
            Verdict::Retry(RetryHint::Backoff)
        );
        let starting =
            RpcError::retry_later("x", 700).with_details(json!({ "reason": "startup-sidecars" }));
        assert_eq!(
            judge(&starting, Attempt::Plain),
            Verdict::Retry(RetryHint::Startup(Duration::from_millis(700)))
        );
    }

    #[test]
    fn only_a_stored_token_is_forgotten() {
        let error = refusal(json!({ "code": "AUTH_DEVICE_TOKEN_MISMATCH" }));
        let reason = "unauthorized: device token mismatch (x)";
        for (attempt, spoilt) in [
            (Attempt::Stored, true),
            (Attempt::Plain, false),
            (Attempt::Replaceable, false),
        ] {
            assert_eq!(spoils_stored_token(&error, attempt), spoilt);
            assert_eq!(
                close_spoils_stored_token(Some(1008), reason, attempt),
                spoilt
            );
            assert!(!close_spoils_stored_token(Some(1000), reason, attempt));
        }
    }
}

//! Errors of the wire: `error` of a response, and the detail codes of a refused `connect` (spec
//! protocol §2.1, §2.2).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `error.code`: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RpcCode {
    /// A scope is missing.
    Forbidden,
    /// The request or the credential is wrong.
    InvalidRequest,
    /// The device is not paired.
    NotPaired,
    /// It cannot be done now.
    Unavailable,
}

impl RpcCode {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "FORBIDDEN",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::NotPaired => "NOT_PAIRED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// The `error` object of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RpcError {
    /// One of [`RpcCode`], or a code of a newer gateway.
    pub code: String,
    /// For people.
    pub message: String,
    /// For programs; its `code` names the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// Whether the same request may succeed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// Milliseconds to wait before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl RpcError {
    /// An error without details.
    pub fn new(code: RpcCode, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().into(),
            message: message.into(),
            details: None,
            retryable: None,
            retry_after_ms: None,
        }
    }

    /// `INVALID_REQUEST`.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(RpcCode::InvalidRequest, message)
    }

    /// `INVALID_REQUEST` for parameters that do not fit the method's shape.
    pub fn invalid_params(method: &str, problem: &str) -> Self {
        Self::invalid_request(format!("invalid {method} params: {problem}"))
    }

    /// `INVALID_REQUEST` for a method that does not exist.
    pub fn unknown_method(method: &str) -> Self {
        let shown: String = method.chars().take(120).collect();
        Self::invalid_request(format!("unknown method: {shown}"))
    }

    /// `FORBIDDEN` with the scope that would have been enough (spec protocol §2.2).
    pub fn missing_scope(scope: &str) -> Self {
        Self::new(RpcCode::Forbidden, format!("missing scope: {scope}")).with_details(json!({
            "code": "MISSING_SCOPE",
            "missingScope": scope,
            "requiredScopes": [scope],
        }))
    }

    /// `UNAVAILABLE` that may be tried again after a while.
    pub fn retry_later(message: impl Into<String>, after_ms: u64) -> Self {
        let mut error = Self::new(RpcCode::Unavailable, message);
        error.retryable = Some(true);
        error.retry_after_ms = Some(after_ms);
        error
    }

    /// What stands for an `ok:false` response without an error.
    pub(crate) fn missing() -> Self {
        Self::new(
            RpcCode::Unavailable,
            "the gateway refused and gave no reason",
        )
    }

    /// Adds details.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// `details.code`, where there is one.
    pub fn detail_code(&self) -> Option<&str> {
        self.details.as_ref()?.get("code")?.as_str()
    }

    pub(crate) fn to_json(&self) -> String {
        // Strings, booleans and values serialise without fail.
        serde_json::to_string(self).unwrap_or_else(|_| {
            r#"{"code":"UNAVAILABLE","message":"error could not be written"}"#.into()
        })
    }
}

/// `details.code` of a refused `connect` (spec protocol §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum ConnectCode {
    AuthBootstrapTokenInvalid,
    AuthDeviceTokenMismatch,
    AuthPasswordMismatch,
    AuthPasswordMissing,
    AuthPasswordNotConfigured,
    AuthRateLimited,
    AuthRequired,
    AuthScopeMismatch,
    AuthTokenMismatch,
    AuthTokenMissing,
    AuthTokenNotConfigured,
    AuthUnauthorized,
    ControlUiDeviceIdentityRequired,
    ControlUiOriginNotAllowed,
    DeviceAuthDeviceIdMismatch,
    DeviceAuthInvalid,
    DeviceAuthNonceMismatch,
    DeviceAuthNonceRequired,
    DeviceAuthPublicKeyInvalid,
    DeviceAuthSignatureExpired,
    DeviceAuthSignatureInvalid,
    DeviceIdentityRequired,
    PairingRequired,
    ProtocolMismatch,
}

impl ConnectCode {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 24] = [
        Self::AuthBootstrapTokenInvalid,
        Self::AuthDeviceTokenMismatch,
        Self::AuthPasswordMismatch,
        Self::AuthPasswordMissing,
        Self::AuthPasswordNotConfigured,
        Self::AuthRateLimited,
        Self::AuthRequired,
        Self::AuthScopeMismatch,
        Self::AuthTokenMismatch,
        Self::AuthTokenMissing,
        Self::AuthTokenNotConfigured,
        Self::AuthUnauthorized,
        Self::ControlUiDeviceIdentityRequired,
        Self::ControlUiOriginNotAllowed,
        Self::DeviceAuthDeviceIdMismatch,
        Self::DeviceAuthInvalid,
        Self::DeviceAuthNonceMismatch,
        Self::DeviceAuthNonceRequired,
        Self::DeviceAuthPublicKeyInvalid,
        Self::DeviceAuthSignatureExpired,
        Self::DeviceAuthSignatureInvalid,
        Self::DeviceIdentityRequired,
        Self::PairingRequired,
        Self::ProtocolMismatch,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthBootstrapTokenInvalid => "AUTH_BOOTSTRAP_TOKEN_INVALID",
            Self::AuthDeviceTokenMismatch => "AUTH_DEVICE_TOKEN_MISMATCH",
            Self::AuthPasswordMismatch => "AUTH_PASSWORD_MISMATCH",
            Self::AuthPasswordMissing => "AUTH_PASSWORD_MISSING",
            Self::AuthPasswordNotConfigured => "AUTH_PASSWORD_NOT_CONFIGURED",
            Self::AuthRateLimited => "AUTH_RATE_LIMITED",
            Self::AuthRequired => "AUTH_REQUIRED",
            Self::AuthScopeMismatch => "AUTH_SCOPE_MISMATCH",
            Self::AuthTokenMismatch => "AUTH_TOKEN_MISMATCH",
            Self::AuthTokenMissing => "AUTH_TOKEN_MISSING",
            Self::AuthTokenNotConfigured => "AUTH_TOKEN_NOT_CONFIGURED",
            Self::AuthUnauthorized => "AUTH_UNAUTHORIZED",
            Self::ControlUiDeviceIdentityRequired => "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
            Self::ControlUiOriginNotAllowed => "CONTROL_UI_ORIGIN_NOT_ALLOWED",
            Self::DeviceAuthDeviceIdMismatch => "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            Self::DeviceAuthInvalid => "DEVICE_AUTH_INVALID",
            Self::DeviceAuthNonceMismatch => "DEVICE_AUTH_NONCE_MISMATCH",
            Self::DeviceAuthNonceRequired => "DEVICE_AUTH_NONCE_REQUIRED",
            Self::DeviceAuthPublicKeyInvalid => "DEVICE_AUTH_PUBLIC_KEY_INVALID",
            Self::DeviceAuthSignatureExpired => "DEVICE_AUTH_SIGNATURE_EXPIRED",
            Self::DeviceAuthSignatureInvalid => "DEVICE_AUTH_SIGNATURE_INVALID",
            Self::DeviceIdentityRequired => "DEVICE_IDENTITY_REQUIRED",
            Self::PairingRequired => "PAIRING_REQUIRED",
            Self::ProtocolMismatch => "PROTOCOL_MISMATCH",
        }
    }
}

/// `details.recommendedNextStep` of a refused `connect` (spec protocol §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum NextStep {
    RetryWithDeviceToken,
    ReviewAuthConfiguration,
    UpdateAuthConfiguration,
    UpdateAuthCredentials,
    WaitThenRetry,
}

impl NextStep {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetryWithDeviceToken => "retry_with_device_token",
            Self::ReviewAuthConfiguration => "review_auth_configuration",
            Self::UpdateAuthConfiguration => "update_auth_configuration",
            Self::UpdateAuthCredentials => "update_auth_credentials",
            Self::WaitThenRetry => "wait_then_retry",
        }
    }
}

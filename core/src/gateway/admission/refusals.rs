//! How a client is turned away, and what it may do about it (spec protocol §3.5, §3.6).

use serde_json::json;

use crate::{
    gateway::devices::{PairRequest, PairedDevice, PairingReason, Program},
    policy::{AuthReason, SecretKind},
    protocol::{CloseCode, CloseReason, ConnectCode, NextStep, RpcCode, RpcError},
    server::Refusal,
    time::millis,
};

pub(super) fn stopping() -> Refusal {
    let error = RpcError::retry_later("gateway is stopping; retry when it is back", 1_000);
    let mut refusal = Refusal::new(error, CloseCode::TryAgainLater);
    refusal.reason = CloseReason::new("gateway restart in progress");
    refusal
}

/// Each reason has its detail code and its advice (spec protocol §3.5).
pub(super) fn unauthorized(reason: &AuthReason) -> Refusal {
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

/// The device has a token of its own that it could send instead.
pub(super) fn advise_device_token(refusal: &mut Refusal) {
    refusal.detail("canRetryWithDeviceToken", true.into());
    let next = NextStep::RetryWithDeviceToken.as_str();
    refusal.detail("recommendedNextStep", next.into());
}

pub(super) fn device_token_mismatch() -> Refusal {
    Refusal::unauthorized(
        ConnectCode::AuthDeviceTokenMismatch,
        "unauthorized: device token mismatch (the token was rotated or revoked; connect once with \
         the gateway's token, or have the device approved again)",
        "device_token_mismatch",
        NextStep::UpdateAuthCredentials,
    )
}

pub(super) fn scopes_not_held() -> Refusal {
    Refusal::unauthorized(
        ConnectCode::AuthScopeMismatch,
        "unauthorized: the device token does not cover the scopes that were asked for (ask for \
         fewer, or connect once with the gateway's token to have more approved)",
        "scope_mismatch",
        NextStep::ReviewAuthConfiguration,
    )
}

pub(super) fn join_token_invalid() -> Refusal {
    Refusal::unauthorized(
        ConnectCode::AuthBootstrapTokenInvalid,
        "unauthorized: the join token is unknown, used up, ended or for another role (make a new \
         one with `clawgate devices invite`)",
        "bootstrap_token_invalid",
        NextStep::UpdateAuthCredentials,
    )
}

pub(super) fn device_required() -> Refusal {
    let mut refusal = Refusal::not_paired(
        ConnectCode::DeviceIdentityRequired,
        "device identity required: no usable gateway token or password was sent, and no device",
    );
    refusal.reason = CloseReason::new("device identity required");
    refusal
}

pub(super) fn too_many_devices(limit: usize) -> Refusal {
    let message = format!(
        "this gateway has {limit} paired devices and takes no more; remove some with `clawgate \
         devices remove`"
    );
    Refusal::new(
        RpcError::new(RpcCode::Unavailable, message),
        CloseCode::Policy,
    )
}

pub(super) fn too_many_requests(limit: usize) -> Refusal {
    let message = format!(
        "pairing required, but {limit} requests wait already; answer some with `clawgate devices \
         list`, or wait until they end"
    );
    let mut refusal = Refusal::not_paired(ConnectCode::PairingRequired, message);
    refusal.detail("reason", "too-many-requests".into());
    refusal.error.retryable = Some(true);
    refusal.error.retry_after_ms = Some(60_000);
    refusal
}

/// Names the request, and the whole command that answers it.
pub(super) fn pairing_required(
    reason: PairingReason,
    request: &PairRequest,
    known: Option<&PairedDevice>,
    program: Program,
) -> Refusal {
    let (what, id) = (reason.message(), &request.request_id);
    let command = format!("clawgate devices approve {id}");
    let mut refusal = Refusal::not_paired(
        ConnectCode::PairingRequired,
        format!("pairing required: {what}; approve it on the gateway's host with `{command}`"),
    );
    refusal.reason = CloseReason::new(format!("pairing required: {what} (requestId: {id})"));
    refusal.detail("reason", reason.as_str().into());
    refusal.detail("requestId", id.as_str().into());
    refusal.detail("remediationHint", format!("Run `{command}`.").into());
    refusal.detail("approveCommand", command.into());
    refusal.detail("deviceId", request.device_id.as_str().into());
    refusal.detail("requestedRole", json!(request.role));
    refusal.detail("requestedScopes", json!(request.scopes));
    if let Some(known) = known {
        refusal.detail("approvedRoles", json!(known.roles));
        refusal.detail("approvedScopes", json!(known.scopes));
    }
    // A page waits and tries again by itself; programs are told to their users.
    if program == Program::Browser {
        let next = NextStep::WaitThenRetry.as_str();
        refusal.detail("recommendedNextStep", next.into());
        refusal.detail("retryable", true.into());
        refusal.detail("pauseReconnect", false.into());
    }
    refusal
}

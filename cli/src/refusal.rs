//! What went wrong on the way to an answer, in exit codes and words.

use std::path::Path;

use clawgate_core::client::{CallError as NoAnswer, Ending, Hello};
use clawgate_core::credentials::PinSource;
use clawgate_core::error::Error;
use clawgate_core::policy::PinPlace;
use clawgate_core::protocol::{CloseCode, RpcError};
use clawgate_core::secret::Secret;
use clawgate_core::tunnel::{FailureKind, TunnelFailure};
use clawgate_std::{CallError, ConnectError, Problem, Stage};
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::target::{
    Resolved, auth_json, correct_credential, target_json, target_text, with_chain,
};

/// There is no connection.
pub(crate) fn connect(error: &ConnectError, resolved: &Resolved) -> Failure {
    no_connection(error, resolved).without(&sent(resolved))
}

/// A call has no result.
pub(crate) fn call(method: &str, error: &CallError, resolved: &Resolved, hello: &Hello) -> Failure {
    no_result(method, error, resolved, hello).without(&sent(resolved))
}

/// The owner's socket led nowhere.
pub(crate) fn owner_connect(error: &ConnectError, socket: &Path) -> Failure {
    bare_connect(error).fact("socket", json!(socket.to_string_lossy()))
}

/// A join token led nowhere.
pub(crate) fn join(error: &ConnectError) -> Failure {
    let mut failure = bare_connect(error);
    let Some(refused) = error.refusal() else {
        return failure;
    };
    match refused.detail_code() {
        Some("AUTH_BOOTSTRAP_TOKEN_INVALID") => {
            failure.next = "Check --role: a join token is for one role; some gateways also refuse \
                            to be asked for more --scopes than it is for. If that is right, make a \
                            new one with `clawgate devices invite` on the gateway's host."
                .to_owned();
        }
        Some("PAIRING_REQUIRED") => failure.next = pairing_step(refused),
        Some(_) | None => {}
    }
    with_request(failure, refused)
}

fn bare_connect(error: &ConnectError) -> Failure {
    let (exit, code) = of_problem(error);
    let next = error.next_step().unwrap_or_else(|| "try again".into());
    let failure = Failure::new(
        exit,
        code,
        format!("{}.", capitalised_message(error)),
        format!("{}.", crate::text::capitalised(&next)),
    )
    .fact("stage", json!(error.stage.as_str()));
    match error.refusal() {
        Some(rpc) => failure.fact("rpc", json!(rpc)),
        None => failure,
    }
}

/// A call over the owner's socket has no result.
pub(crate) fn owner_call(method: &str, error: &CallError, socket: &Path) -> Failure {
    let (exit, code, message) = match error {
        CallError::Connect(error) => return owner_connect(error, socket),
        CallError::Answer(NoAnswer::Rpc(error)) => {
            let (exit, code) = of_refusal(error);
            let words = sentence(&error.message);
            (
                exit,
                code,
                format!("The gateway refused {method}: {words}."),
            )
        }
        CallError::Answer(NoAnswer::Timeout) => (
            Exit::TimedOut,
            "timeout",
            format!("No answer to {method} before the deadline."),
        ),
        CallError::Answer(NoAnswer::Ended(ending)) => {
            let (exit, code) = of_ending(ending);
            (exit, code, format!("No answer to {method}: {ending}."))
        }
        CallError::Cancelled => (
            Exit::Failed,
            "cancelled",
            format!("{method} was cancelled."),
        ),
        CallError::NotSent(why) => (
            Exit::Refused,
            "not_sent",
            format!("{method} was not sent: {why}."),
        ),
    };
    let failure = Failure::new(
        exit,
        code,
        message,
        "`clawgate devices list` shows how it is.",
    )
    .fact("method", json!(method))
    .fact("socket", json!(socket.to_string_lossy()));
    match error.rpc() {
        Some(rpc) => failure.fact("rpc", json!(rpc)),
        None => failure,
    }
}

/// What was presented, which a gateway may repeat in its words.
pub(crate) fn sent(resolved: &Resolved) -> Vec<&Secret> {
    let auth = resolved.target.auth();
    let headers = resolved.target.edge_headers().iter();
    [auth.token(), auth.password(), auth.device_token()]
        .into_iter()
        .flatten()
        .chain(headers.map(|(_, value)| value))
        .collect()
}

fn no_connection(error: &ConnectError, resolved: &Resolved) -> Failure {
    let (exit, code) = of_problem(error);
    if let Some(refused) = error.refusal() {
        return refused_connect(refused, resolved);
    }
    let mut next = error.next_step().map_or_else(
        || "Try again.".to_owned(),
        |step| format!("{}.", crate::text::capitalised(&step)),
    );
    if exit == Exit::Unauthorised {
        next = correct_credential(&resolved.target);
    }
    if exit == Exit::WrongCertificate && !matches!(error.problem, Problem::Tunnel { .. }) {
        next = other_certificate(resolved);
    }
    if let Some(port) = resolved.runs_on {
        next = format!("The gateway of this instance listens on port {port}: add --port {port}.");
    }
    let failure = Failure::new(exit, code, format!("{}.", capitalised_message(error)), next)
        .fact("stage", json!(error.stage.as_str()));
    let failure = if let Problem::PinMismatch { pinned, seen } = &error.problem {
        failure
            .fact("expected", json!(pinned.iter().collect::<Vec<_>>()))
            .fact("got", json!(seen))
    } else {
        failure
    };
    located(failure, resolved)
}

/// What to do about a certificate that is not the pinned one, by where the pin comes from.
fn other_certificate(resolved: &Resolved) -> String {
    let place = PinPlace::of(resolved.target.endpoint());
    let change = match resolved.target.pin_source() {
        Some(PinSource::Flag) => "give the new fingerprint with --tls-fingerprint".to_owned(),
        Some(PinSource::Config) => {
            "add the new fingerprint to gateway.remote.tlsFingerprint".to_owned()
        }
        Some(PinSource::OwnGateway) => {
            return "Another program may listen on the gateway's port. If the certificate file was \
                    replaced, look into the gateway's log why it still shows the old one."
                .to_owned();
        }
        Some(PinSource::FirstUse) | None => format!("run `clawgate pins remove {place}`"),
    };
    format!(
        "Do not connect unless you know that the certificate was replaced: somebody may be in \
         between. If it was, {change}."
    )
}

fn no_result(method: &str, error: &CallError, resolved: &Resolved, hello: &Hello) -> Failure {
    let fail = |exit, code, message: String, next: &str| {
        let failure = Failure::new(exit, code, message, next).fact("method", json!(method));
        located(failure, resolved)
    };
    const UNKNOWN_FATE: &str = "Whether the gateway carried it out is not known: look before you \
                                call again. `clawgate gateway probe` shows how it is.";
    match error {
        CallError::Connect(error) => no_connection(error, resolved),
        CallError::Answer(NoAnswer::Rpc(error)) => refused_call(method, error, resolved, hello),
        CallError::Answer(NoAnswer::Timeout) => fail(
            Exit::TimedOut,
            "timeout",
            format!("No answer to {method} before the deadline."),
            "Raise it with --timeout MS. Whether the gateway carried the call out is not known.",
        ),
        CallError::Answer(NoAnswer::Ended(ending)) => {
            let (exit, code) = of_ending(ending);
            fail(
                exit,
                code,
                format!("No answer to {method}: {ending}."),
                UNKNOWN_FATE,
            )
        }
        CallError::Cancelled => fail(
            Exit::Failed,
            "cancelled",
            format!("{method} was cancelled."),
            UNKNOWN_FATE,
        ),
        CallError::NotSent(why) => fail(
            Exit::Refused,
            "not_sent",
            format!("{method} was not sent: {why}."),
            "Send smaller parameters, or try again.",
        ),
    }
}

fn of_problem(error: &ConnectError) -> (Exit, &'static str) {
    match &error.problem {
        Problem::Cancelled => (Exit::Failed, "cancelled"),
        Problem::Tunnel { failure, .. } => of_tunnel(failure),
        Problem::System(_) => (Exit::Failed, "system"),
        Problem::Deadline => (Exit::TimedOut, "timeout"),
        Problem::Ended(ending) => of_ending(ending),
        Problem::Upgrade {
            status: 401 | 403, ..
        } => (Exit::Unauthorised, "upgrade_unauthorised"),
        Problem::Upgrade { .. } => (Exit::Unreachable, "upgrade_refused"),
        Problem::Certificate(_) => (Exit::Unreachable, "certificate"),
        Problem::NoAuthorities => (Exit::Unreachable, "no_certificate_authorities"),
        Problem::PinMismatch { .. } => (Exit::WrongCertificate, "certificate_pin_mismatch"),
        Problem::Redirected { .. } => (Exit::Unreachable, "redirected"),
        Problem::Dns(_) => (Exit::Unreachable, "dns"),
        Problem::Socket { .. } => (Exit::Unreachable, "owner_socket"),
        Problem::Lost(_) => (Exit::Unreachable, "connection_lost"),
        Problem::NotTls => (Exit::Unreachable, "not_tls"),
        Problem::NotWebSocket(_) => (Exit::Unreachable, "not_a_gateway"),
        Problem::Tls(_) => (Exit::Unreachable, "tls"),
        Problem::Tcp(_) => (Exit::Unreachable, "tcp"),
        // The list is open.
        _ => (Exit::Unreachable, "unreachable"),
    }
}

/// A tunnel that is not there: 7 when another machine may be behind the name.
pub(crate) const fn of_tunnel(failure: &TunnelFailure) -> (Exit, &'static str) {
    let exit = match failure.kind() {
        FailureKind::HostKeyChanged | FailureKind::HostKeyRevoked => Exit::WrongCertificate,
        FailureKind::TimedOut | FailureKind::NotListening | FailureKind::Silent => Exit::TimedOut,
        FailureKind::BadSshConfig
        | FailureKind::IdentityExposed
        | FailureKind::IdentityMissing
        | FailureKind::IdentityUnusable => Exit::Configuration,
        FailureKind::NoSsh | FailureKind::CannotStart => Exit::Failed,
        FailureKind::ClosedEarly
        | FailureKind::ForwardForbidden
        | FailureKind::GatewayAbsent
        | FailureKind::HostKeyUnknown
        | FailureKind::KeyRefused
        | FailureKind::LocalPortForbidden
        | FailureKind::LocalPortTaken
        | FailureKind::Lost
        | FailureKind::NameNotFound
        | FailureKind::NoCommonAlgorithm
        | FailureKind::NoRoute
        | FailureKind::NotHeld
        | FailureKind::Other
        | FailureKind::Refused
        | FailureKind::Stranger
        | FailureKind::TooManyKeys => Exit::Unreachable,
    };
    (exit, failure.kind().code())
}

fn of_ending(ending: &Ending) -> (Exit, &'static str) {
    match ending {
        Ending::Closed { code, reason } => {
            let words = reason.as_str().to_ascii_lowercase();
            let about_auth = ["unauthorized", "pairing", "device identity", "device token"]
                .iter()
                .any(|word| words.contains(word));
            match code {
                Some(1008) if about_auth => (Exit::Unauthorised, "closed_unauthorised"),
                Some(1012 | 1013) => (Exit::Unreachable, "gateway_restarting"),
                Some(_) | None => (Exit::Unreachable, "connection_closed"),
            }
        }
        Ending::Failed(Error::Peer(fault)) => {
            // The challenge has a deadline of its own, which ends with the code of a broken rule.
            let late = fault.code == CloseCode::ClientTimeout || fault.reason.contains("timeout");
            if late {
                (Exit::TimedOut, "timeout")
            } else {
                (Exit::Unreachable, "not_a_gateway")
            }
        }
        Ending::Failed(_) => (Exit::Failed, "client_fault"),
        Ending::Lost => (Exit::Unreachable, "connection_lost"),
        Ending::Refused(error) => of_refusal(error),
        Ending::Stopped => (Exit::Failed, "cancelled"),
    }
}

/// A refused `connect` or call: 4 when it is about who is asking, 6 when it is about what.
fn of_refusal(error: &RpcError) -> (Exit, &'static str) {
    let detail = error.detail_code().unwrap_or_default();
    let about_auth = error.code == "FORBIDDEN"
        || error.code == "NOT_PAIRED"
        || ["AUTH_", "DEVICE_", "CONTROL_UI_"]
            .iter()
            .any(|start| detail.starts_with(start))
        || matches!(detail, "MISSING_SCOPE" | "PAIRING_REQUIRED");
    if detail == "PAIRING_REQUIRED" {
        (Exit::Unauthorised, "pairing_required")
    } else if about_auth {
        (Exit::Unauthorised, "unauthorised")
    } else {
        (Exit::Refused, "refused")
    }
}

fn refused_connect(error: &RpcError, resolved: &Resolved) -> Failure {
    let (exit, fallback) = of_refusal(error);
    let detail = error.detail_code().unwrap_or_default();
    let url = resolved.target.endpoint().url();
    let next = match detail {
        "AUTH_RATE_LIMITED" => match error.retry_after_ms {
            Some(wait) => format!(
                "Wait {} before the next attempt. {}",
                crate::text::duration(std::time::Duration::from_millis(wait)),
                correct_credential(&resolved.target)
            ),
            None => format!(
                "Wait a few minutes. {}",
                correct_credential(&resolved.target)
            ),
        },
        "PAIRING_REQUIRED" => pairing_step(error),
        "AUTH_SCOPE_MISMATCH" => "This device's token allows less. Ask for more with `clawgate \
                                  devices upgrade --scopes NAMES`, or give the gateway's token or \
                                  password once."
            .to_owned(),
        "AUTH_DEVICE_TOKEN_MISMATCH" => format!(
            "The stored device token was removed. {}",
            correct_credential(&resolved.target)
        ),
        "PROTOCOL_MISMATCH" => "Update the older of the two sides.".to_owned(),
        _ if exit == Exit::Unauthorised => correct_credential(&resolved.target),
        _ => "Look at the gateway's log.".to_owned(),
    };
    let failure = Failure::new(
        exit,
        fallback,
        format!(
            "{url} refused the connection: {}.",
            sentence(&error.message)
        ),
        next,
    )
    .fact("rpc", json!(error));
    with_chain(with_request(failure, error), &resolved.why)
}

fn refused_call(method: &str, error: &RpcError, resolved: &Resolved, hello: &Hello) -> Failure {
    let (exit, code) = of_refusal(error);
    let next = if exit == Exit::Unauthorised {
        if hello.scopes.as_ref().is_some_and(Vec::is_empty)
            && !resolved.target.endpoint().is_loopback()
        {
            "The gateway grants scopes to paired devices and to clients on its own machine only. \
             `clawgate gateway call status` with the same flags asks it to pair this machine. Or \
             run this there, or through a tunnel: `ssh -N -L 18789:127.0.0.1:18789 USER@HOST` and \
             --url ws://127.0.0.1:18789."
                .to_owned()
        } else {
            correct_credential(&resolved.target)
        }
    } else if error.message.starts_with("unknown method") {
        "Check the spelling; `clawgate status --all --json` lists what the gateway offers."
            .to_owned()
    } else if error.retryable == Some(true) {
        match error.retry_after_ms {
            Some(wait) => format!(
                "Try again in {}.",
                crate::text::duration(std::time::Duration::from_millis(wait))
            ),
            None => "Try again in a little while.".to_owned(),
        }
    } else {
        "Check --params and the gateway's log.".to_owned()
    };
    let failure = Failure::new(
        exit,
        code,
        format!(
            "The gateway refused {method}: {}.",
            sentence(&error.message)
        ),
        next,
    )
    .fact("method", json!(method))
    .fact("rpc", json!(error));
    located(failure, resolved)
}

/// The whole chain for authentication errors, the target alone for others.
fn located(failure: Failure, resolved: &Resolved) -> Failure {
    if failure.exit == Exit::Unauthorised {
        with_chain(failure, &resolved.why)
    } else {
        failure
            .note(format!("target: {}", target_text(&resolved.why)))
            .fact("target", target_json(&resolved.why))
            .fact("auth", auth_json(&resolved.why))
    }
}

fn capitalised_message(error: &ConnectError) -> String {
    let what = match error.stage {
        Stage::Dns | Stage::Tunnel | Stage::Socket | Stage::Tcp | Stage::Tls | Stage::Upgrade => {
            "No connection to"
        }
        Stage::Challenge | Stage::Hello | Stage::Call => "No session with",
    };
    format!(
        "{what} {} (stage {}): {}",
        error.url, error.stage, error.problem
    )
}

fn sentence(message: &str) -> &str {
    message.trim().trim_end_matches('.')
}

/// What to do about a pairing request. The command is the gateway's own word only where it is one
/// that is known; whatever else it says is not for pasting into a shell.
pub(crate) fn pairing_step(error: &RpcError) -> String {
    let said = |field: &str| error.details.as_ref()?.get(field)?.as_str();
    let Some(id) = request_id(error) else {
        return "Approve this device on the gateway's host: `clawgate devices list` shows who asks. \
                Then try again."
            .to_owned();
    };
    let ours = format!("clawgate devices approve {id}");
    let command = match said("approveCommand") {
        Some(command) if command == ours => ours,
        Some(_) | None => format!("openclaw devices approve {id}"),
    };
    format!("Approve this device with `{command}` on the gateway's host, then try again.")
}

/// Adds the id of the pairing request.
fn with_request(failure: Failure, error: &RpcError) -> Failure {
    match request_id(error) {
        Some(id) => failure
            .note(format!("request: {id}"))
            .fact("requestId", json!(id)),
        None => failure,
    }
}

/// The id of a pairing request, if it can be pasted into a shell as it is.
pub(crate) fn request_id(error: &RpcError) -> Option<&str> {
    error
        .details
        .as_ref()?
        .get("requestId")?
        .as_str()
        .filter(|id| {
            !id.is_empty()
                && id.len() <= 64
                && !id.starts_with('-')
                && id
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        })
}

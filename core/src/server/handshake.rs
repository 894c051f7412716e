//! What a first frame must be, and how a refusal looks (spec protocol §3).

use serde_json::{Map, Value, json};

use super::{ConnectRequest, PeerFacts};
use crate::{
    device,
    frame::{FrameError, Request},
    ids::RequestId,
    protocol::{
        CloseCode, CloseReason, ConnectCode, ConnectParams, NextStep, PROBE_MIN_VERSION,
        PROTOCOL_VERSION, RpcCode, RpcError, VersionRange,
    },
    time::WallTime,
};

/// Turning a client away: the answer to its `connect`, then a close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error of the response.
    pub error: RpcError,
    /// The close code.
    pub code: CloseCode,
    /// The close reason.
    pub reason: CloseReason,
}

impl Refusal {
    /// A refusal whose close reason is the error's message.
    pub fn new(error: RpcError, code: CloseCode) -> Self {
        let reason = CloseReason::new(error.message.as_str());
        Self {
            error,
            code,
            reason,
        }
    }

    /// `INVALID_REQUEST` with a detail code, closing with 1008.
    pub fn invalid(code: ConnectCode, message: impl Into<String>) -> Self {
        Self::coded(RpcCode::InvalidRequest, code, message)
    }

    /// `NOT_PAIRED` with a detail code, closing with 1008.
    pub fn not_paired(code: ConnectCode, message: impl Into<String>) -> Self {
        Self::coded(RpcCode::NotPaired, code, message)
    }

    /// A failed authentication (spec protocol §3.5).
    pub fn unauthorized(
        code: ConnectCode,
        message: impl Into<String>,
        reason: &str,
        next: NextStep,
    ) -> Self {
        let mut refusal = Self::invalid(code, message);
        refusal.detail("authReason", reason.into());
        refusal.detail("canRetryWithDeviceToken", false.into());
        refusal.detail("recommendedNextStep", next.as_str().into());
        refusal
    }

    /// Adds a field to the details.
    pub fn detail(&mut self, name: &str, value: Value) {
        let details = self
            .error
            .details
            .get_or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(details) = details {
            details.insert(name.into(), value);
        }
    }

    fn coded(rpc: RpcCode, code: ConnectCode, message: impl Into<String>) -> Self {
        let error = RpcError::new(rpc, message).with_details(json!({ "code": code.as_str() }));
        Self::new(error, CloseCode::Policy)
    }
}

/// A first frame that did not pass. Without an id there is nothing to answer, only a close.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) id: Option<RequestId>,
    pub(super) refusal: Box<Refusal>,
}

/// Checks the first frame of a connection.
pub(super) fn check(
    frame: Result<Request, FrameError>,
    peer: &PeerFacts,
    nonce: &str,
    wall: WallTime,
) -> Result<(RequestId, Box<ConnectRequest>), Rejected> {
    let request = frame.map_err(|error| Rejected {
        id: None,
        refusal: Box::new(Refusal {
            error: RpcError::invalid_request(format!("invalid request frame: {error}")),
            code: CloseCode::Policy,
            reason: CloseReason::new("invalid request frame"),
        }),
    })?;
    let reject = |refusal: Refusal| Rejected {
        id: Some(request.id.clone()),
        refusal: refusal.into(),
    };
    if &*request.method != "connect" {
        return Err(reject(Refusal::new(
            RpcError::invalid_request("invalid handshake: first request must be connect"),
            CloseCode::Policy,
        )));
    }
    let params = ConnectParams::parse(&request.params).map_err(|error| {
        reject(Refusal::new(
            RpcError::invalid_params("connect", &error.to_string()),
            CloseCode::Policy,
        ))
    })?;
    let Some(role) = params.role else {
        let error = RpcError::invalid_request("invalid role");
        return Err(reject(Refusal::new(error, CloseCode::Policy)));
    };
    let protocol = params
        .versions
        .negotiate(role, params.client.mode)
        .map_err(|refused| reject(version_mismatch(refused.client)))?;
    let device = params
        .device
        .as_ref()
        .map(|proof| device::verify(&params, proof, role, nonce, wall))
        .transpose()
        .map_err(|error| {
            let mut refusal = Refusal::invalid(error.code(), error.message());
            refusal.detail("reason", error.reason().into());
            reject(refusal)
        })?;
    let connect = ConnectRequest {
        role,
        protocol,
        device,
        peer: peer.clone(),
        params,
    };
    Ok((request.id, Box::new(connect)))
}

fn version_mismatch(client: VersionRange) -> Refusal {
    let message = format!(
        "protocol mismatch: this gateway speaks {PROTOCOL_VERSION} (probes and nodes may speak \
         {PROBE_MIN_VERSION}), the client speaks {} to {}; update the older side",
        client.min, client.max
    );
    let error = RpcError::invalid_request(message).with_details(json!({
        "code": ConnectCode::ProtocolMismatch.as_str(),
        "clientMinProtocol": client.min,
        "clientMaxProtocol": client.max,
        "expectedProtocol": PROTOCOL_VERSION,
        "minimumProbeProtocol": PROBE_MIN_VERSION,
    }));
    Refusal {
        error,
        code: CloseCode::Protocol,
        reason: CloseReason::new("protocol mismatch"),
    }
}

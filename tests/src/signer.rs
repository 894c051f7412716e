//! The signature of a device, as an honest client makes it.

use clawgate_core::device::{DeviceIdentity, PayloadVersion, SignedFacts};
use clawgate_core::protocol::{ClientInfo, DeviceProof, Role};
use clawgate_core::secret::Secret;
use serde_json::Value;

use crate::failure::{Failure, TestResult};

/// The fields of `auth` of which a signature covers the first that is there (spec protocol §3.4).
const SIGNED: [&str; 3] = ["token", "deviceToken", "bootstrapToken"];

/// What a client says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The program.
    pub client: &'a ClientInfo,
    /// The role that it asks for.
    pub role: Role,
    /// The scopes that it asks for.
    pub scopes: &'a [String],
    /// `auth`.
    pub auth: &'a Value,
}

/// Signs for a `connect.challenge` event.
///
/// # Errors
///
/// When the event is none.
pub fn prove(
    identity: &DeviceIdentity,
    said: Said<'_>,
    challenge: &Value,
    version: PayloadVersion,
) -> TestResult<DeviceProof> {
    let missing = || Failure::new(format!("no challenge: {challenge}"));
    let payload = &challenge["payload"];
    let secret = SIGNED
        .iter()
        .find_map(|name| said.auth[*name].as_str())
        .unwrap_or_default();
    let facts = SignedFacts {
        device_id: identity.id().as_str(),
        client: said.client,
        role: said.role,
        scopes: said.scopes,
        signed_at: payload["ts"].as_u64().ok_or_else(missing)?,
        secret: &Secret::new(secret),
        nonce: payload["nonce"].as_str().ok_or_else(missing)?,
    };
    Ok(identity.prove(&facts, version))
}

//! From the challenge to `connect` (spec protocol §3.1, §3.2, §3.4).

use serde::Deserialize;

use super::Profile;
use crate::{
    device::{PayloadVersion, SignedFacts},
    frame::RawJson,
    protocol::{AuthParams, ConnectParams, VersionRange},
    secret::Secret,
};

/// The longest nonce that is signed and sent back.
const MAX_NONCE: usize = 256;

/// What a client will say, kept until the gateway has asked.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) profile: Profile,
    pub(super) auth: AuthParams,
}

impl Introduction {
    /// The parameters of `connect` for a challenge, or what is wrong with the challenge.
    pub(super) fn answer(&self, challenge: &RawJson) -> Result<RawJson, &'static str> {
        #[derive(Deserialize)]
        struct Challenge {
            #[serde(default)]
            nonce: serde_json::Value,
            #[serde(default)]
            ts: serde_json::Value,
        }
        const NO_NONCE: &str = "connect challenge missing nonce";
        let challenge: Challenge = challenge.parse().map_err(|_| NO_NONCE)?;
        let nonce = challenge.nonce.as_str().unwrap_or_default().trim();
        if nonce.is_empty() {
            return Err(NO_NONCE);
        }
        if nonce.len() > MAX_NONCE {
            return Err("connect challenge nonce too long");
        }
        let Profile {
            client,
            role,
            scopes,
            caps,
            commands,
            permissions,
            path_env,
            locale,
            device,
        } = self.profile.clone();
        let device = match device {
            None => None,
            Some(identity) => {
                let signed_at = challenge
                    .ts
                    .as_u64()
                    .ok_or("connect challenge missing timestamp")?;
                let facts = SignedFacts {
                    device_id: identity.id().as_str(),
                    client: &client,
                    role,
                    scopes: &scopes,
                    signed_at,
                    secret: &Secret::new(self.auth.signed_secret()),
                    nonce,
                };
                Some(identity.prove(&facts, PayloadVersion::V3))
            }
        };
        let params = ConnectParams {
            versions: VersionRange::offered(client.mode),
            client,
            caps,
            commands,
            permissions,
            path_env,
            role: Some(role),
            scopes,
            device,
            auth: self.auth.clone(),
            locale,
            user_agent: None,
        };
        params.encode().map_err(|_| "connect could not be written")
    }
}

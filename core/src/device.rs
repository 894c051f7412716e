//! Device identity: an Ed25519 key, its id, and the two texts that a device may sign (spec protocol
//! §3.4).

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::{
    protocol::{ClientInfo, ConnectCode, ConnectParams, DeviceProof, Role},
    secret::Secret,
    time::WallTime,
};

/// How far a signature's time may lie from the gateway's clock, in milliseconds.
pub const MAX_SKEW_MS: u64 = 120_000;

/// A device's name: the lower-case hexadecimal SHA-256 of its raw public key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// The id of a key.
    pub fn of(key: &[u8; 32]) -> Self {
        Self(
            Sha256::digest(key)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The texts that a signature may cover. A verifier tries the newer one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadVersion {
    /// Without platform and device family.
    V2,
    /// With them.
    V3,
}

/// Everything that a signature covers.
#[derive(Clone, Debug)]
pub struct SignedFacts<'a> {
    /// The device.
    pub device_id: &'a str,
    /// Who the client says it is.
    pub client: &'a ClientInfo,
    /// The role that it asks for.
    pub role: Role,
    /// The scopes in the order of the wire.
    pub scopes: &'a [String],
    /// The challenge's `ts`.
    pub signed_at: u64,
    /// The secret that is sent along, or the empty string.
    pub secret: &'a Secret,
    /// The challenge's `nonce`.
    pub nonce: &'a str,
}

impl SignedFacts<'_> {
    /// The text to sign. It holds the secret.
    pub fn payload(&self, version: PayloadVersion) -> Secret {
        let start = match version {
            PayloadVersion::V2 => "v2",
            PayloadVersion::V3 => "v3",
        };
        let mut text = format!(
            "{start}|{}|{}|{}|{}|{}|{}|{}|{}",
            self.device_id,
            self.client.id.as_str(),
            self.client.mode.as_str(),
            self.role.as_str(),
            self.scopes.join(","),
            self.signed_at,
            self.secret.expose(),
            self.nonce,
        );
        if version == PayloadVersion::V3 {
            for part in [
                Some(&self.client.platform),
                self.client.device_family.as_ref(),
            ] {
                text.push('|');
                text.push_str(
                    &part
                        .map(|part| part.trim().to_ascii_lowercase())
                        .unwrap_or_default(),
                );
            }
        }
        Secret::new(text)
    }
}

/// A device's key pair.
///
/// ```
/// use clawgate_core::device::DeviceIdentity;
///
/// let identity = DeviceIdentity::from_seed(&std::array::from_fn(|i| i as u8 + 1));
/// assert_eq!(
///     identity.id().as_str(),
///     "65b60673d6ed884bf01c2c222d82ada0740f29ac3355d6a925c81f17f47a27b8"
/// );
/// ```
pub struct DeviceIdentity {
    key: SigningKey,
    id: DeviceId,
}

impl DeviceIdentity {
    /// The key pair that grows from 32 secret bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let id = DeviceId::of(key.verifying_key().as_bytes());
        Self { key, id }
    }

    /// The device's name.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// A secret that only the owner of this key can know, a different one for each label.
    pub(crate) fn derive(&self, label: &str) -> Secret {
        // An Ed25519 signature is the same each time, and nobody else can make it.
        let signature = self.key.sign(label.as_bytes());
        Secret::new(URL_SAFE_NO_PAD.encode(Sha256::digest(signature.to_bytes())))
    }

    /// The public key as it stands on the wire: raw, base64url without padding.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }

    /// Proof for one challenge.
    pub fn prove(&self, facts: &SignedFacts<'_>, version: PayloadVersion) -> DeviceProof {
        let signature = self.key.sign(facts.payload(version).expose().as_bytes());
        DeviceProof {
            id: self.id.0.clone(),
            public_key: self.public_key(),
            signature: URL_SAFE_NO_PAD.encode(signature.to_bytes()),
            signed_at: facts.signed_at,
            nonce: facts.nonce.into(),
        }
    }
}

impl fmt::Debug for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeviceIdentity").field(&self.id).finish()
    }
}

/// A device whose proof has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDevice {
    /// Its name.
    pub id: DeviceId,
    /// Its raw public key.
    pub public_key: [u8; 32],
}

impl VerifiedDevice {
    /// The public key as it stands on the wire: raw, base64url without padding.
    pub fn wire_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public_key)
    }
}

/// Why a proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is one detail code of the protocol"
)]
pub enum ProofError {
    IdMismatch,
    NonceMismatch,
    NonceMissing,
    PublicKeyInvalid,
    SignatureExpired,
    SignatureInvalid,
}

impl ProofError {
    /// `details.code`.
    pub fn code(self) -> ConnectCode {
        match self {
            Self::IdMismatch => ConnectCode::DeviceAuthDeviceIdMismatch,
            Self::NonceMismatch => ConnectCode::DeviceAuthNonceMismatch,
            Self::NonceMissing => ConnectCode::DeviceAuthNonceRequired,
            Self::PublicKeyInvalid => ConnectCode::DeviceAuthPublicKeyInvalid,
            Self::SignatureExpired => ConnectCode::DeviceAuthSignatureExpired,
            Self::SignatureInvalid => ConnectCode::DeviceAuthSignatureInvalid,
        }
    }

    /// `details.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::IdMismatch => "device-id-mismatch",
            Self::NonceMismatch => "device-nonce-mismatch",
            Self::NonceMissing => "device-nonce-missing",
            Self::PublicKeyInvalid => "device-public-key",
            Self::SignatureExpired => "device-signature-stale",
            Self::SignatureInvalid => "device-signature",
        }
    }

    /// The message, which is also the close reason (spec protocol §1.1).
    pub fn message(self) -> &'static str {
        match self {
            Self::IdMismatch => "device identity mismatch",
            Self::NonceMismatch => "device nonce mismatch",
            Self::NonceMissing => "device nonce required",
            Self::PublicKeyInvalid => "device public key invalid",
            Self::SignatureExpired => "device signature expired",
            Self::SignatureInvalid => "device signature invalid",
        }
    }
}

/// Checks the proof of a `connect` against the challenge that this connection sent: key and id,
/// then time, then nonce, then the signature, of which either payload version may be the signed one.
///
/// # Errors
/// The first check that fails.
pub fn verify(
    params: &ConnectParams,
    proof: &DeviceProof,
    role: Role,
    nonce: &str,
    wall: WallTime,
) -> Result<VerifiedDevice, ProofError> {
    let key = public_key(&proof.public_key).ok_or(ProofError::PublicKeyInvalid)?;
    let id = DeviceId::of(key.as_bytes());
    if id.as_str() != proof.id {
        return Err(ProofError::IdMismatch);
    }
    if wall.0.abs_diff(proof.signed_at) > MAX_SKEW_MS {
        return Err(ProofError::SignatureExpired);
    }
    let presented = proof.nonce.trim();
    if presented.is_empty() {
        return Err(ProofError::NonceMissing);
    }
    if presented != nonce {
        return Err(ProofError::NonceMismatch);
    }
    let signature = decode(&proof.signature)
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .ok_or(ProofError::SignatureInvalid)?;
    let secret = Secret::new(params.auth.signed_secret());
    let facts = SignedFacts {
        device_id: &proof.id,
        client: &params.client,
        role,
        scopes: &params.scopes,
        signed_at: proof.signed_at,
        secret: &secret,
        nonce,
    };
    let genuine = [PayloadVersion::V3, PayloadVersion::V2]
        .into_iter()
        .any(|version| {
            key.verify_strict(facts.payload(version).expose().as_bytes(), &signature)
                .is_ok()
        });
    if genuine {
        Ok(VerifiedDevice {
            id,
            public_key: key.to_bytes(),
        })
    } else {
        Err(ProofError::SignatureInvalid)
    }
}

/// A raw key in base64url or base64, or the PEM form of one.
fn public_key(text: &str) -> Option<VerifyingKey> {
    /// What stands before the raw key in the DER form that PEM wraps.
    const SPKI_PREFIX: [u8; 12] = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let text = text.trim();
    let raw = if let Some(body) = text.strip_prefix("-----BEGIN PUBLIC KEY-----") {
        let body = body.strip_suffix("-----END PUBLIC KEY-----")?;
        let der = decode(&body.split_ascii_whitespace().collect::<String>())?;
        der.strip_prefix(&SPKI_PREFIX)?.to_vec()
    } else {
        decode(text)?
    };
    VerifyingKey::from_bytes(&raw.try_into().ok()?).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ClientId, ClientMode};

    const NONCE: &str = "00000000-0000-4000-8000-000000000001";
    const SIGNED_AT: u64 = 1_737_264_000_000;

    fn identity() -> DeviceIdentity {
        DeviceIdentity::from_seed(&std::array::from_fn(|i| i as u8 + 1))
    }

    fn facts<'a>(
        identity: &'a DeviceIdentity,
        client: &'a ClientInfo,
        role: Role,
        scopes: &'a [String],
        secret: &'a Secret,
    ) -> SignedFacts<'a> {
        SignedFacts {
            device_id: identity.id().as_str(),
            client,
            role,
            scopes,
            signed_at: SIGNED_AT,
            secret,
            nonce: NONCE,
        }
    }

    #[test]
    fn the_published_vectors_hold() {
        let identity = identity();
        assert_eq!(
            identity.public_key(),
            "ebVWLo_mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ"
        );
        let mut client = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        client.device_family = Some("Linux".into());
        let scopes = ["operator.read".to_owned(), "operator.write".to_owned()];
        let secret = Secret::new("secret");
        let facts = facts(&identity, &client, Role::Operator, &scopes, &secret);
        assert_eq!(
            identity.prove(&facts, PayloadVersion::V3).signature,
            "qlUuiC5KfoQ9Mv2aUJBQ8Pq0WEaLAA-G-irUXKEQVZ-zbjwT4x1usEapBgsIH6-4gjeqfEpkz40NEKM1rOw8AQ"
        );
        let client = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux");
        let none = Secret::new("");
        let facts = SignedFacts {
            client: &client,
            role: Role::Node,
            scopes: &[],
            secret: &none,
            ..facts
        };
        assert_eq!(
            identity.prove(&facts, PayloadVersion::V2).signature,
            "E1f3Csdh2b1fH9ldBt3_3vXVOMjterkg9WOiCR3MllWykBuxZKoIGXHWU0dW7wJTG4jFuGv38CDJ2wfI374NCQ"
        );
    }

    #[test]
    fn each_broken_part_has_its_own_refusal() {
        let identity = identity();
        let client = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        let secret = Secret::new("");
        let proof = identity.prove(
            &facts(&identity, &client, Role::Operator, &[], &secret),
            PayloadVersion::V2,
        );
        let params = ConnectParams {
            versions: crate::protocol::VersionRange { min: 4, max: 4 },
            client,
            caps: vec![],
            commands: vec![],
            permissions: Default::default(),
            path_env: None,
            role: Some(Role::Operator),
            scopes: vec![],
            device: None,
            auth: Default::default(),
            locale: None,
            user_agent: None,
        };
        let verify = |proof: &DeviceProof, wall: u64| {
            verify(&params, proof, Role::Operator, NONCE, WallTime(wall)).map(|device| device.id)
        };
        assert_eq!(
            verify(&proof, SIGNED_AT + MAX_SKEW_MS),
            Ok(identity.id().clone())
        );
        assert_eq!(
            verify(&proof, SIGNED_AT + MAX_SKEW_MS + 1),
            Err(ProofError::SignatureExpired)
        );
        assert_eq!(
            verify(&proof, SIGNED_AT - MAX_SKEW_MS - 1),
            Err(ProofError::SignatureExpired)
        );
        type Break = fn(&mut DeviceProof);
        let breaks: [(Break, ProofError); 6] = [
            (|p| p.id.replace_range(0..1, "x"), ProofError::IdMismatch),
            (
                |p| p.public_key = "AAAA".into(),
                ProofError::PublicKeyInvalid,
            ),
            (|p| p.nonce = " ".into(), ProofError::NonceMissing),
            (|p| p.nonce.push('1'), ProofError::NonceMismatch),
            (
                |p| p.signature.replace_range(0..2, "AA"),
                ProofError::SignatureInvalid,
            ),
            (|p| p.signature = "!".into(), ProofError::SignatureInvalid),
        ];
        for (break_it, refusal) in breaks {
            let mut broken = proof.clone();
            break_it(&mut broken);
            assert_eq!(verify(&broken, SIGNED_AT), Err(refusal));
        }
        let mut padded = proof;
        padded.public_key = format!("{}=", padded.public_key.replace('-', "+").replace('_', "/"));
        assert_eq!(verify(&padded, SIGNED_AT), Ok(identity.id().clone()));
    }
}

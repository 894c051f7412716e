//! Tokens that the gateway gives out: random, and kept only as digests.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{rng::Rng, scope::ScopeSet, secret::Secret, time::WallTime};

/// A new token: 32 random bytes in base64url.
pub(crate) fn new_token(rng: &mut Rng) -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(rng.seed()))
}

/// The SHA-256 of a token. It needs no salt: a token has 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: &Secret) -> Self {
        Self(Sha256::digest(token.expose().as_bytes()).into())
    }

    /// Whether a presented token is the one, in constant time.
    pub(crate) fn matches(&self, presented: &Secret) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.expose().as_bytes()).into();
        self.0.ct_eq(&presented).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

impl Serialize for TokenDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a digest of 32 bytes"))
    }
}

/// The token of one device in one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceToken {
    /// What it may be used for; never more than was approved.
    pub(crate) scopes: ScopeSet,
    digest: TokenDigest,
    /// The one before, until the device has used the newer one: a device that never received the
    /// newer one is not locked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<TokenDigest>,
    pub(crate) created_at_ms: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rotated_at_ms: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked_at_ms: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_at_ms: Option<WallTime>,
}

impl DeviceToken {
    pub(crate) fn new(token: &Secret, scopes: ScopeSet, wall: WallTime) -> Self {
        Self {
            scopes,
            digest: TokenDigest::of(token),
            previous: None,
            created_at_ms: wall,
            rotated_at_ms: None,
            revoked_at_ms: None,
            last_used_at_ms: None,
        }
    }

    /// A newer token with the same rights, beside this one until it is used.
    pub(crate) fn renewed(&self, token: &Secret, wall: WallTime) -> Self {
        Self {
            previous: Some(self.digest.clone()),
            digest: TokenDigest::of(token),
            created_at_ms: wall,
            ..self.clone()
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.revoked_at_ms.is_none()
    }

    /// Whether a presented token is this one, if it is not revoked.
    pub(crate) fn accepts(&self, presented: &Secret) -> bool {
        let newer = self.digest.matches(presented);
        let older = self
            .previous
            .as_ref()
            .is_some_and(|previous| previous.matches(presented));
        self.is_live() && (newer || older)
    }

    /// Whether the presented token shows that the device has the newest one, and the one before is
    /// still kept.
    pub(crate) fn supersedes(&self, presented: &Secret) -> bool {
        self.previous.is_some() && self.digest.matches(presented)
    }

    pub(crate) fn drop_previous(&mut self) {
        self.previous = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_token_stands_beside_the_old_one_until_it_is_used() {
        let mut rng = Rng::new([1; 32]);
        let (first, second) = (new_token(&mut rng), new_token(&mut rng));
        assert_eq!(first.expose().len(), 43);
        let token = DeviceToken::new(&first, ScopeSet::NONE, WallTime(1));
        let mut renewed = token.renewed(&second, WallTime(2));
        assert!(renewed.accepts(&first) && renewed.accepts(&second));
        assert!(renewed.supersedes(&second) && !renewed.supersedes(&first));
        renewed.drop_previous();
        assert!(!renewed.accepts(&first) && renewed.accepts(&second));
        renewed.revoked_at_ms = Some(WallTime(3));
        assert!(!renewed.accepts(&second));
    }

    #[test]
    fn what_is_kept_holds_no_token() {
        let token = Secret::new("hunter2");
        let kept = DeviceToken::new(&token, ScopeSet::NONE, WallTime(1));
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains("hunter2"));
        let read: DeviceToken = serde_json::from_str(&text).unwrap();
        assert!(read.accepts(&token) && !read.accepts(&Secret::new("hunter3")));
    }
}

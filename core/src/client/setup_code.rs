//! Setup codes: what an unattended machine is given to join a gateway (spec protocol §6.9,
//! `device.pair.setupCode`). Base64url of a small JSON document.

use std::fmt;

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use thiserror::Error;

use crate::{
    policy::{Endpoint, Refusal, TlsFingerprint, UrlPolicy},
    secret::Secret,
    time::WallTime,
};

/// The scheme of the link that a QR code carries.
pub const SETUP_SCHEME: &str = "oc-pair://";

/// The longest code that is looked at, in bytes.
const MAX_CODE: usize = 16 * 1024;

/// Both alphabets are read, with or without padding.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a setup code says.
///
/// ```
/// use clawgate_core::{client::SetupCode, policy::UrlPolicy};
///
/// // {"url":"wss://gw.example.com","bootstrapToken":"hunter2"}
/// let text = "eyJ1cmwiOiJ3c3M6Ly9ndy5leGFtcGxlLmNvbSIsImJvb3RzdHJhcFRva2VuIjoiaHVudGVyMiJ9";
/// let code = SetupCode::parse(&format!("oc-pair://{text}"), UrlPolicy::Strict)?;
/// assert_eq!(code.endpoint.url(), "wss://gw.example.com");
/// assert_eq!(code.token.expose(), "hunter2");
/// # Ok::<(), clawgate_core::client::SetupCodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SetupCode {
    /// The gateway.
    pub endpoint: Endpoint,
    /// The join token.
    pub token: Secret,
    /// The certificate that the gateway shows.
    pub pin: Option<TlsFingerprint>,
    /// When the token ends.
    pub expires_at: Option<WallTime>,
}

/// Why a text is no setup code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SetupCodeError {
    /// It is something else.
    #[error("it is no setup code: not base64url of a JSON document with url and bootstrapToken")]
    Malformed,
    /// Its pin is no SHA-256, or its URL has no TLS to pin.
    #[error("its certificate fingerprint cannot be used")]
    Pin,
    /// Its URL is refused.
    #[error("its gateway URL is refused: {0}")]
    Url(Refusal),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    url: String,
    bootstrap_token: String,
    expires_at_ms: Option<WallTime>,
    tls_fingerprint: Option<String>,
}

impl SetupCode {
    /// Reads a code, alone or in the link of a QR code. The URL is judged as any other.
    ///
    /// # Errors
    /// [`SetupCodeError`].
    pub fn parse(text: &str, policy: UrlPolicy) -> Result<Self, SetupCodeError> {
        let malformed = || SetupCodeError::Malformed;
        let code = text.trim();
        let code = code.strip_prefix(SETUP_SCHEME).unwrap_or(code);
        let code = code.trim_end_matches('/');
        if code.len() > MAX_CODE {
            return Err(malformed());
        }
        let code = code.replace('+', "-").replace('/', "_");
        let json = ENGINE.decode(code).map_err(|_| malformed())?;
        let text: Text = serde_json::from_slice(&json).map_err(|_| malformed())?;
        let token = Secret::non_blank(Secret::new(text.bootstrap_token).expose());
        let endpoint = Endpoint::parse(&text.url, policy).map_err(SetupCodeError::Url)?;
        let pin = text
            .tls_fingerprint
            .map(|pin| pin.parse::<TlsFingerprint>())
            .transpose()
            .map_err(|_| SetupCodeError::Pin)?;
        if pin.is_some() && !endpoint.is_tls() {
            return Err(SetupCodeError::Pin);
        }
        Ok(Self {
            endpoint,
            token: token.ok_or_else(malformed)?,
            pin,
            expires_at: text.expires_at_ms,
        })
    }
}

impl fmt::Debug for SetupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupCode")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(value: &Value) -> Result<SetupCode, SetupCodeError> {
        let code = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        SetupCode::parse(&code, UrlPolicy::Strict)
    }

    #[test]
    fn every_part_is_read_and_nothing_shows_the_token() {
        let code = parse(&json!({
            "url": "wss://gw.example.com", "bootstrapToken": "hunter2", "expiresAtMs": 7,
            "tlsFingerprint": "ab".repeat(32), "more": 1,
        }))
        .unwrap();
        assert_eq!(code.pin, Some(TlsFingerprint::from([0xab; 32])));
        assert_eq!(code.expires_at, Some(WallTime(7)));
        assert!(!format!("{code:?}").contains("hunter2"));
    }

    #[test]
    fn links_padding_and_the_other_alphabet_are_read() {
        let json = json!({ "url": "ws://127.0.0.1:1", "bootstrapToken": "t>>??" }).to_string();
        let padded = base64::engine::general_purpose::STANDARD.encode(&json);
        for text in [padded.clone(), format!(" {SETUP_SCHEME}{padded}\n")] {
            let code = SetupCode::parse(&text, UrlPolicy::Strict).unwrap();
            assert_eq!(code.token.expose(), "t>>??", "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let url = "wss://gw.example.com";
        for (value, error) in [
            (json!({ "url": url }), SetupCodeError::Malformed),
            (
                json!({ "url": url, "bootstrapToken": " " }),
                SetupCodeError::Malformed,
            ),
            (
                json!({ "url": url, "bootstrapToken": "t", "tlsFingerprint": "x" }),
                SetupCodeError::Pin,
            ),
            (
                json!({ "url": "ws://127.0.0.1:1", "bootstrapToken": "t",
                    "tlsFingerprint": "ab".repeat(32) }),
                SetupCodeError::Pin,
            ),
        ] {
            assert_eq!(parse(&value), Err(error), "{value}");
        }
        let public = json!({ "url": "ws://gw.example.com", "bootstrapToken": "t" });
        assert!(matches!(parse(&public), Err(SetupCodeError::Url(_))));
        for text in ["", "hunter2", "oc-pair://", "e30"] {
            let parsed = SetupCode::parse(text, UrlPolicy::Strict);
            assert_eq!(parsed, Err(SetupCodeError::Malformed), "{text}");
        }
    }
}

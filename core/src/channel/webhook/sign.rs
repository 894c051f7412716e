//! How each side knows that a request is the other's: HMAC-SHA256 with the secret that both have.
//!
//! What is signed is `v1:TIME:PATH:BODY`: the time in seconds, as the header has it, the path without
//! its query, and the body byte by byte.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{policy::RequestHeaders, secret::Secret, time::WallTime};

/// The header with the time of the signature, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "x-clawgate-timestamp";

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "x-clawgate-signature";

/// How far the clocks of both sides may be apart. What is older cannot be sent again by somebody who
/// has seen it.
pub const CLOCK_WINDOW: Duration = Duration::from_secs(300);

/// Bytes that a secret has at least.
pub const MIN_SECRET: usize = 16;

/// What stands in front of a signature: which way of signing it is.
const VERSION: &str = "v1";

/// Digits that a time may have.
const MAX_DIGITS: usize = 12;

/// The signature of a request, as its header has it.
///
/// ```
/// use clawgate_core::channel::webhook::sign;
/// use clawgate_core::secret::Secret;
///
/// let secret = Secret::new("0123456789abcdef");
/// let body = br#"{"id":"1","chat":"7","sender":{"id":"7"},"text":"hi"}"#;
/// assert_eq!(
///     sign(&secret, 1_767_225_600, "/channels/webhook/default", body),
///     "v1=19a054919e64f23780740a3ad9549b4c77c55ebf5e6f205e36302cbf87c4ac83",
/// );
/// ```
pub fn sign(secret: &Secret, seconds: u64, path: &str, body: &[u8]) -> String {
    let mut text = format!("{VERSION}=");
    if let Some(mac) = mac(secret, &seconds.to_string(), path, body) {
        for byte in mac.finalize().into_bytes() {
            text.push_str(&format!("{byte:02x}"));
        }
    }
    text
}

/// Why a request is not taken for the other side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproven {
    /// Its signature is right, but was made at another time: so many seconds later than now, or
    /// earlier.
    Clock(i64),
    /// It has no signature, or a wrong one.
    Signature,
}

/// Checks a request, in a time that does not depend on how much of the signature is right.
pub(super) fn check(
    secret: &Secret,
    headers: &RequestHeaders,
    path: &str,
    body: &[u8],
    wall: WallTime,
) -> Result<(), Unproven> {
    let (Some(time), Some(signature)) =
        (headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER))
    else {
        return Err(Unproven::Signature);
    };
    let time = time.trim();
    let is_time = time.len() <= MAX_DIGITS && time.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = match time.parse() {
        Ok(seconds) if is_time => seconds,
        Ok(_) | Err(_) => return Err(Unproven::Signature),
    };
    let presented = signature.trim().strip_prefix("v1=").and_then(from_hex);
    let mac = mac(secret, time, path, body);
    let (Some(presented), Some(mac)) = (presented, mac) else {
        return Err(Unproven::Signature);
    };
    if mac.verify_slice(&presented).is_err() {
        return Err(Unproven::Signature);
    }
    let now = i64::try_from(wall.0 / 1_000).unwrap_or(i64::MAX);
    let apart = seconds.saturating_sub(now);
    if apart.unsigned_abs() > CLOCK_WINDOW.as_secs() {
        return Err(Unproven::Clock(apart));
    }
    Ok(())
}

fn mac(secret: &Secret, time: &str, path: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    // A key may have any length, so this never fails.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    for piece in [VERSION, ":", time, ":", path, ":"] {
        mac.update(piece.as_bytes());
    }
    mac.update(body);
    Some(mac)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/channels/webhook/default";
    const BODY: &[u8] = b"{}";
    const NOW: u64 = 1_767_225_600;

    fn secret() -> Secret {
        Secret::new("a secret for the tests")
    }

    fn checked(headers: &[(&str, &str)]) -> Result<(), Unproven> {
        let headers = RequestHeaders::new(headers.iter().copied());
        check(&secret(), &headers, PATH, BODY, WallTime(NOW * 1_000))
    }

    fn signed_at(seconds: u64) -> Result<(), Unproven> {
        let signature = sign(&secret(), seconds, PATH, BODY);
        let time = seconds.to_string();
        checked(&[(TIMESTAMP_HEADER, &time), (SIGNATURE_HEADER, &signature)])
    }

    #[test]
    fn a_time_that_is_near_is_good() {
        for seconds in [NOW - 300, NOW, NOW + 300] {
            assert_eq!(signed_at(seconds), Ok(()));
        }
        assert_eq!(signed_at(NOW - 301), Err(Unproven::Clock(-301)));
        assert_eq!(signed_at(NOW + 301), Err(Unproven::Clock(301)));
        assert!(matches!(signed_at(0), Err(Unproven::Clock(_))));
    }

    #[test]
    fn nothing_but_the_whole_signature_is_good() {
        let good = sign(&secret(), NOW, PATH, BODY);
        let time = NOW.to_string();
        let upper = good.to_uppercase().replace("V1=", "v1=");
        assert_eq!(
            checked(&[(TIMESTAMP_HEADER, &time), (SIGNATURE_HEADER, &upper)]),
            Ok(())
        );
        let (half, _) = good.split_at(30);
        let double = format!("{good}, {good}");
        let unversioned = good.replace("v1=", "");
        for bad in [
            half,
            "",
            "v1=",
            "v1=zz",
            &double,
            &unversioned,
            &format!("{good}0"),
        ] {
            let headers = [(TIMESTAMP_HEADER, time.as_str()), (SIGNATURE_HEADER, bad)];
            assert_eq!(checked(&headers), Err(Unproven::Signature), "{bad}");
        }
        let signature = (SIGNATURE_HEADER, good.as_str());
        for bad in ["", "-1", "1e9", "9999999999999", &format!("0{time}")] {
            let headers = [(TIMESTAMP_HEADER, bad), signature];
            assert_eq!(checked(&headers), Err(Unproven::Signature), "{bad}");
        }
        assert_eq!(checked(&[signature]), Err(Unproven::Signature));
        for (path, body, other) in [
            ("/channels/webhook/other", BODY, secret()),
            (PATH, b"{ }".as_slice(), secret()),
            (PATH, BODY, Secret::new("another secret of them")),
        ] {
            let bad = sign(&other, NOW, path, body);
            let headers = [(TIMESTAMP_HEADER, time.as_str()), (SIGNATURE_HEADER, &bad)];
            assert_eq!(checked(&headers), Err(Unproven::Signature));
        }
    }
}

//! A self-signed certificate, for gateways whose clients pin it.

use std::time::Duration;

use clawgate_core::{secret::Secret, time::WallTime};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// What OpenClaw's own gateway writes into the certificates that it makes (spec hostpolicy §6).
const COMMON_NAME: &str = "openclaw-gateway";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Ten years, as OpenClaw's own gateway has it.
const VALID_DAYS: u32 = 3_650;

/// A certificate and its key, as PEM.
#[derive(Debug)]
pub struct MadeCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Secret,
}

/// Makes a certificate for this machine's names: an ECDSA key on P-256, valid from a day before
/// `now`, for clocks that are behind.
///
/// # Errors
/// With the words of the library, when the system gives no random bytes.
pub fn make_certificate(now: WallTime) -> Result<MadeCertificate, String> {
    let make = || {
        let mut params =
            CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
        params
            .distinguished_name
            .push(DnType::CommonName, COMMON_NAME);
        let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now.0);
        params.not_before = now - DAY;
        params.not_after = now + DAY * VALID_DAYS;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(MadeCertificate {
            certificate: certificate.pem(),
            key: Secret::new(key.serialize_pem()),
        })
    };
    make().map_err(|error: rcgen::Error| error.to_string())
}

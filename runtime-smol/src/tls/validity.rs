//! Whether a certificate is valid now, and for a while.

use std::{sync::Arc, time::Duration};

use clawgate_core::time::WallTime;
use futures_rustls::rustls::{
    CertificateError, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use thiserror::Error;

/// How long before its end a certificate is warned about.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Something about the dates of a certificate. A client with a pin does not look at them; others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ValidityWarning {
    /// It is over.
    #[error("the certificate has expired; clients without a pin refuse it: replace it")]
    Expired,
    /// It ends within two weeks.
    #[error("the certificate expires within two weeks: replace it")]
    ExpiresSoon,
    /// It has not begun.
    #[error("the certificate is not valid yet; check the clock of this machine")]
    NotYet,
}

/// Looks at the dates. They come first in the verification of a certificate, so whatever else the
/// verifier finds, it found them in order.
pub(super) fn check(leaf: &CertificateDer<'_>, now: WallTime) -> Option<ValidityWarning> {
    let now = Duration::from_millis(now.0);
    let found = verify(leaf, now)?;
    if is_over(&found) {
        return Some(ValidityWarning::Expired);
    }
    let not_yet = matches!(
        found,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
    );
    if not_yet {
        return Some(ValidityWarning::NotYet);
    }
    is_over(&verify(leaf, now + SOON)?).then_some(ValidityWarning::ExpiresSoon)
}

fn is_over(found: &CertificateError) -> bool {
    matches!(
        found,
        CertificateError::Expired | CertificateError::ExpiredContext { .. }
    )
}

/// What a verifier finds that takes the certificate itself for the authority and asks for a name that
/// no certificate has: there is always something.
fn verify(leaf: &CertificateDer<'_>, at: Duration) -> Option<CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone().into_owned()).ok()?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .ok()?;
    let name = ServerName::try_from("name.invalid").ok()?;
    let at = UnixTime::since_unix_epoch(at);
    match verifier.verify_server_cert(leaf, &[], &name, &[], at) {
        Err(Error::InvalidCertificate(error)) => Some(error),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    /// 2026-06-01 in milliseconds.
    const NOW: WallTime = WallTime(1_780_272_000_000);

    fn params(from: (i32, u8, u8), to: (i32, u8, u8)) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["gw.example".into()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        params
    }

    #[test]
    fn dates_are_told_whoever_signed() {
        let mut authority = params((2020, 1, 1), (2040, 1, 1));
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        for (from, to, expected) in [
            ((2026, 1, 1), (2027, 1, 1), None),
            ((2025, 1, 1), (2026, 5, 31), Some(ValidityWarning::Expired)),
            (
                (2025, 1, 1),
                (2026, 6, 9),
                Some(ValidityWarning::ExpiresSoon),
            ),
            ((2026, 6, 2), (2027, 1, 1), Some(ValidityWarning::NotYet)),
        ] {
            let key = KeyPair::generate().unwrap();
            let own = params(from, to).self_signed(&key).unwrap();
            let signed = params(from, to).signed_by(&key, &issuer).unwrap();
            for certificate in [own, signed] {
                assert_eq!(check(certificate.der(), NOW), expected, "{from:?} {to:?}");
            }
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        assert_eq!(check(&vec![1, 2, 3].into(), NOW), None);
    }
}

//! A body for the PEM files of a gateway's certificate.

use clawgate_core::policy::{
    MAX_PEM, PemProblem, TlsFingerprint, TlsIdentity, TlsPart, TlsTexts, fingerprint_of_pem,
};

/// The certificate, the key and the authorities, with a zero byte between them: nothing panics, what
/// is taken has a leaf and a fingerprint of it, and what is refused names the right file.
pub fn pem(data: &[u8]) {
    let mut texts = data.splitn(3, |byte| *byte == 0);
    let certificate = texts.next().unwrap_or_default();
    let key = texts.next().unwrap_or_default();
    let authorities = texts.next();
    let leaf = fingerprint_of_pem(certificate);
    let read = TlsIdentity::from_pem(TlsTexts {
        certificate,
        key,
        authorities,
    });
    match read {
        Ok(identity) => {
            assert_eq!(Ok(identity.fingerprint()), leaf);
            let shown = format!("{identity:?}");
            assert!(
                shown.len() < 200,
                "more than a fingerprint is shown: {shown}"
            );
            let (chain, _) = identity.into_parts();
            let first = chain
                .first()
                .map(|leaf| TlsFingerprint::of_certificate(leaf));
            assert_eq!(first, leaf.ok(), "the leaf is not the first");
            assert!([certificate, key].iter().all(|text| text.len() <= MAX_PEM));
        }
        Err(bad) => match bad.part {
            TlsPart::Certificate => assert_eq!(leaf, Err(bad.problem)),
            TlsPart::Key => {
                assert!(leaf.is_ok());
                assert_ne!(bad.problem, PemProblem::NoCertificate);
            }
            TlsPart::Authorities => {
                let found = authorities.map(fingerprint_of_pem);
                assert_eq!(found, Some(Err(bad.problem)));
            }
        },
    }
}

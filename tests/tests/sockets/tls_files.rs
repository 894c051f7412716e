//! A certificate and its key in a folder, and which pairs a gateway does not take.

use std::fs;
use std::path::PathBuf;

use clawgate_core::policy::{PemProblem, TlsFiles, TlsFingerprint, TlsPart};
use clawgate_smol::{Refreshed, TlsLoadError, TlsPort};
use clawgate_tests::failure::{Failure, TestResult};
use rcgen::{CertifiedKey, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tempfile::TempDir;

/// A certificate for `localhost`, and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) fingerprint: TlsFingerprint,
}

impl Pair {
    pub(crate) fn make() -> TestResult<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
        Ok(Self {
            certificate: cert.pem(),
            key: signing_key.serialize_pem(),
            fingerprint: TlsFingerprint::of_certificate(cert.der()),
        })
    }
}

/// The two files.
pub(crate) struct PairFiles {
    folder: TempDir,
    pub(crate) files: TlsFiles,
}

impl PairFiles {
    pub(crate) fn new() -> TestResult<Self> {
        let folder = TempDir::new()?;
        let files = TlsFiles {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            authorities: None,
        };
        Ok(Self { folder, files })
    }

    pub(crate) fn with(pair: &Pair) -> TestResult<Self> {
        let files = Self::new()?;
        files.write(&pair.certificate, &pair.key)?;
        Ok(files)
    }

    /// Replaces both, each at once.
    pub(crate) fn write(&self, certificate: &str, key: &str) -> TestResult {
        self.replace(&self.files.key, key)?;
        self.replace(&self.files.certificate, certificate)
    }

    /// Replaces one file at once.
    pub(crate) fn replace(&self, path: &PathBuf, text: &str) -> TestResult {
        let new = self.folder.path().join("new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, path)?)
    }

    pub(crate) fn port(&self) -> TestResult<TlsPort> {
        Ok(TlsPort::load(self.files.clone())?)
    }

    fn refusal(&self) -> TestResult<TlsLoadError> {
        match TlsPort::load(self.files.clone()) {
            Ok(_) => Err(Failure::new("the files were taken")),
            Err(error) => Ok(error),
        }
    }
}

#[test]
fn every_usual_kind_of_key_is_taken() -> TestResult {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm)?;
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
        let certificate = params.self_signed(&key)?;
        let files = PairFiles::new()?;
        files.write(&certificate.pem(), &key.serialize_pem())?;
        assert_eq!(
            files.port()?.fingerprint(),
            TlsFingerprint::of_certificate(certificate.der())
        );
    }
    Ok(())
}

#[test]
fn a_key_of_another_certificate_is_refused() -> TestResult {
    let (one, other) = (Pair::make()?, Pair::make()?);
    let files = PairFiles::new()?;
    files.write(&one.certificate, &other.key)?;
    let error = files.refusal()?;
    assert!(matches!(error, TlsLoadError::Mismatched { .. }), "{error}");
    for path in [&files.files.certificate, &files.files.key] {
        assert!(
            error.to_string().contains(&*path.to_string_lossy()),
            "{error}"
        );
    }
    Ok(())
}

#[test]
fn a_file_that_cannot_be_used_is_named() -> TestResult {
    let pair = Pair::make()?;
    let garbage = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n";
    let half = |text: &str| text.get(..text.len() / 2).unwrap_or_default().to_owned();
    let cases = [
        (
            half(&pair.certificate),
            pair.key.clone(),
            TlsPart::Certificate,
        ),
        (pair.certificate.clone(), half(&pair.key), TlsPart::Key),
        (String::new(), pair.key.clone(), TlsPart::Certificate),
        (pair.certificate.clone(), String::new(), TlsPart::Key),
        (garbage.to_owned(), pair.key.clone(), TlsPart::Certificate),
        (pair.certificate.clone(), no_key.to_owned(), TlsPart::Key),
        (
            pair.key.clone(),
            pair.certificate.clone(),
            TlsPart::Certificate,
        ),
    ];
    for (certificate, key, part) in cases {
        let files = PairFiles::new()?;
        files.write(&certificate, &key)?;
        let error = files.refusal()?;
        let (named, path) = match &error {
            TlsLoadError::Pem { part, path, .. } | TlsLoadError::Unusable { part, path, .. } => {
                (*part, path)
            }
            TlsLoadError::Unreadable { .. } | TlsLoadError::Mismatched { .. } => {
                return Err(Failure::new(format!("{error}")));
            }
        };
        assert_eq!(named, part, "{error}");
        assert!(
            error.to_string().contains(&*path.to_string_lossy()),
            "{error}"
        );
        assert!(!error.to_string().contains("AQID"), "{error}");
    }
    Ok(())
}

#[test]
fn a_change_is_taken_up_or_told_once() -> TestResult {
    let (old, new) = (Pair::make()?, Pair::make()?);
    let files = PairFiles::with(&old)?;
    let port = files.port()?;
    assert!(matches!(port.refresh(), Refreshed::Unchanged));
    // The key comes later: until then the old pair is served.
    files.replace(&files.files.certificate, &new.certificate)?;
    let half = port.refresh();
    assert!(
        matches!(half, Refreshed::Kept(TlsLoadError::Mismatched { .. })),
        "{half:?}"
    );
    assert!(matches!(port.refresh(), Refreshed::Unchanged));
    assert_eq!(port.fingerprint(), old.fingerprint);
    files.replace(&files.files.key, &new.key)?;
    assert!(matches!(port.refresh(), Refreshed::Replaced));
    assert_eq!(port.fingerprint(), new.fingerprint);
    fs::remove_file(&files.files.key)?;
    assert!(matches!(port.refresh(), Refreshed::Kept(_)));
    assert!(matches!(port.refresh(), Refreshed::Unchanged));
    assert_eq!(port.fingerprint(), new.fingerprint);
    Ok(())
}

#[test]
fn a_missing_file_and_an_encrypted_key_are_told_apart() -> TestResult {
    let pair = Pair::make()?;
    let files = PairFiles::with(&pair)?;
    fs::remove_file(&files.files.key)?;
    let error = files.refusal()?;
    assert!(
        matches!(
            error,
            TlsLoadError::Unreadable {
                part: TlsPart::Key,
                ..
            }
        ),
        "{error}"
    );
    let encrypted = pair.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    files.replace(&files.files.key, &encrypted)?;
    let error = files.refusal()?;
    let is_told = matches!(
        error,
        TlsLoadError::Pem {
            problem: PemProblem::EncryptedKey,
            ..
        }
    );
    assert!(is_told, "{error}");
    Ok(())
}

//! A gateway's certificate and key, from the text of PEM files (RFC 7468).

use std::fmt;

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject},
};

use super::TlsFingerprint;

/// The longest PEM file that is read, in bytes.
pub const MAX_PEM: usize = 256 * 1024;

/// A certificate, the ones that vouch for it, and its key. Whether the key belongs to it is for the
/// TLS library to say. `Debug` shows no key.
///
/// ```
/// use clawgate_core::policy::{PemProblem, TlsIdentity, TlsPart, TlsTexts};
///
/// let texts = TlsTexts { certificate: b"hello", key: b"", authorities: None };
/// let error = TlsIdentity::from_pem(texts).unwrap_err();
/// assert_eq!(error.part, TlsPart::Certificate);
/// assert_eq!(error.problem, PemProblem::NoCertificate);
/// ```
pub struct TlsIdentity {
    leaf: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// What the files hold.
#[derive(Clone, Copy)]
pub struct TlsTexts<'a> {
    /// The certificate, and the ones that vouch for it.
    pub certificate: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// More certificates that vouch for it.
    pub authorities: Option<&'a [u8]>,
}

/// Which file something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// `gateway.tls.certPath`.
    Certificate,
    /// `gateway.tls.keyPath`.
    Key,
    /// `gateway.tls.caPath`.
    Authorities,
}

impl TlsPart {
    /// The config key that names the file.
    pub const fn config_key(self) -> &'static str {
        match self {
            Self::Certificate => "gateway.tls.certPath",
            Self::Key => "gateway.tls.keyPath",
            Self::Authorities => "gateway.tls.caPath",
        }
    }
}

/// What is wrong with the text of a PEM file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemProblem {
    /// It is longer than [`MAX_PEM`].
    #[error("it is longer than {MAX_PEM} bytes")]
    TooLong,
    /// A section is broken.
    #[error("it is broken: a section has no end, or is not base64")]
    Broken,
    /// There is no certificate.
    #[error("it has no certificate: a section CERTIFICATE is needed")]
    NoCertificate,
    /// There is no key.
    #[error("it has no key: a section PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY is needed")]
    NoKey,
    /// The key asks for a passphrase.
    #[error("its key is encrypted; store it without a passphrase, readable by its owner only")]
    EncryptedKey,
}

/// Why files are no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPem {
    /// Which file.
    pub part: TlsPart,
    /// What is wrong with it.
    pub problem: PemProblem,
}

impl TlsIdentity {
    /// Reads the texts. The first certificate is the gateway's own.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    pub fn from_pem(texts: TlsTexts<'_>) -> Result<Self, BadPem> {
        let bad = |part| move |problem| BadPem { part, problem };
        let mut chain = certificates(texts.certificate).map_err(bad(TlsPart::Certificate))?;
        let key = key(texts.key).map_err(bad(TlsPart::Key))?;
        if let Some(authorities) = texts.authorities {
            for more in certificates(authorities).map_err(bad(TlsPart::Authorities))? {
                if !chain.contains(&more) {
                    chain.push(more);
                }
            }
        }
        let leaf = chain.remove(0);
        Ok(Self { leaf, chain, key })
    }

    /// What clients pin.
    pub fn fingerprint(&self) -> TlsFingerprint {
        TlsFingerprint::of_certificate(&self.leaf)
    }

    /// The certificates in the order in which they are sent, and the key.
    pub fn into_parts(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificates = std::iter::once(self.leaf).chain(self.chain).collect();
        (certificates, self.key)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The fingerprint of the first certificate of a PEM text.
///
/// # Errors
/// When there is none.
pub fn fingerprint_of_pem(text: &[u8]) -> Result<TlsFingerprint, PemProblem> {
    let certificates = certificates(text)?;
    certificates
        .first()
        .map(|leaf| TlsFingerprint::of_certificate(leaf))
        .ok_or(PemProblem::NoCertificate)
}

/// All certificates; at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemProblem> {
    if text.len() > MAX_PEM {
        return Err(PemProblem::TooLong);
    }
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|_| PemProblem::Broken)?;
    if found.is_empty() {
        Err(PemProblem::NoCertificate)
    } else {
        Ok(found)
    }
}

fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemProblem> {
    if text.len() > MAX_PEM {
        return Err(PemProblem::TooLong);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        if !matches!(error, PemError::NoItemsFound) {
            PemProblem::Broken
        } else if is_encrypted(text) {
            PemProblem::EncryptedKey
        } else {
            PemProblem::NoKey
        }
    })
}

fn is_encrypted(text: &[u8]) -> bool {
    const MARK: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    text.windows(MARK.len()).any(|window| window == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn read(certificate: &str, key: &str, authorities: Option<&str>) -> Result<usize, BadPem> {
        TlsIdentity::from_pem(TlsTexts {
            certificate: certificate.as_bytes(),
            key: key.as_bytes(),
            authorities: authorities.map(str::as_bytes),
        })
        .map(|identity| identity.into_parts().0.len())
    }

    #[test]
    fn the_first_certificate_is_the_leaf_and_the_rest_vouches() {
        let (one, two) = (
            section("CERTIFICATE", "AQID"),
            section("CERTIFICATE", "BAUG"),
        );
        let key = section("PRIVATE KEY", "AAAA");
        assert_eq!(read(&one, &key, None), Ok(1));
        assert_eq!(read(&format!("notes\n{one}{two}"), &key, None), Ok(2));
        assert_eq!(read(&one, &format!("{one}{key}"), Some(&two)), Ok(2));
        assert_eq!(read(&format!("{one}{two}"), &key, Some(&two)), Ok(2));
        let leaf = TlsFingerprint::of_certificate(&[1, 2, 3]);
        assert_eq!(
            fingerprint_of_pem(format!("{one}{two}").as_bytes()),
            Ok(leaf)
        );
    }

    #[test]
    fn the_broken_file_is_named() {
        let good = section("CERTIFICATE", "AQID");
        let key = section("PRIVATE KEY", "AAAA");
        let fails = |certificate: &str, key: &str, authorities: Option<&str>| {
            let bad = read(certificate, key, authorities).unwrap_err();
            (bad.part, bad.problem)
        };
        use PemProblem::{Broken, EncryptedKey, NoCertificate, NoKey, TooLong};
        for (certificate, problem) in [
            (String::new(), NoCertificate),
            (key.clone(), NoCertificate),
            (section("CERTIFICATE", "not base64!"), Broken),
            ("-----BEGIN CERTIFICATE-----\nAQID\n".to_owned(), Broken),
            (format!("{good}-----BEGIN CERTIFICATE-----\nAQID\n"), Broken),
            ("x".repeat(MAX_PEM + 1), TooLong),
        ] {
            assert_eq!(
                fails(&certificate, &key, None),
                (TlsPart::Certificate, problem)
            );
            assert_eq!(
                fails(&good, &key, Some(&certificate)),
                (TlsPart::Authorities, problem)
            );
        }
        for (key, problem) in [
            (String::new(), NoKey),
            (good.clone(), NoKey),
            (section("PRIVATE KEY", "!"), Broken),
            (section("ENCRYPTED PRIVATE KEY", "AAAA"), EncryptedKey),
            ("x".repeat(MAX_PEM + 1), TooLong),
        ] {
            assert_eq!(fails(&good, &key, None), (TlsPart::Key, problem));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let certificate = section("CERTIFICATE", "AQID");
        let key = section("PRIVATE KEY", "c2VjcmV0");
        let texts = TlsTexts {
            certificate: certificate.as_bytes(),
            key: key.as_bytes(),
            authorities: None,
        };
        let shown = format!("{:?}", TlsIdentity::from_pem(texts).unwrap());
        assert!(
            shown.contains("fingerprint") && !shown.contains("115"),
            "{shown}"
        );
    }
}

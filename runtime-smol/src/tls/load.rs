//! From files to what a handshake needs.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use clawgate_core::policy::{
    BadPem, MAX_PEM, PemProblem, TlsFiles, TlsFingerprint, TlsIdentity, TlsPart, TlsTexts,
};
use futures_rustls::rustls::{
    Error, ServerConfig,
    crypto::ring,
    pki_types::CertificateDer,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Why files cannot be served with.
#[derive(Debug, Error)]
pub enum TlsLoadError {
    /// A file cannot be read.
    #[error("cannot read {} ({}): {source}", path.display(), part.config_key())]
    Unreadable {
        /// Which file.
        part: TlsPart,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's text is not what it should be.
    #[error("{} ({}): {problem}", path.display(), part.config_key())]
    Pem {
        /// Which file.
        part: TlsPart,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: PemProblem,
    },
    /// A file's text is in order, and what it encodes is not.
    #[error("{} ({}) cannot be used: {why}", path.display(), part.config_key())]
    Unusable {
        /// Which file.
        part: TlsPart,
        /// Where it is.
        path: PathBuf,
        /// What the TLS library said.
        why: String,
    },
    /// The key is that of another certificate.
    #[error(
        "the key in {} does not belong to the certificate in {}",
        key.display(),
        certificate.display()
    )]
    Mismatched {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// What a handshake needs.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) leaf: CertificateDer<'static>,
    pub(super) fingerprint: TlsFingerprint,
}

/// What the files hold.
pub(super) struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

impl Texts {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsLoadError> {
        Ok(Self {
            certificate: read(TlsPart::Certificate, &files.certificate)?,
            key: read(TlsPart::Key, &files.key)?,
            authorities: files
                .authorities
                .as_deref()
                .map(|path| read(TlsPart::Authorities, path))
                .transpose()?,
        })
    }

    /// Differs when anything in the files differs, whatever their dates say.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let authorities = self.authorities.as_deref().unwrap_or_default();
        for text in [self.certificate.as_slice(), &self.key, authorities] {
            hash.update(Sha256::digest(text));
        }
        hash.finalize().into()
    }
}

/// Makes of the texts what a handshake needs. What comes out is a pair that belongs together.
pub(super) fn load(files: &TlsFiles, texts: &Texts) -> Result<Loaded, TlsLoadError> {
    let identity = TlsIdentity::from_pem(TlsTexts {
        certificate: &texts.certificate,
        key: &texts.key,
        authorities: texts.authorities.as_deref(),
    })
    .map_err(|BadPem { part, problem }| TlsLoadError::Pem {
        part,
        path: path_of(files, part),
        problem,
    })?;
    let fingerprint = identity.fingerprint();
    let (chain, key) = identity.into_parts();
    let unusable = |part| {
        move |error: Error| TlsLoadError::Unusable {
            part,
            path: path_of(files, part),
            why: error.to_string(),
        }
    };
    let key = ring::sign::any_supported_type(&key).map_err(unusable(TlsPart::Key))?;
    let leaf = chain.first().cloned().unwrap_or_else(|| Vec::new().into());
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(TlsLoadError::Mismatched {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            });
        }
        Err(error) => return Err(unusable(TlsPart::Certificate)(error)),
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable(TlsPart::Certificate))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    // A resumed session shows no certificate, and clients pin what is shown.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded {
        config: Arc::new(config),
        leaf,
        fingerprint,
    })
}

fn read(part: TlsPart, path: &Path) -> Result<Vec<u8>, TlsLoadError> {
    let unreadable = |source| TlsLoadError::Unreadable {
        part,
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        // One byte more than the limit is enough to be told that it is too long.
        .take(MAX_PEM as u64 + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

fn path_of(files: &TlsFiles, part: TlsPart) -> PathBuf {
    match part {
        TlsPart::Certificate => files.certificate.clone(),
        TlsPart::Key => files.key.clone(),
        TlsPart::Authorities => files.authorities.clone().unwrap_or_default(),
    }
}

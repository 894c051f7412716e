//! TLS towards the gateway: the platform's verifier, or pinned certificates.

use std::sync::{Arc, Mutex, PoisonError};

use clawgate_core::{
    client::Route,
    policy::{TlsFingerprint, TlsPins, TlsTrust},
};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier as PlatformVerifier;

use crate::error::Problem;

/// A TLS session that has sent nothing yet, and the fingerprint that a pinned one will see.
pub(crate) fn session(route: &Route) -> Result<(ClientConnection, Seen), Problem> {
    let provider = Arc::new(crypto::ring::default_provider());
    let seen = Seen::default();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::System(error.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = match route.trust() {
        TlsTrust::Pinned(pins) => Arc::new(PinVerifier {
            pins: pins.clone(),
            seen: seen.clone(),
            provider,
        }),
        // Its constructor fails only where the system has no authorities.
        TlsTrust::Authorities | TlsTrust::FirstUse => {
            Arc::new(PlatformVerifier::new(provider).map_err(|_| Problem::NoAuthorities)?)
        }
    };
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::try_from(route.endpoint().server_name().into_owned()).map_err(|_| {
        Problem::Certificate("the host is no name that a certificate can have".into())
    })?;
    ClientConnection::new(Arc::new(config), name)
        .map(|session| (session, seen))
        .map_err(|error| Problem::System(error.to_string()))
}

/// What a failed handshake means.
pub(crate) fn problem(error: &std::io::Error, route: &Route, seen: &Seen) -> Problem {
    let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    else {
        return Problem::Lost(error.to_string());
    };
    if let (Some(pinned), Some(seen)) = (route.trust().pins(), seen.get())
        && !pinned.accept(&seen)
    {
        return Problem::PinMismatch {
            pinned: pinned.clone(),
            seen,
        };
    }
    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
    match tls {
        Error::InvalidCertificate(error) => Problem::Certificate(error.to_string()),
        Error::InvalidMessage(_) => Problem::NotTls,
        other => Problem::Tls(other.to_string()),
    }
}

/// The certificate that an accepted handshake has shown.
pub(crate) fn certificate(session: &ClientConnection) -> Option<TlsFingerprint> {
    let leaf = session.peer_certificates()?.first()?;
    Some(TlsFingerprint::of_certificate(leaf))
}

/// The fingerprint of the certificate that the other side showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Option<TlsFingerprint>>>);

impl Seen {
    fn get(&self) -> Option<TlsFingerprint> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, fingerprint: TlsFingerprint) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
    }
}

/// Lets the fingerprint of the leaf decide, and nothing else (spec hostpolicy §6). It runs inside
/// the handshake, so nothing is sent to a stranger.
#[derive(Debug)]
struct PinVerifier {
    pins: TlsPins,
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = TlsFingerprint::of_certificate(end_entity);
        self.seen.set(shown);
        if self.pins.accept(&shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            let refusal = CertificateError::ApplicationVerificationFailure;
            Err(Error::InvalidCertificate(refusal))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

//! Which certificate a target must show (spec credentials, end; spec hostpolicy §6).

use super::error::CredentialError;
use super::request::{FirstUse, Request};
use super::target::{Place, UrlSource, is_own_gateway};
use crate::config::TlsTrustSetting;
use crate::policy::{PinPlace, TlsPins, TlsTrust};

/// Where the pins of a target come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// `--tls-fingerprint`.
    Flag,
    /// `gateway.remote.tlsFingerprint`.
    Config,
    /// The certificate file of this machine's own gateway.
    OwnGateway,
    /// An earlier first use.
    FirstUse,
}

impl PinSource {
    /// The name in messages and in `auth explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "--tls-fingerprint",
            Self::Config => "gateway.remote.tlsFingerprint",
            Self::OwnGateway => "the certificate file of the gateway on this machine",
            Self::FirstUse => "first use",
        }
    }
}

/// A rule for the certificate, and where its pins come from.
pub(super) struct Trust {
    pub(super) rule: TlsTrust,
    pub(super) source: Option<PinSource>,
}

impl Trust {
    fn pinned(pins: impl Into<TlsPins>, source: PinSource) -> Self {
        Self {
            rule: TlsTrust::Pinned(pins.into()),
            source: Some(source),
        }
    }

    const fn unpinned(rule: TlsTrust) -> Self {
        Self { rule, source: None }
    }
}

/// The first that there is: the flag; the config, for the gateway that it is about; the certificate
/// of this machine's own gateway; the pin of an earlier first use; a first use; the authorities.
pub(super) fn trust(request: &Request<'_>, place: &Place) -> Result<Trust, CredentialError> {
    if let Some((texts, source)) = written(request, place) {
        let pins = TlsPins::parse(texts).map_err(|_| CredentialError::InvalidTlsFingerprint {
            place: source.as_str(),
        })?;
        needs_tls(place, source.as_str())?;
        return Ok(Trust::pinned(pins, source));
    }
    let first_use = first_use(request, place);
    if let Some(place_of_rule) = first_use {
        needs_tls(place, place_of_rule)?;
    }
    if !place.endpoint.is_tls() {
        return Ok(Trust::unpinned(TlsTrust::Authorities));
    }
    if let Some(own) = request.local_certificate
        && is_own_gateway(request, place)
    {
        return Ok(Trust::pinned(own, PinSource::OwnGateway));
    }
    // A stored pin is bound to the host and port themselves, whatever named them.
    if let Some(stored) = request.pins.get(&PinPlace::of(&place.endpoint)) {
        return Ok(Trust::pinned(stored.sha256, PinSource::FirstUse));
    }
    Ok(Trust::unpinned(match first_use {
        Some(_) => TlsTrust::FirstUse,
        None => TlsTrust::Authorities,
    }))
}

/// The pin of the flag, else that of the config. The latter is for the configured gateway, so
/// `--url` drops it.
fn written<'a>(request: &Request<'a>, place: &Place) -> Option<(Vec<&'a str>, PinSource)> {
    let flag = request
        .flags
        .tls_fingerprint
        .map(str::trim)
        .filter(|text| !text.is_empty());
    if let Some(text) = flag {
        return Some((vec![text], PinSource::Flag));
    }
    let pins = request.config.gateway.remote.tls_fingerprint.as_ref();
    pins.filter(|_| is_of_remote(request, place)).map(|texts| {
        let texts = texts.iter().map(String::as_str).collect();
        (texts, PinSource::Config)
    })
}

/// What asks for a first use, if anything does.
fn first_use(request: &Request<'_>, place: &Place) -> Option<&'static str> {
    match (
        request.flags.first_use,
        request.config.gateway.remote.tls_trust,
    ) {
        (FirstUse::Pin, _) => Some("--pin-on-first-use"),
        (FirstUse::ByConfig, TlsTrustSetting::FirstUse) => {
            is_of_remote(request, place).then_some("gateway.remote.tlsTrust")
        }
        (FirstUse::ByConfig, TlsTrustSetting::Authorities) => None,
    }
}

fn is_of_remote(request: &Request<'_>, place: &Place) -> bool {
    match place.source {
        UrlSource::Remote | UrlSource::Env => request.config.gateway.mode.is_remote(),
        // A tunnel for one look often leads to a gateway without TLS, where no pin can hold.
        UrlSource::Ssh => place.endpoint.is_tls(),
        UrlSource::Cli | UrlSource::Port | UrlSource::Node | UrlSource::Local => false,
    }
}

fn needs_tls(place: &Place, place_of_rule: &'static str) -> Result<(), CredentialError> {
    if place.endpoint.is_tls() {
        Ok(())
    } else {
        Err(CredentialError::FingerprintNeedsTls {
            place: place_of_rule,
        })
    }
}

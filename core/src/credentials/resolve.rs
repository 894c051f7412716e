//! From a question to a target (seed 002, Credential precedence; spec credentials §1 to §4).

use std::collections::BTreeSet;

use super::context::ContextTarget;
use super::edge::edge_headers;
use super::error::CredentialError;
use super::explain::{Explanation, Reasons, explain};
use super::precedence::{Chosen, Mode, Order, Selection, Unavailable, from_env, select};
use super::refs::{RefAccess, RefReader};
use super::request::{Presented, Request, Surface};
use super::source::{SecretPath, Source};
use super::target::{
    BoundAuth, DeviceRetry, Place, Target, UrlSource, Warning, is_own_gateway, locate,
};
use super::trust::trust;
use crate::config::{AuthMode, Config, EnvVars};
use crate::policy::SecretKind;
use crate::policy::server_auth::{AuthOverride, resolve_server_auth};
use crate::secret::Secret;
use crate::secrets::WantedRef;

/// The answer to a [`Request`].
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The target, or why there is none.
    pub outcome: Result<Target, CredentialError>,
    /// What was chosen and what was passed over, for `auth explain`.
    pub explanation: Explanation,
    /// References that the host should read and hand in before it asks again. While there are any,
    /// the outcome is preliminary.
    pub wanted: Vec<WantedRef>,
}

/// Which rule decided about the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `--no-auth`.
    Nothing,
    /// `--token` or `--password`.
    Explicit,
    /// `--url` without credentials of its own.
    CliUrl,
    /// `OPENCLAW_GATEWAY_URL`.
    EnvUrl,
    /// The order of sources.
    Order,
}

/// Answers a request. Pure: equal requests have equal answers.
///
/// ```
/// use clawgate_core::config::{ConfigFile, EnvVars};
/// use clawgate_core::credentials::{Request, Source, Surface, resolve};
/// use clawgate_core::policy::SecretKind;
/// use clawgate_core::secret::Secret;
///
/// let file = ConfigFile::parse("c", "{ gateway: { auth: { token: 'from config' } } }").unwrap();
/// let env: EnvVars = [("OPENCLAW_GATEWAY_TOKEN", "from env")].into_iter().collect();
///
/// let request = Request::new(Surface::Call, &env, &file.config);
/// let target = resolve(&request).outcome.unwrap();
/// assert_eq!(target.endpoint().url(), "ws://127.0.0.1:18789");
/// assert_eq!(target.auth().source(SecretKind::Token), Some(Source::Env));
///
/// // Another address never gets what was meant for this one.
/// let mut request = request;
/// request.flags.url = Some("wss://elsewhere.example.com");
/// let error = resolve(&request).outcome.unwrap_err();
/// assert_eq!(error.code(), "explicit_auth_required");
///
/// let token = Secret::new("for elsewhere");
/// request.flags.token = Some(&token);
/// let target = resolve(&request).outcome.unwrap();
/// assert_eq!(target.auth().source(SecretKind::Token), Some(Source::Cli));
/// ```
pub fn resolve(request: &Request<'_>) -> Resolution {
    let Some(context) = request.context else {
        return answer(request, request);
    };
    let (env, config) = (
        ContextTarget::env(request.env),
        context.config(request.config),
    );
    let within = Request {
        env: &env,
        config: &config,
        local_token: None,
        local_port: None,
        local_certificate: None,
        ..*request
    };
    answer(&within, request)
}

/// Answers a request. What was asked differs from it where a context leaves things out.
fn answer(request: &Request<'_>, asked: &Request<'_>) -> Resolution {
    let mut refs = RefReader {
        access: request.refs,
        secrets: &request.config.secrets,
        env: request.env,
        wanted: BTreeSet::new(),
    };
    let located = locate_in(request);
    let rule = rule(request, located.as_ref().ok());
    let outcome = match &located {
        Ok(place) => target(request, place, rule, &mut refs),
        Err(error) => Err(error.clone()),
    };
    let outcome = outcome.map_err(|error| error.of(request.context));
    let explanation = explain(&Reasons {
        request,
        asked,
        place: located.as_ref().ok(),
        rule,
        outcome: &outcome,
        refs: &refs,
    });
    Resolution {
        outcome,
        explanation,
        wanted: refs.wanted.into_iter().collect(),
    }
}

/// Chooses among environment and config by an order of the caller's own, without a target.
///
/// # Errors
/// [`Unavailable`] when a reference that would have won cannot be read.
pub fn select_by_order(
    config: &Config,
    env: &EnvVars,
    mode: Mode,
    order: &Order,
    refs: RefAccess<'_>,
) -> Result<Selection, Unavailable> {
    let mut refs = RefReader {
        access: refs,
        secrets: &config.secrets,
        env,
        wanted: BTreeSet::new(),
    };
    select(&config.gateway, env, mode, order, &mut refs)
}

/// The place, which is never this machine's own gateway where a context names another one.
fn locate_in(request: &Request<'_>) -> Result<Place, CredentialError> {
    let place = locate(request)?;
    match (request.context, place.source) {
        (None, _) | (Some(_), UrlSource::Remote) => Ok(place),
        (Some(_), UrlSource::Local | UrlSource::Env) => Err(CredentialError::RemoteUrlMissing),
        (Some(_), UrlSource::Cli | UrlSource::Port | UrlSource::Node | UrlSource::Ssh) => {
            Err(CredentialError::ContextAndTarget)
        }
    }
}

fn explicit(request: &Request<'_>) -> Selection {
    let of = |secret: Option<&Secret>| {
        secret
            .and_then(|secret| Secret::non_blank(secret.expose()))
            .map(|secret| Chosen {
                secret,
                source: Source::Cli,
            })
    };
    Selection {
        token: of(request.flags.token),
        password: of(request.flags.password),
    }
}

fn rule(request: &Request<'_>, place: Option<&Place>) -> Rule {
    if request.flags.presented == Presented::Nothing {
        return Rule::Nothing;
    }
    if !explicit(request).is_empty() {
        return Rule::Explicit;
    }
    match place.map(|place| place.source) {
        Some(UrlSource::Cli) => Rule::CliUrl,
        Some(UrlSource::Env) => Rule::EnvUrl,
        Some(
            UrlSource::Port
            | UrlSource::Node
            | UrlSource::Remote
            | UrlSource::Ssh
            | UrlSource::Local,
        )
        | None => Rule::Order,
    }
}

fn target(
    request: &Request<'_>,
    place: &Place,
    rule: Rule,
    refs: &mut RefReader<'_>,
) -> Result<Target, CredentialError> {
    let trust = trust(request, place)?;
    let edge = edge_headers(request, place, refs);
    let mut warnings: Vec<Warning> = place.endpoint.warnings().map(Warning::Endpoint).collect();
    let mut device = request.stored_token(place).token().cloned();
    // A tunnel for one look gets the credentials of the remote gateway and no more (spec hostpolicy §7).
    if place.source == UrlSource::Ssh {
        device = None;
    }
    let shared = match rule {
        Rule::Nothing if explicit(request).is_empty() => {
            device = None;
            Selection::default()
        }
        Rule::Nothing => return Err(CredentialError::AuthAndNoAuth),
        Rule::Explicit => explicit(request),
        // A channel's own URL gets nothing, which is no fault (spec credentials §4).
        Rule::CliUrl if request.surface == Surface::ExecApprovals => {
            device = None;
            Selection::default()
        }
        // A token that this very gateway gave this device is no credential of another one.
        Rule::CliUrl if device.is_some() => Selection::default(),
        Rule::CliUrl => {
            return Err(CredentialError::ExplicitAuthRequired {
                source: place.source,
            });
        }
        Rule::EnvUrl => from_env(request.env),
        Rule::Order => {
            let selection = by_order(request, place, refs, &mut warnings)?;
            match request.context {
                Some(_) => selection.of_context(),
                None => selection,
            }
        }
    };
    let has_nothing = shared.is_empty() && device.is_none();
    if rule == Rule::EnvUrl && has_nothing && !request.surface.may_go_without() {
        return Err(CredentialError::ExplicitAuthRequired {
            source: place.source,
        });
    }
    let retry = if place.endpoint.is_loopback() || trust.rule.pins().is_some() {
        DeviceRetry::Once
    } else {
        DeviceRetry::Never
    };
    let mut auth = BoundAuth {
        shared,
        device,
        retry,
    };
    if rule == Rule::Order && auth.shared.is_empty() {
        auth.shared.token = own_token(request, place);
    }
    if rule == Rule::Order && auth.is_empty() && !request.surface.may_go_without() {
        require_none(request)?;
    }
    Ok(Target {
        place: place.clone(),
        auth,
        trust: trust.rule,
        pin_source: trust.source,
        edge: edge?,
        warnings,
    })
}

fn by_order(
    request: &Request<'_>,
    place: &Place,
    refs: &mut RefReader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Selection, CredentialError> {
    let order = request.surface.order(request.env);
    let gateway = &request.config.gateway;
    let selection = match select(gateway, request.env, place.mode, &order, refs) {
        Ok(selection) => selection,
        Err(unavailable) if request.surface.is_probe() => {
            warnings.push(Warning::ProbingWithout(unavailable));
            return Ok(Selection::default());
        }
        Err(unavailable) => return Err(CredentialError::SecretRefUnavailable(unavailable)),
    };
    let preferred = match place.mode {
        Mode::Local => [SecretPath::AuthToken, SecretPath::AuthPassword],
        Mode::Remote => [SecretPath::RemoteToken, SecretPath::RemotePassword],
    };
    for path in preferred {
        if let Some(reference) = request.config.secret_input(path).reference()
            && let Some(used) = selection.get(path.kind()).map(Chosen::source)
            && used != path.source()
            && let Some(fault) = refs.known_fault(reference)
        {
            warnings.push(Warning::RefPassedOver { path, used, fault });
        }
    }
    Ok(selection)
}

/// The token that this profile's own gateway made for itself: for that gateway alone, and only where
/// nothing was ever configured.
fn own_token(request: &Request<'_>, place: &Place) -> Option<Chosen> {
    let auth = &request.config.gateway.auth;
    let own_gateway = place.mode == Mode::Local && is_own_gateway(request, place);
    let unset = !auth.token.is_configured()
        && !auth.password.is_configured()
        && matches!(auth.mode, None | Some(AuthMode::Token));
    let secret = request.local_token.filter(|_| own_gateway && unset)?;
    Secret::non_blank(secret.expose()).map(|secret| Chosen {
        secret,
        source: Source::File,
    })
}

/// Fails where the gateway, as this config describes it, asks for a secret.
fn require_none(request: &Request<'_>) -> Result<(), CredentialError> {
    let server = resolve_server_auth(
        &request.config.gateway,
        request.env,
        &AuthOverride::default(),
    );
    match server.mode {
        AuthMode::None | AuthMode::TrustedProxy => Ok(()),
        AuthMode::Token | AuthMode::Password if server.allow_tailscale => Ok(()),
        mode @ (AuthMode::Token | AuthMode::Password) => {
            Err(CredentialError::CredentialsRequired { mode })
        }
    }
}

/// Kinds in the order in which they are explained.
pub(super) const KINDS: [SecretKind; 2] = [SecretKind::Token, SecretKind::Password];

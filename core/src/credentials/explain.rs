//! Why a client presents what it presents (`auth explain`).

use serde::Serialize;

use super::error::{CredentialError, of_context};
use super::precedence::{Mode, RemoteFallback, RemoteInLocalMode};
use super::refs::RefReader;
use super::request::Request;
use super::resolve::{KINDS, Rule};
use super::shown_refs::{ShownRef, shown_refs};
use super::source::{SecretPath, Source, env_name};
use super::target::{Place, Target, UrlSource, Warning};
use super::token_book::Found;
use super::trust::PinSource;
use crate::config::{AuthMode, SecretInput};
use crate::policy::SecretKind;

/// The whole explanation, ready to be serialised. It holds no secret and no part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Where the client connects.
    pub url: Option<String>,
    /// Why there.
    pub url_source: Option<&'static str>,
    /// The machine that the client logs in to for a tunnel, and the gateway's port there.
    pub tunnel: Option<ShownTunnel>,
    /// `local` or `remote`.
    pub mode: &'static str,
    /// The context that is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ShownContext>,
    /// The token.
    pub token: Shown,
    /// The password.
    pub password: Shown,
    /// What decides about the gateway's certificate: `pinned`, `first-use` or `authorities`.
    pub tls_trust: Option<&'static str>,
    /// The certificates that the gateway may show, when they are pinned.
    pub tls_fingerprints: Vec<String>,
    /// Where these pins come from.
    pub tls_pin_source: Option<&'static str>,
    /// The names of the headers that are sent to the proxy in front of it.
    pub edge_headers: Vec<String>,
    /// What was passed over.
    pub skipped: Vec<Skipped>,
    /// How the references among the credentials resolve.
    pub references: Vec<ShownRef>,
    /// What the user should know, though the client goes on.
    pub warnings: Vec<ShownWarning>,
    /// Why the client does not connect.
    pub error: Option<ShownError>,
}

/// A context, and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownContext {
    /// Its name.
    pub name: String,
    /// What put it in force: `--context`, `CLAWGATE_CONTEXT` or `context use`.
    pub from: &'static str,
}

/// An SSH tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownTunnel {
    /// The machine, as `user@host:port`.
    pub target: String,
    /// The gateway's port there.
    pub remote_port: u16,
}

/// One of the two credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Whether there is one.
    pub present: bool,
    /// Where it comes from, or `none`.
    pub source: &'static str,
    /// A short name that does not reveal it.
    pub id: Option<String>,
}

/// A source that did not give the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// `token` or `password`.
    pub kind: &'static str,
    /// The source.
    pub source: &'static str,
    /// Why not.
    pub why: String,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownWarning {
    /// A stable name.
    pub code: &'static str,
    /// The config key that it is about.
    pub path: Option<&'static str>,
    /// A sentence.
    pub message: String,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownError {
    /// A stable name.
    pub code: &'static str,
    /// The config key that it is about.
    pub path: Option<&'static str>,
    /// What was wrong.
    pub message: String,
    /// What to do next.
    pub next: String,
}

impl From<&CredentialError> for ShownError {
    fn from(error: &CredentialError) -> Self {
        Self {
            code: error.code(),
            path: error.path(),
            message: error.message(),
            next: error.next_step(),
        }
    }
}

impl From<&Warning> for ShownWarning {
    fn from(warning: &Warning) -> Self {
        Self {
            code: warning.code(),
            path: warning.path().map(SecretPath::as_str),
            message: warning.to_string(),
        }
    }
}

/// What an explanation is made from.
pub(super) struct Reasons<'a> {
    pub(super) request: &'a Request<'a>,
    /// What was asked, where a context leaves some of it out.
    pub(super) asked: &'a Request<'a>,
    pub(super) place: Option<&'a Place>,
    pub(super) rule: Rule,
    pub(super) outcome: &'a Result<Target, CredentialError>,
    pub(super) refs: &'a RefReader<'a>,
}

pub(super) fn explain(reasons: &Reasons<'_>) -> Explanation {
    let target = reasons.outcome.as_ref().ok();
    let mut skipped = Vec::new();
    for kind in KINDS {
        let winner = reasons.winner(kind);
        let sources: &[Source] = match reasons.request.context {
            Some(_) => &Source::WITH_CONTEXT,
            None => &Source::ALL,
        };
        for &source in sources {
            let fits =
                kind == SecretKind::Token || !matches!(source, Source::Device | Source::File);
            if fits && winner != Some(source) {
                skipped.push(Skipped {
                    kind: kind.as_str(),
                    source: source.as_str(),
                    why: reasons.why_not(kind, source),
                });
            }
        }
    }
    Explanation {
        url: reasons.place.map(|place| place.endpoint.url()),
        url_source: reasons.place.map(|place| match reasons.request.context {
            Some(_) if place.source == UrlSource::Remote => "context",
            Some(_) | None => place.source.as_str(),
        }),
        tunnel: reasons
            .place
            .and_then(|place| place.endpoint.tunnel())
            .map(|tunnel| ShownTunnel {
                target: tunnel.spec.target.to_string(),
                remote_port: tunnel.spec.remote_port,
            }),
        mode: reasons.mode().as_str(),
        context: reasons.request.context.map(|context| ShownContext {
            name: context.name.to_string(),
            from: context.choice.as_str(),
        }),
        token: reasons.shown(SecretKind::Token),
        password: reasons.shown(SecretKind::Password),
        tls_trust: target
            .filter(|target| target.endpoint().is_tls())
            .map(|target| target.tls_trust().as_str()),
        tls_fingerprints: target
            .and_then(Target::tls_pins)
            .map(|pins| pins.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        tls_pin_source: target.and_then(Target::pin_source).map(PinSource::as_str),
        edge_headers: target
            .map(|target| {
                let names = target.edge_headers().iter();
                names.map(|(name, _)| name.to_owned()).collect()
            })
            .unwrap_or_default(),
        skipped,
        references: reasons.references(),
        warnings: target
            .map(|target| target.warnings().iter().map(ShownWarning::from).collect())
            .unwrap_or_default(),
        error: reasons.outcome.as_ref().err().map(ShownError::from),
    }
}

impl Reasons<'_> {
    fn references(&self) -> Vec<ShownRef> {
        let Request {
            config, env, refs, ..
        } = *self.request;
        let mut shown = shown_refs(config, env, refs);
        if let Some(context) = self.request.context {
            for reference in &mut shown {
                reference.path = of_context(&reference.path, context.name);
            }
        }
        shown
    }

    fn mode(&self) -> Mode {
        self.place.map_or_else(
            || self.request.surface.mode(self.request.config),
            |place| place.mode,
        )
    }

    fn winner(&self, kind: SecretKind) -> Option<Source> {
        self.outcome
            .as_ref()
            .ok()
            .and_then(|target| target.auth().source(kind))
    }

    fn shown(&self, kind: SecretKind) -> Shown {
        let auth = self.outcome.as_ref().ok().map(Target::auth);
        let id = auth.and_then(|auth| match auth.chosen(kind) {
            Some(chosen) => Some(chosen.id()),
            None if kind == SecretKind::Token => auth.device_token().map(|token| token.id()),
            None => None,
        });
        Shown {
            present: id.is_some(),
            source: self.winner(kind).map_or("none", Source::as_str),
            id,
        }
    }

    fn input(&self, source: Source, kind: SecretKind) -> Option<&SecretInput> {
        let config = match source {
            Source::Context => self.request.config,
            Source::Cli
            | Source::Env
            | Source::ConfigAuth
            | Source::ConfigRemote
            | Source::Device
            | Source::File => self.asked.config,
        };
        SecretPath::of(source, kind).map(|path| config.secret_input(path))
    }

    fn is_given(&self, kind: SecretKind, source: Source) -> bool {
        let Request {
            flags,
            env,
            local_token,
            ..
        } = self.asked;
        match source {
            Source::Cli => match kind {
                SecretKind::Token => flags.token,
                SecretKind::Password => flags.password,
            }
            .is_some_and(|secret| !secret.expose().trim().is_empty()),
            Source::Env => env.non_blank(env_name(kind)).is_some(),
            Source::ConfigAuth | Source::ConfigRemote | Source::Context => self
                .input(source, kind)
                .is_some_and(SecretInput::is_configured),
            Source::Device => !matches!(self.stored(), Found::Nothing),
            Source::File => local_token.is_some(),
        }
    }

    fn stored(&self) -> Found<'_> {
        self.place
            .map_or(Found::Nothing, |place| self.request.stored_token(place))
    }

    fn why_not(&self, kind: SecretKind, source: Source) -> String {
        let why = self.why_source(kind, source);
        match (self.request.context, source) {
            (Some(context), Source::Context) => of_context(&why, context.name),
            _ => why,
        }
    }

    fn why_source(&self, kind: SecretKind, source: Source) -> String {
        let name = match source {
            Source::Cli => match kind {
                SecretKind::Token => "--token",
                SecretKind::Password => "--password",
            },
            Source::Env => env_name(kind),
            Source::ConfigAuth | Source::ConfigRemote | Source::Context => {
                SecretPath::of(source, kind).map_or("", SecretPath::as_str)
            }
            Source::Device => "device token",
            Source::File => "token file of the local gateway",
        };
        if !self.is_given(kind, source) {
            return match source {
                Source::Cli => format!("{name} was not given"),
                Source::Env | Source::ConfigAuth | Source::ConfigRemote | Source::Context => {
                    format!("{name} is not set")
                }
                Source::Device | Source::File => format!("there is no {name}"),
            };
        }
        if let Some(why) = self.excluded(source) {
            return why.to_owned();
        }
        if let (Source::Device, Found::Barred(why)) = (source, self.stored()) {
            return why.to_owned();
        }
        match self.input(source, kind) {
            Some(SecretInput::Embedded(_)) if self.mode() == Mode::Local => {
                return format!("{name} has text around ${{NAME}}, which is no secret");
            }
            Some(SecretInput::Ref(reference)) => {
                if let Some(fault) = self.refs.known_fault(reference) {
                    return format!(
                        "{name} refers to {reference}, which could not be read: {fault}"
                    );
                }
            }
            Some(
                SecretInput::Absent
                | SecretInput::Blank
                | SecretInput::Plain(_)
                | SecretInput::Embedded(_),
            )
            | None => {}
        }
        if let Some(why) = self.out_of_order(kind, source) {
            return why;
        }
        match self.winner(kind) {
            Some(winner) => format!("{winner} stands before it"),
            None => match self.outcome {
                Ok(_) => "the gateway's auth does not ask for it".to_owned(),
                Err(_) => "nothing is sent, because of the error".to_owned(),
            },
        }
    }

    /// Whole sources that the rule leaves out.
    fn excluded(&self, source: Source) -> Option<&'static str> {
        let of_the_config = matches!(
            source,
            Source::Env | Source::ConfigAuth | Source::ConfigRemote | Source::File
        );
        if self.request.context.is_some() && of_the_config {
            return Some("a context takes no credentials from elsewhere");
        }
        match (self.rule, source) {
            (Rule::Nothing, _) => Some("--no-auth was given"),
            (Rule::Explicit, _) => Some("credentials were given on the command line"),
            (Rule::CliUrl | Rule::EnvUrl, Source::Device) => None,
            (Rule::CliUrl, _) => Some(
                "--url never borrows credentials from the environment, the config or this machine",
            ),
            (Rule::EnvUrl, Source::Env) | (Rule::Order, _) => None,
            (Rule::EnvUrl, _) => {
                Some("OPENCLAW_GATEWAY_URL takes credentials from the environment only")
            }
        }
    }

    /// Sources that the order of this surface leaves out.
    fn out_of_order(&self, kind: SecretKind, source: Source) -> Option<String> {
        let Request {
            surface,
            env,
            config,
            ..
        } = self.request;
        let order = surface.order(env);
        let auth = &config.gateway.auth;
        match (self.mode(), source) {
            (Mode::Local, Source::ConfigRemote)
                if order.remote_in_local == RemoteInLocalMode::Ignored =>
            {
                Some("gateway.remote.* does not count here in local mode".to_owned())
            }
            (Mode::Local, Source::ConfigRemote)
                if self
                    .input(Source::ConfigAuth, kind)
                    .is_some_and(SecretInput::is_configured) =>
            {
                Some(format!("gateway.auth.{} is configured", kind.as_str()))
            }
            (Mode::Local, Source::ConfigRemote)
                if kind == SecretKind::Password && auth.mode == Some(AuthMode::TrustedProxy) =>
            {
                Some("gateway.auth.mode is trusted-proxy".to_owned())
            }
            (Mode::Remote, Source::Env | Source::ConfigAuth)
                if order.of(kind).fallback == RemoteFallback::RemoteOnly =>
            {
                Some(format!(
                    "only gateway.remote.{} counts for a look at a remote gateway",
                    kind.as_str()
                ))
            }
            (_, Source::File) if self.winner(SecretKind::Password).is_some() => {
                Some("a password was found".to_owned())
            }
            (_, Source::File) if self.winner(SecretKind::Token).is_none() => Some(
                "it is for the local gateway of this profile, where nothing else is configured"
                    .to_owned(),
            ),
            (_, Source::Device)
                if self.winner(kind).is_some() || self.winner(SecretKind::Password).is_some() =>
            {
                Some("it is kept for when the gateway refuses the shared secret".to_owned())
            }
            _ => None,
        }
    }
}

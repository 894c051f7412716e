//! Which gateway a command is about, and what it presents there. The rules are the core's; this
//! reads the files that they need, and keeps the reasons for messages.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use clawgate_core::client::Purpose;
use clawgate_core::config::paths::Locations;
use clawgate_core::config::{Config, ContextName, EnvVars, ModeSetting, TlsConfig};
use clawgate_core::credentials::{
    CredentialError, Explanation, FirstUse, Flags, NamedTarget, NodeScheme, NodeTarget, Presented,
    RefAccess, Request, Resolution, Shown, ShownContext, Source, SshFlags, Surface, Target,
    UrlSource, resolve,
};
use clawgate_core::policy::{
    MAX_PEM, PinBook, SecretKind, TlsFiles, TlsFingerprint, fingerprint_of_pem,
};
use clawgate_core::secret::Secret;
use serde_json::{Value, json};

use crate::args::{PlaceArgs, TargetArgs};
use crate::context::Context;
use crate::context_book::NamedContext;
use crate::device::{DeviceFiles, Known};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::pins::PinFile;
use crate::references::with_references;
use crate::run::running_gateway;
use crate::secrets::GivenSecrets;
use crate::tunnels;

/// What the flags of a client command say, files read.
#[derive(Clone, Debug)]
pub(crate) struct TargetFlags {
    url: Option<String>,
    port: Option<u16>,
    secrets: GivenSecrets,
    presented: Presented,
    tls_fingerprint: Option<String>,
    first_use: FirstUse,
    node: NodeFlags,
    ssh: Option<GivenSsh>,
    /// Time for everything together.
    pub(crate) timeout: Duration,
}

/// Where a node connects, by its own flags.
#[derive(Clone, Debug, Default)]
struct NodeFlags {
    host: Option<String>,
    scheme: NodeScheme,
}

/// A tunnel for one look, by flags of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenSsh {
    /// The machine, unless the config names it.
    pub(crate) target: Option<String>,
    /// The key.
    pub(crate) identity: Option<String>,
}

impl TargetFlags {
    /// The same through a tunnel.
    pub(crate) fn through(self, ssh: GivenSsh) -> Self {
        Self {
            ssh: Some(ssh),
            url: None,
            port: None,
            ..self
        }
    }

    /// The same for a node, with a host of its own.
    pub(crate) fn for_node(self, host: Option<String>, scheme: NodeScheme) -> Self {
        Self {
            node: NodeFlags { host, scheme },
            ..self
        }
    }

    /// Reads the files of secrets.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn read(args: TargetArgs) -> Result<Self, Failure> {
        Self::of_place(args.place, args.timeout)
    }

    /// The same for a command with a timeout of its own.
    ///
    /// # Errors
    /// As [`TargetFlags::read`].
    pub(crate) fn of_place(args: PlaceArgs, timeout: Duration) -> Result<Self, Failure> {
        Ok(Self {
            url: args.url,
            port: args.port,
            secrets: GivenSecrets::read(args.secrets)?,
            presented: if args.no_auth {
                Presented::Nothing
            } else {
                Presented::ByRule
            },
            tls_fingerprint: args.tls_fingerprint,
            first_use: if args.pin_on_first_use {
                FirstUse::Pin
            } else {
                FirstUse::ByConfig
            },
            node: NodeFlags::default(),
            ssh: None,
            timeout,
        })
    }

    /// Whether `--url` names the target, so that the config has no say.
    fn names_the_target(&self) -> bool {
        self.url
            .as_deref()
            .is_some_and(|url| !url.trim().is_empty())
    }

    /// The same, as the choice of a context asks for it.
    pub(crate) fn named_target(&self) -> NamedTarget {
        if self.is_explicit() || self.ssh.is_some() || self.node.host.is_some() {
            NamedTarget::ByFlags
        } else {
            NamedTarget::No
        }
    }

    /// Whether a flag names the target.
    pub(crate) fn is_explicit(&self) -> bool {
        self.names_the_target() || self.port.is_some()
    }

    /// Whether a flag says what to present.
    pub(crate) fn names_credentials(&self) -> bool {
        self.presented == Presented::Nothing
            || self.secrets.token.is_some()
            || self.secrets.password.is_some()
    }

    /// What the flags give, by the name of the flag.
    pub(crate) fn given_secrets(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        let token = self.secrets.token.iter().map(|it| ("--token", it));
        let password = self.secrets.password.iter().map(|it| ("--password", it));
        token.chain(password)
    }

    fn borrow(&self) -> Flags<'_> {
        Flags {
            url: self.url.as_deref(),
            port: self.port,
            token: self.secrets.token.as_ref(),
            password: self.secrets.password.as_ref(),
            presented: self.presented,
            tls_fingerprint: self.tls_fingerprint.as_deref(),
            first_use: self.first_use,
            node: NodeTarget {
                host: self.node.host.as_deref(),
                scheme: self.node.scheme,
            },
            ssh: self.ssh.as_ref().map(|ssh| SshFlags {
                target: ssh.target.as_deref(),
                identity: ssh.identity.as_deref(),
            }),
        }
    }
}

/// A target, and why it is this one.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// Where to connect and what to present.
    pub(crate) target: Target,
    /// Why.
    pub(crate) why: Explanation,
    /// Where the gateway of this instance listens instead, when that is another port.
    pub(crate) runs_on: Option<u16>,
    /// Where a first use is stored.
    pub(crate) pins: Option<PinFile>,
    /// This machine as a device.
    pub(crate) device: Option<DeviceFiles>,
    /// Whether the command does more than look.
    pub(crate) purpose: Purpose,
}

impl Resolved {
    /// The same for a command that only looks.
    pub(crate) fn only_looking(self) -> Self {
        Self {
            purpose: Purpose::Look,
            ..self
        }
    }
}

/// Everything about where a command would connect, even when it must not.
///
/// # Errors
/// When the config is needed and cannot be used.
pub(crate) fn explain(
    surface: Surface,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Resolution, Failure> {
    let named = context.named(flags.named_target())?;
    let named = named.as_ref();
    if flags.names_the_target() {
        context.warn_of_config();
        return answer(
            surface,
            flags,
            context,
            (&context.env, &Config::default()),
            named,
        );
    }
    let config = context.client_config()?;
    answer(surface, flags, context, (&context.env, config), named)
}

/// The target of a command.
///
/// # Errors
/// When there is none, with the reasons.
pub(crate) fn find(
    surface: Surface,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Resolved, Failure> {
    settle(
        explain(surface, flags, context)?,
        context,
        purpose(surface, flags),
    )
}

/// Probes and `--no-auth` leave no trace.
fn purpose(surface: Surface, flags: &TargetFlags) -> Purpose {
    match (surface, flags.presented) {
        (Surface::Probe | Surface::Status, _) | (_, Presented::Nothing) => Purpose::Look,
        (Surface::Call | Surface::NodeHost | Surface::ExecApprovals, Presented::ByRule) => {
            Purpose::Work
        }
    }
}

/// The gateway on this machine, whatever environment and config name as the target. Flags stay with
/// the target that they were given for.
///
/// # Errors
/// When it must not be connected to.
pub(crate) fn find_local(
    surface: Surface,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Resolved, Failure> {
    let env: EnvVars = context
        .env
        .names()
        .filter(|name| *name != "OPENCLAW_GATEWAY_URL")
        .filter_map(|name| Some((name, context.env.get(name)?)))
        .collect();
    let mut config = context.client_config()?.clone();
    config.gateway.mode = ModeSetting::Local;
    let flags = TargetFlags {
        url: None,
        port: None,
        secrets: GivenSecrets::default(),
        presented: flags.presented,
        tls_fingerprint: None,
        first_use: FirstUse::ByConfig,
        node: NodeFlags::default(),
        ssh: None,
        timeout: flags.timeout,
    };
    settle(
        answer(surface, &flags, context, (&env, &config), None)?,
        context,
        purpose(surface, &flags),
    )
}

fn settle(
    resolution: Resolution,
    context: &Context,
    purpose: Purpose,
) -> Result<Resolved, Failure> {
    let why = resolution.explanation;
    // It was one when it was chosen.
    let named = why.context.as_ref();
    let named = named.and_then(|named| ContextName::parse(&named.name).ok());
    match resolution.outcome {
        Ok(target) => {
            for warning in target.warnings() {
                output::note(&format!("warning: {warning}"));
            }
            let runs_on = context
                .locations()
                .ok()
                .filter(|_| matches!(target.url_source(), UrlSource::Local | UrlSource::Port))
                .and_then(|places| running_port(&places.own))
                .filter(|port| *port != target.endpoint().port());
            Ok(Resolved {
                target,
                why,
                runs_on,
                pins: context.locations().ok().map(PinFile::of),
                device: context
                    .locations()
                    .ok()
                    .map(|places| DeviceFiles::of(places, named.as_ref())),
                purpose,
            })
        }
        Err(error) => Err(failure(&error, &why)),
    }
}

fn answer(
    surface: Surface,
    flags: &TargetFlags,
    context: &Context,
    (env, config): (&EnvVars, &Config),
    named: Option<&NamedContext>,
) -> Result<Resolution, Failure> {
    let places = context.locations().ok();
    let pins = places.map_or_else(|| Ok(PinBook::new()), |places| PinFile::of(places).read());
    let no_pins = PinBook::new();
    let local_token = places
        .filter(|_| !flags.names_the_target())
        .and_then(|places| read_token(&places.token_file()));
    let keeper = places.map(|places| {
        let keeper = tunnels::keeper(places);
        match &flags.ssh {
            None => keeper,
            Some(_) => tunnels::for_one_look(keeper),
        }
    });
    let device =
        places.and_then(|places| DeviceFiles::of(places, named.map(|named| &named.name)).known());
    let mut request = Request::new(surface, env, config);
    request.device_tokens = device.as_ref().map(Known::tokens);
    request.flags = flags.borrow();
    request.context = named.map(NamedContext::target);
    request.profile = &context.profile;
    request.tunnel_keeper = keeper.as_ref();
    request.pins = pins.as_ref().unwrap_or(&no_pins);
    request.local_token = local_token.as_ref();
    request.local_port = places
        .filter(|_| !flags.names_the_target())
        .and_then(|places| running_port(&places.own));
    request.local_certificate = places
        .filter(|_| config.gateway.tls.enabled)
        .and_then(|places| own_certificate(&config.gateway.tls, places, env));
    let resolution = with_references(&config.secrets, env, |values| {
        let resolution = resolve(&Request {
            refs: RefAccess::Available(values),
            ..request
        });
        let wanted = resolution.wanted.clone();
        (resolution, wanted)
    });
    // Without TLS no pin counts, and a written one counts more than what the file may say.
    if let (Ok(target), Err(failure)) = (&resolution.outcome, &pins)
        && target.endpoint().is_tls()
        && target.pin_source().is_none()
    {
        return Err(failure.clone());
    }
    Ok(resolution)
}

fn read_token(path: &Path) -> Option<Secret> {
    const MAX_BYTES: u64 = 4096;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            output::note(&format!(
                "warning: the token file of the local gateway {} could not be read: {error}",
                path.display()
            ));
            return None;
        }
    };
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Secret::non_blank(Secret::new(text).expose())
}

/// Where the gateway of this instance listens, when it runs: it may have been started with `--port`.
fn running_port(own: &Path) -> Option<u16> {
    running_gateway(own)?
        .addresses
        .iter()
        .find_map(|address| address.rsplit_once(':')?.1.parse().ok())
}

/// The fingerprint of the certificate that the gateway of this instance shows.
fn own_certificate(tls: &TlsConfig, places: &Locations, env: &EnvVars) -> Option<TlsFingerprint> {
    let path = TlsFiles::of_config(tls, places, env).ok()?.certificate;
    let mut text = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_PEM as u64 + 1)
        .read_to_end(&mut text)
        .ok()?;
    fingerprint_of_pem(&text).ok()
}

/// The failure of a command that has no target.
pub(crate) fn failure(error: &CredentialError, why: &Explanation) -> Failure {
    let failure = bare_failure(error);
    if failure.exit == Exit::Usage {
        failure.fact("target", target_json(why))
    } else {
        with_chain(failure, why)
    }
}

/// The same without the target.
pub(crate) fn bare_failure(error: &CredentialError) -> Failure {
    let mut next = error.next_step();
    let exit = match error.bare() {
        CredentialError::ExplicitAuthRequired { .. }
        | CredentialError::CredentialsRequired { .. } => {
            next.push_str(" `clawgate auth explain` with the same flags shows every source.");
            Exit::Unauthorised
        }
        CredentialError::InsecureUrl { source, .. } => match source {
            UrlSource::Cli | UrlSource::Node | UrlSource::Port | UrlSource::Ssh => Exit::Usage,
            UrlSource::Env | UrlSource::Local | UrlSource::Remote => Exit::Configuration,
        },
        CredentialError::UrlAndPort
        | CredentialError::ContextAndTarget
        | CredentialError::AuthAndNoAuth => Exit::Usage,
        CredentialError::SshTargetInvalid { place, .. } if place.starts_with("--") => Exit::Usage,
        CredentialError::InvalidTlsFingerprint { place }
        | CredentialError::FingerprintNeedsTls { place } => {
            if place.starts_with("--") {
                Exit::Usage
            } else {
                Exit::Configuration
            }
        }
        CredentialError::SecretRefUnavailable(_)
        | CredentialError::RemoteUrlMissing
        | CredentialError::SshTargetInvalid { .. }
        | CredentialError::SshTargetMissing
        | CredentialError::TunnelUrlElsewhere { .. }
        | CredentialError::EdgeAuthInvalid { .. }
        | CredentialError::EdgeAuthNeedsTls
        | CredentialError::EdgeAuthUnavailable { .. }
        | CredentialError::InContext { .. } => Exit::Configuration,
    };
    let failure = Failure::new(exit, error.code(), error.message(), next);
    match error.path() {
        Some(path) => failure.fact("path", json!(path)),
        None => failure,
    }
}

/// Adds the target and where each credential came from, which every authentication error carries.
pub(crate) fn with_chain(failure: Failure, why: &Explanation) -> Failure {
    let mut failure = failure
        .note(format!("target: {}", target_text(why)))
        .fact("target", target_json(why))
        .fact("auth", auth_json(why));
    for (kind, shown) in [("token", &why.token), ("password", &why.password)] {
        failure = failure.note(format!("{kind}: {}", shown_text(shown)));
        let passed: Vec<&str> = why
            .skipped
            .iter()
            .filter(|skipped| skipped.kind == kind)
            .map(|skipped| skipped.why.as_str())
            .collect();
        if !passed.is_empty() {
            failure = failure.note(format!("  passed over: {}", passed.join("; ")));
        }
    }
    failure
}

/// `{url, source, mode}`, and the context where one is in force.
pub(crate) fn target_json(why: &Explanation) -> Value {
    let mut target = json!({ "url": why.url, "source": why.url_source, "mode": why.mode });
    if let (Some(context), Some(fields)) = (&why.context, target.as_object_mut()) {
        fields.insert("context".into(), json!(context));
    }
    if let (Some(tunnel), Some(object)) = (&why.tunnel, target.as_object_mut()) {
        object.insert("tunnel".to_owned(), json!(tunnel));
    }
    target
}

/// `{token, password, skipped}`, without values.
pub(crate) fn auth_json(why: &Explanation) -> Value {
    json!({ "token": why.token, "password": why.password, "skipped": why.skipped })
}

/// The target in words.
pub(crate) fn target_text(why: &Explanation) -> String {
    let text = match (&why.url, why.url_source) {
        (Some(url), _) if why.context.is_some() => {
            let context = why.context.as_ref();
            let of = |pick: fn(&ShownContext) -> &str| context.map_or("", pick).to_owned();
            let (name, from) = (of(|context| &context.name), of(|context| context.from));
            format!("{url} (context {name}, by {from})")
        }
        (Some(url), Some(source)) => format!("{url} ({source})"),
        (Some(url), None) => url.clone(),
        (None, _) => return "none".to_owned(),
    };
    match &why.tunnel {
        Some(tunnel) => format!("{text} through SSH to {}", tunnel.target),
        None => text,
    }
}

/// What is presented, in words.
pub(crate) fn auth_text(why: &Explanation) -> String {
    let given: Vec<String> = [("token", &why.token), ("password", &why.password)]
        .into_iter()
        .filter(|(_, shown)| shown.present)
        .map(|(kind, shown)| format!("{kind} {}", shown_text(shown)))
        .collect();
    if given.is_empty() {
        "no credentials".to_owned()
    } else {
        given.join(", ")
    }
}

/// One credential in words.
pub(crate) fn shown_text(shown: &Shown) -> String {
    match &shown.id {
        Some(id) => format!("from {} (id {id})", shown.source),
        None => "none".to_owned(),
    }
}

/// What to do when the gateway does not accept what was sent, by where it came from.
pub(crate) fn correct_credential(target: &Target) -> String {
    let kinds = [SecretKind::Token, SecretKind::Password];
    let sources: Vec<String> = kinds
        .into_iter()
        .filter_map(|kind| Some((kind, target.auth().source(kind)?)))
        .map(|(kind, source)| {
            let name = kind.as_str();
            match source {
                Source::Cli => format!("check what --{name} or --{name}-file gave"),
                Source::Env => format!(
                    "correct or unset {}",
                    clawgate_core::credentials::env_name(kind)
                ),
                Source::ConfigAuth => {
                    format!("compare gateway.auth.{name} with the gateway's, and restart the gateway after a change")
                }
                Source::ConfigRemote => format!("correct gateway.remote.{name}"),
                Source::Context => format!(
                    "correct the {name} of the context (`clawgate context add NAME --replace --{name}-file PATH`)"
                ),
                Source::Device => "pair this device again (`clawgate devices join CODE`, or give the gateway's token or password once)".to_owned(),
                Source::File => "restart the local gateway, which made this token".to_owned(),
            }
        })
        .collect();
    let first = if sources.is_empty() {
        "Give the gateway's token with --token-file PATH, or its password with --password-file PATH"
            .to_owned()
    } else {
        crate::text::capitalised(&sources.join("; "))
    };
    format!("{first}. `clawgate auth explain` with the same flags shows every source.")
}

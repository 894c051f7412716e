//! Which of several configured credentials wins (seed 002, Credential precedence; spec credentials
//! §1 to §5). Everything about endpoints is decided elsewhere; this is only the order.

use super::refs::RefReader;
use super::source::{SecretPath, Source, env_name};
use crate::config::{AuthMode, EnvVars, GatewayConfig, SecretInput, SecretRef};
use crate::policy::SecretKind;
use crate::secret::Secret;
use crate::secrets::RefFault;

/// Whose gateway a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The one on this machine.
    Local,
    /// The one in `gateway.remote`.
    Remote,
}

impl Mode {
    /// `local` or `remote`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// The order of environment and config in local mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalOrder {
    /// The environment stands first.
    #[default]
    EnvFirst,
    /// The config stands first.
    ConfigFirst,
}

/// The order of environment and `gateway.remote.*` in remote mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteOrder {
    /// `gateway.remote.*` stands first.
    RemoteFirst,
    /// The environment stands first.
    EnvFirst,
}

/// What may stand in for `gateway.remote.*` in remote mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemoteFallback {
    /// The environment and `gateway.auth.*`.
    #[default]
    EnvAndLocal,
    /// Nothing.
    RemoteOnly,
}

/// Whether `gateway.remote.*` counts in local mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemoteInLocalMode {
    /// As the last source, where `gateway.auth.*` of the same kind is not configured.
    #[default]
    LastResort,
    /// Never.
    Ignored,
}

/// The orders of one kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindOrder {
    /// In local mode.
    pub local: LocalOrder,
    /// In remote mode.
    pub remote: RemoteOrder,
    /// In remote mode, too.
    pub fallback: RemoteFallback,
}

/// Every choice that a surface makes about the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// For tokens.
    pub token: KindOrder,
    /// For passwords.
    pub password: KindOrder,
    /// For both.
    pub remote_in_local: RemoteInLocalMode,
}

impl Order {
    /// The shared contract: local mode environment, auth, remote; remote mode remote, environment,
    /// auth for tokens and environment, remote, auth for passwords. A process that runs as the
    /// gateway service (`OPENCLAW_SERVICE_KIND=gateway`) takes its token from the config first.
    pub fn shared(env: &EnvVars) -> Self {
        let service = env.get("OPENCLAW_SERVICE_KIND") == Some("gateway");
        Self {
            token: KindOrder {
                local: if service {
                    LocalOrder::ConfigFirst
                } else {
                    LocalOrder::EnvFirst
                },
                remote: RemoteOrder::RemoteFirst,
                fallback: RemoteFallback::EnvAndLocal,
            },
            password: KindOrder {
                local: LocalOrder::EnvFirst,
                remote: RemoteOrder::EnvFirst,
                fallback: RemoteFallback::EnvAndLocal,
            },
            remote_in_local: RemoteInLocalMode::LastResort,
        }
    }

    /// Probes and status: strict about the token of a remote gateway, and blind to
    /// `gateway.remote.*` in local mode.
    pub fn probe(env: &EnvVars) -> Self {
        let mut order = Self::shared(env);
        order.token.fallback = RemoteFallback::RemoteOnly;
        order.remote_in_local = RemoteInLocalMode::Ignored;
        order
    }

    /// The node host: the environment always first, and blind to `gateway.remote.*` in local mode.
    pub const fn node_host() -> Self {
        let kind = KindOrder {
            local: LocalOrder::EnvFirst,
            remote: RemoteOrder::EnvFirst,
            fallback: RemoteFallback::EnvAndLocal,
        };
        Self {
            token: kind,
            password: kind,
            remote_in_local: RemoteInLocalMode::Ignored,
        }
    }

    pub(super) const fn of(&self, kind: SecretKind) -> KindOrder {
        match kind {
            SecretKind::Token => self.token,
            SecretKind::Password => self.password,
        }
    }
}

/// A credential and where it comes from. Nothing outside can take the secret out of it: only the
/// auth that is bound to an endpoint does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub(super) secret: Secret,
    pub(super) source: Source,
}

impl Chosen {
    /// Where it comes from.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// A short name that does not reveal it ([`Secret::id`]).
    pub fn id(&self) -> String {
        self.secret.id()
    }

    /// Whether it is this value, compared in constant time.
    pub fn is(&self, value: &str) -> bool {
        self.secret.ct_eq(value)
    }
}

/// What a client presents: either kind, both, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The token.
    pub token: Option<Chosen>,
    /// The password.
    pub password: Option<Chosen>,
}

impl Selection {
    /// One of the two.
    pub const fn get(&self, kind: SecretKind) -> Option<&Chosen> {
        match kind {
            SecretKind::Token => self.token.as_ref(),
            SecretKind::Password => self.password.as_ref(),
        }
    }

    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.token.is_none() && self.password.is_none()
    }

    /// The same where `gateway.remote.*` is that of a context.
    pub(super) fn of_context(self) -> Self {
        let of = |chosen: Chosen| Chosen {
            source: Source::Context,
            ..chosen
        };
        Self {
            token: self.token.map(of),
            password: self.password.map(of),
        }
    }
}

/// A reference that would have won, and could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Where it stands.
    pub path: SecretPath,
    /// What it says.
    pub reference: SecretRef,
    /// Why.
    pub fault: Box<RefFault>,
}

/// A reference that stands in the way of a decision.
struct Missing {
    path: SecretPath,
    reference: SecretRef,
}

/// The credentials that the environment alone gives (a URL from the environment).
pub(super) fn from_env(env: &EnvVars) -> Selection {
    let of = |kind| {
        env.non_blank(env_name(kind)).map(|value| Chosen {
            secret: Secret::new(value),
            source: Source::Env,
        })
    };
    Selection {
        token: of(SecretKind::Token),
        password: of(SecretKind::Password),
    }
}

/// Chooses among environment and config.
///
/// References are read lazily: first those that would win if they had a value, then the one that
/// stands in the way of a decision. What still cannot be read fails closed.
pub(super) fn select(
    gateway: &GatewayConfig,
    env: &EnvVars,
    mode: Mode,
    order: &Order,
    refs: &mut RefReader<'_>,
) -> Result<Selection, Unavailable> {
    let mut choice = Choice {
        slots: Slots::of(gateway),
        auth_mode: gateway.auth.mode,
        env: from_env(env),
        mode,
        order: *order,
    };
    for path in SecretPath::ALL {
        if let SecretInput::Ref(reference) = choice.slots.get(path).clone()
            && choice.could_win(path)
            && let Ok(value) = refs.read(&reference)
        {
            choice.slots.set(path, SecretInput::Plain(value));
        }
    }
    loop {
        let missing = match choice.decide() {
            Ok(selection) => return Ok(selection),
            Err(missing) => missing,
        };
        // Each round replaces one of four references, so this ends.
        match refs.read(&missing.reference) {
            Ok(value) => choice.slots.set(missing.path, SecretInput::Plain(value)),
            Err(fault) => {
                return Err(Unavailable {
                    path: missing.path,
                    reference: missing.reference,
                    fault: Box::new(fault),
                });
            }
        }
    }
}

/// What stands at the four places.
#[derive(Clone)]
struct Slots([SecretInput; 4]);

impl Slots {
    fn of(gateway: &GatewayConfig) -> Self {
        Self([
            gateway.auth.token.clone(),
            gateway.auth.password.clone(),
            gateway.remote.token.clone(),
            gateway.remote.password.clone(),
        ])
    }

    const fn get(&self, path: SecretPath) -> &SecretInput {
        let Self([auth_token, auth_password, remote_token, remote_password]) = self;
        match path {
            SecretPath::AuthToken => auth_token,
            SecretPath::AuthPassword => auth_password,
            SecretPath::RemoteToken => remote_token,
            SecretPath::RemotePassword => remote_password,
        }
    }

    fn set(&mut self, path: SecretPath, input: SecretInput) {
        let Self([auth_token, auth_password, remote_token, remote_password]) = self;
        *match path {
            SecretPath::AuthToken => auth_token,
            SecretPath::AuthPassword => auth_password,
            SecretPath::RemoteToken => remote_token,
            SecretPath::RemotePassword => remote_password,
        } = input;
    }

    const fn auth(&self, kind: SecretKind) -> &SecretInput {
        match kind {
            SecretKind::Token => self.get(SecretPath::AuthToken),
            SecretKind::Password => self.get(SecretPath::AuthPassword),
        }
    }

    const fn remote(&self, kind: SecretKind) -> &SecretInput {
        match kind {
            SecretKind::Token => self.get(SecretPath::RemoteToken),
            SecretKind::Password => self.get(SecretPath::RemotePassword),
        }
    }
}

/// Everything that the order depends on.
#[derive(Clone)]
struct Choice {
    slots: Slots,
    auth_mode: Option<AuthMode>,
    env: Selection,
    mode: Mode,
    order: Order,
}

impl Choice {
    fn decide(&self) -> Result<Selection, Missing> {
        match self.mode {
            Mode::Local => self.decide_local(),
            Mode::Remote => self.decide_remote(),
        }
    }

    /// Whether a reference would be used if it had a value: it comes out of the order while all
    /// other references are taken as unset, and the other kind does not make it needless.
    fn could_win(&self, path: SecretPath) -> bool {
        let kind = path.kind();
        let allowed = match (self.mode, self.auth_mode) {
            (Mode::Remote, _) | (Mode::Local, None) => true,
            (Mode::Local, Some(AuthMode::None)) => false,
            (Mode::Local, Some(AuthMode::Token)) => kind == SecretKind::Token,
            (Mode::Local, Some(AuthMode::Password | AuthMode::TrustedProxy)) => {
                kind == SecretKind::Password
            }
        };
        let mut trial = self.clone();
        for other in SecretPath::ALL {
            if trial.slots.get(other).reference().is_some() {
                trial.slots.set(other, SecretInput::Absent);
            }
        }
        trial
            .slots
            .set(path, SecretInput::Plain(Secret::new("stands for a value")));
        let Ok(selection) = trial.decide() else {
            return false;
        };
        let wins = selection
            .get(kind)
            .is_some_and(|won| won.source == path.source());
        let other = match kind {
            SecretKind::Token => SecretKind::Password,
            SecretKind::Password => SecretKind::Token,
        };
        let selected = self.mode == Mode::Local && self.auth_mode.is_some();
        allowed && wins && (selected || selection.get(other).is_none())
    }

    fn decide_local(&self) -> Result<Selection, Missing> {
        let selection = Selection {
            token: self.local(SecretKind::Token),
            password: self.local(SecretKind::Password),
        };
        for path in [SecretPath::AuthToken, SecretPath::AuthPassword] {
            let kind = path.kind();
            let env = self.env.get(kind).is_some();
            let masked = match self.order.of(kind).local {
                // Standing first, the environment wins; the config is not missed.
                LocalOrder::EnvFirst => env,
                LocalOrder::ConfigFirst => false,
            };
            if let SecretInput::Ref(reference) = self.slots.get(path)
                && self.local_mode_asks_for(kind, &selection)
                && !masked
            {
                return Err(Missing {
                    path,
                    reference: reference.clone(),
                });
            }
        }
        Ok(selection)
    }

    fn local(&self, kind: SecretKind) -> Option<Chosen> {
        let auth = self.slots.auth(kind);
        let remote_counts = self.order.remote_in_local == RemoteInLocalMode::LastResort
            && !(kind == SecretKind::Password && self.auth_mode == Some(AuthMode::TrustedProxy));
        let config = if auth.is_configured() {
            chosen(auth.plain(), Source::ConfigAuth)
        } else if remote_counts {
            chosen(self.slots.remote(kind).plain(), Source::ConfigRemote)
        } else {
            None
        };
        let env = self.env.get(kind).cloned();
        match self.order.of(kind).local {
            LocalOrder::EnvFirst => env.or(config),
            LocalOrder::ConfigFirst => config.or(env),
        }
    }

    /// Whether the gateway's own auth would use this kind of secret.
    fn local_mode_asks_for(&self, kind: SecretKind, selection: &Selection) -> bool {
        match (kind, self.auth_mode) {
            (_, Some(AuthMode::None)) => false,
            (SecretKind::Token, Some(mode)) => mode == AuthMode::Token,
            (SecretKind::Password, Some(mode)) => {
                matches!(mode, AuthMode::Password | AuthMode::TrustedProxy)
            }
            (SecretKind::Token, None) => selection.password.is_none(),
            (SecretKind::Password, None) => selection.token.is_none(),
        }
    }

    fn decide_remote(&self) -> Result<Selection, Missing> {
        let selection = Selection {
            token: self.remote(SecretKind::Token),
            password: self.remote(SecretKind::Password),
        };
        if !selection.is_empty() {
            return Ok(selection);
        }
        for path in [SecretPath::RemoteToken, SecretPath::RemotePassword] {
            // A strict surface does not use the environment, but is not stopped either where it has
            // a value (spec credentials §3, SEED).
            if let SecretInput::Ref(reference) = self.slots.get(path)
                && self.env.get(path.kind()).is_none()
            {
                return Err(Missing {
                    path,
                    reference: reference.clone(),
                });
            }
        }
        let token_allowed = matches!(self.auth_mode, None | Some(AuthMode::Token))
            && self.order.token.fallback == RemoteFallback::EnvAndLocal;
        match self.slots.get(SecretPath::AuthToken) {
            SecretInput::Ref(reference) if token_allowed => Err(Missing {
                path: SecretPath::AuthToken,
                reference: reference.clone(),
            }),
            SecretInput::Ref(_)
            | SecretInput::Absent
            | SecretInput::Blank
            | SecretInput::Plain(_)
            | SecretInput::Embedded(_) => Ok(selection),
        }
    }

    fn remote(&self, kind: SecretKind) -> Option<Chosen> {
        let remote = chosen(literal(self.slots.remote(kind)), Source::ConfigRemote);
        let order = self.order.of(kind);
        if order.fallback == RemoteFallback::RemoteOnly {
            return remote;
        }
        let env = self.env.get(kind).cloned();
        let first = match order.remote {
            RemoteOrder::RemoteFirst => remote.or(env),
            RemoteOrder::EnvFirst => env.or(remote),
        };
        first.or_else(|| chosen(literal(self.slots.auth(kind)), Source::ConfigAuth))
    }
}

fn chosen(secret: Option<&Secret>, source: Source) -> Option<Chosen> {
    secret.cloned().map(|secret| Chosen { secret, source })
}

/// In remote mode text around `${NAME}` is taken as it stands.
const fn literal(input: &SecretInput) -> Option<&Secret> {
    match input {
        SecretInput::Plain(secret) | SecretInput::Embedded(secret) => Some(secret),
        SecretInput::Absent | SecretInput::Blank | SecretInput::Ref(_) => None,
    }
}

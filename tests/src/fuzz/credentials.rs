//! A body for the choice of credentials. The bytes pick one of many worlds: command line,
//! environment and config, each secret carrying the name of its source. What holds in every world is
//! checked.

use clawgate_core::client::IssuedToken;
use clawgate_core::config::paths::Profile;
use clawgate_core::config::{Config, EnvVars};
use clawgate_core::credentials::{
    DeviceTokens, Presented, RefAccess, Request, Resolution, Source, Surface, TokenBook, locate,
    resolve,
};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::policy::{Endpoint, Scheme, SecretKind, TlsTrust};
use clawgate_core::protocol::Role;
use clawgate_core::secret::Secret;
use clawgate_core::secrets::RefValues;
use clawgate_core::time::WallTime;
use serde_json::{Map, Value, json};

const KINDS: [SecretKind; 2] = [SecretKind::Token, SecretKind::Password];

/// The choice of credentials keeps its promises in the world that the bytes pick.
pub fn credentials(data: &[u8]) {
    let world = World::pick(data);
    let answer = world.resolve();
    world.check_overrides(&answer);
    world.check_shape(&answer);
    world.check_secrets_stay_hidden(&answer);
    world.check_blank_is_absent(&answer);
    world.check_lower_sources(&answer);
    world.check_fail_closed(&answer);
}

/// Takes one choice after another from the bytes; zero when they are used up.
struct Picker<'a>(&'a [u8]);

impl Picker<'_> {
    fn of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let byte = match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first)
            }
            None => 0,
        };
        choices.get(byte.checked_rem(choices.len())?).copied()
    }
}

/// What stands in a place for a secret. The value carries the name of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    Blank,
    Plain,
    Padded,
    ReadableRef,
    BrokenRef,
    TextAroundTemplate,
}

/// Most worlds have no flags and no URLs, because these end the choice early.
const IN_FLAGS: &[Given] = &[
    Given::Nothing,
    Given::Nothing,
    Given::Nothing,
    Given::Nothing,
    Given::Blank,
    Given::Blank,
    Given::Plain,
    Given::Padded,
];
const IN_TEXT: &[Given] = &[Given::Nothing, Given::Plain, Given::Blank, Given::Padded];
const IN_CONFIG: &[Given] = &[
    Given::Nothing,
    Given::Plain,
    Given::BrokenRef,
    Given::ReadableRef,
    Given::Blank,
    Given::Padded,
    Given::TextAroundTemplate,
];

impl Given {
    fn text(self, name: &str) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Blank => Some(" \t\n".to_owned()),
            Self::Padded => Some(format!("  {name}\n")),
            Self::Plain | Self::ReadableRef | Self::BrokenRef | Self::TextAroundTemplate => {
                Some(name.to_owned())
            }
        }
    }

    fn config(self, name: &str) -> Option<Value> {
        match self {
            Self::ReadableRef => Some(json!({ "source": "env", "id": variable(name) })),
            Self::BrokenRef => Some(json!("${NEVER_SET}")),
            Self::TextAroundTemplate => Some(json!(format!("{name}${{NAME}}"))),
            Self::Nothing | Self::Blank | Self::Plain | Self::Padded => {
                self.text(name).map(Value::String)
            }
        }
    }

    fn without_blank(self) -> Self {
        if self == Self::Blank {
            Self::Nothing
        } else {
            self
        }
    }
}

/// The variable that a readable reference to a secret of this name points to.
fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// One of each for the token and for the password.
#[derive(Clone, Copy, Debug)]
struct Pair {
    token: Given,
    password: Given,
}

impl Pair {
    fn pick(picker: &mut Picker<'_>, choices: &[Given]) -> Self {
        let mut one = || picker.of(choices).unwrap_or(Given::Nothing);
        Self {
            token: one(),
            password: one(),
        }
    }

    fn without_blanks(self) -> Self {
        Self {
            token: self.token.without_blank(),
            password: self.password.without_blank(),
        }
    }

    const fn get(self, kind: SecretKind) -> Given {
        match kind {
            SecretKind::Token => self.token,
            SecretKind::Password => self.password,
        }
    }

    fn set(&mut self, kind: SecretKind, given: Given) {
        match kind {
            SecretKind::Token => self.token = given,
            SecretKind::Password => self.password = given,
        }
    }
}

#[derive(Clone, Debug)]
struct World {
    surface: Surface,
    presented: Presented,
    flag_url: Option<&'static str>,
    flag_port: Option<u16>,
    flags: Pair,
    env_url: Option<&'static str>,
    service: Option<&'static str>,
    env: Pair,
    mode: Option<&'static str>,
    auth_mode: Option<&'static str>,
    remote_url: Option<&'static str>,
    tailscale: Option<&'static str>,
    auth: Pair,
    remote: Pair,
    device: Given,
    file: Given,
}

const URLS: &[Option<&str>] = &[
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    Some("wss://elsewhere.example.com"),
    Some("ws://127.0.0.1:18789"),
    Some("  "),
    Some("ws://elsewhere.example.com"),
    Some("wss://gw.example.com"),
    Some("not a url"),
];

impl World {
    fn pick(data: &[u8]) -> Self {
        let mut picker = Picker(data);
        let surfaces = [
            Surface::Call,
            Surface::Probe,
            Surface::NodeHost,
            Surface::ExecApprovals,
            Surface::Status,
        ];
        Self {
            surface: picker.of(&surfaces).unwrap_or(Surface::Call),
            flag_url: picker.of(URLS).flatten(),
            env_url: picker.of(URLS).flatten(),
            flags: Pair::pick(&mut picker, IN_FLAGS),
            env: Pair::pick(&mut picker, IN_TEXT),
            auth: Pair::pick(&mut picker, IN_CONFIG),
            remote: Pair::pick(&mut picker, IN_CONFIG),
            mode: picker
                .of(&[None, Some("remote"), Some("local"), Some("Remote")])
                .flatten(),
            auth_mode: picker
                .of(&[
                    None,
                    Some("token"),
                    Some("password"),
                    Some("none"),
                    Some("trusted-proxy"),
                ])
                .flatten(),
            remote_url: picker
                .of(&[
                    Some("wss://gw.example.com"),
                    None,
                    Some("ws://gw.example.com"),
                ])
                .flatten(),
            device: picker.of(IN_TEXT).unwrap_or(Given::Nothing),
            file: picker.of(IN_TEXT).unwrap_or(Given::Nothing),
            presented: picker
                .of(&[
                    Presented::ByRule,
                    Presented::ByRule,
                    Presented::ByRule,
                    Presented::ByRule,
                    Presented::Nothing,
                ])
                .unwrap_or_default(),
            flag_port: picker
                .of(&[None, None, None, Some(18789), Some(1)])
                .flatten(),
            service: picker.of(&[None, Some("gateway"), Some("node")]).flatten(),
            tailscale: picker.of(&[None, Some("serve")]).flatten(),
        }
    }

    fn env_vars(&self) -> EnvVars {
        let variables = [
            ("OPENCLAW_GATEWAY_URL", self.env_url.map(str::to_owned)),
            ("OPENCLAW_GATEWAY_TOKEN", self.env.token.text("env-token")),
            (
                "OPENCLAW_GATEWAY_PASSWORD",
                self.env.password.text("env-password"),
            ),
            ("OPENCLAW_SERVICE_KIND", self.service.map(str::to_owned)),
        ];
        let references = [
            "auth-token",
            "auth-password",
            "remote-token",
            "remote-password",
        ]
        .map(|name| (variable(name), name.to_owned()));
        variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .chain(references)
            .collect()
    }

    fn config(&self) -> Config {
        let object = |fields: Vec<(&str, Option<Value>)>| {
            fields
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect::<Map<_, _>>()
        };
        let text = |text: Option<&str>| text.map(Value::from);
        Config::from_value(&json!({ "gateway": object(vec![
            ("mode", text(self.mode)),
            ("auth", Some(object(vec![
                ("mode", text(self.auth_mode)),
                ("token", self.auth.token.config("auth-token")),
                ("password", self.auth.password.config("auth-password")),
            ]).into())),
            ("remote", Some(object(vec![
                ("url", text(self.remote_url)),
                ("token", self.remote.token.config("remote-token")),
                ("password", self.remote.password.config("remote-password")),
            ]).into())),
            ("tailscale", Some(json!({ "mode": self.tailscale }))),
        ]) }))
    }

    fn resolve(&self) -> Resolution {
        let (env, config) = (self.env_vars(), self.config());
        let profile = Profile::Default;
        let values = RefValues::new();
        let secret = |given: Given, name: &str| given.text(name).map(Secret::new);
        let token = secret(self.flags.token, "cli-token");
        let password = secret(self.flags.password, "cli-password");
        let device = DeviceIdentity::from_seed(&[7; 32]);
        let stored = secret(self.device, "device-token").filter(|_| self.device != Given::Blank);
        let file = secret(self.file, "file-token");
        let mut request = Request::new(self.surface, &env, &config);
        request.flags.url = self.flag_url;
        request.flags.port = self.flag_port;
        request.flags.token = token.as_ref();
        request.flags.password = password.as_ref();
        request.flags.presented = self.presented;
        request.profile = &profile;
        request.refs = RefAccess::Available(&values);
        // One token for the target, and one for a gateway that no world leads to.
        let mut book = TokenBook::new();
        let mut keep = |endpoint: &Endpoint, token: Secret| {
            let issued = IssuedToken {
                token,
                role: String::new(),
                scopes: vec!["operator.read".into()],
                issued_at: None,
            };
            for role in [Role::Node, Role::Operator] {
                let way = (endpoint, &TlsTrust::Authorities);
                book.remember(way, (device.id(), role), &issued, WallTime(1));
            }
        };
        keep(
            &Endpoint::local(Scheme::Ws, 2),
            Secret::new("elsewhere-token"),
        );
        if let (Ok(place), Some(token)) = (locate(&request), stored) {
            keep(place.endpoint(), token);
        }
        request.device_tokens = Some(DeviceTokens {
            book: &book,
            device: device.id(),
        });
        request.local_token = file.as_ref();
        resolve(&request)
    }

    fn has_flag_url(&self) -> bool {
        self.flag_url.is_some_and(|url| !url.trim().is_empty())
    }

    fn has_env_url(&self) -> bool {
        // A node host goes where its own flags say, and a port means this machine.
        self.env_url.is_some_and(|url| !url.trim().is_empty())
            && self.surface != Surface::NodeHost
            && self.flag_port.is_none()
    }

    /// A credential that was not given for a URL never leaves for it.
    fn check_overrides(&self, answer: &Resolution) {
        let Ok(target) = &answer.outcome else { return };
        let auth = target.auth();
        let sources: Vec<Source> = KINDS.iter().filter_map(|kind| auth.source(*kind)).collect();
        if self.presented == Presented::Nothing {
            assert!(auth.is_empty() && auth.device_token_for_retry().is_none());
        }
        if self.has_flag_url() {
            assert!(
                sources
                    .iter()
                    .all(|source| matches!(source, Source::Cli | Source::Device))
            );
            let silent =
                self.presented == Presented::Nothing || self.surface == Surface::ExecApprovals;
            assert!(
                silent || !sources.is_empty(),
                "--url without credentials of its own"
            );
        } else if self.has_env_url() {
            assert!(
                sources
                    .iter()
                    .all(|source| matches!(source, Source::Cli | Source::Env | Source::Device))
            );
        }
        if sources.contains(&Source::Cli) {
            assert!(
                sources.iter().all(|source| *source == Source::Cli),
                "flags are topped up"
            );
        }
    }

    /// What is sent is whole: trimmed, not blank, from the place that its name says, over a
    /// connection that may carry it.
    fn check_shape(&self, answer: &Resolution) {
        let again = self.resolve();
        assert_eq!(answer.outcome, again.outcome);
        assert_eq!(answer.explanation, again.explanation);
        assert!(answer.wanted.is_empty(), "a variable was asked of the host");
        let Ok(target) = &answer.outcome else { return };
        let endpoint = target.endpoint();
        assert!(endpoint.is_tls() || endpoint.class().allows_plaintext());
        let auth = target.auth();
        let retried = auth
            .device_token_for_retry()
            .map(|token| token.expose().trim());
        assert!(matches!(retried, None | Some("device-token")));
        for (kind, sent) in [
            (
                SecretKind::Token,
                auth.token().or_else(|| auth.device_token()),
            ),
            (SecretKind::Password, auth.password()),
        ] {
            let source = auth.source(kind);
            assert_eq!(sent.is_some(), source.is_some());
            let (Some(sent), Some(source)) = (sent, source) else {
                continue;
            };
            let place = match source {
                Source::Cli => "cli",
                Source::Env => "env",
                Source::ConfigAuth => "auth",
                Source::ConfigRemote => "remote",
                Source::Context => "context",
                Source::Device => "device",
                Source::File => "file",
            };
            let name = format!("{place}-{}", kind.as_str());
            let sent = sent.expose();
            let whole = source == Source::Device && sent.trim() == name
                || sent == name
                || sent == format!("{name}${{NAME}}");
            assert!(whole, "{sent:?} is not what {source} holds");
        }
    }

    /// Nothing that is shown holds a secret.
    fn check_secrets_stay_hidden(&self, answer: &Resolution) {
        let mut shown = format!("{answer:?} {}", json!(answer.explanation));
        if let Err(error) = &answer.outcome {
            shown.push_str(&error.to_string());
            assert!(!error.next_step().is_empty());
            assert_eq!(
                answer.explanation.error.as_ref().map(|shown| shown.code),
                Some(error.code())
            );
        }
        for place in ["cli", "env", "auth", "remote", "device", "file"] {
            for kind in ["token", "password"] {
                let secret = format!("{place}-{kind}");
                assert!(!shown.contains(&secret), "{secret} is shown: {shown}");
            }
        }
    }

    /// A blank value is the same as none.
    fn check_blank_is_absent(&self, answer: &Resolution) {
        let mut bare = self.clone();
        for pair in [
            &mut bare.flags,
            &mut bare.env,
            &mut bare.auth,
            &mut bare.remote,
        ] {
            *pair = pair.without_blanks();
        }
        bare.file = bare.file.without_blank();
        assert_eq!(bare.resolve().outcome, answer.outcome);
    }

    /// Whatever stands in a lower place, the winner stays. References that can be read are left out:
    /// where one kind suffices the other is not read at all (spec credentials §5).
    fn check_lower_sources(&self, answer: &Resolution) {
        let Ok(target) = &answer.outcome else { return };
        let slots = [self.auth, self.remote].map(|pair| KINDS.map(|kind| pair.get(kind)));
        if slots.as_flattened().contains(&Given::ReadableRef) {
            return;
        }
        for kind in KINDS {
            let Some(winner) = target.auth().source(kind) else {
                continue;
            };
            let remote_mode = target.mode() == clawgate_core::credentials::Mode::Remote;
            let config_first = self.service == Some("gateway")
                && kind == SecretKind::Token
                && self.surface != Surface::NodeHost;
            let env_first = kind == SecretKind::Password || self.surface == Surface::NodeHost;
            let order = match (remote_mode, config_first, env_first) {
                (true, _, true) => [Source::Env, Source::ConfigRemote, Source::ConfigAuth],
                (true, _, false) => [Source::ConfigRemote, Source::Env, Source::ConfigAuth],
                (false, true, _) => [Source::ConfigAuth, Source::ConfigRemote, Source::Env],
                (false, false, _) => [Source::Env, Source::ConfigAuth, Source::ConfigRemote],
            };
            // The device token and the file stand below everything.
            let below = match winner {
                Source::Cli | Source::Context => 0,
                Source::Device | Source::File => order.len(),
                Source::Env | Source::ConfigAuth | Source::ConfigRemote => order
                    .iter()
                    .position(|source| *source == winner)
                    .map_or(order.len(), |place| place + 1),
            };
            for source in order.iter().skip(below) {
                for given in IN_CONFIG
                    .iter()
                    .filter(|given| **given != Given::ReadableRef)
                {
                    let mut other = self.clone();
                    match source {
                        Source::Env => other.env.set(kind, *given),
                        Source::ConfigAuth => other.auth.set(kind, *given),
                        Source::ConfigRemote => other.remote.set(kind, *given),
                        Source::Cli | Source::Context | Source::Device | Source::File => {}
                    }
                    let other = other.resolve().outcome;
                    let still = other
                        .as_ref()
                        .ok()
                        .and_then(|target| target.auth().source(kind));
                    assert_eq!(
                        still,
                        Some(winner),
                        "{given:?} in {source} changed the winner of {self:?}"
                    );
                }
            }
        }
    }

    /// A local reference that cannot be read is never replaced by a credential for elsewhere.
    fn check_fail_closed(&self, answer: &Resolution) {
        let Ok(target) = &answer.outcome else { return };
        if target.mode() == clawgate_core::credentials::Mode::Remote {
            return;
        }
        for kind in KINDS {
            if self.auth.get(kind) == Given::BrokenRef {
                let source = target.auth().source(kind);
                assert!(
                    !matches!(source, Some(Source::ConfigRemote | Source::File)),
                    "a broken reference is masked by {source:?}"
                );
            }
        }
    }
}

//! The service that a gateway becomes: its name by its profile, its words, what it may do, and the
//! secrets that go into a file beside it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clawgate_core::config::paths::{Locations, Profile};
use clawgate_core::config::{ConfigFile, EnvVars, TailscaleMode};
use clawgate_core::policy::bind::{Ipv6Loopback, listen_hosts};
use clawgate_core::policy::server_auth::AuthOverride;
use clawgate_core::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::context::Context;
use crate::exit::Exit;
use crate::private_file;
use crate::run::{self, Planned, RunError, RunRequest, Unconfigured, Verbosity};
use crate::service::{
    EnvFile, Hardening, Kind, Readiness, Refused, Restart, Service, ServiceError, ServiceName,
    Socket, Value,
};
use crate::service_args::{HardeningLevel, InstallArgs};

/// It must be heard of this often.
const WATCHDOG: Duration = Duration::from_secs(60);

/// How long its end may take: calls under way get five seconds, connections a little more.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// The pause before it is started again.
const PAUSE: Duration = Duration::from_secs(3);

/// Variables that decide where the gateway's files are and on which port it listens.
const PLACES: [&str; 4] = [
    "OPENCLAW_HOME",
    "OPENCLAW_STATE_DIR",
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_GATEWAY_PORT",
];

/// Secrets that the gateway reads from the environment without being told so by the config.
const SECRETS: [&str; 2] = ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"];

/// What was chosen at the installation. Kept, so that drift can be told from choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Choices {
    pub(super) port: Option<u16>,
    pub(super) socket_activation: bool,
    pub(super) hardening: Option<HardeningLevel>,
    pub(super) writable: Vec<PathBuf>,
    pub(super) allow_unconfigured: bool,
}

impl Choices {
    /// Those of the flags.
    ///
    /// # Errors
    /// When the working folder of a relative path cannot be told.
    pub(super) fn of_args(args: &InstallArgs) -> io::Result<Self> {
        Ok(Self {
            port: args.port,
            socket_activation: args.socket_activation,
            hardening: args.hardening,
            writable: args
                .writable
                .iter()
                .map(std::path::absolute)
                .collect::<io::Result<_>>()?,
            allow_unconfigured: args.allow_unconfigured,
        })
    }

    /// Those of the last installation.
    pub(super) fn read(places: &Locations) -> Self {
        fs::read(choices_file(places))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn keep(&self, places: &Locations) -> io::Result<()> {
        private_file::make_folder(&places.own)?;
        private_file::write(&choices_file(places), &serde_json::to_vec_pretty(self)?)
    }
}

/// Where the choices lie.
pub(super) fn choices_file(places: &Locations) -> PathBuf {
    places.own.join("service.json")
}

/// Where the secrets of the service lie.
pub(super) fn env_path(places: &Locations) -> PathBuf {
    places.own.join("service.env")
}

/// The variables of the service as they lie on disk.
///
/// # Errors
/// When the file cannot be read, or is none.
pub(super) fn read_env_file(places: &Locations) -> Result<EnvFile, String> {
    let path = env_path(places);
    match fs::read_to_string(&path) {
        Ok(text) => EnvFile::parse(&text)
            .map_err(|line| format!("{}: line {line} is no NAME=value", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(EnvFile::default()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// The service's name, by profile.
///
/// # Errors
/// Never for a profile that was parsed.
pub(super) fn name(profile: &Profile) -> Result<ServiceName, Refused> {
    match profile.name() {
        None => ServiceName::new("clawgate-gateway", "ai.clawgate.gateway"),
        Some(name) => ServiceName::new(
            format!("clawgate-gateway-{name}"),
            format!("ai.clawgate.gateway.{name}"),
        ),
    }
}

/// The names that OpenClaw's own gateway of this profile has, today's and earlier ones.
///
/// # Errors
/// Never for a profile that was parsed.
pub(super) fn names_of_openclaw(profile: &Profile) -> Result<Vec<ServiceName>, Refused> {
    let name = |unit: String, label: String| ServiceName::new(unit, label);
    match profile.name() {
        None => Ok(vec![
            name("openclaw-gateway".into(), "ai.openclaw.gateway".into())?,
            name("clawdbot-gateway".into(), "com.clawdbot.gateway".into())?,
        ]),
        Some(profile) => Ok(vec![name(
            format!("openclaw-gateway-{profile}"),
            format!("ai.openclaw.{profile}"),
        )?]),
    }
}

/// The environment in which the service runs: what a manager gives, what stands in the unit, and the
/// file.
pub(super) fn service_env(context: &Context, file: &EnvFile) -> EnvVars {
    let given = ["HOME", "PATH", "LANG", "USER", "XDG_RUNTIME_DIR"];
    given
        .into_iter()
        .chain(PLACES)
        .filter_map(|name| Some((name.to_owned(), context.env.get(name)?.to_owned())))
        .chain(
            file.iter()
                .map(|(name, value)| (name.to_owned(), value.expose().to_owned())),
        )
        .collect()
}

/// A start as the service would do it.
///
/// # Errors
/// Why it would not start.
pub(super) fn plan(
    context: &Context,
    places: &Locations,
    choices: &Choices,
    file: &EnvFile,
) -> Result<Planned, RunError> {
    run::gateway_plan(&request(context, places, choices, file))
}

/// The start itself.
pub(super) fn request(
    context: &Context,
    places: &Locations,
    choices: &Choices,
    file: &EnvFile,
) -> RunRequest {
    RunRequest {
        env: service_env(context, file),
        profile: context.profile.clone(),
        places: places.clone(),
        port: choices.port,
        bind: None,
        auth: AuthOverride::default(),
        unconfigured: if choices.allow_unconfigured {
            Unconfigured::Allow
        } else {
            Unconfigured::Refuse
        },
        verbosity: Verbosity::Normal,
        log_style: None,
    }
}

/// The variables that the gateway needs and this shell has: secrets by their usual names, those that
/// the config refers to, and those that were asked for.
///
/// # Errors
/// For one that was asked for and is not set, and for one with a newline.
pub(super) fn gather(
    config: Option<&ConfigFile>,
    asked: &[String],
    context: &Context,
) -> Result<EnvFile, Refused> {
    let mut names: BTreeSet<String> = SECRETS.map(str::to_owned).into();
    if let Some(config) = config {
        referred(&config.parsed, &mut names);
    }
    names.retain(|name| context.env.non_blank(name).is_some());
    for name in asked {
        if context.env.get(name).is_none() {
            return Err(Refused::Inexpressible(
                "--env (it is not set here)",
                name.clone(),
            ));
        }
        names.insert(name.clone());
    }
    let mut file = EnvFile::default();
    for name in names {
        if let Some(value) = context.env.get(&name) {
            file.set(&name, Secret::new(value))?;
        }
    }
    Ok(file)
}

/// The names in `${NAME}`, and those of references to the environment.
fn referred(value: &Json, names: &mut BTreeSet<String>) {
    match value {
        Json::String(text) => {
            for piece in text.split("${").skip(1) {
                if let Some((name, _)) = piece.split_once('}') {
                    names.insert(name.to_owned());
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| referred(item, names)),
        Json::Object(object) => {
            let field = |name| object.get(name).and_then(Json::as_str);
            if let (Some("env"), Some(id)) = (field("source"), field("id")) {
                names.insert(id.to_owned());
            }
            object.values().for_each(|value| referred(value, names));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Whether a secret comes from a program.
fn asks_programs(value: &Json) -> bool {
    match value {
        Json::Object(object) => {
            object.get("source").and_then(Json::as_str) == Some("exec")
                || object.values().any(asks_programs)
        }
        Json::Array(items) => items.iter().any(asks_programs),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

/// Why the service sees the user's files as they are, where nobody chose that.
pub(super) fn why_basic(config: &ConfigFile) -> Option<&'static str> {
    let gateway = &config.config.gateway;
    if gateway.tailscale != TailscaleMode::Off || gateway.auth.allow_tailscale == Some(true) {
        Some("the gateway asks the tailscale program, which must belong to root")
    } else if asks_programs(&config.parsed) {
        Some("secrets come from programs whose owners are checked")
    } else {
        None
    }
}

/// The gateway as a service.
///
/// # Errors
/// For values that no file can express, and for what this manager cannot do.
pub(super) fn describe(
    kind: Kind,
    context: &Context,
    places: &Locations,
    choices: &Choices,
    planned: Option<&Planned>,
    file: &EnvFile,
) -> Result<Service, ServiceError> {
    let name = name(&context.profile)?;
    let program = run::own_program().map_err(|source| ServiceError::Run {
        program: "clawgate".into(),
        source,
    })?;
    let mut words: Vec<String> = Vec::new();
    if let Some(profile) = context.profile.name() {
        words.extend(["--profile".into(), profile.into()]);
    }
    words.extend(["gateway".into(), "run".into()]);
    if let Some(port) = choices.port {
        words.extend(["--port".into(), port.to_string()]);
    }
    if choices.allow_unconfigured {
        words.push("--allow-unconfigured".into());
    }
    let env_path = env_path(places);
    if kind == Kind::Launchd && !file.is_empty() {
        words.extend(["--env-file".into(), env_path.to_string_lossy().into_owned()]);
    }
    let title = match context.profile.name() {
        None => "clawgate gateway".to_owned(),
        Some(profile) => format!("clawgate gateway ({profile})"),
    };
    let environment = PLACES
        .into_iter()
        .filter_map(|name| Some((name, context.env.non_blank(name)?)))
        .map(|(name, value)| Ok((Value::new(name)?, Value::new(value)?)))
        .collect::<Result<_, Refused>>()?;
    let level = choices.hardening.unwrap_or_else(|| {
        let basic = planned.is_some_and(|planned| why_basic(&planned.file).is_some());
        if basic {
            HardeningLevel::Basic
        } else {
            HardeningLevel::Strict
        }
    });
    let hardening = match level {
        HardeningLevel::Basic => Hardening::Basic,
        HardeningLevel::Strict => Hardening::Strict {
            writable: [&places.state]
                .into_iter()
                .chain(&choices.writable)
                .map(|folder| absolute(folder))
                .collect::<Result<_, _>>()?,
        },
    };
    let sockets = match planned.filter(|_| choices.socket_activation) {
        None => Vec::new(),
        Some(planned) => listen_hosts(planned.host, Ipv6Loopback::Bindable)
            .into_iter()
            .map(|ip| Socket {
                address: SocketAddr::new(ip, planned.port.port),
            })
            .collect(),
    };
    Ok(Service {
        name,
        title: Value::new(title)?,
        program: Value::path(&program)?,
        arguments: words
            .into_iter()
            .map(Value::new)
            .collect::<Result<_, _>>()?,
        environment,
        environment_file: match kind {
            Kind::Systemd => Some(absolute(&env_path)?),
            Kind::Launchd => None,
        },
        working_folder: None,
        // Locks that all gateways of this user share.
        session_folder: Some(Value::new("clawgate")?),
        readiness: Readiness::Notifies {
            watchdog: Some(WATCHDOG),
        },
        restart: Restart {
            pause: PAUSE,
            never_after: vec![Exit::Configuration.code()],
        },
        stop_within: STOP_WITHIN,
        kept_sockets: if sockets.is_empty() { 4 } else { 0 },
        sockets,
        hardening,
        log: Some(absolute(&places.own.join("service.log"))?),
    })
}

fn absolute(path: &Path) -> Result<Value, Refused> {
    let path = std::path::absolute(path).map_err(|_| Refused::Path(path.to_owned()))?;
    Value::path(&path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_profile_has_a_name_of_its_own() {
        let env = EnvVars::default();
        let of = |flag: &str| Profile::choose(Some(flag), false, &env).unwrap();
        let names = |profile: &Profile| {
            let name = name(profile).unwrap();
            (name.unit().to_owned(), name.label().to_owned())
        };
        let pair = |unit: &str, label: &str| (unit.to_owned(), label.to_owned());
        assert_eq!(
            names(&Profile::Default),
            pair("clawgate-gateway", "ai.clawgate.gateway")
        );
        assert_eq!(
            names(&of("rescue")),
            pair("clawgate-gateway-rescue", "ai.clawgate.gateway.rescue")
        );
        assert_eq!(names(&Profile::Dev).0, "clawgate-gateway-dev");
        let theirs = names_of_openclaw(&of("rescue")).unwrap();
        assert_eq!(theirs[0].label(), "ai.openclaw.rescue");
    }

    #[test]
    fn variables_are_found_wherever_the_config_names_them() {
        let mut names = BTreeSet::new();
        let config = json!({
            "gateway": { "auth": { "token": "${A_TOKEN}" } },
            "channels": [{ "header": "Bearer ${B} and ${C}", "open": "${" }],
            "x": { "source": "env", "provider": "default", "id": "D" },
            "y": { "source": "file", "id": "/E" },
        });
        referred(&config, &mut names);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["A_TOKEN", "B", "C", "D"]);
        assert!(!asks_programs(&config));
        assert!(asks_programs(
            &json!([{ "a": { "source": "exec", "id": "x" } }])
        ));
    }
}

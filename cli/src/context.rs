//! What every command depends on: environment, profile, places of files, config.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clawgate_core::config::paths::{Locations, PathsError, Profile};
use clawgate_core::config::{
    Config, ConfigError, ConfigFile, EnvVars, Finding, KeyPath, MAX_CONFIG_BYTES, NO_CONTEXT,
    Segment,
};
use clawgate_core::credentials::NamedTarget;
use serde_json::json;

use crate::args::InstanceArgs;
use crate::context_book::{ContextFile, NamedContext};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};

/// Read once, at the start of a command.
#[derive(Debug)]
pub(crate) struct Context {
    /// The environment; `--config` stands in it as `OPENCLAW_CONFIG_PATH`.
    pub(crate) env: EnvVars,
    /// The instance.
    pub(crate) profile: Profile,
    /// For whom to print.
    pub(crate) format: Format,
    /// `--context`.
    context: Option<String>,
    locations: Result<Locations, PathsError>,
    config: Result<ConfigFile, ConfigProblem>,
}

/// Why there is no config to go by.
#[derive(Clone, Debug)]
pub(crate) enum ConfigProblem {
    /// No place to look for it.
    Nowhere(PathsError),
    /// `--config` names a file that does not exist.
    Missing(PathBuf),
    /// It is there and cannot be read.
    Unreadable(PathBuf, String),
    /// It is no config.
    Broken(Box<ConfigError>),
}

impl Context {
    /// Reads everything. A broken config is kept as such: not every command needs one.
    ///
    /// # Errors
    /// When the flags name no instance.
    pub(crate) fn read(args: &InstanceArgs, format: Format) -> Result<Self, Failure> {
        let given = args.config.as_ref().map(|path| {
            (
                "OPENCLAW_CONFIG_PATH".to_owned(),
                path.to_string_lossy().into_owned(),
            )
        });
        let env: EnvVars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .chain(given)
            .collect();
        let profile = Profile::choose(args.profile.as_deref(), args.dev, &env)
            .map_err(|error| Failure::new(Exit::Usage, error.code(), error.to_string(), ""))?;
        let locations = Locations::resolve(&profile, &env);
        let config = match &locations {
            Err(error) => Err(ConfigProblem::Nowhere(*error)),
            Ok(locations) => match read_config(&locations.config, &env) {
                Ok(file) if !file.exists && args.config.is_some() => {
                    Err(ConfigProblem::Missing(locations.config.clone()))
                }
                other => other,
            },
        };
        Ok(Self {
            env,
            profile,
            format,
            context: args.context.clone(),
            locations,
            config,
        })
    }

    /// Where the files are.
    ///
    /// # Errors
    /// When there is no home folder.
    pub(crate) fn locations(&self) -> Result<&Locations, Failure> {
        self.locations
            .as_ref()
            .map_err(|error| ConfigProblem::Nowhere(*error).failure())
    }

    /// The context that is in force for a command whose flags name a target, or do not.
    ///
    /// # Errors
    /// When that cannot be told, or the context cannot be used.
    pub(crate) fn named(&self, target: NamedTarget) -> Result<Option<NamedContext>, Failure> {
        match &self.locations {
            Ok(places) => {
                ContextFile::of(places).chosen(self.context.as_deref(), &self.env, target)
            }
            // Nobody can have made a context.
            Err(_) => Ok(None),
        }
    }

    /// The config as it holds for the gateway that commands use: that of the context in force, if one is.
    ///
    /// # Errors
    /// When either cannot be used.
    pub(crate) fn target_config(&self) -> Result<Config, Failure> {
        let config = self.client_config()?;
        Ok(match self.named(NamedTarget::No)? {
            Some(named) => named.target().config(config),
            None => config.clone(),
        })
    }

    /// The context that `--context` names.
    ///
    /// # Errors
    /// As [`Context::named`].
    pub(crate) fn named_by_flag(&self) -> Result<Option<NamedContext>, Failure> {
        match &self.context {
            Some(_) => self.named(NamedTarget::No),
            None => Ok(None),
        }
    }

    /// Refuses `--context` where a command is about this machine.
    ///
    /// # Errors
    /// When it is given.
    pub(crate) fn refuse_context(&self, command: &str) -> Result<(), Failure> {
        let given = self.context.as_deref().map_or("", str::trim);
        if given.is_empty() || given == NO_CONTEXT {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            "context_not_here",
            format!("`{command}` is about this machine, and --context names a gateway elsewhere."),
            "Leave out --context.",
        ))
    }

    /// The config file as it was read.
    ///
    /// # Errors
    /// When there is none to go by.
    pub(crate) fn config_file(&self) -> Result<&ConfigFile, Failure> {
        self.config.as_ref().map_err(ConfigProblem::failure)
    }

    /// The config for a client that goes by it. Values that cannot be used stop it where they would
    /// decide about the target or the credentials, and are warned about elsewhere.
    ///
    /// # Errors
    /// When there is none to go by.
    pub(crate) fn client_config(&self) -> Result<&Config, Failure> {
        let file = self.config_file()?;
        if let Some(issue) = file
            .issues
            .iter()
            .find(|issue| decides_the_target(&issue.path))
        {
            return Err(invalid_value(file, issue));
        }
        if let Some(issue) = file.issues.first() {
            output::note(&format!(
                "warning: {}: {issue} (`clawgate config validate` lists all)",
                file.path
            ));
        }
        Ok(&file.config)
    }

    /// Warns that the config is not used. For commands whose flags say everything.
    pub(crate) fn warn_of_config(&self) {
        if let Err(problem) = &self.config {
            output::note(&format!("warning: not used: {}", problem.message()));
        }
    }
}

impl ConfigProblem {
    fn message(&self) -> String {
        match self {
            Self::Nowhere(error) => error.to_string(),
            Self::Missing(path) => format!("The config file {} does not exist.", path.display()),
            Self::Unreadable(path, why) => {
                format!(
                    "The config file {} could not be read: {why}.",
                    path.display()
                )
            }
            Self::Broken(error) => {
                let (place, message) = (error.position, error.message());
                format!(
                    "{}:{}:{}: {message} (in {}).",
                    error.file, place.line, place.column, error.path
                )
            }
        }
    }

    /// The failure of a command that needs the config.
    pub(crate) fn failure(&self) -> Failure {
        let (code, next) = match self {
            Self::Nowhere(error) => (error.code(), "Set HOME or OPENCLAW_STATE_DIR."),
            Self::Missing(_) => ("config_missing", "Correct --config, or create the file."),
            Self::Unreadable(..) => ("config_unreadable", "Check its permissions."),
            Self::Broken(error) => ("config_invalid", error.next_step()),
        };
        let failure = Failure::new(Exit::Configuration, code, self.message(), next);
        match self {
            Self::Nowhere(_) => failure,
            Self::Missing(path) | Self::Unreadable(path, _) => {
                failure.fact("file", json!(path.to_string_lossy()))
            }
            Self::Broken(error) => failure
                .fact("file", json!(error.file))
                .fact("line", json!(error.position.line))
                .fact("column", json!(error.position.column))
                .fact("path", json!(error.path.to_string())),
        }
    }
}

fn invalid_value(file: &ConfigFile, issue: &Finding) -> Failure {
    let failure = Failure::new(
        Exit::Configuration,
        "config_value_invalid",
        format!("{}: {issue}.", file.path),
        "Correct the value; `clawgate config validate` lists all of them.",
    )
    .fact("file", json!(file.path))
    .fact("path", json!(issue.path.to_string()));
    match issue.position {
        None => failure,
        Some(place) => failure
            .fact("line", json!(place.line))
            .fact("column", json!(place.column)),
    }
}

/// A wrong value here must not count as absent: it could lead a credential to another source, or
/// drop a pin.
fn decides_the_target(path: &KeyPath) -> bool {
    let mut keys = path.segments().iter().map(|segment| match segment {
        Segment::Key(key) => key.as_str(),
        Segment::Index(_) => "",
    });
    match keys.next() {
        Some("secrets") | None => true,
        Some("gateway") => matches!(
            keys.next(),
            Some("auth" | "mode" | "port" | "remote" | "tls") | None
        ),
        Some(_) => false,
    }
}

/// Reads a config file; none is all defaults.
pub(crate) fn read_config(path: &Path, env: &EnvVars) -> Result<ConfigFile, ConfigProblem> {
    let unreadable = |error: io::Error| ConfigProblem::Unreadable(path.into(), error.to_string());
    let name = path.to_string_lossy();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(ConfigFile::missing(name));
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    // One byte more than the limit is enough to be told that it is too long.
    file.take(MAX_CONFIG_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    ConfigFile::parse_with(name, text, env).map_err(|error| ConfigProblem::Broken(Box::new(error)))
}

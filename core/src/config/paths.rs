//! Where a gateway and its clients keep their files (spec hostpolicy §8). No file is touched here.

use std::fmt;
use std::path::{Path, PathBuf};

use super::contexts::ContextName;
use super::env::EnvVars;

/// The longest name of a profile, in characters.
pub const MAX_PROFILE_NAME: usize = 64;

/// A named instance beside the default one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileName(String);

impl ProfileName {
    /// Reads a name: a letter or digit, then up to 63 letters, digits, `_` or `-`. Its case is kept,
    /// because it becomes part of a path.
    ///
    /// # Errors
    /// [`PathsError::ProfileName`] for anything else.
    pub fn parse(name: &str) -> Result<Self, PathsError> {
        let fits = name.len() <= MAX_PROFILE_NAME
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(PathsError::ProfileName)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which instance a command is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The one without a name.
    #[default]
    Default,
    /// A named one.
    Named(ProfileName),
    /// `--dev` or `--profile dev`: named `dev`, with a port of its own that stands where
    /// `OPENCLAW_GATEWAY_PORT` would.
    Dev,
}

impl Profile {
    /// Chooses by `--profile`, then `--dev`, then `OPENCLAW_PROFILE`. Blank counts as not given, and
    /// `default` in any case is the instance without a name.
    ///
    /// # Errors
    /// [`PathsError::ProfileName`] for a name that cannot be one, [`PathsError::ProfileAndDev`] when
    /// both flags are given.
    pub fn choose(flag: Option<&str>, dev: bool, env: &EnvVars) -> Result<Self, PathsError> {
        let flag = flag.map(str::trim).filter(|name| !name.is_empty());
        match (flag, dev) {
            (Some(_), true) => Err(PathsError::ProfileAndDev),
            (None, true) | (Some("dev"), false) => Ok(Self::Dev),
            (Some(name), false) => Self::named(name),
            (None, false) => env
                .non_blank("OPENCLAW_PROFILE")
                .map_or(Ok(Self::Default), Self::named),
        }
    }

    fn named(name: &str) -> Result<Self, PathsError> {
        if name.eq_ignore_ascii_case("default") {
            return Ok(Self::Default);
        }
        ProfileName::parse(name).map(Self::Named)
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Default => None,
            Self::Named(name) => Some(name.as_str()),
            Self::Dev => Some("dev"),
        }
    }
}

/// Why the places of files cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathsError {
    /// A profile name with other characters, or too long.
    ProfileName,
    /// Both `--profile` and `--dev`.
    ProfileAndDev,
    /// No home folder, and no variable that makes it unnecessary.
    NoHome,
}

impl PathsError {
    /// A stable name for scripts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ProfileName => "invalid_profile",
            Self::ProfileAndDev => "profile_and_dev",
            Self::NoHome => "no_home",
        }
    }
}

impl fmt::Display for PathsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProfileName => {
                "The profile name is not valid. Use letters, digits, _ and -, at most 64, starting \
                 with a letter or digit, as in --profile rescue."
            }
            Self::ProfileAndDev => {
                "--profile and --dev were both given. --dev is the profile dev: leave one out."
            }
            Self::NoHome => {
                "There is no home folder. Set HOME, or OPENCLAW_STATE_DIR to the folder of the state."
            }
        })
    }
}

impl std::error::Error for PathsError {}

/// The places of one instance. Relative paths are relative to the working folder of the host.
///
/// ```
/// use clawgate_core::config::{EnvVars, paths::{Locations, Profile}};
///
/// let env: EnvVars = [("HOME", "/home/ada")].into_iter().collect();
/// let rescue = Profile::choose(Some("rescue"), false, &env).unwrap();
/// let places = Locations::resolve(&rescue, &env).unwrap();
/// assert_eq!(places.config.to_str(), Some("/home/ada/.openclaw-rescue/openclaw.json"));
/// assert_eq!(places.own.to_str(), Some("/home/ada/.openclaw-rescue/clawgate"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// The folder of the state, shared with OpenClaw.
    pub state: PathBuf,
    /// The config file.
    pub config: PathBuf,
    /// clawgate's own folder inside the state folder. Nothing else in the state is written.
    pub own: PathBuf,
}

impl Locations {
    /// Finds the places. `OPENCLAW_STATE_DIR` and `OPENCLAW_CONFIG_PATH` win over the profile; `~`
    /// in them is the home folder, and `OPENCLAW_HOME` replaces that.
    ///
    /// # Errors
    /// [`PathsError::NoHome`] when the home folder is needed and unknown.
    pub fn resolve(profile: &Profile, env: &EnvVars) -> Result<Self, PathsError> {
        let home = Home::of(env);
        let state = match env.non_blank("OPENCLAW_STATE_DIR") {
            Some(folder) => home.expand(folder)?,
            None => home.folder()?.join(match profile.name() {
                Some(name) => format!(".openclaw-{name}"),
                None => ".openclaw".to_owned(),
            }),
        };
        let config = match env.non_blank("OPENCLAW_CONFIG_PATH") {
            Some(file) => home.expand(file)?,
            None => state.join("openclaw.json"),
        };
        let own = state.join("clawgate");
        Ok(Self { state, config, own })
    }
}

impl Locations {
    /// The key of this machine as a device.
    pub fn device_key_file(&self) -> PathBuf {
        self.own.join("device.key")
    }

    /// The tokens that gateways gave to this machine's device.
    pub fn device_tokens_file(&self) -> PathBuf {
        self.own.join("device-tokens.json")
    }

    /// The tokens that gateways gave to this machine's device while a context was in force: each context
    /// has its own.
    pub fn context_tokens_file(&self, context: &ContextName) -> PathBuf {
        self.own
            .join(format!("device-tokens.context-{context}.json"))
    }

    /// The token that a gateway made for itself, for clients of the same user.
    pub fn token_file(&self) -> PathBuf {
        self.own.join("gateway.token")
    }

    /// What a gateway may let this machine run, where it is a node. The name is OpenClaw's.
    pub fn exec_approvals_file(&self) -> PathBuf {
        self.own.join("exec-approvals.json")
    }

    /// The config with which the gateway last started, or took a change up.
    pub fn last_good_config_file(&self) -> PathBuf {
        self.own.join("config.last-good.json")
    }

    /// The named remote gateways of this instance's clients.
    pub fn contexts_file(&self) -> PathBuf {
        self.own.join("contexts.json")
    }

    /// The certificates that clients of the same user have pinned on first use.
    pub fn pins_file(&self) -> PathBuf {
        self.own.join("pins.json")
    }
}

/// A path as a config gives it: `~` is the home folder.
///
/// # Errors
/// [`PathsError::NoHome`] when the home folder is needed and unknown.
pub fn user_path(env: &EnvVars, path: &str) -> Result<PathBuf, PathsError> {
    Home::of(env).expand(path)
}

/// A path with the home folder in place of `~`.
///
/// # Errors
/// [`PathsError::NoHome`] when the home folder is needed and unknown.
pub(crate) fn expand_home(path: &str, env: &EnvVars) -> Result<PathBuf, PathsError> {
    Home::of(env).expand(path)
}

/// The home folder, which may be unknown.
struct Home(Option<PathBuf>);

impl Home {
    fn of(env: &EnvVars) -> Self {
        let user = Self(
            env.non_blank("HOME")
                .or_else(|| env.non_blank("USERPROFILE"))
                .map(PathBuf::from),
        );
        match env.non_blank("OPENCLAW_HOME") {
            Some(folder) => Self(user.expand(folder).ok()),
            None => user,
        }
    }

    fn folder(&self) -> Result<&Path, PathsError> {
        self.0.as_deref().ok_or(PathsError::NoHome)
    }

    fn expand(&self, path: &str) -> Result<PathBuf, PathsError> {
        match path.strip_prefix('~') {
            Some("") => self.folder().map(Path::to_path_buf),
            Some(rest) if rest.starts_with(['/', '\\']) => {
                Ok(self.folder()?.join(rest.trim_start_matches(['/', '\\'])))
            }
            Some(_) | None => Ok(PathBuf::from(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> EnvVars {
        variables.iter().copied().collect()
    }

    fn places(variables: &[(&str, &str)]) -> [String; 3] {
        let env = env(variables);
        let profile = Profile::choose(None, false, &env).unwrap();
        let found = Locations::resolve(&profile, &env).unwrap();
        [found.state, found.config, found.own].map(|path| path.to_string_lossy().into_owned())
    }

    #[test]
    fn explicit_places_win_over_the_profile() {
        assert_eq!(
            places(&[("HOME", "/h"), ("OPENCLAW_PROFILE", "ops")]),
            [
                "/h/.openclaw-ops",
                "/h/.openclaw-ops/openclaw.json",
                "/h/.openclaw-ops/clawgate"
            ]
        );
        assert_eq!(
            places(&[
                ("HOME", "/h"),
                ("OPENCLAW_PROFILE", "ops"),
                ("OPENCLAW_STATE_DIR", "~/s"),
                ("OPENCLAW_CONFIG_PATH", "/etc/c.json"),
            ]),
            ["/h/s", "/etc/c.json", "/h/s/clawgate"]
        );
        assert_eq!(
            places(&[("HOME", "/h"), ("OPENCLAW_HOME", "~/o")])[0],
            "/h/o/.openclaw"
        );
        assert_eq!(
            places(&[("OPENCLAW_STATE_DIR", "/s")])[1],
            "/s/openclaw.json"
        );
    }

    #[test]
    fn without_a_home_the_state_must_be_named() {
        let result = Locations::resolve(&Profile::Default, &EnvVars::new());
        assert_eq!(result, Err(PathsError::NoHome));
        let tilde = env(&[("OPENCLAW_STATE_DIR", "~/s")]);
        assert!(Locations::resolve(&Profile::Default, &tilde).is_err());
    }

    #[test]
    fn profile_names_cannot_leave_the_home_folder() {
        for bad in ["../x", "a/b", "-a", "_a", "a b", "ä", &"a".repeat(65)] {
            let result = Profile::choose(Some(bad), false, &EnvVars::new());
            assert_eq!(result, Err(PathsError::ProfileName), "{bad}");
        }
        for default in ["default", "DEFAULT", "", "  "] {
            let result = Profile::choose(Some(default), false, &EnvVars::new());
            assert_eq!(result, Ok(Profile::Default), "{default:?}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_excludes_dev() {
        let env = env(&[("OPENCLAW_PROFILE", "ops")]);
        let chosen = Profile::choose(Some("Rescue"), false, &env).unwrap();
        assert_eq!(chosen.name(), Some("Rescue"));
        assert_eq!(Profile::choose(None, true, &env), Ok(Profile::Dev));
        assert_eq!(
            Profile::choose(Some("a"), true, &env),
            Err(PathsError::ProfileAndDev)
        );
    }
}

//! The entries of `secrets.providers`. A mistake in one makes it unusable as a whole: a misread limit
//! or trusted folder must not count as none.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::grammar::is_variable_name;
use crate::secret::Secret;

/// Where references are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretProvider {
    /// Variables.
    Env {
        /// `allowlist`: the only names that may be read, if there is one.
        allowlist: Option<Vec<String>>,
    },
    /// A file.
    File(FileProvider),
    /// A program.
    Exec(Box<ExecProvider>),
    /// A store of secrets, which clawgate does not read.
    Store,
    /// A program that a plugin brings, which clawgate does not run.
    Plugin,
    /// None of these.
    Unusable(ProviderFault),
}

/// What is wrong with an entry. [`fmt::Display`] continues its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderFault {
    key: &'static str,
    what: &'static str,
}

/// `source: "file"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProvider {
    /// `path`, as written.
    pub path: String,
    /// `mode`.
    pub shape: FileShape,
    /// `timeoutMs`, 5 seconds unless set.
    pub timeout: Duration,
    /// `maxBytes`, 1 MiB unless set.
    pub max_bytes: u64,
    /// `allowInsecurePath`.
    pub trust: PathTrust,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileShape {
    /// A JSON object, into which ids point.
    #[default]
    Json,
    /// One secret and nothing else.
    SingleValue,
}

/// Whether owners and permissions count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathTrust {
    /// They do.
    #[default]
    Checked,
    /// `allowInsecurePath: true`: the owner of the config takes the risk.
    Unchecked,
}

/// Whether a program may be named by a symbolic link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandLink {
    /// No.
    #[default]
    Refused,
    /// `allowSymlinkCommand: true`: what it points to is judged and run.
    Followed,
}

/// What a program may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputShape {
    /// An answer in JSON.
    #[default]
    Json,
    /// `jsonOnly: false`: the secret itself too, when one is asked for.
    JsonOrText,
}

/// `source: "exec"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecProvider {
    /// `command`, as written.
    pub command: String,
    /// `args`, which may hold secrets.
    pub args: Vec<Secret>,
    /// `timeoutMs`, 5 seconds unless set.
    pub timeout: Duration,
    /// `noOutputTimeoutMs`, as long as `timeoutMs` unless set.
    pub silence: Duration,
    /// `maxOutputBytes`, 1 MiB unless set.
    pub max_output: u64,
    /// `jsonOnly`.
    pub output: OutputShape,
    /// `env`: variables set for the program.
    pub env: BTreeMap<String, Secret>,
    /// `passEnv`: variables handed on to it.
    pub pass_env: Vec<String>,
    /// `trustedDirs`, as written; empty means everywhere.
    pub trusted_dirs: Vec<String>,
    /// `allowInsecurePath`.
    pub trust: PathTrust,
    /// `allowSymlinkCommand`.
    pub link: CommandLink,
}

/// The longest `timeoutMs`.
pub(crate) const MAX_TIMEOUT_MS: u64 = 120_000;
/// The largest `maxBytes` and `maxOutputBytes`.
pub(crate) const MAX_BYTES: u64 = 20 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS: u64 = 5_000;
const DEFAULT_BYTES: u64 = 1024 * 1024;
const MAX_ARGS: usize = 128;
const MAX_ARG_BYTES: usize = 1024;
const MAX_NAMES: usize = 256;
const MAX_FOLDERS: usize = 64;

impl SecretProvider {
    /// Reads an entry.
    pub fn from_value(entry: &Value) -> Self {
        Self::read(entry).unwrap_or_else(Self::Unusable)
    }

    /// The `source` that references to it must have; `None` for an unusable entry.
    pub const fn source(&self) -> Option<&'static str> {
        match self {
            Self::Env { .. } => Some("env"),
            Self::File(_) => Some("file"),
            Self::Exec(_) | Self::Plugin => Some("exec"),
            Self::Store => Some("store"),
            Self::Unusable(_) => None,
        }
    }

    /// What is wrong with it, if it is unusable.
    pub const fn fault(&self) -> Option<ProviderFault> {
        match self {
            Self::Unusable(fault) => Some(*fault),
            Self::Env { .. } | Self::File(_) | Self::Exec(_) | Self::Store | Self::Plugin => None,
        }
    }

    fn read(entry: &Value) -> Result<Self, ProviderFault> {
        let entry = Entry(entry.as_object().ok_or_else(|| fault("", "is no object"))?);
        match entry.text("source")? {
            Some("env") => Ok(Self::Env {
                allowlist: entry.names("allowlist")?,
            }),
            Some("file") => entry.file().map(Self::File),
            Some("exec") if entry.0.contains_key("pluginIntegration") => Ok(Self::Plugin),
            Some("exec") => entry.exec().map(Box::new).map(Self::Exec),
            Some("store") => Ok(Self::Store),
            Some(_) => Err(fault("source", "is not env, file, exec or store")),
            None => Err(fault("source", "is missing")),
        }
    }
}

impl ProviderFault {
    /// The key in the entry as the end of a path: `.command`, or nothing for the whole entry.
    pub fn key(self) -> String {
        match self.key {
            "" => String::new(),
            key => format!(".{key}"),
        }
    }

    /// The key's name, empty for the whole entry.
    pub const fn name(self) -> &'static str {
        self.key
    }

    /// What is wrong with it.
    pub const fn what(self) -> &'static str {
        self.what
    }
}

impl fmt::Display for ProviderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key(), self.what)
    }
}

const fn fault(key: &'static str, what: &'static str) -> ProviderFault {
    ProviderFault { key, what }
}

struct Entry<'a>(&'a Map<String, Value>);

impl<'a> Entry<'a> {
    fn file(&self) -> Result<FileProvider, ProviderFault> {
        let shape = match self.text("mode")? {
            None | Some("json") => FileShape::Json,
            Some("singleValue") => FileShape::SingleValue,
            Some(_) => return Err(fault("mode", "is not json or singleValue")),
        };
        Ok(FileProvider {
            path: self.path("path")?.to_owned(),
            shape,
            timeout: self.timeout("timeoutMs", DEFAULT_TIMEOUT_MS)?,
            max_bytes: self.number("maxBytes", DEFAULT_BYTES, MAX_BYTES)?,
            trust: self.trust()?,
        })
    }

    fn exec(&self) -> Result<ExecProvider, ProviderFault> {
        let timeout = self.number("timeoutMs", DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS)?;
        let args = self.texts("args", MAX_ARGS)?.unwrap_or_default();
        if args.iter().any(|arg| arg.len() > MAX_ARG_BYTES) {
            return Err(fault("args", "has an argument of more than 1024 bytes"));
        }
        let trusted_dirs = self.texts("trustedDirs", MAX_FOLDERS)?.unwrap_or_default();
        if !trusted_dirs.iter().all(|folder| is_whole_path(folder)) {
            return Err(fault("trustedDirs", "has a path that is not absolute"));
        }
        Ok(ExecProvider {
            command: self.path("command")?.to_owned(),
            args: args.into_iter().map(Secret::new).collect(),
            timeout: Duration::from_millis(timeout),
            silence: self.timeout("noOutputTimeoutMs", timeout)?,
            max_output: self.number("maxOutputBytes", DEFAULT_BYTES, MAX_BYTES)?,
            output: match self.flag("jsonOnly", true)? {
                true => OutputShape::Json,
                false => OutputShape::JsonOrText,
            },
            env: self.variables("env")?,
            pass_env: self.names("passEnv")?.unwrap_or_default(),
            trusted_dirs: trusted_dirs.into_iter().map(str::to_owned).collect(),
            trust: self.trust()?,
            link: match self.flag("allowSymlinkCommand", false)? {
                false => CommandLink::Refused,
                true => CommandLink::Followed,
            },
        })
    }

    fn trust(&self) -> Result<PathTrust, ProviderFault> {
        Ok(match self.flag("allowInsecurePath", false)? {
            false => PathTrust::Checked,
            true => PathTrust::Unchecked,
        })
    }

    fn text(&self, key: &'static str) -> Result<Option<&'a str>, ProviderFault> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(_) => Err(fault(key, "is no text")),
        }
    }

    fn path(&self, key: &'static str) -> Result<&'a str, ProviderFault> {
        match self.text(key)?.map(str::trim) {
            None | Some("") => Err(fault(key, "is missing")),
            Some(path) if is_whole_path(path) => Ok(path),
            Some(_) => Err(fault(key, "is not an absolute path")),
        }
    }

    fn flag(&self, key: &'static str, default: bool) -> Result<bool, ProviderFault> {
        match self.0.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(fault(key, "is not true or false")),
        }
    }

    fn number(&self, key: &'static str, default: u64, max: u64) -> Result<u64, ProviderFault> {
        match self.0.get(key) {
            None => Ok(default),
            Some(value) => crate::config::whole_number(value)
                .filter(|number| (1..=max).contains(number))
                .ok_or_else(|| fault(key, "is out of range")),
        }
    }

    fn timeout(&self, key: &'static str, default: u64) -> Result<Duration, ProviderFault> {
        self.number(key, default, MAX_TIMEOUT_MS)
            .map(Duration::from_millis)
    }

    fn texts(&self, key: &'static str, most: usize) -> Result<Option<Vec<&'a str>>, ProviderFault> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        let items = value.as_array().ok_or_else(|| fault(key, "is no list"))?;
        if items.len() > most {
            return Err(fault(key, "has too many items"));
        }
        items
            .iter()
            .map(|item| item.as_str().filter(|text| !text.contains('\0')))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(|| fault(key, "is no list of texts"))
    }

    fn names(&self, key: &'static str) -> Result<Option<Vec<String>>, ProviderFault> {
        let Some(names) = self.texts(key, MAX_NAMES)? else {
            return Ok(None);
        };
        if !names.iter().all(|name| is_variable_name(name)) {
            return Err(fault(key, "has a name that is not like GATEWAY_TOKEN"));
        }
        Ok(Some(names.into_iter().map(str::to_owned).collect()))
    }

    fn variables(&self, key: &'static str) -> Result<BTreeMap<String, Secret>, ProviderFault> {
        let Some(value) = self.0.get(key) else {
            return Ok(BTreeMap::new());
        };
        let object = value
            .as_object()
            .ok_or_else(|| fault(key, "is no object"))?;
        object
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().filter(|value| !value.contains('\0'))?;
                let fits = !name.is_empty() && !name.contains(['=', '\0']);
                fits.then(|| (name.clone(), Secret::new(value)))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| fault(key, "is no object of names and texts"))
    }
}

/// Whether a path says where it is by itself: absolute, or in the home folder.
fn is_whole_path(path: &str) -> bool {
    let path = path.trim();
    path == "~" || path.starts_with("~/") || std::path::Path::new(path).is_absolute()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault_of(entry: Value) -> Option<String> {
        SecretProvider::from_value(&entry)
            .fault()
            .map(|fault| fault.to_string())
    }

    #[test]
    fn each_source_is_read() {
        let env = SecretProvider::from_value(&json!({ "source": "env", "allowlist": ["A"] }));
        assert_eq!(
            env,
            SecretProvider::Env {
                allowlist: Some(vec!["A".into()])
            }
        );
        let SecretProvider::File(file) =
            SecretProvider::from_value(&json!({ "source": "file", "path": "~/s.json" }))
        else {
            panic!()
        };
        assert_eq!((file.shape, file.timeout.as_secs()), (FileShape::Json, 5));
        assert_eq!((file.max_bytes, file.trust), (1 << 20, PathTrust::Checked));
        let exec = json!({
            "source": "exec", "command": "/usr/bin/vault", "args": ["--token", "hunter2"],
            "timeoutMs": 900, "jsonOnly": false, "env": { "A": "hunter2" }, "passEnv": ["HOME"],
        });
        let provider = SecretProvider::from_value(&exec);
        assert!(!format!("{provider:?}").contains("hunter2"));
        let SecretProvider::Exec(exec) = provider else {
            panic!()
        };
        assert_eq!(exec.silence, exec.timeout);
        assert_eq!(exec.output, OutputShape::JsonOrText);
        let plugin = json!({ "source": "exec", "pluginIntegration": { "pluginId": "a" } });
        assert_eq!(SecretProvider::from_value(&plugin), SecretProvider::Plugin);
    }

    #[test]
    fn a_mistake_makes_the_whole_entry_unusable() {
        let with = |key: &str, value: Value| {
            let mut entry = json!({ "source": "exec", "command": "/v" });
            entry[key] = value;
            fault_of(entry)
        };
        assert_eq!(with("args", json!([])), None);
        for (key, value, message) in [
            ("command", json!("v"), ".command is not an absolute path"),
            ("command", json!("./v"), ".command is not an absolute path"),
            ("command", json!("~v"), ".command is not an absolute path"),
            ("command", json!(" "), ".command is missing"),
            ("command", json!(5), ".command is no text"),
            ("trustedDirs", json!("/opt"), ".trustedDirs is no list"),
            (
                "trustedDirs",
                json!(["opt"]),
                ".trustedDirs has a path that is not absolute",
            ),
            ("timeoutMs", json!(0), ".timeoutMs is out of range"),
            ("timeoutMs", json!(120_001), ".timeoutMs is out of range"),
            (
                "maxOutputBytes",
                json!("1"),
                ".maxOutputBytes is out of range",
            ),
            (
                "passEnv",
                json!(["a b"]),
                ".passEnv has a name that is not like GATEWAY_TOKEN",
            ),
            (
                "env",
                json!({ "A=B": "x" }),
                ".env is no object of names and texts",
            ),
            ("args", json!([5]), ".args is no list of texts"),
            ("args", json!(["a\0b"]), ".args is no list of texts"),
            (
                "allowInsecurePath",
                json!("yes"),
                ".allowInsecurePath is not true or false",
            ),
            (
                "source",
                json!("vault"),
                ".source is not env, file, exec or store",
            ),
        ] {
            assert_eq!(with(key, value).as_deref(), Some(message));
        }
        assert_eq!(fault_of(json!("env")).as_deref(), Some(" is no object"));
        assert_eq!(fault_of(json!({})).as_deref(), Some(".source is missing"));
        let relative = json!({ "source": "file", "path": "secrets.json" });
        assert_eq!(
            fault_of(relative).as_deref(),
            Some(".path is not an absolute path")
        );
    }
}

//! The `openclaw.json` of a gateway and its clients: text to types, with findings that say where.
//!
//! The file is JSON5. Text that does not parse gives a [`ConfigError`]; text that parses gives a
//! [`ConfigFile`] whose [`Config`] never fails to exist: values of the wrong type count as absent
//! and are listed in [`ConfigFile::issues`], unknown keys are kept and listed in
//! [`ConfigFile::warnings`].

use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

mod agents;
mod channels;
mod check;
mod contexts;
mod diff;
mod discovery;
mod edit;
mod env;
mod key_path;
mod logging;
mod needs;
mod node;
pub mod paths;
mod read;
mod redact;
mod reload;
mod scan;
pub mod schema;
mod secret_input;
mod substitute;
mod template;
mod types;
mod why;

pub use agents::{
    AgentBackend, AgentEntry, AgentSettings, AgentsConfig, CooldownConfig, ModelChoice,
    ModelConfig, ModelName, ProfileConfig, ProviderConfig,
};
pub use channels::{
    ChannelsConfig, ReplyToMode, TelegramAccountConfig, TelegramConfig, WebhookAccountConfig,
    WebhookConfig,
};
pub use check::{Finding, MAX_FINDINGS, Severity};
pub use contexts::{
    ContextBook, ContextBookError, ContextName, InvalidContextName, MAX_CONTEXT_BOOK, MAX_CONTEXTS,
    NO_CONTEXT, read_remote,
};
pub use diff::differences;
pub use discovery::DiscoveryConfig;
pub use edit::{Change, EditError, Edited, edit};
pub use env::EnvVars;
pub use key_path::{InvalidKeyPath, KeyPath, Segment};
pub use logging::{
    CONSOLE_STYLES, LOG_LEVELS, LogLevel, LogStyle, LoggingConfig, MAX_LOG_BYTES, MIN_LOG_BYTES,
};
pub use needs::{ChangedKey, Need, changed_keys, known, need_of};
pub use node::{NodeCommandConfig, NodeConfig};
pub use redact::{REDACTED, names_a_secret, redact};
pub use reload::{ReloadPlan, names, plan_reload};
pub use scan::{MAX_CONFIG_BYTES, MAX_CONFIG_DEPTH, Position};
pub use secret_input::{DEFAULT_PROVIDER, RefSource, RefSpelling, SecretInput, SecretRef};
pub use types::{
    AuthConfig, AuthMode, BindMode, Config, ControlUiConfig, GatewayConfig, ModeSetting,
    NodePairingConfig, NodesConfig, RateLimitConfig, ReloadConfig, ReloadMode, RemoteConfig,
    RouteOnExit, SecretsConfig, TailscaleMode, TlsConfig, TlsTrustSetting, Transport,
    TrustedProxyConfig,
};

pub use why::{Variable, VariableRole, Why, why};

pub(crate) use read::whole_number;

use scan::LimitFault;

/// Config text that cannot be read at all. Never repeats a value from it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    /// The file, as the host named it.
    pub file: String,
    /// Where the reading stopped.
    pub position: Position,
    /// The value that the place lies in.
    pub path: KeyPath,
    /// What is wrong there.
    pub fault: ConfigFault,
}

/// What is wrong with config text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigFault {
    /// Longer than [`MAX_CONFIG_BYTES`].
    TooLong,
    /// Nested deeper than [`MAX_CONFIG_DEPTH`].
    TooDeep,
    /// Not JSON5.
    Syntax(json5::ErrorCode),
    /// A value that JSON5 can write and JSON cannot hold.
    Value,
    /// Not one object.
    NotAnObject,
}

impl ConfigError {
    /// What was wrong. Only fixed words: the parser's own messages can repeat values.
    pub fn message(&self) -> String {
        match self.fault {
            ConfigFault::TooLong => format!("the file is longer than {MAX_CONFIG_BYTES} bytes"),
            ConfigFault::TooDeep => {
                format!("more than {MAX_CONFIG_DEPTH} objects and lists lie inside each other")
            }
            ConfigFault::Syntax(code) => format!("not JSON5: {code}"),
            ConfigFault::Value => "a value that JSON cannot hold".to_owned(),
            ConfigFault::NotAnObject => "the file must hold one object".to_owned(),
        }
    }

    /// What to do next.
    pub const fn next_step(&self) -> &'static str {
        match self.fault {
            ConfigFault::TooLong => "Check that this is the config file, and move data out of it.",
            ConfigFault::TooDeep => "Flatten the value or remove it.",
            ConfigFault::Syntax(_) | ConfigFault::Value => "Correct the file at this place.",
            ConfigFault::NotAnObject => "Put everything between { and }.",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            position: Position { line, column },
            path,
            ..
        } = self;
        let (message, next) = (self.message(), self.next_step());
        write!(f, "{file}:{line}:{column}: {message} (in {path}). {next}")
    }
}

impl std::error::Error for ConfigError {}

/// One state of a config file.
///
/// ```
/// use clawgate_core::config::ConfigFile;
///
/// let text = "{ gateway: { mode: 'local', prot: 1 } } // JSON5";
/// let file = ConfigFile::parse("openclaw.json", text).unwrap();
/// assert!(file.issues.is_empty());
/// assert_eq!(
///     file.warnings[0].to_string(),
///     "line 1, column 29: gateway.prot: unknown key, kept and ignored; did you mean \"port\"?",
/// );
///
/// let error = ConfigFile::parse("openclaw.json", "{ gateway: { mode: }").unwrap_err();
/// assert_eq!((error.position.line, error.position.column), (1, 20));
/// assert_eq!(error.path.to_string(), "gateway.mode");
/// ```
#[derive(Clone, PartialEq)]
pub struct ConfigFile {
    /// The file, as the host named it.
    pub path: String,
    /// The text that was read; empty when there is no file.
    pub text: String,
    /// Whether there is a file.
    pub exists: bool,
    /// Everything in it, unknown keys too. It holds secrets: show [`redact`] of it instead.
    pub parsed: Value,
    /// SHA-256 of the text in hexadecimal, to tell one state from another.
    pub hash: String,
    /// The part that clawgate reads.
    pub config: Config,
    /// Values that cannot be used.
    pub issues: Vec<Finding>,
    /// Values that are kept and ignored.
    pub warnings: Vec<Finding>,
}

impl ConfigFile {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// A [`ConfigError`] when the text is longer than [`MAX_CONFIG_BYTES`], nests deeper than
    /// [`MAX_CONFIG_DEPTH`], is not JSON5, or is not one object.
    pub fn parse(path: impl Into<String>, text: impl Into<String>) -> Result<Self, ConfigError> {
        Self::read(path.into(), text.into(), None)
    }

    /// Parses the text of a file and fills `${NAME}` into the strings that clawgate reads, secrets
    /// excepted, which have rules of their own. A variable that is missing or blank is a warning, and
    /// its `${NAME}` stays; `$${NAME}` stands for the text `${NAME}`. [`Self::parsed`] keeps what is
    /// written.
    ///
    /// # Errors
    /// As [`Self::parse`].
    ///
    /// ```
    /// use clawgate_core::config::{ConfigFile, EnvVars};
    ///
    /// let env: EnvVars = [("GW_HOST", "gw.example.com")].into_iter().collect();
    /// let text = "{ gateway: { remote: { url: 'wss://${GW_HOST}' } } }";
    /// let file = ConfigFile::parse_with("openclaw.json", text, &env).unwrap();
    /// assert_eq!(file.config.gateway.remote.url.as_deref(), Some("wss://gw.example.com"));
    /// ```
    pub fn parse_with(
        path: impl Into<String>,
        text: impl Into<String>,
        env: &EnvVars,
    ) -> Result<Self, ConfigError> {
        Self::read(path.into(), text.into(), Some(env))
    }

    fn read(path: String, text: String, env: Option<&EnvVars>) -> Result<Self, ConfigError> {
        let body = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let parsed = parse_text(&path, body)?;
        let (filled, missing) = match env {
            Some(env) => substitute::substitute(&parsed, env),
            None => (parsed.clone(), Vec::new()),
        };
        let mut findings = check::check(&filled);
        findings.extend(missing);
        findings.truncate(MAX_FINDINGS);
        let places: Vec<KeyPath> = findings.iter().map(|found| found.path.clone()).collect();
        for (finding, place) in findings.iter_mut().zip(scan::locate(body, &places)) {
            finding.position = place;
        }
        let (issues, warnings) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Issue);
        Ok(Self {
            config: Config::from_value(&filled),
            hash: hash_of(&text),
            exists: true,
            path,
            text,
            parsed,
            issues,
            warnings,
        })
    }

    /// The state of a file that does not exist: everything at its default.
    pub fn missing(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: String::new(),
            exists: false,
            parsed: Value::Object(serde_json::Map::new()),
            hash: hash_of(""),
            config: Config::default(),
            issues: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Everything in the file without its secrets.
    pub fn redacted(&self) -> Value {
        redact(&self.parsed)
    }
}

impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile")
            .field("path", &self.path)
            .field("exists", &self.exists)
            .field("hash", &self.hash)
            .field("issues", &self.issues)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a config text in hexadecimal.
pub fn hash_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_text(file: &str, text: &str) -> Result<Value, ConfigError> {
    let error = |offset: usize, fault| ConfigError {
        file: file.to_owned(),
        position: Position::of_offset(text, offset),
        path: scan::path_at(text, offset),
        fault,
    };
    match scan::check_limits(text) {
        Ok(()) => {}
        Err(LimitFault::TooLong) => return Err(error(0, ConfigFault::TooLong)),
        Err(LimitFault::TooDeep { offset }) => return Err(error(offset, ConfigFault::TooDeep)),
    }
    let value: Value = json5::from_str(text).map_err(|fault| {
        let offset = fault
            .position()
            .map_or(text.len(), |at| offset_of(text, at.line, at.column));
        let fault = fault.code().map_or(ConfigFault::Value, ConfigFault::Syntax);
        error(offset, fault)
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(error(0, ConfigFault::NotAnObject))
    }
}

/// The byte offset of a place that counts lines and columns from 0.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let wanted = Position {
        line: line + 1,
        column: column + 1,
    };
    let mut place = Position::START;
    let mut after_return = false;
    for (at, c) in text.char_indices() {
        if place >= wanted {
            return at;
        }
        if c == '\n' && after_return {
            after_return = false;
            continue;
        }
        after_return = c == '\r';
        place.advance(c);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        ConfigFile::parse("openclaw.json", text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn errors_say_where_and_what_to_do_and_never_a_value() {
        let shown = fault("{\n  gateway: {\n    auth: { token: 'hunter2' 'x' },\n  },\n}");
        assert_eq!(
            shown,
            "openclaw.json:3:30: not JSON5: expected comma (in gateway.auth.token). \
             Correct the file at this place."
        );
    }

    #[test]
    fn text_that_would_exhaust_the_stack_is_refused() {
        assert!(fault(&"[".repeat(1_000_000)).contains("64 objects and lists"));
        assert!(fault(&" ".repeat(MAX_CONFIG_BYTES + 1)).contains("longer than"));
        assert!(fault("[]").contains("one object"));
        assert!(fault("").contains("not JSON5"));
    }

    #[test]
    fn windows_files_are_read() {
        let file = ConfigFile::parse(
            "c",
            "\u{feff}{\r\n  gateway: {\r\n    pord: 1,\r\n  },\r\n}",
        );
        let file = file.unwrap();
        let at = file.warnings[0].position.unwrap();
        assert_eq!((at.line, at.column), (3, 5));
    }

    #[test]
    fn unknown_keys_are_kept() {
        let file = ConfigFile::parse("c", "{ gateway: { mine: { a: [1] } }, other: 1 }").unwrap();
        assert_eq!(file.parsed["gateway"]["mine"]["a"][0], 1);
        assert_eq!(file.warnings.len(), 2);
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = "{ gateway: { auth: { token: 'hunter2' }, remote: { password: 'hunter2' } } }";
        let file = ConfigFile::parse("c", text).unwrap();
        assert!(!format!("{file:?} {:?}", file.config).contains("hunter2"));
    }

    #[test]
    fn a_missing_file_is_all_defaults() {
        let file = ConfigFile::missing("c");
        assert_eq!(file.config, Config::default());
        assert!(!file.exists);
    }
}

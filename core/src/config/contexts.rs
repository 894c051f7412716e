//! Named remote gateways of one client: the format of the file, which is the host's to read and write.
//! Which one is in force, and what it may send, is decided with the credentials.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::types::RemoteConfig;
use super::{ConfigFile, EnvVars, Finding};
use crate::secret::Secret;

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The longest file that is read, in bytes.
pub const MAX_CONTEXT_BOOK: usize = 1024 * 1024;

/// The most contexts of one client.
pub const MAX_CONTEXTS: usize = 500;

/// The name that stands for no context: what the config says.
pub const NO_CONTEXT: &str = "default";

/// The name of a context: a lower-case letter or digit, then up to 63 of them, `_` or `-`. It becomes
/// part of the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ContextName(String);

/// Text that is no name of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a context: use lower-case letters, digits, _ and -, at most 64, starting with a \
     letter or digit; default stands for none"
)]
pub struct InvalidContextName;

impl ContextName {
    /// Reads a name.
    ///
    /// # Errors
    /// For anything else, and for [`NO_CONTEXT`].
    pub fn parse(name: &str) -> Result<Self, InvalidContextName> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = name.len() <= 64
            && name.starts_with(is_plain)
            && name.chars().all(|c| is_plain(c) || matches!(c, '_' | '-'))
            && name != NO_CONTEXT;
        fits.then(|| Self(name.to_owned()))
            .ok_or(InvalidContextName)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a file is no context book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextBookError {
    /// It has another version.
    #[error("it has version {0}, and this clawgate reads version {VERSION}")]
    Version(u32),
    /// It is not what clawgate writes.
    #[error("it is not a list of contexts as clawgate writes it")]
    Malformed,
}

/// All contexts of one client. Each has the shape of `gateway.remote`, and may hold secrets.
///
/// ```
/// use clawgate_core::config::{ContextBook, ContextName, EnvVars};
/// use serde_json::json;
///
/// let lab = ContextName::parse("lab").unwrap();
/// let mut book = ContextBook::default();
/// book.put(lab.clone(), json!({ "url": "wss://lab.example.com", "token": "hunter2" }));
/// book.current = Some(lab.clone());
/// assert!(!format!("{book:?}").contains("hunter2"));
/// let again = ContextBook::parse(book.to_text().expose()).unwrap();
/// let remote = again.remote(&lab, &EnvVars::new()).unwrap().unwrap();
/// assert_eq!(remote.url.as_deref(), Some("wss://lab.example.com"));
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct ContextBook {
    /// The one that is in force where nothing says otherwise.
    pub current: Option<ContextName>,
    entries: BTreeMap<ContextName, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    current: Option<String>,
    contexts: BTreeMap<String, Map<String, Value>>,
}

impl ContextBook {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn parse(text: &str) -> Result<Self, ContextBookError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let malformed = |_| ContextBookError::Malformed;
        let head: Head = serde_json::from_str(text).map_err(malformed)?;
        if head.version != VERSION {
            return Err(ContextBookError::Version(head.version));
        }
        let text: Text = serde_json::from_str(text).map_err(malformed)?;
        debug_assert_eq!(text.version, VERSION);
        let name = |name: &str| ContextName::parse(name).map_err(|_| ContextBookError::Malformed);
        if text.contexts.len() > MAX_CONTEXTS {
            return Err(ContextBookError::Malformed);
        }
        Ok(Self {
            current: text.current.as_deref().map(name).transpose()?,
            entries: text
                .contexts
                .into_iter()
                .map(|(key, entry)| Ok((name(&key)?, Value::Object(entry))))
                .collect::<Result<_, ContextBookError>>()?,
        })
    }

    /// The file's text, which may hold secrets.
    pub fn to_text(&self) -> Secret {
        let contexts: Map<String, Value> = self
            .entries
            .iter()
            .map(|(name, entry)| (name.0.clone(), entry.clone()))
            .collect();
        let text = json!({
            "version": VERSION,
            "current": self.current.as_ref().map(ContextName::as_str),
            "contexts": contexts,
        });
        // A value with names as keys always has a text.
        Secret::new(serde_json::to_string_pretty(&text).unwrap_or_default() + "\n")
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &ContextName> {
        self.entries.keys()
    }

    /// What stands under a name, as it is written. It may hold secrets: show
    /// [`redact`](super::redact) of it instead.
    pub fn get(&self, name: &ContextName) -> Option<&Value> {
        self.entries.get(name)
    }

    /// Puts something under a name, in place of what was there.
    pub fn put(&mut self, name: ContextName, entry: Value) {
        self.entries.insert(name, entry);
    }

    /// Takes a context out. Tells whether there was one.
    pub fn remove(&mut self, name: &ContextName) -> bool {
        if self.current.as_ref() == Some(name) {
            self.current = None;
        }
        self.entries.remove(name).is_some()
    }

    /// A context as `gateway.remote` would be read, with variables filled in; `None` where there is no
    /// such one.
    ///
    /// # Errors
    /// With the values in it that cannot be used.
    pub fn remote(
        &self,
        name: &ContextName,
        env: &EnvVars,
    ) -> Option<Result<RemoteConfig, Vec<Finding>>> {
        self.entries.get(name).map(|entry| read_remote(entry, env))
    }
}

/// Reads something with the shape of `gateway.remote`.
///
/// # Errors
/// With the values in it that cannot be used.
pub fn read_remote(entry: &Value, env: &EnvVars) -> Result<RemoteConfig, Vec<Finding>> {
    let whole = json!({ "gateway": { "mode": "remote", "remote": entry } });
    match ConfigFile::parse_with("context", whole.to_string(), env) {
        Ok(file) if file.issues.is_empty() => Ok(file.config.gateway.remote),
        Ok(file) => Err(file.issues),
        // Only what nests too deep cannot be read again.
        Err(error) => Err(vec![Finding {
            severity: super::Severity::Issue,
            message: error.message(),
            path: error.path,
            position: None,
        }]),
    }
}

impl fmt::Debug for ContextBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextBook")
            .field("current", &self.current)
            .field("names", &self.entries.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_names_of_files() {
        for good in ["a", "0", "lab-2", "a_b", &"a".repeat(64)] {
            assert!(ContextName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "default",
            "A",
            "../a",
            "a/b",
            "-a",
            "a.b",
            "a b",
            &"a".repeat(65),
        ] {
            assert!(ContextName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_book_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"version":1,"current":null,"contexts":[]}"#,
            r#"{"version":1,"current":null,"contexts":{"A":{}}}"#,
            r#"{"version":1,"current":"../x","contexts":{}}"#,
            r#"{"version":1,"current":null,"contexts":{"a":"wss://h"}}"#,
            r#"{"version":1,"current":null,"contexts":{},"more":1}"#,
        ] {
            assert_eq!(
                ContextBook::parse(bad),
                Err(ContextBookError::Malformed),
                "{bad}"
            );
        }
        let newer = r#"{"version":2,"x":1}"#;
        assert_eq!(ContextBook::parse(newer), Err(ContextBookError::Version(2)));
    }

    #[test]
    fn a_context_with_a_wrong_value_is_not_used_at_all() {
        let name = ContextName::parse("a").unwrap();
        let mut book = ContextBook::default();
        book.put(name.clone(), json!({ "url": 7 }));
        let issues = book.remote(&name, &EnvVars::new()).unwrap().unwrap_err();
        assert_eq!(issues[0].path.to_string(), "gateway.remote.url");
        assert!(book.remove(&name) && !book.remove(&name));
    }
}

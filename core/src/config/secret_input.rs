//! Secrets as a config may give them (spec credentials §0 and §5).

use std::fmt;

use serde_json::Value;

use super::template::{Piece, pieces};
use crate::secret::Secret;

/// The provider that a reference without one belongs to.
pub const DEFAULT_PROVIDER: &str = "default";

/// Where a [`SecretRef`] is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefSource {
    /// An environment variable.
    Env,
    /// A file.
    File,
    /// The output of a program.
    Exec,
    /// A secret store.
    Store,
    /// A source that clawgate does not know; it never resolves.
    Other(String),
}

impl RefSource {
    fn parse(name: &str) -> Self {
        match name {
            "env" => Self::Env,
            "file" => Self::File,
            "exec" => Self::Exec,
            "store" => Self::Store,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The name in the config.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Env => "env",
            Self::File => "file",
            Self::Exec => "exec",
            Self::Store => "store",
            Self::Other(name) => name,
        }
    }
}

/// How a reference was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefSpelling {
    /// `{source, provider, id}`.
    Object,
    /// `${NAME}` or `$NAME`.
    Template,
}

/// A secret that lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretRef {
    /// Where it is read.
    pub source: RefSource,
    /// The provider as written; without one, `secrets.defaults` decides
    /// ([`SecretsConfig::provider_of`](super::SecretsConfig::provider_of)).
    pub provider: Option<String>,
    /// Its name there.
    pub id: String,
    /// How it was written.
    pub spelling: RefSpelling,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = self.provider.as_deref().unwrap_or(DEFAULT_PROVIDER);
        write!(f, "{}:{provider}:{}", self.source.as_str(), self.id)
    }
}

/// What a config says about one secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecretInput {
    /// Nothing, or something that is no secret at all (a number, say).
    #[default]
    Absent,
    /// A string of blanks: it counts as nothing, except that a server refuses to start on it.
    Blank,
    /// The secret itself, without the blanks at its ends.
    Plain(Secret),
    /// A string with `${NAME}` inside other text: not a reference, and no literal either on local
    /// paths (spec credentials §0, SEED).
    Embedded(Secret),
    /// A reference.
    Ref(SecretRef),
}

impl SecretInput {
    /// Reads a config value. An object with a `source` that is otherwise broken becomes a reference
    /// that cannot resolve, so that a mistake in it never opens the way to a lower source.
    pub fn from_value(value: Option<&Value>) -> Self {
        match value {
            Some(Value::String(text)) => Self::from_text(text),
            Some(Value::Object(object)) => {
                let text = |name: &str| {
                    object
                        .get(name)
                        .and_then(Value::as_str)
                        .filter(|text| !text.trim().is_empty())
                };
                match (object.contains_key("source"), text("source"), text("id")) {
                    (false, ..) => Self::Absent,
                    (true, Some(source), Some(id)) => Self::Ref(SecretRef {
                        source: RefSource::parse(source),
                        provider: text("provider").map(str::to_owned),
                        id: id.to_owned(),
                        spelling: RefSpelling::Object,
                    }),
                    (true, ..) => Self::Ref(SecretRef {
                        source: RefSource::Other("incomplete".to_owned()),
                        provider: None,
                        id: String::new(),
                        spelling: RefSpelling::Object,
                    }),
                }
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {
                Self::Absent
            }
        }
    }

    /// Reads a config string.
    pub fn from_text(text: &str) -> Self {
        let Some(secret) = Secret::non_blank(text) else {
            return Self::Blank;
        };
        if let Some(name) = template_name(secret.expose()) {
            return Self::Ref(SecretRef {
                source: RefSource::Env,
                provider: None,
                id: name.to_owned(),
                spelling: RefSpelling::Template,
            });
        }
        let pieces = pieces(secret.expose());
        if pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Variable(_)))
        {
            return Self::Embedded(secret);
        }
        if !pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Escaped(_)))
        {
            return Self::Plain(secret);
        }
        let literal: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) | Piece::Escaped(text) | Piece::Variable(text) => *text,
            })
            .collect();
        Self::Plain(Secret::new(literal))
    }

    /// Whether a secret was meant to be here: any non-blank string, or any reference.
    pub const fn is_configured(&self) -> bool {
        matches!(self, Self::Plain(_) | Self::Embedded(_) | Self::Ref(_))
    }

    /// The reference, if it is one.
    pub const fn reference(&self) -> Option<&SecretRef> {
        match self {
            Self::Ref(reference) => Some(reference),
            Self::Absent | Self::Blank | Self::Plain(_) | Self::Embedded(_) => None,
        }
    }

    /// The secret, if it stands here in full.
    pub const fn plain(&self) -> Option<&Secret> {
        match self {
            Self::Plain(secret) => Some(secret),
            Self::Absent | Self::Blank | Self::Embedded(_) | Self::Ref(_) => None,
        }
    }
}

/// The variable of a string that is one template and nothing else.
pub(super) fn template_name(text: &str) -> Option<&str> {
    let rest = text.trim().strip_prefix('$')?;
    let name = match rest.strip_prefix('{') {
        Some(braced) => braced.strip_suffix('}')?,
        None => rest,
    };
    let fits = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.len() <= 128
        && name.chars().all(is_variable_char);
    fits.then_some(name)
}

const fn is_variable_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_secrets_templates_or_neither() {
        assert_eq!(SecretInput::from_text(" \t"), SecretInput::Blank);
        assert_eq!(
            SecretInput::from_text("  a b "),
            SecretInput::Plain(Secret::new("a b"))
        );
        for template in ["${GW_TOKEN}", " $GW_TOKEN "] {
            let input = SecretInput::from_text(template);
            assert_eq!(input.reference().unwrap().id, "GW_TOKEN", "{template}");
        }
        for literal in [
            "${gw}",
            "$gw",
            "$",
            "${}",
            "$$${A",
            "$${A}b",
            "secretref-env:NAME",
            "__env__:NAME",
        ] {
            assert!(
                SecretInput::from_text(literal).plain().is_some(),
                "{literal}"
            );
        }
        assert_eq!(
            SecretInput::from_text("a$${B}c"),
            SecretInput::Plain(Secret::new("a${B}c"))
        );
        for embedded in ["pre-${NAME}", "${A}${B}", "$${A}${B}", "x${_A1}"] {
            assert!(
                matches!(SecretInput::from_text(embedded), SecretInput::Embedded(_)),
                "{embedded}"
            );
        }
    }

    #[test]
    fn objects_are_references_and_broken_ones_fail_closed() {
        let whole = json!({ "source": "file", "provider": "vault", "id": "/a" });
        let input = SecretInput::from_value(Some(&whole));
        assert_eq!(input.reference().unwrap().to_string(), "file:vault:/a");
        for broken in [
            json!({ "source": "env" }),
            json!({ "source": 1, "id": "A" }),
        ] {
            let input = SecretInput::from_value(Some(&broken));
            assert!(
                input.is_configured() && input.reference().is_some(),
                "{broken}"
            );
        }
        for nothing in [json!(5), json!(null), json!([]), json!({ "a": 1 })] {
            assert_eq!(SecretInput::from_value(Some(&nothing)), SecretInput::Absent);
        }
    }
}

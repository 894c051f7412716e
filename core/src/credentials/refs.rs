//! Values of secret references (spec credentials §5). Variables are looked up here; files, programs
//! and stores are read by the host, which hands the values in.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{EnvVars, RefSource, SecretRef, SecretsConfig};
use crate::secret::Secret;

/// A reference with its provider filled in: what the host is asked to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedRef {
    /// Where it is read; never the environment.
    pub source: RefSource,
    /// The provider, one of `secrets.providers`.
    pub provider: String,
    /// Its name there.
    pub id: String,
}

/// What the host has read so far.
#[derive(Clone, Debug, Default)]
pub struct RefValues(BTreeMap<WantedRef, Option<Secret>>);

impl RefValues {
    /// Nothing read.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds what a reference gave: `None` when it could not be read. A blank value counts as not
    /// read, never as unset.
    pub fn insert(&mut self, wanted: WantedRef, value: Option<&str>) {
        self.0.insert(wanted, value.and_then(Secret::non_blank));
    }
}

/// Whether references can be read at all.
#[derive(Clone, Copy, Debug)]
pub enum RefAccess<'a> {
    /// Not here: every reference is unresolved.
    Unavailable,
    /// Variables from the environment, the rest from what the host has read.
    Available(&'a RefValues),
}

/// What is known about the value of a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Value(Secret),
    Failed,
    /// The host has not been asked yet.
    Wanted(WantedRef),
}

impl RefAccess<'_> {
    pub(crate) fn read(
        self,
        reference: &SecretRef,
        secrets: &SecretsConfig,
        env: &EnvVars,
    ) -> Reading {
        let Self::Available(values) = self else {
            return Reading::Failed;
        };
        let name = secrets.provider_of(reference);
        let provider = secrets.providers.get(name);
        let source = reference.source.as_str();
        let known = match (&reference.source, provider) {
            (RefSource::Other(_), _) => false,
            (_, Some(provider)) => {
                provider.source == source
                    && provider
                        .allowlist
                        .as_ref()
                        .is_none_or(|ids| ids.contains(&reference.id))
            }
            // The environment needs no provider of its own.
            (RefSource::Env, None) => name == secrets.default_provider(&RefSource::Env),
            // A store may be the host's own; files and programs need a path or a command.
            (RefSource::Store, None) => true,
            (RefSource::File | RefSource::Exec, None) => false,
        };
        if !known {
            return Reading::Failed;
        }
        if reference.source == RefSource::Env {
            return env
                .non_blank(&reference.id)
                .map_or(Reading::Failed, |value| Reading::Value(Secret::new(value)));
        }
        let wanted = WantedRef {
            source: reference.source.clone(),
            provider: name.to_owned(),
            id: reference.id.clone(),
        };
        match values.0.get(&wanted) {
            Some(Some(value)) => Reading::Value(value.clone()),
            Some(None) => Reading::Failed,
            None => Reading::Wanted(wanted),
        }
    }
}

/// Reads references and notes what the host should read.
pub(crate) struct RefReader<'a> {
    pub(crate) access: RefAccess<'a>,
    pub(crate) secrets: &'a SecretsConfig,
    pub(crate) env: &'a EnvVars,
    pub(crate) wanted: BTreeSet<WantedRef>,
}

impl RefReader<'_> {
    /// The value, or `None` when the reference is unresolved so far.
    pub(crate) fn read(&mut self, reference: &SecretRef) -> Option<Secret> {
        match self.access.read(reference, self.secrets, self.env) {
            Reading::Value(value) => Some(value),
            Reading::Failed => None,
            Reading::Wanted(wanted) => {
                self.wanted.insert(wanted);
                None
            }
        }
    }

    /// Whether the reference is known to be broken, without asking the host for it.
    pub(crate) fn is_broken(&self, reference: &SecretRef) -> bool {
        self.access.read(reference, self.secrets, self.env) == Reading::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SecretInput};
    use serde_json::json;

    fn read(reference: serde_json::Value, secrets: serde_json::Value) -> Reading {
        let env: EnvVars = [("A", " a "), ("BLANK", " ")].into_iter().collect();
        let config = Config::from_value(&json!({ "secrets": secrets }));
        let input = SecretInput::from_value(Some(&reference));
        RefAccess::Available(&RefValues::new()).read(
            input.reference().unwrap(),
            &config.secrets,
            &env,
        )
    }

    #[test]
    fn variables_are_read_through_their_provider() {
        let value = Reading::Value(Secret::new("a"));
        let plain = json!({ "source": "env", "id": "A" });
        assert_eq!(read(plain.clone(), json!({})), value);
        assert_eq!(
            read(json!("${A}"), json!({ "defaults": { "env": "e" } })),
            value
        );
        let listed = |ids: serde_json::Value| json!({ "providers": { "default": { "source": "env", "allowlist": ids } } });
        assert_eq!(read(plain.clone(), listed(json!(["A"]))), value);
        assert_eq!(read(plain.clone(), listed(json!(["B"]))), Reading::Failed);
        let file = json!({ "providers": { "default": { "source": "file", "path": "/x" } } });
        assert_eq!(read(plain, file), Reading::Failed);
        let unknown = json!({ "source": "env", "provider": "nope", "id": "A" });
        assert_eq!(read(unknown, json!({})), Reading::Failed);
    }

    #[test]
    fn missing_and_blank_variables_are_unresolved() {
        for id in ["BLANK", "MISSING"] {
            let reference = json!({ "source": "env", "id": id });
            assert_eq!(read(reference, json!({})), Reading::Failed, "{id}");
        }
    }

    #[test]
    fn other_sources_are_asked_of_the_host() {
        let secrets = json!({ "providers": { "vault": { "source": "exec", "command": "/v" } } });
        let reference = json!({ "source": "exec", "provider": "vault", "id": "x" });
        assert!(matches!(read(reference, secrets), Reading::Wanted(_)));
    }
}

//! From references to reads.

use std::path::PathBuf;

use super::fault::{PathFault, RefFault};
use super::file::FileRead;
use super::grammar::check_reference;
use super::program::ProgramRun;
use super::provider::SecretProvider;
use super::values::{RefValues, WantedRef};
use crate::config::paths::{PathsError, expand_home};
use crate::config::{EnvVars, RefSource, SecretRef, SecretsConfig};
use crate::secret::Secret;

/// What is known about a reference without reading a file or running a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Its value, from a variable.
    Value(Secret),
    /// The host must read it.
    Ask(WantedRef),
}

/// Finds the provider of a reference, and the value of one to a variable.
///
/// A provider counts only where its source is the reference's. The default names of `env` need no
/// entry: the environment is read all the same, even if an entry of that name has another source.
pub(crate) fn bind(
    reference: &SecretRef,
    secrets: &SecretsConfig,
    env: &EnvVars,
) -> Result<Bound, RefFault> {
    check_reference(reference).map_err(RefFault::Id)?;
    match &reference.source {
        RefSource::Env | RefSource::File | RefSource::Exec => {}
        RefSource::Other(_) if reference.id.is_empty() => return Err(RefFault::Incomplete),
        other @ (RefSource::Store | RefSource::Other(_)) => {
            return Err(RefFault::NotImplemented {
                source: other.as_str().to_owned(),
            });
        }
    }
    let name = secrets.provider_of(reference);
    let is_default_env =
        reference.source == RefSource::Env && name == secrets.default_provider(&RefSource::Env);
    let provider = match secrets.providers.get(name) {
        None if is_default_env => None,
        None => {
            return Err(RefFault::NoProvider {
                provider: name.to_owned(),
            });
        }
        Some(SecretProvider::Unusable(fault)) => {
            return Err(RefFault::Provider {
                provider: name.to_owned(),
                fault: *fault,
            });
        }
        Some(provider) if provider.source() == Some(reference.source.as_str()) => Some(provider),
        Some(_) if is_default_env => None,
        Some(provider) => {
            return Err(RefFault::OtherSource {
                provider: name.to_owned(),
                source: provider.source().unwrap_or("none"),
            });
        }
    };
    match provider {
        Some(SecretProvider::Plugin) => Err(RefFault::NotImplemented {
            source: "exec with pluginIntegration".to_owned(),
        }),
        Some(SecretProvider::Env {
            allowlist: Some(names),
        }) if !names.contains(&reference.id) => Err(RefFault::NotAllowed {
            provider: name.to_owned(),
        }),
        None | Some(SecretProvider::Env { .. }) => env
            .non_blank(&reference.id)
            .map(|value| Bound::Value(Secret::new(value)))
            .ok_or_else(|| RefFault::VariableUnset {
                name: reference.id.clone(),
            }),
        Some(
            SecretProvider::File(_)
            | SecretProvider::Exec(_)
            | SecretProvider::Store
            | SecretProvider::Unusable(_),
        ) => Ok(Bound::Ask(WantedRef {
            source: reference.source.clone(),
            provider: name.to_owned(),
            id: reference.id.clone(),
        })),
    }
}

/// One thing for the host to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRead {
    /// Read a file.
    File(FileRead),
    /// Run a program.
    Program(ProgramRun),
}

/// The reads that give what is wanted, one for each provider. References that need no read to be
/// known as broken go into `values` at once.
///
/// ```
/// use clawgate_core::config::{ConfigFile, EnvVars};
/// use clawgate_core::credentials::{RefAccess, Request, Surface, resolve};
/// use clawgate_core::secrets::{RefValues, SecretRead, plan};
///
/// let text = "{
///     secrets: { providers: { main: { source: 'file', path: '/run/gw.json' } } },
///     gateway: { auth: { token: { source: 'file', provider: 'main', id: '/token' } } },
/// }";
/// let (file, env) = (ConfigFile::parse("c", text).unwrap(), EnvVars::new());
/// let mut request = Request::new(Surface::Call, &env, &file.config);
/// let wanted = resolve(&request).wanted;
///
/// let mut values = RefValues::new();
/// for read in plan(&wanted, &file.config.secrets, &env, &mut values) {
///     let SecretRead::File(read) = read else { unreachable!() };
///     assert_eq!(read.path().to_str(), Some("/run/gw.json"));
///     read.settle(Ok(br#"{ "token": "from the file" }"#), &mut values);
/// }
/// request.refs = RefAccess::Available(&values);
/// let target = resolve(&request).outcome.unwrap();
/// assert_eq!(target.auth().token().unwrap().expose(), "from the file");
/// ```
pub fn plan(
    wanted: &[WantedRef],
    secrets: &SecretsConfig,
    env: &EnvVars,
    values: &mut RefValues,
) -> Vec<SecretRead> {
    let mut groups: Vec<(&SecretProvider, &str, Vec<WantedRef>)> = Vec::new();
    for wanted in wanted {
        let name = wanted.provider.as_str();
        let Some(provider) = secrets.providers.get(name) else {
            let fault = RefFault::NoProvider {
                provider: name.to_owned(),
            };
            values.insert(wanted.clone(), Err(fault));
            continue;
        };
        match groups.iter_mut().find(|(_, known, _)| *known == name) {
            Some((_, _, ids)) if ids.contains(wanted) => {}
            Some((_, _, ids)) => ids.push(wanted.clone()),
            None => groups.push((provider, name, vec![wanted.clone()])),
        }
    }
    groups
        .into_iter()
        .filter_map(|(provider, name, ids)| {
            let read = match provider {
                SecretProvider::File(file) => FileRead::new(file, &ids, env).map(SecretRead::File),
                SecretProvider::Exec(exec) => {
                    ProgramRun::new(exec, name, &ids, env).map(SecretRead::Program)
                }
                SecretProvider::Env { .. }
                | SecretProvider::Store
                | SecretProvider::Plugin
                | SecretProvider::Unusable(_) => Err(RefFault::NotRead),
            };
            match read {
                Ok(read) => Some(read),
                Err(fault) => {
                    for wanted in ids {
                        values.insert(wanted, Err(fault.clone()));
                    }
                    None
                }
            }
        })
        .collect()
}

/// A path of the config, with `~` filled in.
pub(super) fn whole_path(written: &str, env: &EnvVars) -> Result<PathBuf, RefFault> {
    let written = written.trim();
    let fault = |fault| RefFault::Path {
        path: PathBuf::from(written),
        fault,
    };
    let path = expand_home(written, env).map_err(|error| {
        debug_assert_eq!(error, PathsError::NoHome);
        fault(PathFault::NoHome)
    })?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(fault(PathFault::NotAbsolute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SecretInput};
    use serde_json::{Value, json};

    fn config(secrets: Value) -> SecretsConfig {
        Config::from_value(&json!({ "secrets": secrets })).secrets
    }

    fn read(reference: Value, secrets: Value) -> Result<Bound, RefFault> {
        let env: EnvVars = [("A", " a "), ("BLANK", " ")].into_iter().collect();
        let input = SecretInput::from_value(Some(&reference));
        bind(input.reference().unwrap(), &config(secrets), &env)
    }

    #[test]
    fn variables_are_read_through_their_provider() {
        let value = Ok(Bound::Value(Secret::new("a")));
        let plain = json!({ "source": "env", "id": "A" });
        assert_eq!(read(plain.clone(), json!({})), value);
        let renamed = json!({ "defaults": { "env": "e" } });
        assert_eq!(read(json!("${A}"), renamed), value);
        let listed = |ids: Value| json!({ "providers": { "default": { "source": "env", "allowlist": ids } } });
        assert_eq!(read(plain.clone(), listed(json!(["A"]))), value);
        for ids in [json!(["B"]), json!([])] {
            let fault = Err(RefFault::NotAllowed {
                provider: "default".into(),
            });
            assert_eq!(read(plain.clone(), listed(ids)), fault);
        }
        // A broken list must not count as no list.
        let broken = read(plain.clone(), listed(json!("A")));
        assert!(matches!(broken, Err(RefFault::Provider { .. })));
        // The default name of env does not need an entry of its own.
        let file = json!({ "providers": { "default": { "source": "file", "path": "/x" } } });
        assert_eq!(read(plain, file.clone()), value);
        let other = json!({ "source": "env", "provider": "nope", "id": "A" });
        assert!(matches!(
            read(other, json!({})),
            Err(RefFault::NoProvider { .. })
        ));
        let file_as_exec = json!({ "source": "exec", "provider": "default", "id": "a" });
        assert!(matches!(
            read(file_as_exec, file),
            Err(RefFault::OtherSource { .. })
        ));
    }

    #[test]
    fn missing_and_blank_variables_are_unresolved() {
        for id in ["BLANK", "MISSING"] {
            let reference = json!({ "source": "env", "id": id });
            let fault = Err(RefFault::VariableUnset { name: id.into() });
            assert_eq!(read(reference, json!({})), fault, "{id}");
        }
    }

    #[test]
    fn what_is_not_read_says_so() {
        for (reference, source) in [
            (json!({ "source": "store", "id": "A" }), "store"),
            (json!({ "source": "keychain", "id": "A" }), "keychain"),
        ] {
            let fault = Err(RefFault::NotImplemented {
                source: source.into(),
            });
            assert_eq!(read(reference, json!({})), fault);
        }
        let plugin = json!({ "source": "exec", "pluginIntegration": {} });
        let reference = json!({ "source": "exec", "provider": "p", "id": "a" });
        let found = read(reference, json!({ "providers": { "p": plugin } }));
        assert!(matches!(found, Err(RefFault::NotImplemented { .. })));
        let incomplete = json!({ "source": "env" });
        assert_eq!(read(incomplete, json!({})), Err(RefFault::Incomplete));
    }

    #[test]
    fn one_read_serves_all_references_of_a_provider() {
        let secrets = config(json!({ "providers": {
            "vault": { "source": "exec", "command": "/v" },
            "main": { "source": "file", "path": "~/s.json" },
        }}));
        let wanted = |source, provider: &str, id: &str| WantedRef {
            source,
            provider: provider.into(),
            id: id.into(),
        };
        let all = [
            wanted(RefSource::Exec, "vault", "a"),
            wanted(RefSource::File, "main", "/a"),
            wanted(RefSource::Exec, "vault", "b"),
            wanted(RefSource::Exec, "vault", "a"),
            wanted(RefSource::File, "gone", "/a"),
        ];
        let mut values = RefValues::new();
        let reads = plan(&all, &secrets, &EnvVars::new(), &mut values);
        let [SecretRead::Program(program)] = reads.as_slice() else {
            panic!("{reads:?}");
        };
        let input: Value = serde_json::from_slice(program.input()).unwrap();
        assert_eq!(input["ids"], json!(["a", "b"]));
        // Without a home folder ~ leads nowhere.
        let fault = values.get(&all[1]).unwrap().unwrap_err();
        assert!(matches!(
            fault,
            RefFault::Path {
                fault: PathFault::NoHome,
                ..
            }
        ));
        assert!(matches!(
            values.get(&all[4]),
            Some(Err(RefFault::NoProvider { .. }))
        ));
    }
}

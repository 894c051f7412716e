//! How the references of a config resolve, without their values (`auth explain`, `config validate`).

use serde::Serialize;

use super::refs::{Reading, RefAccess};
use super::source::SecretPath;
use crate::config::{Config, EnvVars, KeyPath, SecretInput};
use crate::secrets::WantedRef;

/// One reference, ready to be serialised. It holds names and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownRef {
    /// Where it stands.
    pub path: String,
    /// What it says, as `source:provider:id`.
    pub reference: String,
    /// `resolved`, `unresolved`, or `not-read` where nothing asked for its value.
    pub status: &'static str,
    /// Why it has no value, and what to do.
    pub why: Option<String>,
}

impl Config {
    /// What stands at one of the four places of a credential.
    pub const fn secret_input(&self, path: SecretPath) -> &SecretInput {
        let gateway = &self.gateway;
        match path {
            SecretPath::AuthToken => &gateway.auth.token,
            SecretPath::AuthPassword => &gateway.auth.password,
            SecretPath::RemoteToken => &gateway.remote.token,
            SecretPath::RemotePassword => &gateway.remote.password,
        }
    }
}

/// Every reference among the credentials and proxy headers of a config, as far as it is known by now. Nothing is asked
/// of the host.
pub fn shown_refs(config: &Config, env: &EnvVars, refs: RefAccess<'_>) -> Vec<ShownRef> {
    places(config)
        .filter_map(|(path, input)| {
            let reference = input.reference()?;
            let (status, why) = match refs.read(reference, &config.secrets, env) {
                Reading::Value(_) => ("resolved", None),
                Reading::Wanted(_) => ("not-read", None),
                Reading::Failed(fault) => {
                    let why = format!("{fault}. {}", fault.next_step());
                    ("unresolved", Some(why))
                }
            };
            let provider = config.secrets.provider_of(reference);
            Some(ShownRef {
                path,
                reference: format!("{}:{provider}:{}", reference.source.as_str(), reference.id),
                status,
                why,
            })
        })
        .collect()
}

/// What the host would have to read, so that [`shown_refs`] knows everything.
pub fn wanted_refs(config: &Config, env: &EnvVars, refs: RefAccess<'_>) -> Vec<WantedRef> {
    places(config)
        .filter_map(
            |(_, input)| match refs.read(input.reference()?, &config.secrets, env) {
                Reading::Wanted(wanted) => Some(wanted),
                Reading::Value(_) | Reading::Failed(_) => None,
            },
        )
        .collect()
}

/// Credentials and proxy headers, with the paths at which they stand.
fn places(config: &Config) -> impl Iterator<Item = (String, &SecretInput)> {
    let credentials = SecretPath::ALL
        .into_iter()
        .map(|path| (path.to_string(), config.secret_input(path)));
    let headers = config.gateway.remote.edge_auth.iter().flatten();
    let headers = headers.map(|(name, input)| {
        let path = KeyPath::root().key("gateway").key("remote");
        (path.key("edgeAuth").key(name).to_string(), input)
    });
    credentials.chain(headers)
}

impl ShownRef {
    /// The whole of it in words.
    pub fn describe(&self) -> String {
        let Self {
            path,
            reference,
            status,
            why,
        } = self;
        match why {
            Some(why) => format!("{path} refers to {reference}, which could not be read: {why}"),
            None if *status == "resolved" => {
                format!("{path} refers to {reference}, which has a value")
            }
            None => format!("{path} refers to {reference}, which nothing here needed to read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::RefValues;
    use serde_json::json;

    #[test]
    fn each_reference_says_how_it_stands() {
        let config = Config::from_value(&json!({
            "gateway": {
                "auth": { "token": "${SET}", "password": "plain" },
                "remote": {
                    "token": { "source": "exec", "provider": "vault", "id": "a" },
                    "password": { "source": "file", "id": "/a" },
                    "edgeAuth": { "X-Edge": "$EDGE", "X-Plain": "hunter2" },
                },
            },
            "secrets": {
                "defaults": { "file": "main" },
                "providers": { "vault": { "source": "exec", "command": "/v" } },
            },
        }));
        let env: EnvVars = [("SET", "hunter2")].into_iter().collect();
        let values = RefValues::new();
        let shown = shown_refs(&config, &env, RefAccess::Available(&values));
        let said: Vec<String> = shown.iter().map(ShownRef::describe).collect();
        assert_eq!(
            said,
            [
                "gateway.auth.token refers to env:default:SET, which has a value",
                "gateway.remote.token refers to exec:vault:a, which nothing here needed to read",
                "gateway.remote.password refers to file:main:/a, which could not be read: \
                 secrets.providers.main does not exist. Add secrets.providers.main, or correct the \
                 reference's provider.",
                "gateway.remote.edgeAuth.X-Edge refers to env:default:EDGE, which could not be read: \
                 EDGE is not set, or blank. Set EDGE.",
            ]
        );
    }
}

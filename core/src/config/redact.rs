//! Takes the secrets out of a config before anyone sees it (`config.get`).

use serde_json::{Map, Value};

use super::secret_input::template_name;

/// What stands where a secret stood. A server refuses to start on it.
pub const REDACTED: &str = "__OPENCLAW_REDACTED__";

/// A copy of a config in which every value that may be a secret is [`REDACTED`]. References and
/// `${NAME}` stay, because they hold only names.
///
/// ```
/// use clawgate_core::config::redact;
/// use serde_json::json;
///
/// let shown = redact(&json!({ "gateway": { "port": 1, "auth": { "token": "hunter2" } } }));
/// assert_eq!(shown["gateway"]["auth"]["token"], "__OPENCLAW_REDACTED__");
/// assert_eq!(shown["gateway"]["port"], 1);
/// ```
pub fn redact(config: &Value) -> Value {
    cover(config, false)
}

fn cover(value: &Value, secret: bool) -> Value {
    match value {
        Value::Object(object) if secret && is_reference(object) => value.clone(),
        Value::Object(object) => Value::Object(
            object
                .iter()
                .map(|(key, value)| {
                    let secret = secret || names_a_secret(key) || is_misplaced(key, value);
                    (key.clone(), cover(value, secret))
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(|item| cover(item, secret)).collect()),
        Value::String(text) if template_name(text).is_some() => value.clone(),
        Value::String(text) if !text.is_empty() && (secret || has_userinfo(text)) => {
            Value::String(REDACTED.to_owned())
        }
        // A secret of digits only, written without quotes.
        Value::Number(_) if secret => Value::String(REDACTED.to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn is_reference(object: &Map<String, Value>) -> bool {
    let text = |name: &str| object.get(name).is_some_and(Value::is_string);
    text("source")
        && text("id")
        && object
            .keys()
            .all(|key| matches!(key.as_str(), "source" | "provider" | "id"))
}

/// Whether a key is the name of a secret: by how it ends, so that `maxTokens` and `tokenLimit` are
/// not.
pub fn names_a_secret(key: &str) -> bool {
    const ENDS: &[&str] = &[
        "token",
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "secret",
        "apikey",
        "accesskey",
        "privatekey",
        "secretkey",
        "signingkey",
        "encryptionkey",
        "credential",
        "credentials",
        "authorization",
        "cookie",
        "serviceaccount",
        "jwt",
    ];
    let plain: String = key
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    matches!(plain.as_str(), "edgeauth" | "key") || ENDS.iter().any(|end| plain.ends_with(end))
}

/// Whether a value stands where its secrets belong, as in `auth: "s3cret"`.
fn is_misplaced(key: &str, value: &Value) -> bool {
    key.eq_ignore_ascii_case("auth") && !value.is_object()
}

/// Whether a string is a URL with a user or password in it.
fn has_userinfo(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.contains('@')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let config = json!({
            "gateway": {
                "auth": { "mode": "token", "token": "s3cret", "password": "${GW_PASSWORD}" },
                "remote": {
                    "url": "wss://user:s3cret@gw.example.com/x",
                    "token": { "source": "env", "provider": "default", "id": "T" },
                    "password": 1234,
                    "tlsFingerprint": "ab",
                    "edgeAuth": { "X-Name": "s3cret", "X-Other": "${EDGE}" },
                },
            },
            "channels": { "telegram": { "botToken": "s3cret" } },
            "models": { "headers": { "X-Api-Key": "s3cret", "Authorization": ["s3cret"] } },
            "env": { "vars": { "OPENAI_API_KEY": "s3cret" } },
            "auth": { "credentials": { "a": { "b": "s3cret" } } },
            "agents": { "defaults": { "maxTokens": 5, "contextTokens": "many" } },
        });
        let shown = redact(&config);
        assert!(!shown.to_string().contains("s3cret"));
        assert_eq!(shown["gateway"]["auth"]["password"], "${GW_PASSWORD}");
        assert_eq!(shown["gateway"]["remote"]["token"]["id"], "T");
        assert_eq!(shown["gateway"]["remote"]["password"], REDACTED);
        assert_eq!(shown["gateway"]["remote"]["tlsFingerprint"], "ab");
        assert_eq!(shown["gateway"]["remote"]["edgeAuth"]["X-Other"], "${EDGE}");
        assert_eq!(shown["agents"], config["agents"]);
    }

    #[test]
    fn keys_of_providers_and_profiles_go() {
        let shown = redact(&json!({
            "models": { "providers": { "a": { "baseUrl": "https://x", "apiKey": "s3cret" } } },
            "auth": { "profiles": {
                "a:b": { "provider": "a", "mode": "api_key", "key": "s3cret" },
                "a:c": { "provider": "a", "key": { "source": "env", "id": "K" } },
            } },
        }));
        assert!(!shown.to_string().contains("s3cret"), "{shown}");
        assert_eq!(shown["auth"]["profiles"]["a:c"]["key"]["id"], "K");
        assert_eq!(shown["models"]["providers"]["a"]["baseUrl"], "https://x");
    }

    #[test]
    fn a_secret_one_step_too_high_goes_too() {
        let shown = redact(&json!({ "gateway": { "auth": "s3cret" }, "auth": ["s3cret"] }));
        assert!(!shown.to_string().contains("s3cret"), "{shown}");
    }

    #[test]
    fn an_object_that_only_looks_like_a_reference_is_redacted() {
        let shown = redact(&json!({ "token": { "source": "env", "id": "A", "value": "s3cret" } }));
        assert_eq!(shown["token"]["value"], REDACTED);
    }
}

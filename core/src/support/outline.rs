//! The config, without anything that only its owner should know.

use serde_json::{Map, Value, json};

use crate::config::SecretInput;
use crate::config::schema::{Key, Kind, ROOT};

/// Texts that others need in order to help; their hosts are shortened later.
const SHOWN: [&str; 4] = [
    "gateway.remote.url",
    "gateway.customBindHost",
    "gateway.auth.trustedProxy.userHeader",
    "gateway.controlUi.basePath",
];

/// Of each key that clawgate knows: switches, choices and numbers as they are; of everything else only
/// that it is set. Names that the owner chose become numbers, unknown keys and parts that clawgate does
/// not read are left out and counted.
///
/// ```
/// use serde_json::json;
///
/// let config = json!({ "gateway": { "port": 1, "auth": { "token": "hunter2" }, "note": "mine" } });
/// assert_eq!(
///     clawgate_core::support::outline(&config),
///     json!({ "gateway": { "port": 1, "auth": { "token": "(set)" }, "(unknown keys)": 1 } }),
/// );
/// ```
pub fn outline(config: &Value) -> Value {
    object(config, ROOT, "")
}

fn object(value: &Value, keys: &[Key], path: &str) -> Value {
    let Value::Object(fields) = value else {
        return set();
    };
    let mut shown = Map::new();
    let mut unknown = 0_u64;
    for (name, value) in fields {
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            unknown += 1;
            continue;
        };
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        shown.insert(name.clone(), of_kind(value, &key.kind, &path));
    }
    if unknown > 0 {
        shown.insert("(unknown keys)".to_owned(), json!(unknown));
    }
    Value::Object(shown)
}

fn of_kind(value: &Value, kind: &Kind, path: &str) -> Value {
    match kind {
        Kind::Object(keys) => object(value, keys, path),
        Kind::MapOf(kind) => value.as_object().map_or_else(set, |fields| {
            fields
                .values()
                .enumerate()
                .map(|(index, value)| (format!("#{}", index + 1), of_kind(value, kind, path)))
                .collect::<Map<_, _>>()
                .into()
        }),
        Kind::Bool => of_type(value, value.is_boolean()),
        Kind::OneOf(names) => {
            let known = value.as_str().is_some_and(|text| names.contains(&text));
            of_type(value, known)
        }
        Kind::Port | Kind::Integer(..) => of_type(value, value.is_u64()),
        Kind::Text if SHOWN.contains(&path) => of_type(value, value.is_string()),
        Kind::Secret => match SecretInput::from_value(Some(value)) {
            SecretInput::Ref(reference) => {
                json!(format!("({} reference)", reference.source.as_str()))
            }
            SecretInput::Absent
            | SecretInput::Blank
            | SecretInput::Plain(_)
            | SecretInput::Embedded(_) => set(),
        },
        Kind::ListOf(_) | Kind::TextOrTexts | Kind::Headers => {
            let items = value.as_array().map(Vec::len);
            let fields = value.as_object().map(Map::len);
            items.or(fields).map_or_else(set, entries)
        }
        Kind::Text | Kind::TextOrFalse | Kind::TextOrNumber => set(),
        Kind::Any => json!("(not read)"),
    }
}

fn of_type(value: &Value, right: bool) -> Value {
    if right {
        value.clone()
    } else {
        json!("(of the wrong type)")
    }
}

fn set() -> Value {
    json!("(set)")
}

fn entries(count: usize) -> Value {
    json!(format!("({count} entries)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_the_owner_wrote_in_words_is_left() {
        let config = json!({
            "gateway": {
                "mode": "s3cret",
                "port": "s3cret",
                "bind": "lan",
                "auth": { "token": { "source": "env", "id": "s3cret" }, "password": "s3cret" },
                "trustedProxies": ["s3cret", "s3cret"],
                "tls": "s3cret",
                "remote": { "edgeAuth": { "X-s3cret": "s3cret" } },
                "s3cret": "s3cret",
            },
            "channels": { "telegram": { "botToken": "s3cret", "allowFrom": ["s3cret", 1] } },
            "agents": { "list": [{ "id": "s3cret" }] },
            "hooks": { "token": "s3cret" },
            "s3cret": { "a": "s3cret" },
        });
        let shown = outline(&config);
        assert!(!shown.to_string().contains("s3cret"), "{shown:#}");
        assert_eq!(shown["gateway"]["bind"], "lan");
        assert_eq!(shown["gateway"]["trustedProxies"], "(2 entries)");
        assert_eq!(shown["gateway"]["auth"]["token"], "(env reference)");
        assert_eq!(shown["(unknown keys)"], 1);
    }
}

//! Every key of `openclaw.json` that clawgate knows. This one table feeds the check for unknown keys,
//! the check of types, and the schema that `config.schema` answers.

use serde_json::{Map, Value, json};

#[rustfmt::skip]
mod agent_keys;
#[rustfmt::skip]
mod channel_keys;
#[rustfmt::skip]
mod keys;
#[rustfmt::skip]
mod webhook_keys;

pub use agent_keys::AGENT_BACKENDS;
pub use channel_keys::{DM_POLICIES, GROUP_POLICIES, REPLY_TO_MODES};
pub(super) use keys::MISPLACED;
pub use keys::{
    AUTH_MODES, BIND_MODES, EXEC_POLICIES, GATEWAY_MODES, MDNS_MODES, RELOAD_MODES, ROOT,
    TAILSCALE_MODES, TLS_TRUSTS,
};

use Kind::{
    Any, Bool, Headers, Integer, ListOf, MapOf, Object, OneOf, Port, Secret, Text, TextOrFalse,
    TextOrNumber, TextOrTexts,
};

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An object with these keys.
    Object(&'static [Key]),
    /// An object whose keys are free and whose values are alike.
    MapOf(&'static Self),
    /// `true` or `false`.
    Bool,
    /// Any string.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A string, `${NAME}`, or a reference object (spec credentials §0).
    Secret,
    /// A TCP port from 1 to 65535.
    Port,
    /// A whole number in this range, both ends included.
    Integer(u64, u64),
    /// A string, or `false` to turn it off.
    TextOrFalse,
    /// A string, or a number that stands for one, as an id.
    TextOrNumber,
    /// A string, or a list of at least one.
    TextOrTexts,
    /// An object of at least one header and its secret.
    Headers,
    /// A list of values that are alike.
    ListOf(&'static Self),
    /// Anything: kept as it is and not read.
    Any,
}

/// What a running gateway does about a change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It must be restarted.
    Restart,
    /// It takes the change up at once.
    Hot,
    /// It does not read the key: clients and nodes do, when they connect.
    Reconnect,
    /// Nothing here reads the key: other programs may.
    Unread,
}

impl Reload {
    /// The name on the wire (`reloadKind`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Hot => "hot",
            Self::Reconnect | Self::Unread => "none",
        }
    }
}

/// One known key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What a change of it needs. For an object: what its keys need unless they say otherwise.
    pub reload: Reload,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// The key at a dotted path such as `gateway.auth.mode`, if it is in the table.
pub fn lookup(path: &str) -> Option<&'static Key> {
    let mut keys = ROOT;
    let mut found = None;
    for name in path.split('.') {
        let key = keys.iter().find(|key| key.name == name)?;
        keys = match key.kind {
            Object(keys) => keys,
            MapOf(_) | Bool | Text | OneOf(_) | Secret | Port | Integer(..) | TextOrFalse
            | TextOrNumber | TextOrTexts | Headers | ListOf(_) | Any => &[],
        };
        found = Some(key);
    }
    found
}

/// The table as a JSON schema (draft 2020-12). Unknown keys are allowed in it, because clawgate keeps
/// them; `reloadKind` says what a change of a key needs.
///
/// ```
/// let schema = clawgate_core::config::schema::json_schema();
/// let port = &schema["properties"]["gateway"]["properties"]["port"];
/// assert_eq!(port["maximum"], 65535);
/// ```
pub fn json_schema() -> Value {
    let mut schema = object_schema(ROOT);
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert(
        "title".to_owned(),
        json!("openclaw.json as clawgate reads it"),
    );
    Value::Object(schema)
}

fn object_schema(keys: &[Key]) -> Map<String, Value> {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut schema = kind_schema(&key.kind);
            schema.insert("description".to_owned(), json!(key.doc));
            schema.insert("reloadKind".to_owned(), json!(key.reload.as_str()));
            (key.name.to_owned(), Value::Object(schema))
        })
        .collect();
    fields([
        ("type", json!("object")),
        ("properties", Value::Object(properties)),
    ])
}

fn kind_schema(kind: &Kind) -> Map<String, Value> {
    match kind {
        Object(keys) => object_schema(keys),
        MapOf(value) => fields([
            ("type", json!("object")),
            ("additionalProperties", Value::Object(kind_schema(value))),
        ]),
        Bool => fields([("type", json!("boolean"))]),
        Text => fields([("type", json!("string"))]),
        OneOf(values) => fields([("type", json!("string")), ("enum", json!(values))]),
        Secret => fields([
            (
                "anyOf",
                json!([
                    { "type": "string" },
                    {
                        "type": "object",
                        "required": ["source", "id"],
                        "properties": {
                            "source": { "type": "string" },
                            "provider": { "type": "string" },
                            "id": { "type": "string" },
                        },
                    },
                ]),
            ),
            ("writeOnly", json!(true)),
        ]),
        Port => integer(1, u64::from(u16::MAX)),
        Integer(low, high) => integer(*low, *high),
        TextOrNumber => fields([("type", json!(["string", "integer"]))]),
        TextOrTexts => fields([(
            "anyOf",
            json!([
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ]),
        )]),
        Headers => fields([
            ("type", json!("object")),
            ("additionalProperties", Value::Object(kind_schema(&Secret))),
            ("minProperties", json!(1)),
        ]),
        TextOrFalse => fields([("anyOf", json!([{ "type": "string" }, { "const": false }]))]),
        ListOf(item) => fields([
            ("type", json!("array")),
            ("items", Value::Object(kind_schema(item))),
        ]),
        Any => Map::new(),
    }
}

fn integer(low: u64, high: u64) -> Map<String, Value> {
    fields([
        ("type", json!("integer")),
        ("minimum", json!(low)),
        ("maximum", json!(high)),
    ])
}

fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_are_unique(keys: &[Key], path: &str) {
        let mut names: Vec<_> = keys.iter().map(|key| key.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(
            names.len(),
            count,
            "a key of {path} stands twice in the table"
        );
        for key in keys {
            if let Object(keys) = key.kind {
                names_are_unique(keys, key.name);
            }
        }
    }

    #[test]
    fn no_key_stands_twice() {
        names_are_unique(ROOT, "the top level");
    }

    #[test]
    fn every_right_place_is_in_the_table() {
        for (wrong, right) in MISPLACED {
            assert!(lookup(right).is_some(), "{right}");
            assert!(lookup(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_schema_names_types_and_reload_kinds() {
        let schema = json_schema();
        let auth = &schema["properties"]["gateway"]["properties"]["auth"]["properties"];
        assert_eq!(auth["mode"]["enum"][3], "trusted-proxy");
        assert_eq!(auth["rateLimit"]["reloadKind"], "hot");
        assert_eq!(auth["token"]["writeOnly"], true);
        assert!(
            schema.get("additionalProperties").is_none(),
            "unknown keys are kept"
        );
    }
}

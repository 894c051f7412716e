//! Where two configs differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::key_path::KeyPath;

/// The paths at which two values differ, as deep as both have something there. A list that changed is
/// one difference, because its elements have no names.
///
/// ```
/// use clawgate_core::config::differences;
/// use serde_json::json;
///
/// let before = json!({ "gateway": { "port": 1, "auth": { "mode": "token" } } });
/// let after = json!({ "gateway": { "port": 2 }, "channels": {} });
/// let paths: Vec<String> = differences(&before, &after)
///     .iter()
///     .map(ToString::to_string)
///     .collect();
/// assert_eq!(paths, ["channels", "gateway.auth.mode", "gateway.port"]);
/// assert_eq!(differences(&json!({}), &after).len(), 2);
/// ```
pub fn differences(before: &Value, after: &Value) -> Vec<KeyPath> {
    let mut found = Vec::new();
    compare(&KeyPath::root(), Some(before), Some(after), &mut found);
    found
}

fn compare(
    path: &KeyPath,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<KeyPath>,
) {
    if before == after {
        return;
    }
    let (Some(old), Some(new)) = (members(before), members(after)) else {
        found.push(path.clone());
        return;
    };
    let objects = old.into_iter().chain(new);
    let keys: BTreeSet<&String> = objects.flat_map(Map::keys).collect();
    if keys.is_empty() {
        found.push(path.clone());
    }
    for key in keys {
        compare(
            &path.key(key),
            before.and_then(|value| value.get(key)),
            after.and_then(|value| value.get(key)),
            found,
        );
    }
}

/// What is in an object. What comes and goes as a whole is told by what is in it, too.
const fn members(value: Option<&Value>) -> Option<Option<&Map<String, Value>>> {
    match value {
        None => Some(None),
        Some(Value::Object(object)) => Some(Some(object)),
        Some(_) => None,
    }
}

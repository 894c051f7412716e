//! What `sessions.patch` may set, and to what (spec protocol §6.4).

use serde_json::{Map, Value};

use crate::{gateway::sessions::SessionEntry, time::WallTime};

/// What a setting may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Flag,
    /// A flag that stands in the entry itself.
    Own(Own),
    /// Any of these words.
    Word(&'static [&'static str]),
    /// Text of so many characters at most.
    Text(usize),
    /// Minutes.
    Count,
    /// It is not implemented here.
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Archived,
    Pinned,
    Unread,
}

/// Every setting, by its name on the wire.
const SETTINGS: &[(&str, Kind)] = &[
    ("archived", Kind::Own(Own::Archived)),
    ("pinned", Kind::Own(Own::Pinned)),
    ("unread", Kind::Own(Own::Unread)),
    ("label", Kind::Text(200)),
    ("displayName", Kind::Text(200)),
    ("autoLabel", Kind::Text(200)),
    ("icon", Kind::Text(64)),
    ("color", Kind::Text(64)),
    ("category", Kind::Text(100)),
    ("statusNote", Kind::Text(120)),
    (
        "attention",
        Kind::Word(&["hand", "key", "alert", "flag", "lock", "hourglass"]),
    ),
    ("boardFace", Kind::Word(&["chat", "dashboard"])),
    ("model", Kind::Text(200)),
    ("thinkingLevel", Kind::Text(32)),
    ("verboseLevel", Kind::Text(32)),
    ("reasoningLevel", Kind::Text(32)),
    ("traceLevel", Kind::Text(32)),
    (
        "responseUsage",
        Kind::Word(&["off", "tokens", "full", "on"]),
    ),
    ("sendPolicy", Kind::Word(&["allow", "deny"])),
    ("groupActivation", Kind::Word(&["mention", "always"])),
    ("contextWindow", Kind::Text(32)),
    ("fastMode", Kind::Flag),
    ("ttlMinutes", Kind::Count),
    ("spawnDepth", Kind::Count),
    ("permissionMode", Kind::Missing),
    ("toolOverrides", Kind::Missing),
    ("elevatedLevel", Kind::Missing),
    ("execHost", Kind::Missing),
    ("execSecurity", Kind::Missing),
    ("execAsk", Kind::Missing),
    ("execNode", Kind::Missing),
    ("worktree", Kind::Missing),
    ("cwd", Kind::Missing),
    ("incognito", Kind::Missing),
    ("visibility", Kind::Missing),
    ("fork", Kind::Missing),
];

/// Changes that were checked.
#[derive(Debug)]
pub(super) struct Patch(Vec<(&'static str, Kind, Value)>);

/// Checks changes. `null` takes a setting back.
pub(super) fn parse_patch(fields: &Map<String, Value>) -> Result<Patch, String> {
    let mut changes = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let shown: String = name.chars().take(64).collect();
        let (name, kind) = SETTINGS
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| format!("unknown field '{shown}'"))?;
        let fits = match (kind, value) {
            (Kind::Missing, _) => return Err(format!("{shown} is not implemented")),
            (_, Value::Null) => true,
            (Kind::Flag | Kind::Own(_), value) => value.is_boolean(),
            (Kind::Word(words), Value::String(word)) => words.contains(&word.as_str()),
            (Kind::Text(max), Value::String(text)) => text.chars().count() <= *max,
            (Kind::Count, value) => value.is_u64(),
            (Kind::Word(_) | Kind::Text(_), _) => false,
        };
        if !fits {
            return Err(match kind {
                Kind::Flag | Kind::Own(_) => format!("{shown} must be true or false"),
                Kind::Word(words) => format!("{shown} must be one of {}", words.join(", ")),
                Kind::Text(max) => format!("{shown} must be text of {max} characters at most"),
                Kind::Count => format!("{shown} must be a whole number"),
                Kind::Missing => format!("{shown} is not implemented"),
            });
        }
        changes.push((*name, *kind, value.clone()));
    }
    Ok(Patch(changes))
}

impl Patch {
    pub(super) fn apply(&self, entry: &mut SessionEntry, now: WallTime) {
        for (name, kind, value) in &self.0 {
            let on = *value == Value::Bool(true);
            match kind {
                Kind::Own(Own::Archived) => entry.archived_at = on.then_some(now),
                Kind::Own(Own::Pinned) => entry.pinned_at = on.then_some(now),
                Kind::Own(Own::Unread) => entry.unread = on,
                Kind::Missing => {}
                Kind::Count | Kind::Flag | Kind::Text(_) | Kind::Word(_) => {
                    if value.is_null() {
                        entry.settings.remove(*name);
                    } else {
                        entry.settings.insert((*name).to_owned(), value.clone());
                    }
                }
            }
        }
        if !self.0.is_empty() {
            entry.updated_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: &Value) -> Result<usize, String> {
        let Value::Object(fields) = value else {
            panic!("no object");
        };
        parse_patch(fields).map(|patch| patch.0.len())
    }

    #[test]
    fn settings_are_checked_and_null_takes_them_back() {
        assert_eq!(
            check(&json!({ "label": "x", "pinned": true, "model": null })),
            Ok(3)
        );
        for wrong in [
            json!({ "label": 7 }),
            json!({ "label": "x".repeat(201) }),
            json!({ "pinned": "yes" }),
            json!({ "sendPolicy": "maybe" }),
            json!({ "ttlMinutes": -1 }),
            json!({ "colour": "red" }),
            json!({ "permissionMode": "full" }),
        ] {
            assert!(check(&wrong).is_err(), "{wrong}");
        }
    }
}

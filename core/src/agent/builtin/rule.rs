//! Rules: which commands of nodes a message means, and what is answered.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::pattern::{Pattern, is_name};
use super::template::{Shape, Template};
use crate::config::KeyPath;

/// Rules of one agent.
pub const MAX_RULES: usize = 200;
/// Calls of one rule.
pub const MAX_CALLS: usize = 16;

/// One rule.
///
/// | key | means |
/// | --- | --- |
/// | `match` | the [`Pattern`], or a list of them |
/// | `node`, `command`, `params` | the one call, with `{name}` for kept parts |
/// | `calls` | instead of these: a list of `{node, command, params, as}` |
/// | `reply` | the answer; `{result.field}` is a part of the result, or `{NAME.field}` of the call `as` NAME |
/// | `error` | the answer when a call fails, with `{error.message}`, `{error.code}`, `{error.node}`, `{error.command}` |
///
/// Calls whose parts name no result of another start at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub(super) patterns: Vec<Pattern>,
    /// The first pattern as written, for `/help`.
    pub(super) shown: String,
    pub(super) calls: Vec<Call>,
    pub(super) reply: Option<Template>,
    pub(super) error: Option<Template>,
}

/// A call that a rule makes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// Under which its result is found.
    pub(super) name: String,
    pub(super) node: Template,
    pub(super) command: Template,
    pub(super) params: Shape,
    /// Other results that it uses.
    pub(super) needs: BTreeSet<String>,
}

/// What is wrong with a rule, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFault {
    /// The place within the rule.
    pub at: KeyPath,
    /// What is wrong there.
    pub message: String,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_value(value: &Value) -> Result<Self, RuleFault> {
        let root = KeyPath::root();
        let object = object(value, &root)?;
        known(
            object,
            &root,
            &[
                "match", "node", "command", "params", "calls", "reply", "error",
            ],
        )?;
        let texts = patterns(object, &root)?;
        let mut patterns = Vec::new();
        for (at, text) in &texts {
            patterns.push(Pattern::parse(text).map_err(|error| fault(at, &error))?);
        }
        let calls = calls(object, &root)?;
        let reply = template(object, "reply", &root)?;
        if calls.is_empty() && reply.is_none() {
            return Err(fault(&root, &"a rule needs a command, calls, or a reply"));
        }
        let rule = Self {
            patterns,
            shown: texts
                .into_iter()
                .map(|(_, text)| text)
                .next()
                .unwrap_or_default(),
            calls,
            reply,
            error: template(object, "error", &root)?,
        };
        rule.check_names(&root)?;
        Ok(rule)
    }

    /// Every name that is used must come from all patterns or from a call.
    fn check_names(&self, root: &KeyPath) -> Result<(), RuleFault> {
        let kept = |name: &str| {
            self.patterns
                .iter()
                .all(|pattern| pattern.names().any(|kept| kept == name))
        };
        let mut results: BTreeSet<&str> = BTreeSet::new();
        for call in &self.calls {
            let taken = self
                .patterns
                .iter()
                .any(|pattern| pattern.names().any(|kept| kept == call.name));
            if taken || call.name == "error" || !results.insert(&call.name) {
                let message = format!(
                    "the name {:?} is taken; give the call another with as",
                    call.name
                );
                return Err(fault(root, &message));
            }
        }
        let unknown = |name: &str| {
            format!("{{{name}}} is neither kept by every pattern nor the result of an earlier call")
        };
        let mut earlier: BTreeSet<&str> = BTreeSet::new();
        for call in &self.calls {
            let mut used = BTreeSet::new();
            call.params.names(&mut used);
            used.extend(call.node.names().map(str::to_owned));
            used.extend(call.command.names().map(str::to_owned));
            if let Some(name) = used
                .iter()
                .find(|name| !kept(name) && !earlier.contains(name.as_str()))
            {
                return Err(fault(root, &unknown(name)));
            }
            earlier.insert(&call.name);
        }
        for (key, template, extra) in [
            ("reply", &self.reply, None),
            ("error", &self.error, Some("error")),
        ] {
            let names = template.iter().flat_map(Template::names);
            for name in names {
                if !kept(name) && !results.contains(name) && extra != Some(name) {
                    return Err(fault(&root.key(key), &unknown(name)));
                }
            }
        }
        Ok(())
    }
}

fn fault(at: &KeyPath, message: &impl ToString) -> RuleFault {
    RuleFault {
        at: at.clone(),
        message: message.to_string(),
    }
}

fn object<'a>(value: &'a Value, at: &KeyPath) -> Result<&'a Map<String, Value>, RuleFault> {
    value
        .as_object()
        .ok_or_else(|| fault(at, &"expected an object"))
}

fn known(object: &Map<String, Value>, at: &KeyPath, keys: &[&str]) -> Result<(), RuleFault> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(fault(
            &at.key(key),
            &format!("unknown key; known are {}", keys.join(", ")),
        )),
        None => Ok(()),
    }
}

fn patterns(
    object: &Map<String, Value>,
    root: &KeyPath,
) -> Result<Vec<(KeyPath, String)>, RuleFault> {
    let at = root.key("match");
    let wrong = || fault(&at, &"expected a pattern or a list of patterns");
    match object.get("match") {
        None => Err(fault(root, &"a rule needs a match")),
        Some(Value::String(text)) => Ok(vec![(at, text.clone())]),
        Some(Value::Array(items)) if !items.is_empty() => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let text = item.as_str().ok_or_else(wrong)?;
                Ok((at.index(index), text.to_owned()))
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn calls(object: &Map<String, Value>, root: &KeyPath) -> Result<Vec<Call>, RuleFault> {
    let own = ["node", "command", "params"]
        .iter()
        .any(|key| object.contains_key(*key));
    let at = root.key("calls");
    let items = match object.get("calls") {
        None if own => return Ok(vec![call(object, root, 0)?]),
        None => return Ok(Vec::new()),
        Some(_) if own => {
            return Err(fault(&at, &"either calls, or node, command and params"));
        }
        Some(Value::Array(items)) if !items.is_empty() && items.len() <= MAX_CALLS => items,
        Some(_) => {
            return Err(fault(
                &at,
                &format!("expected a list of 1 to {MAX_CALLS} calls"),
            ));
        }
    };
    let mut calls: Vec<Call> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        let item = self::object(item, &at)?;
        known(item, &at, &["node", "command", "params", "as"])?;
        let mut call = call(item, &at, index)?;
        call.needs = calls
            .iter()
            .map(|earlier| earlier.name.clone())
            .filter(|name| call.uses(name))
            .collect();
        calls.push(call);
    }
    Ok(calls)
}

fn call(object: &Map<String, Value>, at: &KeyPath, index: usize) -> Result<Call, RuleFault> {
    let needed = |key: &str| {
        template(object, key, at)?.ok_or_else(|| fault(at, &format!("a call needs a {key}")))
    };
    let name = match object.get("as") {
        None if index == 0 => "result".to_owned(),
        None => format!("result{}", index + 1),
        Some(Value::String(name)) if is_name(name) => name.clone(),
        Some(_) => {
            return Err(fault(
                &at.key("as"),
                &"expected a name of letters and digits",
            ));
        }
    };
    let params = match object.get("params") {
        None => Value::Object(Map::new()),
        Some(value @ Value::Object(_)) => value.clone(),
        Some(_) => return Err(fault(&at.key("params"), &"expected an object")),
    };
    Ok(Call {
        name,
        node: needed("node")?,
        command: needed("command")?,
        params: Shape::parse(&params).map_err(|error| fault(&at.key("params"), &error))?,
        needs: BTreeSet::new(),
    })
}

impl Call {
    fn uses(&self, name: &str) -> bool {
        let mut names = BTreeSet::new();
        self.params.names(&mut names);
        names.contains(name)
            || self.node.names().any(|used| used == name)
            || self.command.names().any(|used| used == name)
    }
}

fn template(
    object: &Map<String, Value>,
    key: &str,
    at: &KeyPath,
) -> Result<Option<Template>, RuleFault> {
    let at = at.key(key);
    match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Template::parse(text)
            .map(Some)
            .map_err(|error| fault(&at, &error)),
        Some(_) => Err(fault(&at, &"expected a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn good_rules_are_read() {
        let rule = Rule::from_value(&json!({
            "match": ["how full is {node}", "battery of {node}"],
            "calls": [
                { "node": "{node}", "command": "device.status" },
                { "node": "{node}", "command": "system.notify", "as": "told",
                  "params": { "body": "{result.battery.level}" } },
            ],
            "reply": "{result.battery.level} {told}",
            "error": "{node}: {error.message}",
        }))
        .unwrap();
        assert_eq!(rule.shown, "how full is {node}");
        assert!(rule.calls[0].needs.is_empty());
        assert!(rule.calls[1].needs.contains("result"));
        assert!(Rule::from_value(&json!({ "match": "hi", "reply": "Hello." })).is_ok());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (rule, at, part) in [
            (json!(5), "the top level", "object"),
            (json!({ "reply": "x" }), "the top level", "match"),
            (json!({ "match": "{a", "reply": "x" }), "match", "brace"),
            (
                json!({ "match": ["a", "{b}{c}"], "reply": "x" }),
                "match[1]",
                "touch",
            ),
            (json!({ "match": "a" }), "the top level", "needs a command"),
            (
                json!({ "match": "a", "node": "n" }),
                "the top level",
                "needs a command",
            ),
            (
                json!({ "match": "a", "replay": "n" }),
                "replay",
                "unknown key",
            ),
            (json!({ "match": "a", "calls": [] }), "calls", "1 to 16"),
            (
                json!({ "match": "a", "calls": [{ "node": "n", "command": "c", "as": "1" }] }),
                "calls[0].as",
                "name",
            ),
            (
                json!({ "match": "a", "node": "n", "command": "c", "params": [] }),
                "params",
                "object",
            ),
            (
                json!({ "match": "a", "node": "{b}", "command": "c" }),
                "the top level",
                "{b}",
            ),
            (
                json!({ "match": ["a {b}", "c"], "reply": "{b}" }),
                "reply",
                "kept by every pattern",
            ),
            (
                json!({ "match": "{result}", "node": "n", "command": "c" }),
                "the top level",
                "taken",
            ),
        ] {
            let fault = Rule::from_value(&rule).unwrap_err();
            assert_eq!(fault.at.to_string(), at, "{rule}");
            assert!(fault.message.contains(part), "{rule}: {}", fault.message);
        }
    }
}

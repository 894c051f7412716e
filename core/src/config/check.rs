//! Compares a parsed config with the table of known keys.

mod agents;
mod channels;
mod webhook;

use std::fmt;

use serde_json::Value;

use super::key_path::KeyPath;
use super::read::whole_number;
use super::scan::Position;
use super::schema::{Key, Kind, MISPLACED, ROOT};
use super::secret_input::SecretInput;
use crate::policy::check_edge_headers;
use crate::secrets::{SecretProvider, check_reference};

/// The most findings of one file that are reported.
pub const MAX_FINDINGS: usize = 100;

/// How a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The value cannot be used; a gateway does not start on it.
    Issue,
    /// The value is kept and ignored.
    Warning,
}

/// One thing about a config that its owner should know. Never repeats a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it matters.
    pub severity: Severity,
    /// Which value it is about.
    pub path: KeyPath,
    /// Where that stands in the text.
    pub position: Option<Position>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Everything about `value` that does not fit the table, without places.
pub(super) fn check(value: &Value) -> Vec<Finding> {
    let mut check = Check::default();
    check.object(&KeyPath::root(), value, ROOT);
    check.providers(value);
    check.agents(value);
    check.channels(value);
    check.findings
}

#[derive(Default)]
struct Check {
    findings: Vec<Finding>,
}

impl Check {
    fn report(&mut self, severity: Severity, path: &KeyPath, message: String) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding {
                severity,
                path: path.clone(),
                position: None,
                message,
            });
        }
    }

    fn wrong(&mut self, path: &KeyPath, value: &Value, expected: &str) {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.report(
            Severity::Issue,
            path,
            format!("expected {expected}, found {found}"),
        );
    }

    fn object(&mut self, path: &KeyPath, value: &Value, keys: &[Key]) {
        let Value::Object(object) = value else {
            self.wrong(path, value, "an object");
            return;
        };
        for (name, value) in object {
            let here = path.key(name);
            match keys.iter().find(|key| key.name == name) {
                Some(key) => self.value(&here, value, &key.kind),
                None => self.report(Severity::Warning, &here, unknown(&here, name, keys)),
            }
        }
    }

    fn value(&mut self, path: &KeyPath, value: &Value, kind: &Kind) {
        match kind {
            Kind::Any => {}
            Kind::Object(keys) => self.object(path, value, keys),
            Kind::MapOf(kind) => match value.as_object() {
                Some(object) => {
                    for (name, value) in object {
                        self.value(&path.key(name), value, kind);
                    }
                }
                None => self.wrong(path, value, "an object"),
            },
            Kind::ListOf(kind) => match value.as_array() {
                Some(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.value(&path.index(index), item, kind);
                    }
                }
                None => self.wrong(path, value, "a list"),
            },
            Kind::Bool if !value.is_boolean() => self.wrong(path, value, "true or false"),
            Kind::Text if !value.is_string() => self.wrong(path, value, "a string"),
            Kind::TextOrFalse if !value.is_string() && value != &Value::Bool(false) => {
                self.wrong(path, value, "a string or false");
            }
            Kind::TextOrNumber if !value.is_string() && !value.is_number() => {
                self.wrong(path, value, "a string or a number");
            }
            Kind::Bool | Kind::Text | Kind::TextOrFalse | Kind::TextOrNumber => {}
            Kind::TextOrTexts => match value.as_array() {
                Some(items) if items.is_empty() => {
                    self.report(Severity::Issue, path, "the list is empty".to_owned());
                }
                Some(_) => self.value(path, value, &Kind::ListOf(&Kind::Text)),
                None if value.is_string() => {}
                None => self.wrong(path, value, "a string or a list of strings"),
            },
            Kind::Headers => self.headers(path, value),
            Kind::OneOf(names) => self.one_of(path, value, names),
            Kind::Secret => self.secret(path, value),
            Kind::Port => self.integer(path, value, 1, u64::from(u16::MAX), "a port"),
            Kind::Integer(low, high) => self.integer(path, value, *low, *high, "a whole number"),
        }
    }

    fn one_of(&mut self, path: &KeyPath, value: &Value, names: &[&str]) {
        let Some(text) = value.as_str() else {
            self.wrong(path, value, &format!("one of {}", names.join(", ")));
            return;
        };
        if names.contains(&text) {
            return;
        }
        let hint = nearest(text, names.iter().copied())
            .map(|name| format!("; did you mean \"{name}\"?"))
            .unwrap_or_default();
        self.report(
            Severity::Issue,
            path,
            format!("not one of {}{hint}", names.join(", ")),
        );
    }

    fn headers(&mut self, path: &KeyPath, value: &Value) {
        let Some(object) = value.as_object() else {
            self.wrong(path, value, "an object of header names and secrets");
            return;
        };
        if let Err((name, problem)) = check_edge_headers(object.keys().map(String::as_str)) {
            let here = name.map_or_else(|| path.clone(), |name| path.key(name));
            self.report(Severity::Issue, &here, problem.to_string());
        }
        self.value(path, value, &Kind::MapOf(&Kind::Secret));
    }

    fn secret(&mut self, path: &KeyPath, value: &Value) {
        let problem = match value {
            Value::String(_) | Value::Null => return,
            Value::Object(object) => {
                let given = |name: &str| {
                    object
                        .get(name)
                        .and_then(Value::as_str)
                        .is_some_and(|text| !text.trim().is_empty())
                };
                if given("source") && given("id") {
                    let input = SecretInput::from_value(Some(value));
                    match input.reference().map(check_reference) {
                        Some(Err(fault)) => fault.to_string(),
                        Some(Ok(())) | None => return,
                    }
                } else {
                    "a reference needs a source (env, file, exec or store) and an id".to_owned()
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                "expected a string, \"${NAME}\", or a reference {source, provider, id}".to_owned()
            }
        };
        self.report(Severity::Issue, path, problem);
    }

    /// What the table cannot say about `secrets.providers`: which keys an entry needs, and what a
    /// path must be. An entry about which something was already said is left at that.
    fn providers(&mut self, root: &Value) {
        let entries = root
            .get("secrets")
            .and_then(|secrets| secrets.get("providers"))
            .and_then(Value::as_object);
        for (name, entry) in entries.into_iter().flatten() {
            let path = KeyPath::root().key("secrets").key("providers").key(name);
            let Some(fault) = SecretProvider::from_value(entry).fault() else {
                continue;
            };
            let known = self.findings.iter().any(|finding| {
                finding.severity == Severity::Issue
                    && finding.path.segments().starts_with(path.segments())
            });
            if known {
                continue;
            }
            let (path, message) = if entry.get(fault.name()).is_some() {
                (path.key(fault.name()), fault.what().to_owned())
            } else {
                (path, fault.to_string().trim_start().to_owned())
            };
            self.report(Severity::Issue, &path, message);
        }
    }

    fn integer(&mut self, path: &KeyPath, value: &Value, low: u64, high: u64, what: &str) {
        let expected = format!("{what} from {low} to {high}");
        if !value.is_number() {
            self.wrong(path, value, &expected);
        } else if !whole_number(value).is_some_and(|number| (low..=high).contains(&number)) {
            self.report(Severity::Issue, path, format!("not {expected}"));
        }
    }
}

fn unknown(path: &KeyPath, name: &str, keys: &[Key]) -> String {
    let written = path.to_string();
    let hint = match MISPLACED.iter().find(|(wrong, _)| *wrong == written) {
        Some((_, right)) => format!("; did you mean {right}?"),
        None => nearest(name, keys.iter().map(|key| key.name))
            .map(|near| format!("; did you mean \"{near}\"?"))
            .unwrap_or_default(),
    };
    format!("unknown key, kept and ignored{hint}")
}

/// The candidate that a word was probably meant to be.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Long keys are not worth the time, and nobody misspells them into a known one.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (above, b) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(a != *b))
                .min(left + 1)
                .min(*above + 1);
            diagonal = *above;
            *above = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(value: &Value) -> Vec<String> {
        check(value).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_config_has_no_findings() {
        let good = json!({ "gateway": {
            "mode": "local", "port": 18789, "bind": "loopback",
            "auth": { "mode": "token", "token": "${GW}", "password": { "source": "env", "id": "P" } },
            "trustedProxies": ["10.0.0.0/8"],
            "http": { "securityHeaders": { "strictTransportSecurity": false } },
        }});
        assert_eq!(messages(&good), Vec::<String>::new());
    }

    #[test]
    fn unknown_keys_are_warnings_with_the_nearest_name() {
        assert_eq!(
            messages(
                &json!({ "gatway": {}, "gateway": { "token": "t", "trustedProxy": [], "zzz": 1 } })
            ),
            [
                "gateway.token: unknown key, kept and ignored; did you mean gateway.auth.token?",
                "gateway.trustedProxy: unknown key, kept and ignored; did you mean \"trustedProxies\"?",
                "gateway.zzz: unknown key, kept and ignored",
                "gatway: unknown key, kept and ignored; did you mean \"gateway\"?",
            ]
        );
    }

    #[test]
    fn wrong_values_are_issues_and_are_never_repeated() {
        let findings = messages(&json!({ "gateway": {
            "port": "18789", "bind": "0.0.0.0", "mode": "Remote",
            "auth": { "token": 12345, "password": { "source": "env" }, "rateLimit": { "windowMs": 0 } },
            "trustedProxies": [7],
        }}));
        assert_eq!(
            findings,
            [
                "gateway.auth.password: a reference needs a source (env, file, exec or store) and an id",
                "gateway.auth.rateLimit.windowMs: not a whole number from 1 to 2592000000",
                "gateway.auth.token: expected a string, \"${NAME}\", or a reference {source, provider, id}",
                "gateway.bind: not one of loopback, lan, tailnet, custom, auto",
                "gateway.mode: not one of local, remote; did you mean \"remote\"?",
                "gateway.port: expected a port from 1 to 65535, found a string",
                "gateway.trustedProxies[0]: expected a string, found a number",
            ]
        );
    }

    #[test]
    fn pins_and_headers_of_a_remote_gateway_are_checked() {
        let remote = |remote: Value| messages(&json!({ "gateway": { "remote": remote } }));
        assert_eq!(
            remote(json!({
                "tlsFingerprint": ["a", "b"], "tlsTrust": "first-use",
                "edgeAuth": { "X-Key": "v", "Authorization": { "source": "env", "id": "A" } },
            })),
            Vec::<String>::new()
        );
        assert_eq!(
            remote(json!({ "tlsFingerprint": [], "tlsTrust": "tofu", "edgeAuth": {} })),
            [
                "gateway.remote.edgeAuth: it names no header; remove it, or write an object of header names and secrets",
                "gateway.remote.tlsFingerprint: the list is empty",
                "gateway.remote.tlsTrust: not one of authorities, first-use",
            ]
        );
        assert_eq!(
            remote(json!({ "tlsFingerprint": 7, "edgeAuth": { "Host": "h", "X-Key": 7 } })),
            [
                "gateway.remote.edgeAuth.Host: the WebSocket upgrade sets this header itself",
                "gateway.remote.edgeAuth.X-Key: expected a string, \"${NAME}\", or a reference {source, provider, id}",
                "gateway.remote.tlsFingerprint: expected a string or a list of strings, found a number",
            ]
        );
    }

    #[test]
    fn references_and_providers_are_looked_at_closely() {
        let findings = messages(&json!({
            "gateway": { "auth": {
                "token": { "source": "env", "id": "lower" },
                "password": { "source": "exec", "provider": "vault", "id": "../a" },
            }},
            "secrets": { "providers": {
                "bare": { "source": "exec" },
                "good": { "source": "file", "path": "/s" },
                "other": { "source": "vault" },
                "relative": { "source": "exec", "command": "bin/v" },
                "slow": { "source": "file", "path": "/s", "timeoutMs": 120_001 },
            }},
        }));
        assert_eq!(
            findings,
            [
                "gateway.auth.password: its id may have up to 256 letters, digits and . _ : / # - \
                 and no . or .. between slashes",
                "gateway.auth.token: its id is not a name such as GATEWAY_TOKEN",
                "secrets.providers.slow.timeoutMs: not a whole number from 1 to 120000",
                "secrets.providers.bare: .command is missing",
                "secrets.providers.other.source: is not env, file, exec or store",
                "secrets.providers.relative.command: is not an absolute path",
            ]
        );
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}

//! Runs conformance cases: one JSON object a line, whose `given.fn` names a function of the core and
//! whose `expect` says what it must answer.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

pub mod credentials;
pub mod hostpolicy;
pub mod server;

/// A case whose answer is not the expected one.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The case, by its `id` or its line.
    pub id: String,
    /// What it expects.
    pub expected: Value,
    /// What came out, or a sentence when nothing did.
    pub got: Value,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.id)?;
        writeln!(f, "  expected {}", self.expected)?;
        write!(f, "  got      {}", self.got)
    }
}

/// What a set of cases came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How many passed, by function.
    pub passed: BTreeMap<String, usize>,
    /// Those that did not.
    pub failures: Vec<Failure>,
}

impl Report {
    /// How many passed.
    pub fn passed(&self) -> usize {
        self.passed.values().sum()
    }

    /// Runs every case of a text. Empty lines are skipped; a line that is no case fails.
    pub fn run(&mut self, text: &str) {
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match run_line(line) {
                Ok(function) => *self.passed.entry(function).or_default() += 1,
                Err(mut failure) => {
                    if failure.id.is_empty() {
                        failure.id = format!("line {}", number + 1);
                    }
                    self.failures.push(failure);
                }
            }
        }
    }
}

fn run_line(line: &str) -> Result<String, Failure> {
    let failure = |id: &str, expected: Value, got: Value| Failure {
        id: id.to_owned(),
        expected,
        got,
    };
    let case: Value = serde_json::from_str(line)
        .map_err(|error| failure("", Value::Null, format!("not JSON: {error}").into()))?;
    let id = case.get("id").and_then(Value::as_str).unwrap_or_default();
    let expected = case.get("expect").cloned().unwrap_or_default();
    let empty = Value::Object(Map::new());
    let given = case.get("given").unwrap_or(&empty);
    let Some(function) = given.get("fn").and_then(Value::as_str) else {
        return Err(failure(id, expected, "given.fn names no function".into()));
    };
    let Some(got) = call(function, given) else {
        let got = format!("the function {function} is unknown").into();
        return Err(failure(id, expected, got));
    };
    let Value::Object(wanted) = &expected else {
        return Err(failure(id, expected, "expect is no object".into()));
    };
    if wanted
        .iter()
        .all(|(key, value)| got.get(key).unwrap_or(&Value::Null) == value)
    {
        Ok(function.to_owned())
    } else {
        Err(failure(id, expected, got))
    }
}

/// Answers one case, or gives `None` when the function is unknown.
pub fn call(function: &str, given: &Value) -> Option<Value> {
    credentials::call(function, given)
        .or_else(|| server::call(function, given))
        .or_else(|| hostpolicy::call(function, given))
}

/// The environment of a case.
fn env_of(given: &Value) -> clawgate_core::config::EnvVars {
    let variables = given.get("env").and_then(Value::as_object);
    variables
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect()
}

/// The config of a case.
fn config_of(given: &Value) -> clawgate_core::config::Config {
    clawgate_core::config::Config::from_value(given.get("config").unwrap_or(&Value::Null))
}

/// The name under which the cases know the source of a value.
///
/// Their values carry the name of their source (`env-token`, `local-token`, ...), and whoever wrote
/// them down read the source off the value; `literal` stands for a value without such a name.
fn labelled<'a>(value: &str, source: &'a str) -> &'a str {
    const NAMED: &[&str] = &["cli-", "env-", "local-", "remote-", "ref-", "ovr-"];
    if NAMED.iter().any(|name| value.starts_with(name)) {
        source
    } else {
        "literal"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let mut report = Report::default();
        report.run(text);
        report
    }

    #[test]
    fn good_cases_pass_and_others_fail_with_a_reason() {
        let good =
            r#"{"id":"a","given":{"fn":"parse_port_option","value":"1"},"expect":{"port":1}}"#;
        let wrong =
            r#"{"id":"b","given":{"fn":"parse_port_option","value":"1"},"expect":{"port":2}}"#;
        let unknown = r#"{"id":"c","given":{"fn":"nope"},"expect":{}}"#;
        let report = report(&format!("{good}\n\n{wrong}\n{unknown}\nnot json\n"));
        assert_eq!(report.passed(), 1);
        let ids: Vec<_> = report
            .failures
            .iter()
            .map(|failure| failure.id.as_str())
            .collect();
        assert_eq!(ids, ["b", "c", "line 5"]);
        assert!(
            report.failures[1]
                .to_string()
                .contains("the function nope is unknown")
        );
    }
}

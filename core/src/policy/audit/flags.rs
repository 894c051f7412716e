//! Switches in the config that turn protection off, and values that count as absent.

use serde_json::Value;

use super::{Facts, Finding, Severity};
use crate::config::KeyPath;

/// The most findings of one kind.
const MANY: usize = 50;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut flags = Vec::new();
    switched_on(&KeyPath::root(), &facts.config.parsed, &mut flags);
    for path in flags.into_iter().take(MANY) {
        findings.push(Finding::key(
            "flags.dangerous",
            Severity::Critical,
            path.to_string(),
            "A protection is switched off, as the name of this key says.",
            "Remove it, or set it to false.",
        ));
    }
    let ui = facts
        .config
        .parsed
        .pointer("/gateway/controlUi/allowInsecureAuth");
    if ui == Some(&Value::Bool(true)) {
        findings.push(Finding::key(
            "flags.insecure_auth",
            Severity::Warn,
            "gateway.controlUi.allowInsecureAuth",
            "The web page may sign in over plaintext.",
            "Remove it, and open the page over https:// or on this machine.",
        ));
    }
    insecure_paths(facts, findings);
    for issue in facts.config.issues.iter().take(MANY) {
        findings.push(Finding::key(
            "config.unusable",
            Severity::Warn,
            issue.path.to_string(),
            format!(
                "This value cannot be used and counts as absent: {}.",
                issue.message.trim_end_matches('.')
            ),
            "Correct it; the gateway does not start on it.",
        ));
    }
}

/// Every `dangerously…: true`, wherever it stands.
fn switched_on(path: &KeyPath, value: &Value, found: &mut Vec<KeyPath>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let path = path.key(key);
                if key.starts_with("dangerously") && *value == Value::Bool(true) {
                    found.push(path);
                } else {
                    switched_on(&path, value, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                switched_on(&path.index(index), item, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn insecure_paths(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    use crate::secrets::{PathTrust, SecretProvider};
    for (name, provider) in &facts.config.config.secrets.providers {
        let trust = match provider {
            SecretProvider::File(file) => file.trust,
            SecretProvider::Exec(program) => program.trust,
            SecretProvider::Env { .. }
            | SecretProvider::Plugin
            | SecretProvider::Store
            | SecretProvider::Unusable(_) => PathTrust::Checked,
        };
        if trust == PathTrust::Unchecked {
            let path = KeyPath::of_keys("secrets.providers")
                .key(name)
                .key("allowInsecurePath");
            findings.push(Finding::key(
                "secrets.insecure_path",
                Severity::Warn,
                path.to_string(),
                "Secrets are read whoever may have changed the file or program that gives them.",
                "Remove allowInsecurePath, and take the file from everybody else.",
            ));
        }
    }
}

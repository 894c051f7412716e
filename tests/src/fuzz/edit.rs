//! A body for changes of config text.

use clawgate_core::config::{Change, ConfigFile, EnvVars, KeyPath, edit};
use serde_json::Value;

/// The first line is a key, the second one its new value (nothing takes it away), the rest is a config:
/// nothing panics, and what comes out holds exactly the change.
pub fn config_edit(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut parts = text.splitn(3, '\n');
    let (Some(path), Some(value), Some(config)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let (Ok(path), Ok(file)) = (
        KeyPath::parse(path),
        ConfigFile::parse("openclaw.json", config),
    ) else {
        return;
    };
    let (change, wanted) = match serde_json::from_str::<Value>(value) {
        Ok(value) => (Change::Set(path.clone(), value.clone()), Some(value)),
        Err(_) => (Change::Unset(path.clone()), None),
    };
    let Ok(edited) = edit(&file, &[change], &EnvVars::new()) else {
        return;
    };
    let again = ConfigFile::parse("openclaw.json", edited.file.text.as_str())
        .unwrap_or_else(|error| panic!("a changed config is refused: {error}"));
    assert_eq!(again.parsed, edited.file.parsed);
    assert_eq!(path.find(&again.parsed), wanted.as_ref(), "{path}");
    if let Some(before) = path.find(&file.parsed) {
        let back = Change::Set(path, before.clone());
        if let Ok(back) = edit(&again, &[back], &EnvVars::new()) {
            assert_eq!(back.file.parsed, file.parsed, "more has changed");
        }
    }
}

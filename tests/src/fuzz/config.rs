//! A body for config text.

use clawgate_core::config::{ConfigFile, MAX_FINDINGS, REDACTED, SecretInput, redact};

/// Config text: nothing panics, findings say where, and what is shown holds no secret of the gateway.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let file = match ConfigFile::parse("openclaw.json", text) {
        Ok(file) => file,
        Err(error) => {
            let lines = text.split(['\n', '\r', '\u{2028}', '\u{2029}']).count();
            assert!((1..=lines).contains(&error.position.line), "{error}");
            return;
        }
    };
    assert!(file.issues.len() + file.warnings.len() <= MAX_FINDINGS);
    for finding in file.issues.iter().chain(&file.warnings) {
        assert!(
            finding.position.is_some(),
            "{finding} stands nowhere in {text:?}"
        );
    }

    let shown = file.redacted();
    assert_eq!(redact(&shown), shown, "redaction is not stable");
    let gateway = &file.config.gateway;
    for (input, place) in [
        (&gateway.auth.token, "/gateway/auth/token"),
        (&gateway.auth.password, "/gateway/auth/password"),
        (&gateway.remote.token, "/gateway/remote/token"),
        (&gateway.remote.password, "/gateway/remote/password"),
    ] {
        if matches!(input, SecretInput::Plain(_) | SecretInput::Embedded(_)) {
            let value = shown.pointer(place).and_then(|value| value.as_str());
            assert_eq!(value, Some(REDACTED), "{place} is shown");
        }
    }
    for (name, input) in gateway.remote.edge_auth.iter().flatten() {
        if matches!(input, SecretInput::Plain(_) | SecretInput::Embedded(_)) {
            let headers = &shown["gateway"]["remote"]["edgeAuth"];
            assert_eq!(headers[name], REDACTED, "the header {name} is shown");
        }
    }

    // JSON is JSON5, so the same values read from JSON mean the same.
    let json = file.parsed.to_string();
    let again = ConfigFile::parse("openclaw.json", json.as_str())
        .unwrap_or_else(|error| panic!("its own JSON is refused: {error}"));
    assert_eq!(again.config, file.config);
    assert_eq!(again.issues.len(), file.issues.len());
}

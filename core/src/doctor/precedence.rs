//! Where one source of a value hides another one, and the two differ (spec credentials §2;
//! seed 002, *Credential precedence*).

use super::{Area, Finding};
use crate::config::{Config, EnvVars, SecretInput};
use crate::credentials::env_name;
use crate::policy::SecretKind;
use crate::policy::audit::Severity;
use crate::policy::port::parse_port_env;

const URL: &str = "OPENCLAW_GATEWAY_URL";
const PORT: &str = "OPENCLAW_GATEWAY_PORT";

/// Looks at the environment of whoever asks, beside the config.
pub fn precedence(env: &EnvVars, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let remote = config.gateway.mode.is_remote();
    for kind in [SecretKind::Token, SecretKind::Password] {
        if remote {
            in_remote_mode(kind, env, config, &mut findings);
        } else {
            in_local_mode(kind, env, config, &mut findings);
        }
    }
    target(env, config, remote, &mut findings);
    findings
}

/// Whether two sources give different values. A reference is not read for this.
enum Beside {
    Nothing,
    Same,
    Other,
    Unknown,
}

fn compare(value: &str, input: &SecretInput) -> Beside {
    match input {
        SecretInput::Absent | SecretInput::Blank => Beside::Nothing,
        SecretInput::Plain(secret) if secret.expose() == value => Beside::Same,
        SecretInput::Plain(_) => Beside::Other,
        SecretInput::Embedded(_) | SecretInput::Ref(_) => Beside::Unknown,
    }
}

fn in_local_mode(kind: SecretKind, env: &EnvVars, config: &Config, findings: &mut Vec<Finding>) {
    let (name, variable) = (kind.as_str(), env_name(kind));
    let Some(value) = env.non_blank(variable) else {
        return;
    };
    let configured = match kind {
        SecretKind::Token => &config.gateway.auth.token,
        SecretKind::Password => &config.gateway.auth.password,
    };
    let (severity, differ) = match compare(value, configured) {
        Beside::Nothing | Beside::Same => return,
        Beside::Other => (Severity::Warn, "They differ"),
        Beside::Unknown => (Severity::Info, "They may differ"),
    };
    findings.push(Finding::new(
        (
            Area::Precedence,
            format!("precedence.env_{name}_shadows"),
        ),
        severity,
        format!(
            "Commands of this shell send {variable}, while the gateway asks for gateway.auth.{name}. \
             {differ}."
        ),
        format!("Unset {variable}, or give it the configured value."),
    ));
}

fn in_remote_mode(kind: SecretKind, env: &EnvVars, config: &Config, findings: &mut Vec<Finding>) {
    let (name, variable) = (kind.as_str(), env_name(kind));
    let Some(value) = env.non_blank(variable) else {
        return;
    };
    let configured = match kind {
        SecretKind::Token => &config.gateway.remote.token,
        SecretKind::Password => &config.gateway.remote.password,
    };
    let differs = match compare(value, configured) {
        Beside::Nothing | Beside::Same => return,
        Beside::Other => Severity::Warn,
        Beside::Unknown => Severity::Info,
    };
    findings.push(match kind {
        SecretKind::Token => Finding::new(
            (Area::Precedence, "precedence.env_token_unused"),
            Severity::Info,
            format!(
                "{variable} is set and not used: in remote mode gateway.remote.{name} comes first."
            ),
            format!("Unset {variable}, or remove gateway.remote.{name}."),
        ),
        SecretKind::Password => Finding::new(
            (Area::Precedence, "precedence.env_password_shadows"),
            differs,
            format!("{variable} is sent in place of gateway.remote.{name}."),
            format!("Unset {variable}, or remove gateway.remote.{name}."),
        ),
    });
}

fn target(env: &EnvVars, config: &Config, remote: bool, findings: &mut Vec<Finding>) {
    if let Some(url) = env.non_blank(URL) {
        let configured = config.gateway.remote.url.as_deref().map(str::trim);
        let hidden = match configured.filter(|_| remote) {
            Some(configured) if configured != url => Some("gateway.remote.url"),
            Some(_) => None,
            None => Some("the gateway of this machine"),
        };
        if let Some(hidden) = hidden {
            findings.push(Finding::new(
                (Area::Precedence, "precedence.env_url_shadows"),
                Severity::Warn,
                format!(
                    "Commands of this shell use the gateway of {URL} in place of {hidden}, and no \
                     credential of the config goes there."
                ),
                format!("Unset {URL}, unless that is meant."),
            ));
        }
    }
    let port = env.get(PORT);
    match (port.and_then(parse_port_env), config.gateway.port) {
        (Some(used), Some(configured)) if used != configured && !remote => {
            findings.push(Finding::new(
                (Area::Precedence, "precedence.env_port_shadows"),
                Severity::Warn,
                format!("{PORT} says {used}, and gateway.port says {configured}; {used} is used."),
                format!("Unset {PORT}, or correct one of them."),
            ));
        }
        (None, _) if env.non_blank(PORT).is_some() => {
            findings.push(Finding::new(
                (Area::Precedence, "precedence.env_port_ignored"),
                Severity::Warn,
                format!("{PORT} is set to something that is no port, so it is ignored."),
                "Set it to a number from 1 to 65535, or unset it.",
            ));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn codes(env: &[(&str, &str)], gateway: Value) -> Vec<String> {
        let env: EnvVars = env.iter().copied().collect();
        let config = Config::from_value(&json!({ "gateway": gateway }));
        let findings = precedence(&env, &config);
        let codes = findings
            .into_iter()
            .map(|it| format!("{} {}", it.severity.as_str(), it.code));
        codes.collect()
    }

    const TOKEN: (&str, &str) = ("OPENCLAW_GATEWAY_TOKEN", "one");
    const PASSWORD: (&str, &str) = ("OPENCLAW_GATEWAY_PASSWORD", "one");

    #[test]
    fn a_token_of_the_shell_hides_the_configured_one() {
        let auth = |token: &str| json!({ "auth": { "token": token } });
        assert_eq!(
            codes(&[TOKEN], auth("two")),
            ["warn precedence.env_token_shadows"]
        );
        assert!(codes(&[TOKEN], auth(" one ")).is_empty());
        assert!(codes(&[TOKEN], json!({})).is_empty());
        assert_eq!(
            codes(&[TOKEN], auth("${ELSEWHERE}")),
            ["info precedence.env_token_shadows"]
        );
    }

    #[test]
    fn remote_mode_has_another_order_for_tokens_than_for_passwords() {
        let remote = json!({ "mode": "remote", "remote": { "token": "two", "password": "two" } });
        assert_eq!(
            codes(&[TOKEN, PASSWORD], remote),
            [
                "info precedence.env_token_unused",
                "warn precedence.env_password_shadows"
            ]
        );
    }

    #[test]
    fn another_target_and_another_port_are_told_of() {
        let url = [("OPENCLAW_GATEWAY_URL", "wss://a.example.com")];
        let remote = |url: &str| json!({ "mode": "remote", "remote": { "url": url } });
        assert_eq!(
            codes(&url, remote("wss://b.example.com")),
            ["warn precedence.env_url_shadows"]
        );
        assert!(codes(&url, remote("wss://a.example.com")).is_empty());
        assert_eq!(codes(&url, json!({})), ["warn precedence.env_url_shadows"]);
        let port = |value| [("OPENCLAW_GATEWAY_PORT", value)];
        assert_eq!(
            codes(&port("1000"), json!({ "port": 2000 })),
            ["warn precedence.env_port_shadows"]
        );
        assert!(codes(&port("2000"), json!({ "port": 2000 })).is_empty());
        assert_eq!(
            codes(&port("many"), json!({})),
            ["warn precedence.env_port_ignored"]
        );
    }
}

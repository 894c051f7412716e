//! What the table cannot say about bridges: secrets that are too short, URLs that nothing may be sent
//! to, and names that fit into no path.

use serde_json::Value;

use super::{Check, Severity};
use crate::channel::webhook::{MIN_SECRET, check_url, fits_path};
use crate::config::{KeyPath, SecretInput, WebhookConfig};
use crate::policy::UrlPolicy;

impl Check {
    pub(super) fn webhook(&mut self, path: &KeyPath, value: &Value, config: &WebhookConfig) {
        self.webhook_place(path, value);
        let named = value.get("accounts").and_then(Value::as_object);
        for (name, account) in named.into_iter().flatten() {
            let path = path.key("accounts").key(name);
            self.webhook_place(&path, account);
            if !fits_path(name) {
                let message = "becomes a part of a path; name it with letters, digits and -_.";
                self.report(Severity::Warning, &path, message.to_owned());
            }
        }
        for (name, account) in &config.accounts {
            let place = match named.and_then(|named| named.get(name)) {
                Some(_) => path.key("accounts").key(name),
                None => path.clone(),
            };
            if account.enabled && account.secret == SecretInput::Absent {
                let message =
                    "has no secret, so it cannot run; make one with `openssl rand -hex 32`";
                self.report(Severity::Warning, &place, message.to_owned());
            } else if account.enabled && account.url.is_none() {
                let message = "has no url, so no reply can be sent";
                self.report(Severity::Warning, &place, message.to_owned());
            }
        }
    }

    /// What either the channel or an account says.
    fn webhook_place(&mut self, path: &KeyPath, value: &Value) {
        if let Some(url) = value.get("url").and_then(Value::as_str)
            && let Err(why) = check_url(url, UrlPolicy::Strict)
        {
            // A variable may allow it, which is known only where the channel is made.
            let allowed = check_url(url, UrlPolicy::AllowInsecureNames).is_ok();
            let severity = if allowed {
                Severity::Warning
            } else {
                Severity::Issue
            };
            self.report(severity, &path.key("url"), why);
        }
        let secret = SecretInput::from_value(value.get("secret"));
        let at = path.key("secret");
        if secret
            .plain()
            .is_some_and(|secret| secret.expose().len() < MIN_SECRET)
        {
            let message = format!(
                "shorter than {MIN_SECRET} bytes, so the account does not run; make one with \
                 `openssl rand -hex 32`"
            );
            self.report(Severity::Warning, &at, message);
        }
        self.embedded(&at, &secret);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::ConfigFile;

    fn found(webhook: &Value) -> Vec<String> {
        let config = json!({ "channels": { "webhook": webhook } });
        let file = ConfigFile::parse("c", config.to_string()).unwrap();
        let all = file.issues.iter().chain(&file.warnings);
        all.map(|finding| format!("{}: {}", finding.path, finding.message))
            .map(|text| text.replace("channels.webhook", ""))
            .collect()
    }

    #[test]
    fn a_good_account_has_no_findings() {
        let good = json!({
            "secret": "${WEBHOOK_SECRET}", "url": "http://127.0.0.1:8090/", "dmPolicy": "open",
            "allowFrom": ["*"], "groups": { "!room:x": { "requireMention": false } }, "typing": true,
            "accounts": { "b.2": { "secret": "0123456789abcdef", "url": "https://b.example" } },
        });
        assert_eq!(found(&good), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let bad = json!({ "url": "http://b.example", "secret": "hunter2", "accounts": {
            "a b": { "secret": "0123456789abcdef", "url": "https://b.example" }, "c": {},
            "d": { "secret": "x${Y}", "url": "ftp://b" },
        } });
        let found = found(&bad);
        let keys: Vec<&str> = found
            .iter()
            .filter_map(|text| text.split(": ").next())
            .collect();
        assert_eq!(
            keys,
            [
                ".accounts.d.url",
                ".url",
                ".secret",
                ".accounts[\"a b\"]",
                ".accounts.d.secret",
                ".accounts.c"
            ],
            "{found:#?}"
        );
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}

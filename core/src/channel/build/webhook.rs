//! The accounts of bridges that people write themselves.

use sha2::{Digest, Sha256};

use super::Builder;
use crate::{
    channel::{
        Account, AccountRef, Channel,
        webhook::{Webhook, WebhookSetup, check_url},
    },
    config::{SecretInput, WebhookAccountConfig},
    secret::Secret,
};

impl Builder<'_> {
    pub(super) fn webhook(&mut self, name: &AccountRef, config: &WebhookAccountConfig) -> Account {
        let secret = self.webhook_secret(&config.secret);
        let mut hash = Sha256::new();
        // What `Debug` shows is everything but the secret.
        hash.update(format!("{config:?}").as_bytes());
        hash.update([0]);
        hash.update(secret.as_ref().map_or("", Secret::expose).as_bytes());
        let machine = secret.and_then(|secret| {
            let url = config.url.as_deref();
            let url = url.map(|url| check_url(url, self.policy)).transpose();
            let webhook = Webhook::new(WebhookSetup {
                account: name.clone(),
                secret,
                url: url.map_err(|why| format!("url: {why}"))?,
                typing: config.typing,
            })?;
            let machine: Box<dyn Channel> = Box::new(webhook);
            Ok(machine)
        });
        Account {
            label: config.name.clone().unwrap_or_else(|| "Webhook".to_owned()),
            enabled: config.enabled,
            access: config.access.clone(),
            // Two gateways may well listen for one bridge: each has a port of its own.
            lock: None,
            digest: hash.finalize().into(),
            machine,
        }
    }

    fn webhook_secret(&mut self, input: &SecretInput) -> Result<Secret, String> {
        match input {
            SecretInput::Plain(secret) => Ok(secret.clone()),
            SecretInput::Ref(reference) => self
                .reader
                .read(reference)
                .map_err(|fault| format!("secret: {reference} could not be read: {fault}")),
            SecretInput::Embedded(_) => {
                Err("secret has text around ${NAME}; write ${NAME} alone".to_owned())
            }
            SecretInput::Absent | SecretInput::Blank => Err(
                "it has no secret; make one with `openssl rand -hex 32`, and give it to the bridge \
                 too"
                .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        channel::{Account, Channels},
        config::Config,
        credentials::RefAccess,
        secrets::RefValues,
    };

    fn build(webhook: &Value) -> Vec<(String, Account)> {
        let config = Config::from_value(&json!({ "channels": { "webhook": webhook } }));
        let env = [("SECRET", "hunter2 of the environment")]
            .into_iter()
            .collect();
        let values = RefValues::new();
        let built = Channels::build(&config, &env, RefAccess::Available(&values), [1; 32]);
        assert!(!format!("{built:?}").contains("hunter2"));
        let accounts = built.channels.into_accounts();
        accounts
            .into_iter()
            .map(|(name, account)| (name.to_string(), account))
            .collect()
    }

    #[test]
    fn what_cannot_run_says_why_and_never_the_secret() {
        let accounts = build(&json!({ "accounts": {
            "a": { "secret": "${SECRET}", "url": "https://b.example/x" },
            "b": { "secret": "hunter2 short" },
            "c": { "secret": "hunter2 long enough", "url": "http://b.example" },
            "d": {},
            "e": { "secret": "x${SECRET}" },
            "f g": { "secret": "hunter2 long enough" },
            "h": { "secret": "${MISSING}" },
        } }));
        let parts = [
            "",
            "fewer than 16",
            "url: ",
            "openssl",
            "alone",
            "path",
            "MISSING",
        ];
        assert_eq!(accounts.len(), parts.len());
        for ((name, account), part) in accounts.iter().zip(parts) {
            match &account.machine {
                Ok(_) => assert_eq!(part, "", "{name}"),
                Err(why) => assert!(
                    !part.is_empty() && why.contains(part) && !why.contains("hunter2"),
                    "{name}: {why}"
                ),
            }
        }
    }

    #[test]
    fn the_digest_changes_with_everything_that_counts() {
        let digest = |webhook: &Value| build(webhook)[0].1.digest;
        let base = json!({ "secret": "0123456789abcdef" });
        assert_eq!(digest(&base), digest(&base));
        for other in [
            json!({ "secret": "0123456789abcdeg" }),
            json!({ "secret": "0123456789abcdef", "url": "https://b.example" }),
            json!({ "secret": "0123456789abcdef", "allowFrom": ["a"] }),
            json!({ "secret": "0123456789abcdef", "typing": true }),
        ] {
            assert_ne!(digest(&base), digest(&other), "{other}");
        }
    }
}

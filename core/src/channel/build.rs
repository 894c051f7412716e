//! From the config and its secrets to the accounts of a gateway.

mod webhook;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{
    Account, AccountRef, Channel, Channels, DEFAULT_ACCOUNT,
    telegram::{DEFAULT_API_ROOT, DEFAULT_MEDIA_MAX_MB, Telegram, TelegramSetup, check_api_root},
    webhook::WEBHOOK,
};
use crate::{
    config::{Config, EnvVars, SecretInput, TelegramAccountConfig},
    credentials::{RefAccess, RefReader},
    policy::{UrlPolicy, endpoint::BREAK_GLASS_ENV},
    rng::{Rng, Seed},
    secret::Secret,
    secrets::WantedRef,
};

/// The variable from which the account `default` of Telegram has its token where the config has none.
pub const TELEGRAM_TOKEN_ENV: &str = "TELEGRAM_BOT_TOKEN";

/// The accounts of a config, and what has to be read for them.
#[derive(Debug)]
pub struct BuiltChannels {
    /// The accounts.
    pub channels: Channels,
    /// References that the host should read and hand in before it asks again.
    pub wanted: Vec<WantedRef>,
}

impl Channels {
    /// Makes the accounts of a config. Never fails: an account that cannot run says why in
    /// [`Account::machine`]. The seed spreads retries.
    ///
    /// ```
    /// use clawgate_core::channel::{AccountRef, Channels};
    /// use clawgate_core::config::{ConfigFile, EnvVars};
    /// use clawgate_core::credentials::RefAccess;
    /// use clawgate_core::secrets::RefValues;
    ///
    /// let text = "{ channels: { telegram: { botToken: '123456:AAAA' } } }";
    /// let file = ConfigFile::parse("openclaw.json", text).unwrap();
    /// let values = RefValues::new();
    /// let access = RefAccess::Available(&values);
    /// let built = Channels::build(&file.config, &EnvVars::new(), access, [7; 32]);
    /// let accounts = built.channels.into_accounts();
    /// assert!(accounts[&AccountRef::new("telegram", "default")].machine.is_ok());
    /// ```
    pub fn build(config: &Config, env: &EnvVars, refs: RefAccess<'_>, seed: Seed) -> BuiltChannels {
        let mut builder = Builder {
            reader: RefReader {
                access: refs,
                secrets: &config.secrets,
                env,
                wanted: BTreeSet::new(),
            },
            env,
            policy: UrlPolicy::from_env(env.get(BREAK_GLASS_ENV)),
            rng: Rng::new(seed),
            locks: BTreeMap::new(),
        };
        let mut channels = Self::default();
        // Of two with one token, the one that runs has it.
        let mut accounts: Vec<_> = config.channels.telegram.accounts.iter().collect();
        accounts.sort_by_key(|(_, account)| !account.enabled);
        for (name, account) in accounts {
            let name = AccountRef::new("telegram", name);
            let built = builder.telegram(&name, account);
            channels = channels.with(name, built);
        }
        if let Some(main) = config.channels.telegram.default_account() {
            channels = channels.with_main(AccountRef::new("telegram", main));
        }
        for (name, account) in &config.channels.webhook.accounts {
            let name = AccountRef::new(WEBHOOK, name);
            let built = builder.webhook(&name, account);
            channels = channels.with(name, built);
        }
        BuiltChannels {
            channels,
            wanted: builder.reader.wanted.into_iter().collect(),
        }
    }
}

struct Builder<'a> {
    reader: RefReader<'a>,
    env: &'a EnvVars,
    policy: UrlPolicy,
    rng: Rng,
    /// Who has which lock.
    locks: BTreeMap<String, AccountRef>,
}

impl Builder<'_> {
    fn telegram(&mut self, name: &AccountRef, config: &TelegramAccountConfig) -> Account {
        let token = self.telegram_token(name, config);
        let digest = digest(config, token.as_ref().ok());
        let mut lock = None;
        let machine = token.and_then(|token| {
            let own = format!("telegram-{}", lock_name(&token));
            if let Some(other) = self.locks.get(&own) {
                return Err(format!(
                    "it has the same bot token as {other}, so each would take the other's \
                     messages; give it a bot of its own from @BotFather"
                ));
            }
            let root = config.api_root.as_deref().unwrap_or(DEFAULT_API_ROOT);
            let root =
                check_api_root(root, self.policy).map_err(|why| format!("apiRoot: {why}"))?;
            let megabytes = config.media_max_mb.unwrap_or(DEFAULT_MEDIA_MAX_MB);
            let setup = TelegramSetup {
                account: name.clone(),
                token,
                root,
                reply_to: config.reply_to,
                media_max_bytes: megabytes.saturating_mul(1024 * 1024),
            };
            self.locks.insert(own.clone(), name.clone());
            lock = Some(own);
            let machine: Box<dyn Channel> = Box::new(Telegram::new(setup, self.rng.seed()));
            Ok(machine)
        });
        Account {
            label: config.name.clone().unwrap_or_else(|| "Telegram".to_owned()),
            enabled: config.enabled,
            access: config.access.clone(),
            lock,
            digest,
            machine,
        }
    }

    /// The token, or why there is none, for people.
    fn telegram_token(
        &mut self,
        name: &AccountRef,
        config: &TelegramAccountConfig,
    ) -> Result<Secret, String> {
        if config.token_file.is_some() {
            return Err(
                "tokenFile is not implemented; make botToken a reference to a file provider"
                    .to_owned(),
            );
        }
        let token = match &config.bot_token {
            SecretInput::Plain(secret) => secret.clone(),
            SecretInput::Ref(reference) => self
                .reader
                .read(reference)
                .map_err(|fault| format!("botToken: {reference} could not be read: {fault}"))?,
            SecretInput::Embedded(_) => {
                return Err("botToken has text around ${NAME}; write ${NAME} alone".to_owned());
            }
            SecretInput::Absent | SecretInput::Blank => {
                let variable = self.env.non_blank(TELEGRAM_TOKEN_ENV);
                match variable.filter(|_| name.account == DEFAULT_ACCOUNT) {
                    Some(token) => Secret::new(token),
                    None => {
                        return Err(
                            "it has no botToken; get one from @BotFather and put it there"
                                .to_owned(),
                        );
                    }
                }
            }
        };
        // It becomes a part of a path.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_');
        if token.expose().len() > 256 || !token.expose().bytes().all(fits) {
            return Err(
                "botToken is no bot token; copy it from @BotFather, as 123456:letters and digits"
                    .to_owned(),
            );
        }
        Ok(token)
    }
}

/// A name for a token that does not tell it.
fn lock_name(token: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"clawgate channel lock\0");
    hash.update(token.expose().as_bytes());
    let digest = hash.finalize();
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn digest(config: &TelegramAccountConfig, token: Option<&Secret>) -> [u8; 32] {
    let mut hash = Sha256::new();
    // What `Debug` shows is everything but the secrets.
    hash.update(format!("{config:?}").as_bytes());
    hash.update([0]);
    hash.update(token.map_or("", Secret::expose).as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{channel::DmPolicy, secrets::RefValues};

    fn build(telegram: &Value, env: &[(&'static str, &'static str)]) -> BuiltChannels {
        let config = Config::from_value(&json!({
            "channels": { "telegram": telegram },
            "secrets": { "providers": { "f": { "source": "file", "path": "/run/keys.json" } } },
        }));
        let env = env.iter().copied().collect();
        let values = RefValues::new();
        Channels::build(&config, &env, RefAccess::Available(&values), [1; 32])
    }

    fn accounts(telegram: &Value, env: &[(&'static str, &'static str)]) -> Vec<(String, Account)> {
        let accounts = build(telegram, env).channels.into_accounts();
        accounts
            .into_iter()
            .map(|(name, account)| (name.to_string(), account))
            .collect()
    }

    fn why(account: &Account) -> &str {
        account.machine.as_ref().unwrap_err()
    }

    #[test]
    fn nothing_configured_is_no_account() {
        assert!(accounts(&Value::Null, &[(TELEGRAM_TOKEN_ENV, "1:a")]).is_empty());
    }

    #[test]
    fn the_gateway_is_told_which_account_is_meant() {
        let accounts = json!({ "work": { "botToken": "1:a" }, "alerts": { "botToken": "2:b" } });
        for (config, main) in [
            (
                json!({ "accounts": accounts, "defaultAccount": "work" }),
                "work",
            ),
            (json!({ "accounts": accounts }), "alerts"),
        ] {
            let mains = build(&config, &[]).channels.mains();
            let main = AccountRef::new("telegram", main);
            assert_eq!(mains.into_iter().collect::<Vec<_>>(), [main]);
        }
    }

    #[test]
    fn the_variable_is_the_default_accounts_alone() {
        let config = json!({ "accounts": { "default": {}, "other": {} } });
        let [(default, first), (other, second)] =
            &accounts(&config, &[(TELEGRAM_TOKEN_ENV, " 1:a ")])[..]
        else {
            panic!();
        };
        assert_eq!(
            (default.as_str(), other.as_str()),
            ("telegram/default", "telegram/other")
        );
        assert!(first.machine.is_ok() && first.enabled);
        assert_eq!(first.access.dm, DmPolicy::Pairing);
        assert!(first.lock.as_ref().unwrap().starts_with("telegram-"));
        assert!(why(second).contains("@BotFather") && second.lock.is_none());
    }

    #[test]
    fn what_cannot_run_says_why_and_never_a_token() {
        let config = json!({ "accounts": {
            "a": { "botToken": "11:hunter2", "enabled": false },
            "b": { "botToken": "11:hunter2" },
            "c": { "botToken": { "source": "file", "provider": "f", "id": "/c" } },
            "d": { "botToken": "12:hunter2", "apiRoot": "http://api.example.com" },
            "e": { "tokenFile": "/run/hunter2" },
            "f": { "botToken": "hunter2/../x" },
            "g": { "botToken": "13:hunter2", "enabled": false },
        } });
        let built = build(&config, &[]);
        assert_eq!(built.wanted.len(), 1);
        assert!(!format!("{built:?}").contains("hunter2"));
        let built = accounts(&config, &[]);
        let parts = [
            "telegram/b",
            "",
            "file:f:/c",
            "apiRoot",
            "tokenFile",
            "no bot token",
            "",
        ];
        for ((name, account), part) in built.iter().zip(parts) {
            match &account.machine {
                Ok(_) => assert_eq!(part, "", "{name}"),
                Err(why) => assert!(
                    why.contains(part) && !why.contains("hunter2"),
                    "{name}: {why}"
                ),
            }
        }
        assert!(built[1].1.enabled && !built[6].1.enabled);
    }

    #[test]
    fn the_digest_changes_with_everything_that_counts() {
        let digest = |telegram: &Value| accounts(telegram, &[])[0].1.digest;
        let base = json!({ "botToken": "1:a" });
        assert_eq!(digest(&base), digest(&base));
        for other in [
            json!({ "botToken": "1:b" }),
            json!({ "botToken": "1:a", "allowFrom": [1] }),
            json!({ "botToken": "1:a", "replyToMode": "all" }),
            json!({ "botToken": "1:a", "enabled": false }),
        ] {
            assert_ne!(digest(&base), digest(&other), "{other}");
        }
    }
}

//! What the table cannot say about channels: names where ids belong, policies that contradict their
//! lists, URLs that no token may be sent to, and accounts that cannot work.

use serde_json::Value;

use super::{Check, Severity};
use crate::channel::DEFAULT_ACCOUNT;
use crate::channel::telegram::check_api_root;
use crate::config::channels::{telegram_chat_id, telegram_user_id};
use crate::config::{Config, KeyPath, SecretInput, TelegramConfig};
use crate::policy::UrlPolicy;

impl Check {
    pub(super) fn channels(&mut self, root: &Value) {
        let channels = Config::from_value(root).channels;
        let path = KeyPath::root().key("channels");
        if let Some(telegram) = root.get("channels").and_then(|it| it.get("telegram")) {
            self.telegram(&path.key("telegram"), telegram, &channels.telegram);
        }
        if let Some(webhook) = root.get("channels").and_then(|it| it.get("webhook")) {
            self.webhook(&path.key("webhook"), webhook, &channels.webhook);
        }
    }

    fn telegram(&mut self, path: &KeyPath, value: &Value, config: &TelegramConfig) {
        self.telegram_place(path, value);
        let named = value.get("accounts").and_then(Value::as_object);
        for (name, account) in named.into_iter().flatten() {
            self.telegram_place(&path.key("accounts").key(name), account);
        }
        if let Some(name) = &config.default_account
            && !config.accounts.contains_key(name)
        {
            let message = "no account has that name".to_owned();
            self.report(Severity::Warning, &path.key("defaultAccount"), message);
        }
        for (name, account) in &config.accounts {
            let own = named.and_then(|named| named.get(name));
            let place = match own {
                Some(_) => path.key("accounts").key(name),
                None => path.clone(),
            };
            self.dm_policy(path, value, &place, own);
            let token = account.bot_token != SecretInput::Absent || account.token_file.is_some();
            // The account `default` may have its token from the environment.
            if account.enabled && !token && name != DEFAULT_ACCOUNT {
                let message =
                    "has no botToken, so it cannot run; get one from @BotFather".to_owned();
                self.report(Severity::Warning, &place, message);
            }
        }
    }

    /// What either the channel or an account says.
    fn telegram_place(&mut self, path: &KeyPath, value: &Value) {
        for key in ["allowFrom", "groupAllowFrom"] {
            self.people(&path.key(key), value.get(key));
        }
        self.groups(&path.key("groups"), value.get("groups"));
        if let Some(root) = value.get("apiRoot").and_then(Value::as_str)
            && let Err(why) = check_api_root(root, UrlPolicy::Strict)
        {
            // A variable may allow it, which is known only where the channel is made.
            let allowed = check_api_root(root, UrlPolicy::AllowInsecureNames).is_ok();
            let severity = if allowed {
                Severity::Warning
            } else {
                Severity::Issue
            };
            self.report(severity, &path.key("apiRoot"), why);
        }
        let token = SecretInput::from_value(value.get("botToken"));
        self.embedded(&path.key("botToken"), &token);
        if value.get("tokenFile").is_some_and(|file| !file.is_null()) {
            let message = "not implemented, so the account does not run; write botToken: {source: \
                           \"file\", provider: \"NAME\", id: \"value\"} and the file into \
                           secrets.providers.NAME"
                .to_owned();
            self.report(Severity::Warning, &path.key("tokenFile"), message);
        }
        for (key, what) in [
            ("proxy", "the Bot API is reached directly"),
            ("webhookUrl", "messages are fetched by long polling"),
        ] {
            if value.get(key).is_some_and(|value| !value.is_null()) {
                let message = format!("not implemented: {what}");
                self.report(Severity::Warning, &path.key(key), message);
            }
        }
    }

    fn people(&mut self, path: &KeyPath, list: Option<&Value>) {
        for (index, entry) in list
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
        {
            if !(entry.is_string() || entry.is_number()) || telegram_user_id(entry).is_some() {
                continue;
            }
            let text = entry.as_str().unwrap_or_default().trim();
            let negative = text.starts_with('-') || entry.as_i64().is_some_and(|id| id < 0);
            let message = if negative {
                "the id of a group names no person; put it into groups"
            } else {
                "not an id, so it lets nobody in; use the numeric id, which the bot tells whoever \
                 asks to be paired"
            };
            self.report(Severity::Warning, &path.index(index), message.to_owned());
        }
    }

    fn groups(&mut self, path: &KeyPath, groups: Option<&Value>) {
        for (id, group) in groups.and_then(Value::as_object).into_iter().flatten() {
            let path = path.key(id);
            if telegram_chat_id(&Value::String(id.clone())).is_none() {
                let message = "not the id of a group, so it is ignored; ids are numbers such as \
                               -1001234567890"
                    .to_owned();
                self.report(Severity::Warning, &path, message);
            }
            self.people(&path.key("allowFrom"), group.get("allowFrom"));
            let topics = group.get("topics").and_then(Value::as_object);
            for (topic, rule) in topics.into_iter().flatten() {
                let path = path.key("topics").key(topic);
                if topic != "*" && topic.parse::<u64>().is_err() {
                    let message = "not the id of a topic, so it is ignored".to_owned();
                    self.report(Severity::Warning, &path, message);
                }
                self.people(&path.key("allowFrom"), rule.get("allowFrom"));
            }
        }
    }

    /// Policies that mean nothing with their lists, said where they are written.
    fn dm_policy(&mut self, path: &KeyPath, root: &Value, place: &KeyPath, own: Option<&Value>) {
        let written = |key: &str| {
            let own = own.and_then(|own| own.get(key)).filter(|it| !it.is_null());
            match own {
                Some(value) => Some((place.key(key), value)),
                None => Some((path.key(key), root.get(key)?)),
            }
        };
        let Some((at, policy)) = written("dmPolicy") else {
            return;
        };
        let entries: Vec<String> = written("allowFrom")
            .and_then(|(_, list)| list.as_array())
            .into_iter()
            .flatten()
            .filter_map(telegram_user_id)
            .collect();
        let message = match policy.as_str() {
            Some("open") if !entries.iter().any(|id| id == "*") => {
                "open needs allowFrom: [\"*\"], which says that everybody may write"
            }
            Some("allowlist") if entries.is_empty() => {
                "allowlist needs at least one numeric id in allowFrom; nobody could write"
            }
            _ => return,
        };
        let known = self.findings.iter().any(|finding| finding.path == at);
        if !known {
            self.report(Severity::Issue, &at, message.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::ConfigFile;

    /// Issues with a mark in front, and warnings.
    fn found(telegram: &Value) -> Vec<String> {
        let config = json!({ "channels": { "telegram": telegram } });
        let file = ConfigFile::parse("c", config.to_string()).unwrap();
        let text = |finding: &crate::config::Finding, mark: &str| {
            assert!(finding.position.is_some(), "{finding}");
            let path = finding.path.to_string();
            let short = path.trim_start_matches("channels.telegram");
            format!("{mark}{short}: {}", finding.message)
        };
        let issues = file.issues.iter().map(|finding| text(finding, "! "));
        let warnings = file.warnings.iter().map(|finding| text(finding, ""));
        issues.chain(warnings).collect()
    }

    #[test]
    fn good_channels_have_no_findings() {
        let good = json!({
            "enabled": true, "botToken": "${TELEGRAM_MAIN}", "dmPolicy": "pairing",
            "allowFrom": ["tg:123456789", 42], "groupPolicy": "allowlist", "groupAllowFrom": ["*"],
            "groups": { "*": { "requireMention": true }, "-1001234567890": {
                "allowFrom": [7], "topics": { "99": { "requireMention": false }, "*": {} },
            } },
            "replyToMode": "first", "apiRoot": "http://127.0.0.1:8081", "mediaMaxMb": 20,
            "streaming": { "mode": "off" },
            "accounts": { "alerts": { "botToken": { "source": "env", "id": "ALERTS" } } },
            "defaultAccount": "alerts",
        });
        assert_eq!(found(&good), Vec::<String>::new());
        let open = json!({ "dmPolicy": "open", "allowFrom": ["*"] });
        assert_eq!(found(&open), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let bad = json!({
            "botTokn": "1:a", "dmPolicy": "opne", "allowFrom": ["@admin", -100, true],
            "groups": { "friends": {}, "-5": { "topics": { "general": {} }, "requiremention": true } },
            "apiRoot": "http://api.example.com", "tokenFile": "/t", "proxy": "socks5://h:1",
            "defaultAccount": "nobody",
            "accounts": { "open": { "dmPolicy": "open" }, "shut": { "dmPolicy": "allowlist" } },
        });
        assert_eq!(
            found(&bad),
            [
                "! .allowFrom[2]: expected a string or a number, found true or false",
                "! .dmPolicy: not one of pairing, allowlist, open, disabled; did you mean \"open\"?",
                "! .accounts.open.dmPolicy: open needs allowFrom: [\"*\"], which says that everybody may write",
                "! .accounts.shut.dmPolicy: allowlist needs at least one numeric id in allowFrom; nobody could write",
                ".botTokn: unknown key, kept and ignored; did you mean \"botToken\"?",
                ".groups.-5.requiremention: unknown key, kept and ignored; did you mean \"requireMention\"?",
                ".allowFrom[0]: not an id, so it lets nobody in; use the numeric id, which the bot tells whoever asks to be paired",
                ".allowFrom[1]: the id of a group names no person; put it into groups",
                ".groups.-5.topics.general: not the id of a topic, so it is ignored",
                ".groups.friends: not the id of a group, so it is ignored; ids are numbers such as -1001234567890",
                ".apiRoot: plaintext http:// to api.example.com (public) is refused: keys and chats would be readable on the way; use https://api.example.com",
                ".tokenFile: not implemented, so the account does not run; write botToken: {source: \"file\", provider: \"NAME\", id: \"value\"} and the file into secrets.providers.NAME",
                ".proxy: not implemented: the Bot API is reached directly",
                ".defaultAccount: no account has that name",
                ".accounts.open: has no botToken, so it cannot run; get one from @BotFather",
                ".accounts.shut: has no botToken, so it cannot run; get one from @BotFather",
            ]
        );
    }

    #[test]
    fn a_root_with_the_token_in_it_is_refused_without_repeating_it() {
        let with = json!({ "apiRoot": "https://api.telegram.org/bot123:hunter2" });
        let found = found(&with);
        assert!(
            found[0].contains("botToken") && !found[0].contains("hunter2"),
            "{found:?}"
        );
    }
}

//! Channels: `channels`. Names and defaults are OpenClaw's where it has them.

mod webhook;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::read::{Node, whole_number};
use super::secret_input::SecretInput;
use crate::channel::{AccessPolicy, DEFAULT_ACCOUNT, DmPolicy, GroupPolicy, GroupRule};

pub use webhook::{WebhookAccountConfig, WebhookConfig};

/// `channels`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelsConfig {
    /// `telegram`.
    pub telegram: TelegramConfig,
    /// `webhook`.
    pub webhook: WebhookConfig,
}

/// `channels.telegram`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TelegramConfig {
    /// The accounts by their names, with what they have from the channel filled in. Without
    /// `accounts` there is one, `default`; without `channels.telegram` there is none.
    pub accounts: BTreeMap<String, TelegramAccountConfig>,
    /// `defaultAccount`.
    pub default_account: Option<String>,
}

/// One account of `channels.telegram`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TelegramAccountConfig {
    /// `name`.
    pub name: Option<String>,
    /// `enabled`, of the account and of the channel.
    pub enabled: bool,
    /// `botToken`. That of the channel is the one of the account `default`.
    pub bot_token: SecretInput,
    /// `tokenFile`, which is not implemented.
    pub token_file: Option<String>,
    /// Who may write.
    pub access: AccessPolicy,
    /// `apiRoot`.
    pub api_root: Option<String>,
    /// `replyToMode`.
    pub reply_to: ReplyToMode,
    /// `mediaMaxMb`: the largest file that is fetched.
    pub media_max_mb: Option<u64>,
}

/// `replyToMode`: whether replies show which message they answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyToMode {
    /// They do not.
    #[default]
    Off,
    /// The first message of a reply does.
    First,
    /// All of them do.
    All,
}

impl ReplyToMode {
    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::First => "first",
            Self::All => "all",
        }
    }
}

impl ChannelsConfig {
    pub(super) fn read(node: Node<'_>) -> Self {
        let defaults = Defaults {
            group: group_policy(node.at("defaults").at("groupPolicy")),
        };
        Self {
            telegram: TelegramConfig::read(node.at("telegram"), &defaults),
            webhook: WebhookConfig::read(node.at("webhook"), &defaults),
        }
    }
}

/// What is the same for all channels: `channels.defaults`.
struct Defaults {
    group: Option<GroupPolicy>,
}

impl TelegramConfig {
    fn read(root: Node<'_>, defaults: &Defaults) -> Self {
        if !root.is_object() {
            return Self::default();
        }
        let named = root.at("accounts");
        let mut accounts: BTreeMap<String, TelegramAccountConfig> = named
            .keys()
            .filter(|name| !name.trim().is_empty())
            .map(|name| {
                let account = TelegramAccountConfig::read(&name, named.at(&name), root, defaults);
                (name, account)
            })
            .collect();
        let own = root.at("botToken").0.is_some() || root.at("tokenFile").0.is_some();
        if accounts.is_empty() || (own && !accounts.contains_key(DEFAULT_ACCOUNT)) {
            let account = TelegramAccountConfig::read(DEFAULT_ACCOUNT, Node(None), root, defaults);
            accounts.insert(DEFAULT_ACCOUNT.to_owned(), account);
        }
        Self {
            accounts,
            default_account: root.at("defaultAccount").non_blank(),
        }
    }

    /// The account that is meant where none is named: `defaultAccount`, else `default`, else the
    /// first.
    pub fn default_account(&self) -> Option<&str> {
        [self.default_account.as_deref(), Some(DEFAULT_ACCOUNT)]
            .into_iter()
            .flatten()
            .find(|name| self.accounts.contains_key(*name))
            .or_else(|| self.accounts.keys().next().map(String::as_str))
    }
}

impl TelegramAccountConfig {
    fn read(name: &str, node: Node<'_>, root: Node<'_>, defaults: &Defaults) -> Self {
        // A bot's token is one account's alone: two that poll with it would take each other's
        // messages.
        let secret = |key: &str| match node.at(key) {
            Node(None | Some(Value::Null)) if name == DEFAULT_ACCOUNT => root.at(key),
            own => own,
        };
        let inherited = |key: &str| match node.at(key) {
            Node(None | Some(Value::Null)) => root.at(key),
            own => own,
        };
        Self {
            name: node.at("name").non_blank(),
            enabled: !root.at("enabled").is(false) && !node.at("enabled").is(false),
            bot_token: SecretInput::from_value(secret("botToken").0),
            token_file: secret("tokenFile").non_blank(),
            access: read_access(node, root, defaults, telegram_user_id, telegram_chat_id),
            api_root: inherited("apiRoot").non_blank(),
            reply_to: match inherited("replyToMode").str() {
                Some("first" | "batched") => ReplyToMode::First,
                Some("all") => ReplyToMode::All,
                Some(_) | None => ReplyToMode::Off,
            },
            media_max_mb: inherited("mediaMaxMb").positive(),
        }
    }
}

/// How an entry of a list of people, or a chat's key, is written for a service; `None` where it
/// cannot be meant.
type IdRule = fn(&Value) -> Option<String>;

/// Who may write to an account: what it says itself, then what the channel says.
fn read_access(
    node: Node<'_>,
    root: Node<'_>,
    defaults: &Defaults,
    person: IdRule,
    chat: IdRule,
) -> AccessPolicy {
    let list = |node: Node<'_>, key: &str| read_ids(node.at(key), person);
    let common = list(root, "allowFrom");
    let mut allow_from = list(node, "allowFrom")
        .or_else(|| common.clone())
        .unwrap_or_default();
    // Where the channel names people, no account of it is opened to everybody.
    if common.is_some_and(|common| !common.is_empty() && !common.contains("*")) {
        allow_from.remove("*");
    }
    let dm = match dm_policy(node.at("dmPolicy")).or_else(|| dm_policy(root.at("dmPolicy"))) {
        // Both have to say it.
        Some(DmPolicy::Open) if !allow_from.contains("*") => DmPolicy::Allowlist,
        said => said.unwrap_or_default(),
    };
    let groups = [node.at("groups"), root.at("groups")]
        .into_iter()
        .find(|groups| groups.is_object())
        .unwrap_or(Node(None));
    AccessPolicy {
        dm,
        allow_from,
        group: group_policy(node.at("groupPolicy"))
            .or_else(|| group_policy(root.at("groupPolicy")))
            .or(defaults.group)
            .unwrap_or_default(),
        group_allow_from: list(node, "groupAllowFrom").or_else(|| list(root, "groupAllowFrom")),
        groups: groups
            .keys()
            .filter_map(|key| {
                let id = chat(&Value::String(key.clone()))?;
                Some((id, read_group(groups.at(&key), person)))
            })
            .collect(),
    }
}

fn read_group(node: Node<'_>, person: IdRule) -> GroupRule {
    let topics = node.at("topics");
    GroupRule {
        enabled: node.at("enabled").bool(),
        require_mention: node.at("requireMention").bool(),
        policy: group_policy(node.at("groupPolicy")),
        allow_from: read_ids(node.at("allowFrom"), person),
        topics: topics
            .keys()
            .map(|key| {
                // A topic has no topics.
                let rule = GroupRule {
                    topics: BTreeMap::new(),
                    ..read_group(topics.at(&key), person)
                };
                (key.trim().to_owned(), rule)
            })
            .collect(),
    }
}

fn read_ids(node: Node<'_>, person: IdRule) -> Option<BTreeSet<String>> {
    node.is_list()
        .then(|| node.items().iter().filter_map(person).collect())
}

fn dm_policy(node: Node<'_>) -> Option<DmPolicy> {
    let value = node.0.filter(|value| !value.is_null())?;
    // What is written and cannot be read must not open anything.
    Some(match value.as_str() {
        Some("pairing") => DmPolicy::Pairing,
        Some("allowlist") => DmPolicy::Allowlist,
        Some("open") => DmPolicy::Open,
        Some(_) | None => DmPolicy::Disabled,
    })
}

fn group_policy(node: Node<'_>) -> Option<GroupPolicy> {
    let value = node.0.filter(|value| !value.is_null())?;
    Some(match value.as_str() {
        Some("allowlist") => GroupPolicy::Allowlist,
        Some("open") => GroupPolicy::Open,
        Some(_) | None => GroupPolicy::Disabled,
    })
}

/// The id of a person at Telegram: a number, also behind `telegram:` or `tg:`; or `*`. Names are none,
/// since anybody can take one that was given up.
pub(super) fn telegram_user_id(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(_) => whole_number(value)?.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let id = ["telegram:", "tg:"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(&text)
        .trim();
    (id == "*" || is_number(id)).then(|| id.to_owned())
}

/// The id of a group at Telegram: a number, mostly below 0; or `*`.
pub(super) fn telegram_chat_id(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    (text == "*" || is_number(digits)).then(|| text.to_owned())
}

fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 19
        && !text.starts_with('0')
        && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn read(telegram: &Value) -> TelegramConfig {
        Config::from_value(&json!({ "channels": { "telegram": telegram } }))
            .channels
            .telegram
    }

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_section_is_an_account_and_none_is_none() {
        assert_eq!(read(&Value::Null), TelegramConfig::default());
        let config = read(&json!({}));
        let account = &config.accounts["default"];
        assert!(account.enabled);
        assert_eq!(account.access, AccessPolicy::default());
        assert_eq!(config.default_account(), Some("default"));
        assert!(!read(&json!({ "enabled": false })).accounts["default"].enabled);
    }

    #[test]
    fn accounts_have_the_channels_rules_and_never_its_token() {
        let config = read(&json!({
            "botToken": "1:root", "dmPolicy": "allowlist", "allowFrom": ["tg:7", 8, "@name", -9],
            "groupPolicy": "open", "groups": { "-100": { "requireMention": false } },
            "replyToMode": "all", "apiRoot": "http://127.0.0.1:1", "mediaMaxMb": 5,
            "accounts": {
                "alerts": { "botToken": "${ALERTS}", "dmPolicy": "open", "allowFrom": ["*", "9"] },
                "quiet": { "enabled": false, "groups": {}, "groupPolicy": "disabled" },
            },
        }));
        let names: Vec<&str> = config.accounts.keys().map(String::as_str).collect();
        assert_eq!(names, ["alerts", "default", "quiet"]);
        let default = &config.accounts["default"];
        assert_eq!(default.bot_token.plain().unwrap().expose(), "1:root");
        assert_eq!(default.access.allow_from, set(&["7", "8"]));
        assert_eq!(default.access.groups["-100"].require_mention, Some(false));
        let alerts = &config.accounts["alerts"];
        assert_eq!(alerts.bot_token.reference().unwrap().id, "ALERTS");
        // The channel names people, so no account is open to everybody.
        assert_eq!(alerts.access.dm, DmPolicy::Allowlist);
        assert_eq!(alerts.access.allow_from, set(&["9"]));
        assert_eq!(alerts.access.group, GroupPolicy::Open);
        assert_eq!(alerts.reply_to, ReplyToMode::All);
        assert_eq!(alerts.media_max_mb, Some(5));
        let quiet = &config.accounts["quiet"];
        assert_eq!(quiet.bot_token, SecretInput::Absent);
        assert!(!quiet.enabled && quiet.access.groups.is_empty());
        assert_eq!(quiet.access.group, GroupPolicy::Disabled);
    }

    #[test]
    fn open_has_to_be_said_twice_and_a_typo_opens_nothing() {
        let dm = |telegram: &Value| read(telegram).accounts["default"].access.dm;
        let open = json!({ "dmPolicy": "open", "allowFrom": ["*"] });
        assert_eq!(dm(&open), DmPolicy::Open);
        assert_eq!(dm(&json!({ "dmPolicy": "open" })), DmPolicy::Allowlist);
        assert_eq!(dm(&json!({ "dmPolicy": "opne" })), DmPolicy::Disabled);
    }

    #[test]
    fn the_default_account_is_the_one_named_or_default_or_the_first() {
        let of = |telegram: &Value| read(telegram).default_account().map(str::to_owned);
        let accounts = json!({ "a": {}, "b": {}, "default": {} });
        let named = json!({ "defaultAccount": "b", "accounts": accounts });
        assert_eq!(of(&named).as_deref(), Some("b"));
        let gone = json!({ "defaultAccount": "x", "accounts": accounts });
        assert_eq!(of(&gone).as_deref(), Some("default"));
        assert_eq!(
            of(&json!({ "accounts": { "z": {}, "y": {} } })).as_deref(),
            Some("y")
        );
    }

    #[test]
    fn topics_have_rules_of_their_own() {
        let config = read(&json!({ "groups": { "*": {
            "allowFrom": [1], "topics": { "99": { "requireMention": false, "topics": { "1": {} } } },
        } } }));
        let group = &config.accounts["default"].access.groups["*"];
        assert_eq!(group.allow_from, Some(set(&["1"])));
        let topic = &group.topics["99"];
        assert_eq!(topic.require_mention, Some(false));
        assert!(topic.topics.is_empty());
    }
}

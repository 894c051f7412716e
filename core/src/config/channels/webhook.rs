//! Bridges that people write themselves: `channels.webhook`. OpenClaw has no such channel.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Defaults, dm_policy, group_policy, read_access};
use crate::channel::{AccessPolicy, DEFAULT_ACCOUNT, DmPolicy, GroupPolicy};
use crate::config::read::{Node, whole_number};
use crate::config::secret_input::SecretInput;

/// `channels.webhook`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookConfig {
    /// The accounts by their names, with what they have from the channel filled in. Without
    /// `accounts` there is one, `default`; without `channels.webhook` there is none.
    pub accounts: BTreeMap<String, WebhookAccountConfig>,
}

/// One account of `channels.webhook`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookAccountConfig {
    /// `name`.
    pub name: Option<String>,
    /// `enabled`, of the account and of the channel.
    pub enabled: bool,
    /// `secret`. That of the channel is the one of the account `default`.
    pub secret: SecretInput,
    /// `url`: where replies go. That of the channel is the one of the account `default`.
    pub url: Option<String>,
    /// Who may write: whoever the bridge says, unless people are listed.
    pub access: AccessPolicy,
    /// `typing`: whether the bridge is told that the agent works.
    pub typing: bool,
}

impl WebhookConfig {
    pub(super) fn read(root: Node<'_>, defaults: &Defaults) -> Self {
        if !root.is_object() {
            return Self::default();
        }
        let named = root.at("accounts");
        let mut accounts: BTreeMap<String, WebhookAccountConfig> = named
            .keys()
            .filter(|name| !name.trim().is_empty())
            .map(|name| {
                let account = WebhookAccountConfig::read(&name, named.at(&name), root, defaults);
                (name, account)
            })
            .collect();
        let own = root.at("secret").0.is_some();
        if accounts.is_empty() || (own && !accounts.contains_key(DEFAULT_ACCOUNT)) {
            let account = WebhookAccountConfig::read(DEFAULT_ACCOUNT, Node(None), root, defaults);
            accounts.insert(DEFAULT_ACCOUNT.to_owned(), account);
        }
        Self { accounts }
    }
}

impl WebhookAccountConfig {
    fn read(name: &str, node: Node<'_>, root: Node<'_>, defaults: &Defaults) -> Self {
        // A bridge is one account's alone.
        let own = |key: &str| match node.at(key) {
            Node(None | Some(Value::Null)) if name == DEFAULT_ACCOUNT => root.at(key),
            own => own,
        };
        let typing = node
            .at("typing")
            .bool()
            .or_else(|| root.at("typing").bool());
        Self {
            name: node.at("name").non_blank(),
            enabled: !root.at("enabled").is(false) && !node.at("enabled").is(false),
            secret: SecretInput::from_value(own("secret").0),
            url: own("url").non_blank(),
            access: access(node, root, defaults),
            typing: typing == Some(true),
        }
    }
}

/// Only who has the secret can write at all, so everybody whom a bridge names may, unless people are
/// listed or a policy is written.
fn access(node: Node<'_>, root: Node<'_>, defaults: &Defaults) -> AccessPolicy {
    let read = read_access(node, root, defaults, webhook_id, webhook_id);
    let said = |policy: fn(Node<'_>) -> Option<DmPolicy>| {
        policy(node.at("dmPolicy")).or_else(|| policy(root.at("dmPolicy")))
    };
    let closed = |list: &BTreeSet<String>| !list.is_empty() && !list.contains("*");
    let dm = match said(dm_policy) {
        None | Some(DmPolicy::Open) if closed(&read.allow_from) => DmPolicy::Allowlist,
        None | Some(DmPolicy::Open) => DmPolicy::Open,
        Some(said) => said,
    };
    let group_said = group_policy(node.at("groupPolicy"))
        .or_else(|| group_policy(root.at("groupPolicy")))
        .or(defaults.group);
    // The bridge says who wrote: its list counts in groups that nobody named, too.
    let people = read.group_allow_from.clone();
    let people = people.unwrap_or_else(|| read.allow_from.clone());
    let group = match group_said {
        None if closed(&people) => GroupPolicy::Allowlist,
        None => GroupPolicy::Open,
        Some(said) => said,
    };
    AccessPolicy {
        dm,
        group,
        group_allow_from: Some(people),
        ..read
    }
}

/// The id of a person or a chat, as the bridge writes it; or `*`.
pub(in crate::config) fn webhook_id(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(_) => whole_number(value)?.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn read(webhook: &Value) -> WebhookConfig {
        Config::from_value(&json!({ "channels": { "webhook": webhook } }))
            .channels
            .webhook
    }

    fn access_of(webhook: &Value) -> (DmPolicy, GroupPolicy) {
        let access = &read(webhook).accounts["default"].access;
        (access.dm, access.group)
    }

    #[test]
    fn a_section_is_an_account_that_is_open() {
        assert_eq!(read(&Value::Null), WebhookConfig::default());
        assert_eq!(access_of(&json!({})), (DmPolicy::Open, GroupPolicy::Open));
    }

    #[test]
    fn people_who_are_listed_close_it() {
        let listed = json!({ "allowFrom": ["U7", 8] });
        assert_eq!(
            access_of(&listed),
            (DmPolicy::Allowlist, GroupPolicy::Allowlist)
        );
        let everybody = json!({ "allowFrom": ["U7", "*"] });
        assert_eq!(access_of(&everybody), (DmPolicy::Open, GroupPolicy::Open));
        let in_groups = json!({ "groupAllowFrom": ["U7"] });
        assert_eq!(
            access_of(&in_groups),
            (DmPolicy::Open, GroupPolicy::Allowlist)
        );
        let said = json!({ "dmPolicy": "pairing", "groupPolicy": "disabled", "allowFrom": ["a"] });
        assert_eq!(access_of(&said), (DmPolicy::Pairing, GroupPolicy::Disabled));
        let typo = json!({ "dmPolicy": "opne", "groupPolicy": "opne" });
        assert_eq!(
            access_of(&typo),
            (DmPolicy::Disabled, GroupPolicy::Disabled)
        );
    }

    #[test]
    fn the_secret_and_the_url_are_the_default_accounts_alone() {
        let config = read(&json!({
            "secret": "root", "url": "https://a.example/", "typing": true,
            "accounts": { "b": { "secret": "${B}" } },
        }));
        let (default, b) = (&config.accounts["default"], &config.accounts["b"]);
        assert_eq!(default.secret.plain().unwrap().expose(), "root");
        assert_eq!(default.url.as_deref(), Some("https://a.example/"));
        assert_eq!(b.secret.reference().unwrap().id, "B");
        assert_eq!((b.url.as_deref(), b.typing), (None, true));
    }
}

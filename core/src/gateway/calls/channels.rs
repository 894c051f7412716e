//! `channels.status`, `channels.start`, `channels.stop` and `channels.logout` (spec protocol §6.6).

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{gateway::channels::AccountProblem, ids::ConnId, time::Now};

/// Problems that one answer names.
const MAX_ISSUES: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatusParams {
    // Accounts are always asked: what they know is at hand.
    #[serde(rename = "probe")]
    _probe: Option<bool>,
    #[serde(rename = "timeoutMs")]
    _timeout_ms: Option<u64>,
    channel: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountParams {
    channel: String,
    account_id: Option<String>,
}

impl Gateway {
    pub(super) fn channels_status(&self, now: Now, params: Params<'_>) -> Answer {
        let wanted: StatusParams = params.parse()?;
        let names = match wanted.channel.as_deref() {
            Some(channel) => vec![self.find_account(channel, None)?.channel],
            None => self.channel_names(),
        };
        let labels = self.channel_labels();
        let label = |name: &String| labels.get(name).unwrap_or(name).clone();
        let mut shown = Map::new();
        let (mut channels, mut accounts, mut defaults) = (Map::new(), Map::new(), Map::new());
        for name in &names {
            let default = self.default_account(name);
            let rows = self.account_rows(name);
            let main = rows
                .iter()
                .find(|row| row.get("accountId").and_then(Value::as_str) == Some(default.as_str()));
            shown.insert(name.clone(), label(name).into());
            channels.insert(name.clone(), main.cloned().unwrap_or_default());
            accounts.insert(name.clone(), rows.into());
            defaults.insert(name.clone(), default.into());
        }
        let meta: Vec<Value> = names
            .iter()
            .map(|name| json!({ "id": name, "label": label(name), "detailLabel": label(name) }))
            .collect();
        let issues: Vec<Value> = self
            .channel_problems()
            .iter()
            .filter(|problem| names.contains(&problem.account.channel))
            .take(MAX_ISSUES)
            .map(issue)
            .collect();
        encode(&json!({
            "ts": now.wall,
            "channelOrder": names,
            "channelLabels": shown,
            "channelDetailLabels": shown,
            "channelSystemImages": {},
            "channelMeta": meta,
            "channels": channels,
            "channelAccounts": accounts,
            "channelDefaultAccountId": defaults,
            "statusIssues": issues,
        }))
    }

    pub(super) fn channels_start(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let wanted: AccountParams = params.parse()?;
        let name = self.find_account(&wanted.channel, wanted.account_id.as_deref())?;
        let begun = self.start_account(now, &name)?;
        self.note(now, conn, "channels.start", None, &name.to_string());
        encode(&json!({
            "channel": name.channel,
            "accountId": name.account,
            "started": true,
            "outcome": begun.as_str(),
        }))
    }

    pub(super) fn channels_stop(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let wanted: AccountParams = params.parse()?;
        let name = self.find_account(&wanted.channel, wanted.account_id.as_deref())?;
        self.stop_account(now, &name);
        self.note(now, conn, "channels.stop", None, &name.to_string());
        encode(&json!({
            "channel": name.channel,
            "accountId": name.account,
            "stopped": true,
        }))
    }

    pub(super) fn channels_logout(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let wanted: AccountParams = params.parse()?;
        let name = self.find_account(&wanted.channel, wanted.account_id.as_deref())?;
        let cleared = self.log_out_account(now, &name);
        self.note(now, conn, "channels.logout", None, &name.to_string());
        encode(&json!({
            "channel": name.channel,
            "accountId": name.account,
            "cleared": cleared,
            "loggedOut": true,
        }))
    }
}

fn issue(problem: &AccountProblem) -> Value {
    json!({
        "channel": problem.account.channel,
        "accountId": problem.account.account,
        "kind": problem.kind.as_str(),
        "message": problem.message,
    })
}

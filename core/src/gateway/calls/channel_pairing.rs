//! People who ask to write to an account: `channels.pairing.list`, `approve` and `dismiss` (spec
//! protocol §4). The id of a request is the code that its sender was told.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    channel::AccountRef,
    gateway::channels::{CODE_LIFE, MAX_ASKING, SenderRecord, Standing},
    ids::ConnId,
    protocol::RpcError,
    scope::Scope,
    time::{Now, millis},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    channel: Option<String>,
    account_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApproveParams {
    channel: String,
    account_id: String,
    request_id: String,
    notify: Option<bool>,
    bootstrap_command_owner: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DismissParams {
    channel: String,
    account_id: String,
    request_id: String,
}

impl Gateway {
    pub(super) fn channel_pairing_list(&self, now: Now, params: Params<'_>) -> Answer {
        let wanted: ListParams = params.parse()?;
        let names = match (wanted.channel.as_deref(), wanted.account_id.as_deref()) {
            (Some(channel), Some(account)) => vec![self.find_account(channel, Some(account))?],
            (Some(channel), None) => {
                let channel = self.find_account(channel, None)?.channel;
                let all = self.account_names().into_iter();
                all.filter(|name| name.channel == channel).collect()
            }
            (None, Some(_)) => return Err(params.error("accountId needs channel")),
            (None, None) => self.account_names(),
        };
        let accounts: Vec<Value> = names
            .iter()
            .map(|name| Value::Object(self.account_head(name)))
            .collect();
        let mut asking: Vec<&SenderRecord> = self
            .channels
            .asking(now.wall)
            .filter(|record| names.contains(&record.account))
            .collect();
        asking.sort_by_key(|record| asked_at(record));
        let requests: Vec<Value> = asking
            .into_iter()
            .filter_map(|record| self.pairing_row(record))
            .collect();
        let owned = names.iter().any(|name| self.channels.has_owner(name));
        encode(&json!({
            "accounts": accounts,
            "requests": requests,
            "commandOwnerConfigured": owned,
            "limits": { "pendingPerAccount": MAX_ASKING, "ttlMs": millis(CODE_LIFE) },
        }))
    }

    /// What names an account in these answers.
    fn account_head(&self, name: &AccountRef) -> Map<String, Value> {
        let labels = self.channel_labels();
        let label = labels.get(&name.channel).unwrap_or(&name.channel);
        let mut head = Map::new();
        head.insert("channel".into(), name.channel.clone().into());
        head.insert("channelLabel".into(), label.clone().into());
        head.insert("accountId".into(), name.account.clone().into());
        head.insert("notifySupported".into(), true.into());
        head
    }

    fn pairing_row(&self, record: &SenderRecord) -> Option<Value> {
        let Standing::Asking {
            code,
            asked_at,
            ends_at,
        } = &record.standing
        else {
            return None;
        };
        let sender = &record.sender;
        let mut metadata = Map::new();
        for (field, value) in [("name", &sender.name), ("username", &sender.username)] {
            if let Some(value) = value {
                metadata.insert(field.into(), value.clone().into());
            }
        }
        let names = [sender.name.as_ref(), sender.username.as_ref()];
        let label = names
            .into_iter()
            .flatten()
            .find(|name| !name.trim().is_empty())
            .unwrap_or(&sender.id);
        let mut row = self.account_head(&record.account);
        let fields = [
            ("requestId", json!(code)),
            ("senderId", json!(sender.id)),
            ("senderLabel", json!(label)),
            ("metadata", Value::Object(metadata)),
            ("createdAt", json!(asked_at.to_rfc3339())),
            ("lastSeenAt", json!(asked_at.to_rfc3339())),
            ("expiresAt", json!(ends_at.to_rfc3339())),
        ];
        row.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        Some(Value::Object(row))
    }

    pub(super) fn channel_pairing_approve(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        const ACTION: &str = "channels.pairing.approve";
        let wanted: ApproveParams = params.parse()?;
        let as_owner = wanted.bootstrap_command_owner == Some(true);
        let account = self.find_account(&wanted.channel, Some(&wanted.account_id))?;
        let may = !as_owner
            || self
                .client(conn)
                .is_some_and(|client| client.scopes.allows(Scope::Admin));
        if !may {
            let subject = account.to_string();
            self.note(now, conn, ACTION, Some("missing-scope"), &subject);
            return Err(RpcError::missing_scope(Scope::Admin.as_str()));
        }
        let sender = self
            .approve_sender(now, &account, &wanted.request_id, as_owner)
            .ok_or_else(|| unknown_code(&account))?;
        let subject = format!("{account} {}", sender.id);
        self.note(now, conn, ACTION, None, &subject);
        let notification = if wanted.notify == Some(true) {
            self.welcome_sender(now, &sender);
            self.drive_channels(now);
            "sent"
        } else {
            "not-requested"
        };
        let owner = match (as_owner, sender.owner) {
            (false, _) => "not-requested",
            (true, true) => "configured",
            (true, false) => "already-configured",
        };
        encode(&json!({
            "requestId": wanted.request_id,
            "senderId": sender.id,
            "notification": notification,
            "commandOwnerBootstrap": owner,
        }))
    }

    pub(super) fn channel_pairing_dismiss(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let wanted: DismissParams = params.parse()?;
        let account = self.find_account(&wanted.channel, Some(&wanted.account_id))?;
        let sender = self
            .reject_sender(now, &account, &wanted.request_id)
            .ok_or_else(|| unknown_code(&account))?;
        let subject = format!("{account} {}", sender.id);
        self.note(now, conn, "channels.pairing.dismiss", None, &subject);
        encode(&json!({ "requestId": wanted.request_id, "senderId": sender.id }))
    }
}

fn asked_at(record: &SenderRecord) -> u64 {
    match &record.standing {
        Standing::Asking { asked_at, .. } => asked_at.0,
        Standing::Paired { at, .. } => at.0,
    }
}

fn unknown_code(account: &AccountRef) -> RpcError {
    RpcError::invalid_request(format!(
        "unknown requestId: nobody at {account} has this code, or its time is over"
    ))
}

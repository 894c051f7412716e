//! How the channels fare: for `channels.status`, and for health.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{MessageRecord, MessageState, Way, accounts::Running};
use crate::{
    channel::{AccountRef, ChannelStatus, DEFAULT_ACCOUNT, Link},
    gateway::Gateway,
    time::WallTime,
};

/// What is wrong with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct AccountProblem {
    pub(in crate::gateway) account: AccountRef,
    pub(in crate::gateway) kind: ProblemKind,
    /// In words, with what to do.
    pub(in crate::gateway) message: String,
}

/// Who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum ProblemKind {
    /// The service does not let the account in.
    Auth,
    /// The config cannot be used.
    Config,
    /// The service cannot be reached, or something else is in the way.
    Runtime,
}

impl ProblemKind {
    /// The published name (spec protocol §6.6).
    pub(in crate::gateway) const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Config => "config",
            Self::Runtime => "runtime",
        }
    }
}

/// What health tells of channels (spec protocol §6.2).
#[derive(Debug, Default)]
pub(in crate::gateway) struct ChannelHealth {
    pub(in crate::gateway) channels: Map<String, Value>,
    pub(in crate::gateway) order: Vec<String>,
    pub(in crate::gateway) labels: BTreeMap<String, String>,
    /// `deliveryQueues`; nothing while nothing waits and nothing failed.
    pub(in crate::gateway) queues: Option<Value>,
}

impl Gateway {
    pub(in crate::gateway) fn channel_health(&self) -> ChannelHealth {
        let mut channels = Map::new();
        for name in self.channel_names() {
            let accounts: Map<String, Value> = self
                .accounts_of(&name)
                .map(|(account, running)| {
                    (account.account.clone(), self.account_row(account, running))
                })
                .collect();
            let default = self.default_account(&name);
            let mut row = accounts
                .get(&default)
                .or_else(|| accounts.values().next())
                .cloned()
                .unwrap_or_else(|| json!({}));
            if let Some(fields) = row.as_object_mut() {
                fields.insert("accounts".into(), Value::Object(accounts));
            }
            channels.insert(name, row);
        }
        let labels = self.channel_labels();
        ChannelHealth {
            channels,
            order: self.channel_names(),
            labels,
            queues: self.queues(),
        }
    }

    /// Names of the channels, sorted.
    pub(in crate::gateway) fn channel_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .accounts
            .all
            .keys()
            .map(|account| account.channel.clone())
            .collect();
        names.dedup();
        names
    }

    pub(in crate::gateway) fn channel_labels(&self) -> BTreeMap<String, String> {
        let accounts = self.accounts.all.iter();
        accounts
            .map(|(name, running)| (name.channel.clone(), running.account.label.clone()))
            .collect()
    }

    /// The account that is meant where none is named.
    pub(in crate::gateway) fn default_account(&self, channel: &str) -> String {
        let mut all = self.accounts_of(channel).map(|(name, _)| name);
        let first = all.next().map(|name| &name.account);
        let main = self
            .accounts
            .mains
            .iter()
            .find(|name| name.channel == channel && self.has_account(name))
            .map(|name| &name.account);
        let has_default = self.has_account(&AccountRef::new(channel, DEFAULT_ACCOUNT));
        match (main, has_default, first) {
            (Some(main), _, _) => main.clone(),
            (None, false, Some(first)) => first.clone(),
            (None, _, _) => DEFAULT_ACCOUNT.to_owned(),
        }
    }

    pub(in crate::gateway) fn has_account(&self, name: &AccountRef) -> bool {
        self.accounts.all.contains_key(name)
    }

    /// Every account, by its name.
    pub(in crate::gateway) fn account_names(&self) -> Vec<AccountRef> {
        self.accounts.all.keys().cloned().collect()
    }

    /// How every account fares.
    pub(in crate::gateway) fn account_statuses(
        &self,
    ) -> impl Iterator<Item = (&AccountRef, ChannelStatus)> {
        let all = self.accounts.all.iter();
        all.map(|(name, running)| (name, running.status()))
    }

    fn accounts_of(&self, channel: &str) -> impl Iterator<Item = (&AccountRef, &Running)> {
        let all = self.accounts.all.iter();
        all.filter(move |(name, _)| name.channel == channel)
    }

    /// The accounts of a channel, as `channels.status` shows them.
    pub(in crate::gateway) fn account_rows(&self, channel: &str) -> Vec<Value> {
        self.accounts_of(channel)
            .map(|(name, running)| self.account_row(name, running))
            .collect()
    }

    /// What is wrong with the accounts that are meant to run.
    pub(in crate::gateway) fn channel_problems(&self) -> Vec<AccountProblem> {
        let all = self.accounts.all.iter();
        all.filter(|(_, running)| running.account.enabled)
            .filter_map(|(name, running)| {
                let status = running.status();
                let kind = match (&running.account.machine, status.link) {
                    (Err(_), _) => ProblemKind::Config,
                    (Ok(_), Link::Blocked) => ProblemKind::Auth,
                    (Ok(_), _) => ProblemKind::Runtime,
                };
                Some(AccountProblem {
                    account: name.clone(),
                    kind,
                    message: status.problem?,
                })
            })
            .collect()
    }

    /// Whether an account is there, and why it cannot run.
    pub(in crate::gateway) fn account_problem(
        &self,
        name: &AccountRef,
    ) -> Option<Result<(), String>> {
        let running = self.accounts.all.get(name)?;
        Some(match &running.account.machine {
            Ok(_) => Ok(()),
            Err(why) => Err(why.clone()),
        })
    }

    fn account_row(&self, name: &AccountRef, running: &Running) -> Value {
        let status = running.status();
        let (inbox, outbox) = self.channels.waiting_of(name);
        let active = self.channels.running_of(name);
        let uncertain = self.troubled(name);
        let uncertain = uncertain
            .filter(|record| record.state == MessageState::Uncertain)
            .count();
        let mut row = json!({
            "accountId": name.account,
            "enabled": running.account.enabled,
            "configured": running.account.machine.is_ok(),
            "linked": status.link == Link::Connected,
            "running": !matches!(status.link, Link::Stopped | Link::Blocked),
            "connected": status.link == Link::Connected,
            "reconnectAttempts": status.restarts,
            "lastError": status.problem,
            "healthState": link_name(status.link),
            "lastTransportActivityAt": status.last_contact,
            "lastInboundAt": self.last_of(name, |way| matches!(way, Way::In(_))),
            "lastOutboundAt": self.last_of(name, |way| matches!(way, Way::Out(_))),
            "busy": inbox + outbox + active > 0,
            "activeRuns": active,
            "waitingIn": inbox,
            "waitingOut": outbox,
            "uncertain": uncertain,
            "dmPolicy": running.account.access.dm.as_str(),
        });
        if let (Some(shown), Some(fields)) = (status.name, row.as_object_mut()) {
            fields.insert("name".into(), shown.into());
        }
        row
    }

    fn last_of(&self, name: &AccountRef, is_it: impl Fn(&Way) -> bool) -> Option<WallTime> {
        self.channels
            .messages()
            .filter(|record| record.place.account == *name && is_it(&record.way))
            .filter_map(|record| Some(record.hops.first()?.at))
            .max()
    }

    /// `deliveryQueues`: what failed or is uncertain, and how much waits.
    fn queues(&self) -> Option<Value> {
        let mut failed = Vec::new();
        let mut pressure = Vec::new();
        for name in self.accounts.all.keys() {
            let troubled: Vec<WallTime> = self
                .troubled(name)
                .filter_map(|record| Some(record.hops.last()?.at))
                .collect();
            if let Some(oldest) = troubled.iter().min() {
                failed.push(json!({
                    "queueName": name.to_string(),
                    "count": troubled.len(),
                    "oldestFailedAt": oldest,
                }));
            }
            let waiting = self.channels.waiting_records(name);
            if let Some(oldest) = waiting
                .iter()
                .filter_map(|record| Some(record.hops.first()?.at))
                .min()
            {
                let (inbox, outbox) = self.channels.waiting_of(name);
                pressure.push(json!({
                    "channelId": name.channel,
                    "accountId": name.account,
                    "laneCount": self.channels.places_of(name),
                    "pendingCount": inbox + outbox,
                    "claimedCount": self.channels.running_of(name),
                    "blockedCount": self.paused_places(name),
                    "oldestReceivedAt": oldest,
                }));
            }
        }
        if failed.is_empty() && pressure.is_empty() {
            return None;
        }
        Some(json!({ "failed": failed, "ingressPressure": pressure }))
    }

    /// Messages of an account that failed or are uncertain. What was heard shares the fate of its answer,
    /// which is among them.
    fn troubled(&self, name: &AccountRef) -> impl Iterator<Item = &MessageRecord> {
        self.channels.messages().filter(move |record| {
            let answered = record.inbound().is_some_and(|heard| heard.answer.is_some());
            record.place.account == *name
                && matches!(record.state, MessageState::Uncertain | MessageState::Failed)
                && !answered
        })
    }

    fn paused_places(&self, name: &AccountRef) -> usize {
        let pauses = self.accounts.pauses.keys();
        pauses.filter(|place| place.account == *name).count()
    }
}

/// How a link is shown.
pub(in crate::gateway) const fn link_name(link: Link) -> &'static str {
    match link {
        Link::Stopped => "stopped",
        Link::Connecting => "connecting",
        Link::Connected => "healthy",
        Link::Failing => "degraded",
        Link::Blocked => "blocked",
    }
}

//! Looks at sessions (spec protocol §6.4).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    gateway::sessions::{Archived, ListOrder, RowExtras, SessionEntry, SessionFilter, row},
    ids::ConnId,
    protocol::RpcError,
    time::Now,
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Candidates of a name that fits several sessions.
const MAX_CANDIDATES: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListParams {
    limit: Option<usize>,
    offset: Option<usize>,
    active_minutes: Option<u64>,
    active_only: Option<bool>,
    sort_by: Option<SortBy>,
    include_global: Option<bool>,
    include_unknown: Option<bool>,
    include_derived_titles: Option<bool>,
    include_last_message: Option<bool>,
    require_last_interaction: Option<bool>,
    label: Option<String>,
    pinned: Option<bool>,
    spawned_by: Option<String>,
    agent_id: Option<String>,
    search: Option<String>,
    archived: Option<ArchivedParam>,
    // Every agent here is configured, nothing is hidden, and nobody has a profile of their own.
    #[serde(rename = "configuredAgentsOnly")]
    _configured_only: Option<bool>,
    #[serde(rename = "excludeSubagents")]
    _exclude_subagents: Option<bool>,
    #[serde(rename = "excludeCron")]
    _exclude_cron: Option<bool>,
    #[serde(rename = "excludeSystem")]
    _exclude_system: Option<bool>,
    #[serde(rename = "includeActivitySummary")]
    _activity_summary: Option<bool>,
    #[serde(rename = "includePeople")]
    _people: Option<bool>,
    #[serde(rename = "ownerFirst")]
    _owner_first: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SortBy {
    Activity,
    LastInteractionAt,
    UpdatedAt,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum ArchivedParam {
    Flag(bool),
    Word(AllWord),
}

#[derive(Clone, Copy, Deserialize)]
enum AllWord {
    #[serde(rename = "all")]
    All,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DescribeParams {
    key: String,
    agent_id: Option<String>,
    #[serde(default)]
    include_derived_titles: bool,
    #[serde(default)]
    include_last_message: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResolveParams {
    key: Option<String>,
    session_id: Option<String>,
    label: Option<String>,
    short_id: Option<String>,
    #[serde(rename = "slugHint")]
    _slug_hint: Option<String>,
    agent_id: Option<String>,
    spawned_by: Option<String>,
    include_global: Option<bool>,
    include_unknown: Option<bool>,
    allow_missing: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubscribeParams {
    key: String,
    agent_id: Option<String>,
    #[serde(rename = "includeApprovals")]
    _include_approvals: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageParams {
    key: Option<String>,
    agent_id: Option<String>,
    limit: Option<usize>,
}

impl Gateway {
    pub(super) fn sessions_list(&self, now: Now, params: Params<'_>) -> Answer {
        let list: ListParams = params.parse()?;
        encode(&self.session_page(now, params, &list)?)
    }

    fn session_page(
        &self,
        now: Now,
        params: Params<'_>,
        list: &ListParams,
    ) -> Result<Value, RpcError> {
        let limit = list.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_LIMIT}")));
        }
        let filter = SessionFilter {
            agent_id: list.agent_id.clone(),
            active_within: list
                .active_minutes
                .map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            archived: match list.archived {
                None | Some(ArchivedParam::Flag(false)) => Archived::No,
                Some(ArchivedParam::Flag(true)) => Archived::Only,
                Some(ArchivedParam::Word(AllWord::All)) => Archived::All,
            },
            with_global: list.include_global == Some(true),
            with_unknown: list.include_unknown == Some(true),
            label: list.label.clone(),
            pinned: list.pinned,
            needs_interaction: list.require_last_interaction == Some(true),
            spawned_by: list.spawned_by.clone(),
            search: list.search.clone().filter(|words| !words.trim().is_empty()),
            order: match list.sort_by {
                Some(SortBy::LastInteractionAt) => ListOrder::Interaction,
                Some(SortBy::Activity | SortBy::UpdatedAt) | None => ListOrder::Update,
            },
        };
        let active_only = list.active_only == Some(true);
        let candidates = self
            .sessions
            .values()
            .filter(|entry| !active_only || !self.runs.unfinished(&entry.key).is_empty());
        let offset = list.offset.unwrap_or(0);
        let part = offset..offset.saturating_add(limit);
        let (found, total) = filter.page(candidates, now.wall, part);
        let rows: Vec<Value> = found
            .into_iter()
            .map(|entry| {
                let extras = RowExtras {
                    with_title: list.include_derived_titles == Some(true),
                    with_preview: list.include_last_message == Some(true),
                    ..self.row_extras(&entry.key)
                };
                row(entry, &extras, now.wall)
            })
            .collect();
        let next = offset.saturating_add(rows.len());
        Ok(json!({
            "ts": now.wall,
            "path": self.setup.host.state_dir,
            "count": rows.len(),
            "totalCount": total,
            "limitApplied": limit,
            "offset": offset,
            "nextOffset": (next < total).then_some(next),
            "hasMore": next < total,
            "owners": [],
            "defaults": self.session_defaults(),
            "sessions": rows,
        }))
    }

    /// What a session uses that has no settings of its own.
    pub(super) fn session_defaults(&self) -> Value {
        let models = self.agent.models();
        let first = models.first();
        json!({
            "modelProvider": first.map(|model| &model.provider),
            "model": first.map(|model| &model.id),
            "contextTokens": first.and_then(|model| model.context_tokens),
            "modelSelectionTarget": "session",
        })
    }

    pub(super) fn sessions_subscribe(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let list: ListParams = params.parse()?;
        let wants_list = params.raw.as_str().trim() != "{}";
        self.subscriptions.follow_list(conn);
        if wants_list {
            let list = self.session_page(now, params, &list)?;
            return encode(&json!({ "subscribed": true, "list": list }));
        }
        encode(&json!({ "subscribed": true }))
    }

    pub(super) fn messages_subscribe(&mut self, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: SubscribeParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        self.subscriptions
            .follow(conn, key.clone())
            .map_err(|full| params.error(&full.to_string()))?;
        encode(&json!({ "subscribed": true, "key": key }))
    }

    pub(super) fn messages_unsubscribe(&mut self, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: SubscribeParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        self.subscriptions.unfollow(conn, &key);
        encode(&json!({ "subscribed": false, "key": key }))
    }

    pub(super) fn sessions_describe(&self, now: Now, params: Params<'_>) -> Answer {
        let asked: DescribeParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        let session = self.sessions.get(&key).map(|entry| {
            let extras = RowExtras {
                with_title: asked.include_derived_titles,
                with_preview: asked.include_last_message,
                ..self.row_extras(&key)
            };
            row(entry, &extras, now.wall)
        });
        encode(&json!({ "session": session }))
    }

    pub(super) fn sessions_resolve(&self, params: Params<'_>) -> Answer {
        let asked: ResolveParams = params.parse()?;
        let fits = |entry: &&SessionEntry| {
            let kind = match entry.key.kind() {
                "global" => asked.include_global == Some(true),
                "unknown" => asked.include_unknown == Some(true),
                _ => true,
            };
            let of = |wanted: &Option<String>, found: Option<&str>| {
                wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
            };
            kind && of(&asked.agent_id, Some(&entry.agent_id))
                && of(&asked.spawned_by, entry.setting("spawnedBy"))
        };
        let found: Vec<&SessionEntry> = if let Some(key) = &asked.key {
            let key = self.session_key(params, key, asked.agent_id.as_deref())?;
            self.sessions.get(&key).into_iter().collect()
        } else if let Some(id) = &asked.session_id {
            let is = |entry: &&SessionEntry| entry.session_id.as_str() == id;
            self.sessions.values().filter(fits).filter(is).collect()
        } else if let Some(label) = &asked.label {
            let is = |entry: &&SessionEntry| entry.setting("label") == Some(label);
            self.sessions.values().filter(fits).filter(is).collect()
        } else if let Some(short) = asked.short_id.as_deref().filter(|short| short.len() >= 4) {
            let is = |entry: &&SessionEntry| entry.session_id.as_str().starts_with(short);
            self.sessions.values().filter(fits).filter(is).collect()
        } else {
            return Err(params.error("one of key, sessionId, label and shortId is needed"));
        };
        let show = |entry: &SessionEntry| {
            let mut shown = json!({ "key": entry.key, "agentId": entry.agent_id });
            let name = entry
                .setting("displayName")
                .or_else(|| entry.setting("label"));
            if let (Some(name), Some(fields)) = (name, shown.as_object_mut()) {
                fields.insert("displayName".into(), json!(name));
            }
            shown
        };
        match found.as_slice() {
            [one] => {
                let mut shown = show(one);
                if let Some(fields) = shown.as_object_mut() {
                    fields.insert("ok".into(), json!(true));
                }
                encode(&shown)
            }
            [] if asked.allow_missing == Some(true) => encode(&json!({ "ok": false })),
            [] => {
                let name = asked
                    .key
                    .or(asked.session_id)
                    .or(asked.label)
                    .or(asked.short_id);
                let name: String = name.unwrap_or_default().chars().take(120).collect();
                Err(RpcError::invalid_request(format!(
                    "No session found: {name}"
                )))
            }
            several => {
                let candidates: Vec<Value> = several
                    .iter()
                    .take(MAX_CANDIDATES)
                    .map(|entry| show(entry))
                    .collect();
                encode(&json!({ "ok": false, "candidates": candidates }))
            }
        }
    }

    pub(super) fn sessions_usage(&self, now: Now, params: Params<'_>) -> Answer {
        let asked: UsageParams = params.parse()?;
        let key = match &asked.key {
            Some(key) => Some(self.session_key(params, key, asked.agent_id.as_deref())?),
            None => None,
        };
        let found: Vec<&SessionEntry> = self
            .sessions
            .values()
            .filter(|entry| key.as_ref().is_none_or(|key| *key == entry.key))
            .filter(|entry| {
                asked
                    .agent_id
                    .as_ref()
                    .is_none_or(|agent| *agent == entry.agent_id)
            })
            .collect();
        let input: u64 = found.iter().map(|entry| entry.usage.input).sum();
        let output: u64 = found.iter().map(|entry| entry.usage.output).sum();
        let messages: u64 = found.iter().map(|entry| entry.messages()).sum();
        let sessions: Vec<Value> = found
            .iter()
            .take(asked.limit.unwrap_or(MAX_LIMIT))
            .map(|entry| {
                json!({
                    "key": entry.key,
                    "sessionId": entry.session_id,
                    "agentId": entry.agent_id,
                    "updatedAt": entry.updated_at,
                    "usage": totals(entry.usage.input, entry.usage.output),
                })
            })
            .collect();
        encode(&json!({
            "updatedAt": now.wall,
            "sessions": sessions,
            "totals": totals(input, output),
            "aggregates": {
                "sessionCount": found.len(),
                "messages": { "total": messages },
            },
        }))
    }
}

fn totals(input: u64, output: u64) -> Value {
    json!({ "input": input, "output": output, "totalTokens": input.saturating_add(output) })
}

//! A session as lists show it (spec protocol §6.4, `SessionRow`).

use serde_json::{Map, Value, json};

use super::entry::{RowStatus, SessionEntry};
use crate::{ids::RunId, time::WallTime};

/// What a row says beyond the entry.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct RowExtras {
    /// Runs that are under way or wait, the one under way first.
    pub(in crate::gateway) active: Vec<RunId>,
    /// Whether the first of them is under way.
    pub(in crate::gateway) is_running: bool,
    pub(in crate::gateway) with_title: bool,
    pub(in crate::gateway) with_preview: bool,
}

/// The row of a session at a moment.
pub(in crate::gateway) fn row(entry: &SessionEntry, extras: &RowExtras, now: WallTime) -> Value {
    let last = entry.last_run.as_ref();
    let status = if extras.is_running {
        Some(json!(RowStatus::Running))
    } else if !extras.active.is_empty() {
        Some(json!("queued"))
    } else {
        last.map(|run| json!(run.status))
    };
    let total = entry.usage.input.saturating_add(entry.usage.output);
    let mut fields: Map<String, Value> = [
        ("key", json!(entry.key)),
        ("sessionId", json!(entry.session_id)),
        ("kind", json!(entry.key.kind())),
        ("agentId", json!(entry.agent_id)),
        ("isMain", json!(entry.key.is_main())),
        ("isBackground", json!(false)),
        ("chatType", json!("direct")),
        ("createdAt", json!(entry.created_at)),
        ("updatedAt", json!(entry.updated_at)),
        ("lastActivityAt", json!(entry.updated_at)),
        ("snapshotAt", json!(now)),
        ("archived", json!(entry.archived_at.is_some())),
        ("pinned", json!(entry.pinned_at.is_some())),
        ("unread", json!(entry.unread)),
        ("hasActiveRun", json!(!extras.active.is_empty())),
        ("activeRunIds", json!(extras.active)),
        ("inputTokens", json!(entry.usage.input)),
        ("outputTokens", json!(entry.usage.output)),
        ("totalTokens", json!(total)),
        ("totalTokensFresh", json!(true)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let optional = [
        (
            "lastInteractionAt",
            entry.last_interaction_at.map(|at| json!(at)),
        ),
        ("archivedAt", entry.archived_at.map(|at| json!(at))),
        ("pinnedAt", entry.pinned_at.map(|at| json!(at))),
        ("status", status),
        ("lastRunId", last.map(|run| json!(run.run_id))),
        (
            "lastRunError",
            last.and_then(|run| run.error.as_deref()).map(Value::from),
        ),
        ("startedAt", last.map(|run| json!(run.started_at))),
        (
            "endedAt",
            last.and_then(|run| run.ended_at).map(|at| json!(at)),
        ),
        (
            "modelProvider",
            last.and_then(|run| run.provider.as_deref())
                .map(Value::from),
        ),
        (
            "model",
            last.and_then(|run| run.model.as_deref()).map(Value::from),
        ),
        (
            "derivedTitle",
            entry
                .title
                .as_deref()
                .filter(|_| extras.with_title)
                .map(Value::from),
        ),
        (
            "lastMessagePreview",
            entry
                .preview
                .as_deref()
                .filter(|_| extras.with_preview)
                .map(Value::from),
        ),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            fields.insert(name.into(), value);
        }
    }
    // What was set by hand comes last: it is what its owner wants to see.
    for (name, value) in &entry.settings {
        fields.insert(name.clone(), value.clone());
    }
    Value::Object(fields)
}

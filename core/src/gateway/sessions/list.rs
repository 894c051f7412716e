//! Which sessions a list shows, and in which order (spec protocol §6.4, `sessions.list`).

use std::{ops::Range, time::Duration};

use super::entry::SessionEntry;
use crate::time::WallTime;

/// What has to be true of a session.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct SessionFilter {
    pub(in crate::gateway) agent_id: Option<String>,
    /// Only those in which something happened within this time.
    pub(in crate::gateway) active_within: Option<Duration>,
    /// Whether archived ones are shown: none, only they, or all.
    pub(in crate::gateway) archived: Archived,
    pub(in crate::gateway) with_global: bool,
    pub(in crate::gateway) with_unknown: bool,
    pub(in crate::gateway) label: Option<String>,
    pub(in crate::gateway) pinned: Option<bool>,
    pub(in crate::gateway) needs_interaction: bool,
    pub(in crate::gateway) spawned_by: Option<String>,
    /// Words that have to stand in the key, the label, the title or the last message.
    pub(in crate::gateway) search: Option<String>,
    pub(in crate::gateway) order: ListOrder,
}

/// Whether archived sessions are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) enum Archived {
    All,
    #[default]
    No,
    Only,
}

/// Which time decides the order; the newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) enum ListOrder {
    Interaction,
    #[default]
    Update,
}

impl SessionFilter {
    /// A part of the sessions that are wanted, in order, pinned ones first; and how many there are.
    pub(in crate::gateway) fn page<'a>(
        &self,
        entries: impl Iterator<Item = &'a SessionEntry>,
        now: WallTime,
        part: Range<usize>,
    ) -> (Vec<&'a SessionEntry>, usize) {
        let mut found: Vec<&SessionEntry> =
            entries.filter(|entry| self.wants(entry, now)).collect();
        let total = found.len();
        let at = |entry: &SessionEntry| match self.order {
            ListOrder::Interaction => entry.last_interaction_at.unwrap_or_default(),
            ListOrder::Update => entry.updated_at,
        };
        let order = |a: &&SessionEntry, b: &&SessionEntry| {
            let key = |entry: &SessionEntry| (entry.pinned_at.is_some(), at(entry));
            key(b).cmp(&key(a)).then_with(|| a.key.cmp(&b.key))
        };
        // What comes after the part needs no order.
        if part.end < total {
            found.select_nth_unstable_by(part.end, order);
            found.truncate(part.end);
        }
        found.sort_unstable_by(order);
        found.drain(..part.start.min(found.len()));
        (found, total)
    }

    fn wants(&self, entry: &SessionEntry, now: WallTime) -> bool {
        let kind = match entry.key.as_str() {
            "global" => self.with_global,
            "unknown" => self.with_unknown,
            _ => true,
        };
        let archived = match self.archived {
            Archived::All => true,
            Archived::No => entry.archived_at.is_none(),
            Archived::Only => entry.archived_at.is_some(),
        };
        let recent = self.active_within.is_none_or(|within| {
            let age = now.0.saturating_sub(entry.updated_at.0);
            u128::from(age) <= within.as_millis()
        });
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        kind && archived
            && recent
            && same(&self.agent_id, Some(&entry.agent_id))
            && same(&self.label, entry.setting("label"))
            && same(&self.spawned_by, entry.setting("spawnedBy"))
            && self
                .pinned
                .is_none_or(|pinned| pinned == entry.pinned_at.is_some())
            && (!self.needs_interaction || entry.last_interaction_at.is_some())
            && self
                .search
                .as_deref()
                .is_none_or(|words| found_in(entry, words))
    }
}

fn found_in(entry: &SessionEntry, words: &str) -> bool {
    let words = words.to_lowercase();
    let mut texts = [
        Some(entry.key.as_str()),
        entry.setting("label"),
        entry.setting("displayName"),
        entry.title.as_deref(),
        entry.preview.as_deref(),
    ]
    .into_iter()
    .flatten();
    texts.any(|text| text.to_lowercase().contains(&words))
}

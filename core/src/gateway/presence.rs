//! Who is there (spec protocol §8.7). One row for the gateway, one for each client that stays, one
//! for whoever reports by `system-event`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::time::{Now, WallTime};

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct PresenceEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_input_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When the row was last renewed.
    pub ts: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

/// What keeps a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// So many connections.
    By(usize),
    /// Nobody: it goes at this time.
    Until(Instant),
}

#[derive(Debug)]
struct Row {
    entry: PresenceEntry,
    held: Held,
}

/// The table. Its version grows with each change.
#[derive(Debug)]
pub(super) struct Presence {
    own: PresenceEntry,
    rows: BTreeMap<String, Row>,
    max: usize,
    ttl: Duration,
    version: u64,
    /// When the next row's time is over: asked after every input, so it is kept.
    next_expiry: Option<Instant>,
}

impl Presence {
    pub(super) fn new(own: PresenceEntry, max: usize, ttl: Duration) -> Self {
        Self {
            own,
            rows: BTreeMap::new(),
            max,
            ttl,
            version: 1,
            next_expiry: None,
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The gateway's own row first, then the others, newest first.
    pub(super) fn entries(&self) -> Vec<&PresenceEntry> {
        let mut entries: Vec<_> = self.rows.values().map(|row| &row.entry).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.ts));
        entries.insert(0, &self.own);
        entries
    }

    /// A client came. Several connections may hold one row.
    pub(super) fn connected(&mut self, now: Now, key: &str, entry: PresenceEntry) {
        let others = match self.rows.get(key) {
            Some(Row {
                held: Held::By(others),
                ..
            }) => *others,
            Some(Row {
                held: Held::Until(_),
                ..
            })
            | None => 0,
        };
        self.put(now, key, entry, Held::By(others + 1));
    }

    /// A connection that held a row is gone. The row stays for a while and says so.
    pub(super) fn disconnected(&mut self, now: Now, key: &str) {
        let Some(row) = self.rows.get_mut(key) else {
            return;
        };
        row.held = match row.held {
            Held::By(others) if others > 1 => Held::By(others - 1),
            Held::By(_) | Held::Until(_) => {
                row.entry.reason = Some("disconnect".into());
                row.entry.ts = now.wall;
                Held::Until(now.mono + self.ttl)
            }
        };
        self.changed();
    }

    /// Somebody reported by `system-event`.
    pub(super) fn reported(&mut self, now: Now, key: &str, entry: PresenceEntry) {
        let held = match self.rows.get(key) {
            Some(Row {
                held: Held::By(connections),
                ..
            }) => Held::By(*connections),
            Some(Row {
                held: Held::Until(_),
                ..
            })
            | None => Held::Until(now.mono + self.ttl),
        };
        self.put(now, key, entry, held);
    }

    /// Drops rows whose time is over; whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.rows.len();
        self.rows
            .retain(|_, row| !matches!(row.held, Held::Until(end) if end <= now));
        let changed = self.rows.len() < before;
        if changed {
            self.changed();
        }
        changed
    }

    /// When the next row's time is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    fn changed(&mut self) {
        self.version += 1;
        self.next_expiry = self
            .rows
            .values()
            .filter_map(|row| match row.held {
                Held::By(_) => None,
                Held::Until(end) => Some(end),
            })
            .min();
    }

    fn put(&mut self, now: Now, key: &str, mut entry: PresenceEntry, held: Held) {
        entry.ts = now.wall;
        if !self.rows.contains_key(key) && self.rows.len() >= self.max && !self.make_room() {
            return;
        }
        self.rows.insert(key.into(), Row { entry, held });
        self.changed();
    }

    /// Gives up the row that would go first anyway.
    fn make_room(&mut self) -> bool {
        let first = self
            .rows
            .iter()
            .filter_map(|(key, row)| match row.held {
                Held::By(_) => None,
                Held::Until(end) => Some((end, key)),
            })
            .min()
            .map(|(_, key)| key.clone());
        first.is_some_and(|key| self.rows.remove(&key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        Now {
            mono: Instant::now(),
            wall: WallTime(1_000),
        }
    }

    fn presence(max: usize) -> Presence {
        Presence::new(PresenceEntry::default(), max, Duration::from_secs(300))
    }

    #[test]
    fn a_row_outlives_its_last_connection_by_the_time_to_live() {
        let (mut presence, start) = (presence(10), now());
        presence.connected(start, "a", PresenceEntry::default());
        presence.connected(start, "a", PresenceEntry::default());
        presence.disconnected(start, "a");
        assert_eq!(presence.next_expiry(), None);
        presence.disconnected(start, "a");
        let end = presence.next_expiry().unwrap();
        assert_eq!(end - start.mono, Duration::from_secs(300));
        assert!(!presence.expire(end - Duration::from_millis(1)));
        assert_eq!(presence.entries().len(), 2);
        assert!(presence.expire(end));
        assert_eq!(presence.entries().len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_connected() {
        let (mut presence, start) = (presence(2), now());
        presence.connected(start, "a", PresenceEntry::default());
        presence.reported(start, "b", PresenceEntry::default());
        presence.reported(
            start.after(Duration::from_secs(1)),
            "c",
            PresenceEntry::default(),
        );
        assert!(presence.rows.contains_key("a") && presence.rows.contains_key("c"));
        presence.connected(start, "d", PresenceEntry::default());
        presence.connected(start, "e", PresenceEntry::default());
        assert_eq!(presence.rows.keys().collect::<Vec<_>>(), ["a", "d"]);
    }
}

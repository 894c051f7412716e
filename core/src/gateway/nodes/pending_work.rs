//! What waits for nodes that are asleep or in the background (spec protocol §8.6). It is kept in memory
//! only, for a while, and up to a number.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    frame::RawJson,
    rng::Rng,
    time::{Now, WallTime},
};

/// Calls of one node that wait for its app to come to the foreground.
const MAX_ACTIONS: usize = 64;

/// How long such a call waits.
const ACTION_TTL: Duration = Duration::from_secs(600);

/// How long a request waits when nobody says.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);

/// Requests that a drain gives when nobody says.
const DEFAULT_DRAIN: usize = 4;

/// A call that waits for the foreground.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Action {
    pub(crate) id: String,
    command: String,
    #[serde(rename = "paramsJSON")]
    params_json: Option<String>,
    enqueued_at_ms: WallTime,
    #[serde(skip)]
    key: String,
    #[serde(skip)]
    ends: Instant,
}

/// What a request wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WorkKind {
    #[serde(rename = "location.request")]
    Location,
    #[serde(rename = "status.request")]
    Status,
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Priority {
    /// The request that every drain has.
    Default,
    Normal,
    High,
}

/// A request that waits for a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Work {
    id: String,
    #[serde(rename = "type")]
    kind: WorkKind,
    priority: Priority,
    created_at_ms: WallTime,
    expires_at_ms: Option<WallTime>,
    #[serde(skip)]
    ends: Option<Instant>,
}

/// What a node gets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Drained {
    revision: u64,
    items: Vec<Work>,
    has_more: bool,
}

#[derive(Debug, Default)]
struct Shelf {
    actions: Vec<Action>,
    work: Vec<Work>,
    revision: u64,
}

impl Shelf {
    fn prune(&mut self, now: Instant) {
        self.actions.retain(|action| action.ends > now);
        let before = self.work.len();
        self.work
            .retain(|work| work.ends.is_none_or(|end| end > now));
        if self.work.len() < before {
            self.revision += 1;
        }
    }
}

/// Everything that waits, by node.
#[derive(Debug, Default)]
pub(crate) struct PendingWork {
    shelves: BTreeMap<String, Shelf>,
}

impl PendingWork {
    /// Keeps a call until the app is in the foreground. The same key waits once. Gives the action's id.
    pub(crate) fn keep(
        &mut self,
        now: Now,
        rng: &mut Rng,
        node: &str,
        (command, params): (&str, Option<&RawJson>),
        key: &str,
    ) -> String {
        let shelf = self.shelves.entry(node.into()).or_default();
        shelf.prune(now.mono);
        if let Some(same) = shelf
            .actions
            .iter()
            .find(|action| action.key == key && action.command == command)
        {
            return same.id.clone();
        }
        if shelf.actions.len() >= MAX_ACTIONS {
            shelf.actions.remove(0);
        }
        let id = rng.uuid();
        shelf.actions.push(Action {
            id: id.clone(),
            command: command.into(),
            params_json: params.map(|params| params.as_str().into()),
            enqueued_at_ms: now.wall,
            key: key.into(),
            ends: now.mono + ACTION_TTL,
        });
        id
    }

    /// The calls that wait, the oldest first. They stay until they are acknowledged.
    pub(crate) fn pull(
        &mut self,
        now: Instant,
        node: &str,
        admits: impl Fn(&str) -> bool,
    ) -> Vec<Action> {
        let Some(shelf) = self.shelves.get_mut(node) else {
            return Vec::new();
        };
        shelf.prune(now);
        // What may not run any more will not: nobody waits for it.
        shelf.actions.retain(|action| admits(&action.command));
        shelf.actions.clone()
    }

    /// A node has done these. Gives how many are left.
    pub(crate) fn acknowledge(&mut self, now: Instant, node: &str, ids: &[String]) -> usize {
        let Some(shelf) = self.shelves.get_mut(node) else {
            return 0;
        };
        shelf.prune(now);
        shelf.actions.retain(|action| !ids.contains(&action.id));
        shelf.actions.len()
    }

    /// Has a node asked something when it next drains. One request of a kind is enough.
    pub(crate) fn enqueue(
        &mut self,
        now: Now,
        rng: &mut Rng,
        node: &str,
        (kind, priority): (WorkKind, Priority),
        ttl: Option<Duration>,
    ) -> (u64, Work) {
        let shelf = self.shelves.entry(node.into()).or_default();
        shelf.prune(now.mono);
        if let Some(same) = shelf.work.iter().find(|work| work.kind == kind) {
            return (shelf.revision, same.clone());
        }
        let ends = now.after(ttl.unwrap_or(DEFAULT_TTL));
        let work = Work {
            id: rng.uuid(),
            kind,
            priority,
            created_at_ms: now.wall,
            expires_at_ms: Some(ends.wall),
            ends: Some(ends.mono),
        };
        shelf.work.push(work.clone());
        shelf.revision += 1;
        (shelf.revision, work)
    }

    /// Takes what waits, the most urgent first, and a question for the node's status with it.
    pub(crate) fn drain(&mut self, now: Now, node: &str, at_most: Option<usize>) -> Drained {
        let at_most = at_most.unwrap_or(DEFAULT_DRAIN);
        let mut none = Shelf::default();
        let shelf = self.shelves.get_mut(node).unwrap_or(&mut none);
        shelf.prune(now.mono);
        shelf
            .work
            .sort_by_key(|work| (Reverse(work.priority), work.created_at_ms));
        let asks_status = shelf.work.iter().any(|work| work.kind == WorkKind::Status);
        let taken = at_most.min(shelf.work.len());
        let mut items: Vec<Work> = shelf.work.drain(..taken).collect();
        if !items.is_empty() {
            shelf.revision += 1;
        }
        let room = items.len() < at_most;
        if !asks_status && room {
            items.push(Work {
                id: "baseline-status".into(),
                kind: WorkKind::Status,
                priority: Priority::Default,
                created_at_ms: now.wall,
                expires_at_ms: None,
                ends: None,
            });
        }
        Drained {
            revision: shelf.revision,
            items,
            has_more: !shelf.work.is_empty() || (!asks_status && !room),
        }
    }

    /// A node is removed.
    pub(crate) fn forget(&mut self, node: &str) {
        self.shelves.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        Now {
            mono: Instant::now(),
            wall: WallTime(1_000),
        }
    }

    fn ids(work: &mut PendingWork, now: Now) -> Vec<String> {
        let actions = work.pull(now.mono, "n", |_| true);
        actions.into_iter().map(|action| action.id).collect()
    }

    #[test]
    fn calls_wait_once_for_a_time_and_up_to_a_number() {
        let (mut work, mut rng, now) = (PendingWork::default(), Rng::new([1; 32]), start());
        let mut keep = |work: &mut PendingWork, now: Now, key: &str| {
            work.keep(now, &mut rng, "n", ("camera.snap", None), key)
        };
        let first = keep(&mut work, now, "0");
        assert_eq!(keep(&mut work, now, "0"), first, "the same key");
        assert_eq!(ids(&mut work, now), [first.as_str()]);
        assert_eq!(ids(&mut work, now), [first.as_str()], "until acknowledged");
        for key in 1..=MAX_ACTIONS {
            keep(&mut work, now, &key.to_string());
        }
        let kept = ids(&mut work, now);
        assert_eq!(kept.len(), MAX_ACTIONS);
        assert!(!kept.contains(&first), "the oldest makes room");
        assert_eq!(work.acknowledge(now.mono, "n", &kept[..4]), MAX_ACTIONS - 4);
        assert!(ids(&mut work, now.after(ACTION_TTL)).is_empty());
        keep(&mut work, now, "x");
        assert!(work.pull(now.mono, "n", |_| false).is_empty());
        assert!(ids(&mut work, now).is_empty(), "what is not allowed goes");
    }

    #[test]
    fn a_drain_takes_the_most_urgent_and_asks_for_the_status() {
        let (mut work, mut rng, now) = (PendingWork::default(), Rng::new([1; 32]), start());
        let kinds = |drained: &Drained| -> Vec<WorkKind> {
            drained.items.iter().map(|work| work.kind).collect()
        };
        let empty = work.drain(now, "n", None);
        assert_eq!((kinds(&empty), empty.revision), (vec![WorkKind::Status], 0));
        let location = (WorkKind::Location, Priority::Normal);
        let (revision, asked) = work.enqueue(now, &mut rng, "n", location, None);
        assert_eq!(revision, 1);
        let again = work.enqueue(now, &mut rng, "n", location, None);
        assert_eq!((again.0, again.1.id), (1, asked.id));
        let status = (WorkKind::Status, Priority::High);
        let short = Some(Duration::from_secs(1));
        work.enqueue(now, &mut rng, "n", status, short);
        let one = work.drain(now, "n", Some(1));
        assert_eq!((kinds(&one), one.has_more), (vec![WorkKind::Status], true));
        let rest = work.drain(now, "n", Some(1));
        assert_eq!(
            (kinds(&rest), rest.has_more),
            (vec![WorkKind::Location], true),
            "the question for the status had no room"
        );
        work.enqueue(now, &mut rng, "n", status, short);
        let late = work.drain(now.after(Duration::from_secs(1)), "n", None);
        assert_eq!(kinds(&late), [WorkKind::Status], "the usual one");
        assert_eq!(late.items[0].priority, Priority::Default);
    }
}

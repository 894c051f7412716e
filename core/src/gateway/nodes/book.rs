//! The book of nodes: what each may do, and which ask to do more. It is kept across restarts.
//!
//! At most one request of a node waits. A request that asks for the same keeps its id, since somebody
//! may just be typing it; one that asks for something else gets a new one, so that nobody approves what
//! was never shown.

use std::collections::BTreeMap;

use super::{
    record::{Approval, NodeFacts, NodeRecord, NodeRequest, Prompt, Visits},
    surface::Surface,
};
use crate::{
    rng::Rng,
    store::{CommitId, Journal, Mirror, Row},
    time::{Now, WallTime},
};

/// How often a visit is written down: a node that reconnects all the time shall not cost a write each
/// time. Meanwhile the exact times are known in memory.
const VISIT_EVERY_MS: u64 = 600_000;

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// It waits now, in place of these.
    New(Box<NodeRequest>, Vec<NodeRequest>),
    /// The same waits already.
    Same,
    /// Too many wait.
    Full,
}

/// All nodes.
#[derive(Debug, Default)]
pub(crate) struct NodeBook {
    nodes: Mirror<NodeRecord>,
    requests: Mirror<NodeRequest>,
    /// Visits of this run, newer than what is written down.
    visits: BTreeMap<String, Visits>,
}

impl NodeBook {
    /// Takes the records of the last run. Gives the keys of those that cannot be read.
    pub(crate) fn restore(rows: &[Row]) -> (Self, Vec<String>) {
        let (nodes, mut unreadable) = Mirror::restore(rows);
        let (requests, more) = Mirror::restore(rows);
        unreadable.extend(more);
        let book = Self {
            nodes,
            requests,
            visits: BTreeMap::new(),
        };
        (book, unreadable)
    }

    pub(crate) fn get(&self, node_id: &str) -> Option<&NodeRecord> {
        self.nodes.get(node_id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    pub(crate) fn requests(&self) -> impl Iterator<Item = &NodeRequest> {
        self.requests.values()
    }

    pub(crate) fn request(&self, id: &str) -> Option<&NodeRequest> {
        self.requests.get(id)
    }

    /// The request of a node, if one waits.
    pub(crate) fn request_of(&self, node_id: &str) -> Option<&NodeRequest> {
        self.requests
            .values()
            .find(|request| request.node_id == node_id)
    }

    /// What was approved for a node.
    pub(crate) fn approval(&self, node_id: &str) -> Option<&Approval> {
        self.nodes.get(node_id)?.approval.as_ref()
    }

    /// When a node was there.
    pub(crate) fn visits(&self, node_id: &str) -> Visits {
        let of_this_run = self.visits.get(node_id);
        of_this_run
            .or_else(|| self.nodes.get(node_id).map(|node| &node.visits))
            .cloned()
            .unwrap_or_default()
    }

    /// A node connected. Its record is made if it has none.
    pub(crate) fn connected(
        &mut self,
        journal: &mut Journal,
        wall: WallTime,
        node_id: &str,
        facts: NodeFacts,
    ) {
        let visits = Visits {
            last_connected_at_ms: Some(wall),
            last_seen_at_ms: Some(wall),
            last_seen_reason: Some("connect".into()),
            ..self.visits(node_id)
        };
        match self.nodes.get(node_id).cloned() {
            Some(mut known) => {
                let newer = known.facts != facts;
                known.facts = facts;
                if newer || is_due(&known.visits, wall) {
                    known.visits = visits.clone();
                    self.nodes.put(journal, known);
                }
            }
            None => self.nodes.put(
                journal,
                NodeRecord {
                    node_id: node_id.into(),
                    operator_name: None,
                    facts,
                    approval: None,
                    created_at_ms: wall,
                    visits: visits.clone(),
                },
            ),
        }
        self.visits.insert(node_id.into(), visits);
    }

    /// A node is gone.
    pub(crate) fn disconnected(&mut self, journal: &mut Journal, wall: WallTime, node_id: &str) {
        let visits = Visits {
            last_disconnected_at_ms: Some(wall),
            ..self.visits(node_id)
        };
        self.visit(journal, wall, node_id, visits);
    }

    /// A node says that it is there.
    pub(crate) fn seen(
        &mut self,
        journal: &mut Journal,
        wall: WallTime,
        node_id: &str,
        reason: String,
    ) {
        let visits = Visits {
            last_seen_at_ms: Some(wall),
            last_seen_reason: Some(reason),
            ..self.visits(node_id)
        };
        self.visit(journal, wall, node_id, visits);
    }

    fn visit(&mut self, journal: &mut Journal, wall: WallTime, node_id: &str, visits: Visits) {
        let Some(mut node) = self.nodes.get(node_id).cloned() else {
            return;
        };
        self.visits.insert(node_id.into(), visits.clone());
        if is_due(&node.visits, wall) {
            node.visits = visits;
            self.nodes.put(journal, node);
        }
    }

    /// Has a node ask. At most `limit` requests wait; when there is no room, those go first whose
    /// node is not there.
    pub(crate) fn ask(
        &mut self,
        journal: &mut Journal,
        rng: &mut Rng,
        new: NodeRequest,
        limit: usize,
        is_there: impl Fn(&str) -> bool,
    ) -> Asked {
        let before = self.request_of(&new.node_id).cloned();
        if let Some(mut same) = before
            .clone()
            .filter(|request| request.surface == new.surface)
        {
            if same.facts != new.facts || (same.prompt, new.prompt) == SILENT_NO_MORE {
                same.facts = new.facts;
                same.prompt = new.prompt;
                self.requests.put(journal, same);
            }
            return Asked::Same;
        }
        let mut replaced: Vec<NodeRequest> = before.into_iter().collect();
        if self.requests.len() - replaced.len() >= limit {
            let absent = self
                .requests
                .values()
                .filter(|request| request.node_id != new.node_id && !is_there(&request.node_id));
            let Some(oldest) = absent.min_by_key(|request| request.ts).cloned() else {
                return Asked::Full;
            };
            replaced.push(oldest);
        }
        for old in &replaced {
            self.requests.remove(journal, &old.request_id);
        }
        let request = NodeRequest {
            request_id: rng.uuid(),
            ..new
        };
        self.requests.put(journal, request.clone());
        Asked::New(Box::new(request), replaced)
    }

    /// Removes a request.
    pub(crate) fn drop_request(&mut self, journal: &mut Journal, id: &str) -> Option<NodeRequest> {
        self.requests.remove(journal, id)
    }

    /// Approves a surface, in place of what was approved before.
    pub(crate) fn approve(
        &mut self,
        journal: &mut Journal,
        wall: WallTime,
        node_id: &str,
        surface: Surface,
    ) -> Option<NodeRecord> {
        let mut node = self.nodes.get(node_id)?.clone();
        node.approval = Some(Approval {
            surface,
            approved_at_ms: wall,
        });
        self.nodes.put(journal, node.clone());
        Some(node)
    }

    /// Gives a node a name.
    pub(crate) fn rename(&mut self, journal: &mut Journal, node_id: &str, name: String) -> bool {
        let Some(mut node) = self.nodes.get(node_id).cloned() else {
            return false;
        };
        node.operator_name = Some(name);
        self.nodes.put(journal, node);
        true
    }

    /// Forgets a node. Gives its request, if one waited.
    pub(crate) fn remove(&mut self, journal: &mut Journal, node_id: &str) -> Option<NodeRequest> {
        self.visits.remove(node_id);
        self.nodes.remove(journal, node_id);
        let id = self.request_of(node_id)?.request_id.clone();
        self.drop_request(journal, &id)
    }

    /// The last change of a node, or of a request, that is not durable yet.
    pub(crate) fn unsettled(&self, key: &str) -> Option<CommitId> {
        self.nodes.unsettled(key).max(self.requests.unsettled(key))
    }

    pub(crate) fn settle(&mut self, commit: CommitId) {
        self.nodes.settle(commit);
        self.requests.settle(commit);
    }

    pub(crate) fn roll_back(&mut self, commit: CommitId) {
        self.nodes.roll_back(commit);
        self.requests.roll_back(commit);
    }
}

/// A request that needed no prompt, and needs one now.
const SILENT_NO_MORE: (Prompt, Prompt) = (Prompt::Silent, Prompt::Needed);

fn is_due(written: &Visits, wall: WallTime) -> bool {
    written
        .last_seen_at_ms
        .max(written.last_disconnected_at_ms)
        .is_none_or(|last| wall.0.abs_diff(last.0) >= VISIT_EVERY_MS)
}

/// The moment of a request, for those who make one.
pub(crate) fn new_request(
    now: Now,
    node_id: &str,
    facts: NodeFacts,
    surface: Surface,
    prompt: Prompt,
) -> NodeRequest {
    NodeRequest {
        request_id: String::new(),
        node_id: node_id.into(),
        facts,
        surface,
        prompt,
        ts: now.wall,
    }
}

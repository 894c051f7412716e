//! A node that is connected: what it claims and what it reports. Nothing of this outlives the
//! connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    command_policy::{NodeCommandPolicy, NodeProfile, PlatformClass, Talk},
    record::NodeFacts,
    surface::Surface,
};
use crate::{
    frame::RawJson,
    ids::ConnId,
    server::ConnectRequest,
    time::{Now, WallTime},
};

/// Sessions that one node may follow.
const MAX_FOLLOWED: usize = 64;

/// Runs of programs that a node may report on.
const MAX_RUNS: usize = 64;

/// `node.host.stats` (spec protocol §8.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HostStats {
    cpu_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load_average: Option<[f64; 3]>,
    memory_total_bytes: u64,
    memory_free_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_total_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_available_bytes: Option<u64>,
}

impl HostStats {
    /// Whether the numbers can be true.
    pub(crate) fn is_plausible(&self) -> bool {
        let loads = self.load_average.iter().flatten();
        let disk = match (self.disk_total_bytes, self.disk_available_bytes) {
            (None, None) => true,
            (Some(total), Some(available)) => available <= total,
            (None, Some(_)) | (Some(_), None) => false,
        };
        (1..=4_096).contains(&self.cpu_count)
            && loads.copied().all(|load| (0.0..=100_000.0).contains(&load))
            && self.memory_free_bytes <= self.memory_total_bytes
            && disk
    }
}

/// Host stats, and when they came.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedStats {
    #[serde(flatten)]
    pub(crate) stats: HostStats,
    pub(crate) updated_at_ms: WallTime,
}

/// When somebody last used the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activity {
    pub(crate) last_active_at_ms: WallTime,
    pub(crate) presence_updated_at_ms: WallTime,
}

/// A tool that a node offers to agents. It runs one of the node's commands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PluginTool {
    pub(crate) plugin_id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    #[serde(default = "any_parameters")]
    pub(crate) parameters: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mcp: Option<McpTool>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct McpTool {
    server: String,
    tool: String,
}

fn any_parameters() -> Box<RawValue> {
    let text = r#"{"type":"object","properties":{},"additionalProperties":true}"#;
    RawValue::from_string(text.into()).unwrap_or_default()
}

impl PluginTool {
    /// The schema of its parameters.
    pub(crate) fn schema(&self) -> Option<RawJson> {
        RawJson::checked(self.parameters.get().to_owned()).ok()
    }
}

/// A skill that a node brings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeSkill {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) content: String,
}

/// A run of a program that a node reports on by `exec.*` events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchedRun {
    pub(crate) run_id: String,
    pub(crate) session_key: Option<String>,
}

/// A connected node.
#[derive(Debug)]
pub(crate) struct LiveNode {
    pub(crate) conn: ConnId,
    pub(crate) since: WallTime,
    pub(crate) facts: NodeFacts,
    pub(crate) profile: NodeProfile,
    /// What it claims, without what it may not even claim.
    pub(crate) claim: Surface,
    pub(crate) path_env: Option<String>,
    pub(crate) stats: Option<ReportedStats>,
    pub(crate) activity: Option<Activity>,
    pub(crate) tools: Vec<PluginTool>,
    pub(crate) skills: Vec<NodeSkill>,
    /// What it says of the runners that it hosts.
    pub(crate) inventory: Option<RawJson>,
    followed: BTreeSet<String>,
    runs: VecDeque<WatchedRun>,
}

impl LiveNode {
    pub(crate) fn new(
        now: Now,
        conn: ConnId,
        policy: &NodeCommandPolicy,
        request: &ConnectRequest,
    ) -> Self {
        let params = &request.params;
        let profile = NodeProfile {
            class: PlatformClass::of_client(&params.client),
            talk: Talk::of(&params.caps, &params.commands),
        };
        let (caps, commands) = (&params.caps, &params.commands);
        Self {
            conn,
            since: now.wall,
            facts: NodeFacts::of(&params.client, request.peer.client_ip()),
            profile,
            claim: Surface::claimed(policy, profile, caps, commands, &params.permissions),
            path_env: params.path_env.clone(),
            stats: None,
            activity: None,
            tools: Vec::new(),
            skills: Vec::new(),
            inventory: None,
            followed: BTreeSet::new(),
            runs: VecDeque::new(),
        }
    }

    /// Whether it follows a session.
    pub(crate) fn follows(&self, session_key: &str) -> bool {
        self.followed.contains(session_key)
    }

    /// From now on it follows a session. Nothing happens when it follows too many.
    pub(crate) fn follow(&mut self, session_key: String) {
        if self.followed.len() < MAX_FOLLOWED {
            self.followed.insert(session_key);
        }
    }

    pub(crate) fn unfollow(&mut self, session_key: &str) {
        self.followed.remove(session_key);
    }

    /// The gateway had it run a program: it may report on that run.
    pub(crate) fn watch(&mut self, run: WatchedRun) {
        self.runs.retain(|known| *known != run);
        if self.runs.len() >= MAX_RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }

    /// Whether it may report on a run. The report of its end is the last.
    pub(crate) fn may_report(&mut self, run: &WatchedRun, report: Report) -> bool {
        let known = self.runs.contains(run);
        if report == Report::Last {
            self.runs.retain(|other| other != run);
        }
        known
    }
}

/// Which report of a run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// More may follow.
    Any,
    /// The run has ended.
    Last,
}

/// The nodes that are connected, by id.
pub(crate) type LiveNodes = BTreeMap<String, LiveNode>;

/// The node on which somebody worked last.
pub(crate) fn active(nodes: &LiveNodes) -> Option<&str> {
    nodes
        .iter()
        .filter_map(|(id, node)| Some((node.activity?, id)))
        .max()
        .map(|(_, id)| id.as_str())
}

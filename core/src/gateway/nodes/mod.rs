//! Nodes: devices that do something when the gateway asks (spec protocol §8).
//!
//! A node connects by its device's pairing (see `devices`). What it may be asked to do is a second
//! matter: it claims capabilities, commands and permissions, an operator approves them, and what counts
//! is what is both claimed and approved. Each command then passes the policy for the node's platform
//! when it is sent.
//!
//! | file | rule |
//! | --- | --- |
//! | `command_policy` | which commands a platform may have at all |
//! | `surface` | what of a claim counts, and what approving it takes |
//! | `book`, `record` | what is kept across restarts |
//! | `live` | what a connected node reports |
//! | `session` | a node comes and goes |
//! | `approval` | requests, and their answers |
//! | `invoke`, `dispatch` | calls under way, and how they end |
//! | `system_run` | what may be said to `system.run` |
//! | `pending_work` | what waits for nodes that sleep |
//! | `catalog` | how nodes are shown |
//! | `ask` | what nodes want from agents |

mod approval;
mod ask;
mod book;
mod catalog;
mod command_policy;
mod dispatch;
mod invoke;
mod live;
mod pending_work;
mod record;
mod session;
mod surface;
mod system_run;

use super::Gateway;
use crate::{ids::ConnId, store::Row};

pub(crate) use approval::shown as shown_request;
pub(crate) use ask::{AskKind, NodeAsk};
pub(crate) use book::NodeBook;
pub use catalog::UnknownNode;
pub(crate) use catalog::{NodeView, without_nulls};
pub use command_policy::{
    CommandRefusal, CustomCommands, NodeCommandPolicy, NodeProfile, PlatformClass, Reach, Talk,
};
pub(crate) use dispatch::pairing_changed;
pub(crate) use invoke::{
    CallTime, Invoke, InvokeFault, InvokeOrigin, Invokes, NodeCall, NodeReply,
};
pub(crate) use live::{
    Activity, HostStats, LiveNode, LiveNodes, NodeSkill, PluginTool, Report, ReportedStats,
    WatchedRun,
};
pub(crate) use pending_work::{PendingWork, Priority, WorkKind};
pub(crate) use record::{NodeRecord, NodeRequest};

/// Everything that the gateway knows of nodes.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) book: NodeBook,
    pub(crate) live: LiveNodes,
    pub(crate) invokes: Invokes,
    pub(crate) work: PendingWork,
    /// Connections that were told to go in this input.
    departed: Vec<ConnId>,
}

impl Nodes {
    /// Takes the records of the last run. Gives the keys of those that cannot be read.
    pub(crate) fn restore(rows: &[Row]) -> (Self, Vec<String>) {
        let (book, unreadable) = NodeBook::restore(rows);
        let nodes = Self {
            book,
            ..Self::default()
        };
        (nodes, unreadable)
    }

    /// A connection was told to go. What depends on it ends with this input.
    pub(crate) fn depart(&mut self, conn: ConnId) {
        self.departed.push(conn);
    }

    /// The connected node behind a connection.
    pub(crate) fn of_conn(&self, conn: ConnId) -> Option<(&str, &LiveNode)> {
        let mut nodes = self.live.iter();
        let (id, node) = nodes.find(|(_, node)| node.conn == conn)?;
        Some((id, node))
    }
}

impl Gateway {
    /// What counts of a node's claims: those that were approved.
    pub(crate) fn effective_surface(&self, node_id: &str) -> surface::Surface {
        let approval = self.nodes.book.approval(node_id);
        match (approval, self.nodes.live.get(node_id)) {
            (Some(approval), Some(live)) => approval.surface.effective(&live.claim),
            (None, _) | (_, None) => surface::Surface::default(),
        }
    }
}

//! What nodes want from agents (spec protocol §8.5).

use crate::{gateway::Gateway, time::Now};

/// How a node asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskKind {
    /// `agent.request`: somebody typed or shared something.
    Request,
    /// `voice.transcript`: somebody said something.
    Voice,
}

/// Something that an agent is to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeAsk {
    pub(crate) kind: AskKind,
    /// Not empty, and within the limits of the protocol.
    pub(crate) message: String,
    /// The session that is meant, if the node names one.
    pub(crate) session_key: Option<String>,
}

impl Gateway {
    /// An approved node wants something from an agent.
    pub(in crate::gateway) fn node_asks(&mut self, _now: Now, node: &str, ask: NodeAsk) {
        let what = match ask.kind {
            AskKind::Request => "Request",
            AskKind::Voice => "Voice",
        };
        let session = ask
            .session_key
            .map_or_else(String::new, |key| format!(" session={key}"));
        let text = format!("{what} (node={node}{session}): {}", ask.message);
        self.queue_system_event(text);
    }
}

//! What nodes want from agents (spec protocol §8.5).

use crate::{
    gateway::{Gateway, sessions::SessionKey},
    time::Now,
};

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
    /// An approved node wants something from an agent. What cannot be taken as a message becomes
    /// something for the agent to know.
    pub(in crate::gateway) fn node_asks(&mut self, now: Now, node: &str, ask: NodeAsk) {
        let default = self.setup.host.default_agent();
        let key = ask
            .session_key
            .and_then(|key| SessionKey::resolve(&key, default).ok())
            .unwrap_or_else(|| self.main_session(None));
        if !self.submit_own(now, &key, ask.message.clone(), "node") {
            let what = match ask.kind {
                AskKind::Request => "Request",
                AskKind::Voice => "Voice",
            };
            let text = format!("{what} (node={node}): {}", ask.message);
            self.queue_system_event(&key, text);
        }
    }
}

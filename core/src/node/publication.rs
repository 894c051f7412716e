//! What a node tells of itself after each hello (spec minimal-server, node host): who it is for
//! sessions, and its commands as tools. A gateway that has not approved the node's surface yet
//! answers with the request that waits, and is told again until it takes it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::work::NodeCallId;
use crate::protocol::RpcError;

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Due(Instant),
    Sent(NodeCallId),
    Settled,
}

/// One thing to tell.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) method: &'static str,
    params: Value,
    state: State,
    delay: Duration,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The gateway has it.
    Taken,
    /// The gateway does not want it, in its words.
    Unwanted(String),
    /// Somebody has to approve the node's surface first.
    AwaitsApproval(Option<String>),
    /// Not now.
    Later,
}

impl Publication {
    /// Sessions of agents are not hosted here.
    pub(super) fn sessions() -> Self {
        Self::new(
            "node.runnerInventory.update",
            json!({ "protocolFeatures": [] }),
        )
    }

    /// Commands as tools of agents.
    pub(super) fn tools(tools: Vec<Value>) -> Option<Self> {
        let tools = (!tools.is_empty()).then_some(tools)?;
        Some(Self::new(
            "node.pluginTools.update",
            json!({ "tools": tools }),
        ))
    }

    const fn new(method: &'static str, params: Value) -> Self {
        Self {
            method,
            params,
            state: State::Idle,
            delay: FIRST_RETRY,
        }
    }

    /// A connection stands.
    pub(super) fn start(&mut self, now: Instant) {
        self.state = State::Due(now);
        self.delay = FIRST_RETRY;
    }

    /// There is no connection.
    pub(super) fn stop(&mut self) {
        self.state = State::Idle;
    }

    /// What it waited for has come.
    pub(super) fn hurry(&mut self, now: Instant) {
        if matches!(self.state, State::Due(_)) {
            self.start(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at),
            State::Idle | State::Sent(_) | State::Settled => None,
        }
    }

    /// The parameters, if it is time to send them as this call.
    pub(super) fn send(&mut self, now: Instant, id: NodeCallId) -> Option<&Value> {
        self.deadline().filter(|at| *at <= now)?;
        self.state = State::Sent(id);
        Some(&self.params)
    }

    /// Takes the answer to a call, if it is this one's.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        id: NodeCallId,
        answer: Result<(), &RpcError>,
    ) -> Option<Told> {
        if self.state != State::Sent(id) {
            return None;
        }
        Some(match answer {
            Ok(()) => {
                self.state = State::Settled;
                Told::Taken
            }
            Err(error) if error.code == "INVALID_REQUEST" => {
                self.state = State::Settled;
                Told::Unwanted(error.message.clone())
            }
            Err(error) => {
                self.state = State::Due(now + self.delay);
                self.delay = (self.delay * 2).min(LAST_RETRY);
                if error.message.contains("awaiting operator approval") {
                    Told::AwaitsApproval(waiting_request(error))
                } else {
                    Told::Later
                }
            }
        })
    }
}

/// The request that somebody has to approve. It will be shown for pasting into a shell, so it may
/// hold nothing but what ids are made of.
fn waiting_request(error: &RpcError) -> Option<String> {
    let details = error.details.as_ref();
    let named = details
        .and_then(|details| details.get("requestId"))
        .and_then(Value::as_str);
    let in_words = || {
        let (_, rest) = error.message.split_once("nodes approve ")?;
        rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
            .next()
    };
    let id = named.or_else(in_words)?;
    let plain = id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (plain && id.len() <= 128).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RpcCode;

    #[test]
    fn the_waiting_request_is_found_and_never_more_than_an_id() {
        let waiting = |message: &str| {
            let error = RpcError::new(RpcCode::Unavailable, message);
            waiting_request(&error)
        };
        let real = "node capability surface is awaiting operator approval; run `openclaw nodes \
                    approve d7920701-8a5d` (see `openclaw nodes pending`)";
        assert_eq!(waiting(real).as_deref(), Some("d7920701-8a5d"));
        assert_eq!(waiting("nodes approve $(id)"), None);
        assert_eq!(waiting("nodes approve --all"), None);
        assert_eq!(waiting("not yet"), None);
        let named = RpcError::new(RpcCode::Unavailable, "x");
        let evil = named.clone().with_details(json!({ "requestId": "a;b" }));
        assert_eq!(waiting_request(&evil), None);
        let good = named.with_details(json!({ "requestId": "r-1" }));
        assert_eq!(waiting_request(&good).as_deref(), Some("r-1"));
    }
}

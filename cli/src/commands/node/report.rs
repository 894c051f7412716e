//! What a node tells of its standing: one line for each change.

use std::time::Duration;

use clawgate_core::client::{Disconnected, Ending};
use clawgate_core::node::{HostNotice, NodeOptions};
use clawgate_std::NodeEvent;
use serde_json::{Value, json};

use crate::output::{self, Format};
use crate::refusal;
use crate::target::Resolved;
use crate::text;

pub(super) struct Report {
    format: Format,
    url: String,
    node_id: String,
    commands: Vec<String>,
    /// What was said last: the same is not said twice in a row.
    last: Value,
}

impl Report {
    pub(super) fn new(format: Format, resolved: &Resolved, options: &NodeOptions) -> Self {
        Self {
            format,
            url: resolved.target.endpoint().url(),
            node_id: options.node_id.clone(),
            commands: options.commands.names(),
            last: Value::Null,
        }
    }

    pub(super) fn tell(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::Connected(hello) => {
                let fact = json!({
                    "state": "connected", "url": self.url, "nodeId": self.node_id,
                    "serverVersion": hello.server_version,
                });
                let words = format!("connected: {} as node {}", self.url, self.node_id);
                self.say(fact, &words);
            }
            NodeEvent::Disconnected { why, again } => self.disconnected(why, *again),
            NodeEvent::Notice(HostNotice::AwaitsApproval(request)) => {
                let approve = request.as_ref().map_or_else(
                    || "clawgate nodes pending".to_owned(),
                    |request| format!("clawgate nodes approve {request}"),
                );
                let words = format!(
                    "waiting: this node's commands have to be approved on the gateway's host: {approve}"
                );
                let fact = json!({
                    "state": "awaiting-approval", "requestId": request, "approve": approve,
                });
                self.say(fact, &words);
            }
            NodeEvent::Notice(HostNotice::Approved) => {
                let words = format!("ready: {}", self.commands.join(", "));
                self.say(
                    json!({ "state": "ready", "commands": self.commands }),
                    &words,
                );
            }
            NodeEvent::Notice(HostNotice::Rejected) => {
                let words = "rejected: somebody turned this node's commands down";
                self.say(json!({ "state": "rejected" }), words);
            }
            NodeEvent::Notice(HostNotice::Unwanted(words)) | NodeEvent::Warning(words) => {
                output::note(&format!("warning: {}", text::plain(words)));
            }
            NodeEvent::ForgetDeviceToken => {
                output::note("warning: the gateway does not know this device's token any more");
            }
        }
    }

    pub(super) fn stopped(&mut self) {
        self.say(json!({ "state": "stopped" }), "stopped");
    }

    fn disconnected(&mut self, why: &Disconnected, again: Option<Duration>) {
        if let Disconnected::Conn(Ending::Refused(error)) = why
            && error.detail_code() == Some("PAIRING_REQUIRED")
        {
            let step = refusal::pairing_step(error);
            let fact = json!({
                "state": "awaiting-pairing", "url": self.url, "nodeId": self.node_id,
                "requestId": refusal::request_id(error), "next": step,
            });
            return self.say(fact, &format!("waiting: {step}"));
        }
        let Some(again) = again else { return };
        let words = match why {
            Disconnected::Conn(ending) => ending.to_string(),
            Disconnected::Dial(words) => words.clone(),
            Disconnected::DialTimeout => "the gateway did not answer in time".to_owned(),
        };
        let fact = json!({
            "state": "reconnecting", "url": self.url, "why": words,
            "retryMs": u64::try_from(again.as_millis()).unwrap_or(u64::MAX),
        });
        let line = format!("reconnecting in {}: {words}", text::duration(again));
        self.say(fact, &line);
    }

    /// Nobody reads a standard output that is closed: the node goes on.
    fn say(&mut self, fact: Value, words: &str) {
        if fact == self.last {
            return;
        }
        let _ = match self.format {
            Format::Json => output::json_line(&fact),
            Format::Text => output::text(&format!("{}\n", text::plain(words))),
        };
        self.last = fact;
    }
}

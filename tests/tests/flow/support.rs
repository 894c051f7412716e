//! What all flows need.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

/// The session of the tests.
pub(crate) const SESSION: &str = "agent:main:main";

const SCOPES: [&str; 4] = [
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.admin",
];

/// The program behind a node's own commands.
pub(crate) fn tool() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_node_tool"))
}

/// A gateway with these settings for all agents, and these keys beside `agents`.
pub(crate) fn gateway(
    defaults: Value,
    more: &[(&str, Value)],
    environment: &[(&str, &str)],
) -> TestResult<GatewayProcess> {
    let mut config = vec![("agents".to_owned(), json!({ "defaults": defaults }))];
    config.extend(
        more.iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
    );
    GatewayProcess::start_with(Settings {
        config,
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Settings::default()
    })
}

/// Settings of the built-in agent that can say how warm a room is, and wait at a gate.
pub(crate) fn rules() -> Value {
    json!({
        "backend": "builtin",
        "rules": [
            {
                "match": "how warm is the {room}",
                "node": "box", "command": "room.read", "params": { "room": "{room}" },
                "reply": "It is {result.celsius} degrees in the {room}.",
            },
            {
                "match": "wait at {port}",
                "node": "box", "command": "room.read", "params": { "gate": "{port:number}" },
                "reply": "The gate {result.given.gate} is open.",
                "error": "The box is lost: {error.message}",
            },
        ],
    })
}

/// The node `box`, approved.
pub(crate) fn node(gateway: &GatewayProcess) -> TestResult<NodeProcess> {
    NodeProcess::approved(gateway, box_setup())
}

pub(crate) fn box_setup() -> NodeSetup {
    NodeSetup {
        name: "box".to_owned(),
        commands: vec![("room.read".to_owned(), tool())],
        ..NodeSetup::default()
    }
}

/// A client that sees everything.
pub(crate) fn client(gateway: &GatewayProcess) -> TestResult<RawClient> {
    let mut client =
        RawClient::operator_with_caps(&gateway.url(), gateway.token(), &SCOPES, &["tool-events"])?;
    client.record();
    Ok(client)
}

/// A run as its client sees it: its `agent` and `chat` events, in the order in which they came.
pub(crate) struct Run {
    pub(crate) id: String,
    sent: Instant,
    accepted: Duration,
    seen: Vec<(Duration, Value)>,
}

impl Run {
    /// Sends a message.
    pub(crate) fn send(client: &mut RawClient, id: &str, message: &str) -> TestResult<Self> {
        let sent = Instant::now();
        let params = json!({ "sessionKey": SESSION, "message": message, "idempotencyKey": id });
        let answer = client.call("chat.send", params)?.payload()?;
        assert_eq!(answer, json!({ "runId": id, "status": "started" }));
        Ok(Self {
            id: id.to_owned(),
            sent,
            accepted: sent.elapsed(),
            seen: Vec::new(),
        })
    }

    /// The next event of the run that satisfies `wanted`.
    pub(crate) fn until(
        &mut self,
        client: &mut RawClient,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> TestResult<Value> {
        loop {
            let frame = client.wait_for(what, |frame| {
                let name = frame["event"].as_str().unwrap_or_default();
                matches!(name, "agent" | "chat") && frame["payload"]["runId"] == self.id.as_str()
            })?;
            self.seen.push((self.sent.elapsed(), frame.clone()));
            let ends = frame["event"] == "chat" && frame["payload"]["state"] != "delta";
            if wanted(&frame) {
                return Ok(frame["payload"].clone());
            }
            if ends {
                return Err(Failure::new(format!(
                    "waiting for {what}, the run ended: {frame}"
                )));
            }
        }
    }

    /// The next event about a tool in this phase: its data.
    pub(crate) fn tool(&mut self, client: &mut RawClient, phase: &str) -> TestResult<Value> {
        let mut event = self.until(client, &format!("a tool's {phase}"), |frame| {
            frame["payload"]["stream"] == "tool" && frame["payload"]["data"]["phase"] == phase
        })?;
        Ok(event["data"].take())
    }

    /// The end, after which the numbers of all events are checked.
    pub(crate) fn end(&mut self, client: &mut RawClient, state: &str) -> TestResult<Value> {
        let end = self.until(client, "the end of the run", |frame| {
            frame["event"] == "chat" && frame["payload"]["state"] != "delta"
        })?;
        assert_eq!(end["state"], state, "{end}");
        for name in ["agent", "chat"] {
            let numbers: Vec<u64> = self
                .seen
                .iter()
                .filter(|(_, frame)| frame["event"] == name)
                .filter_map(|(_, frame)| frame["payload"]["seq"].as_u64())
                .collect();
            let gapless: Vec<u64> = (1..).take(numbers.len()).collect();
            assert_eq!(numbers, gapless, "{name} events of {}", self.id);
        }
        let last = self
            .seen
            .iter()
            .rev()
            .find(|(_, frame)| frame["event"] == "agent");
        let phase = last.map(|(_, frame)| &frame["payload"]["data"]["phase"]);
        let expected = json!(if state == "final" { "end" } else { "error" });
        assert_eq!(
            phase,
            Some(&expected),
            "the life of the run ends before the chat does"
        );
        Ok(end)
    }

    /// The text that came piece by piece.
    pub(crate) fn pieces(&self) -> String {
        let deltas = self.seen.iter().filter_map(|(_, frame)| {
            let payload = &frame["payload"];
            assert_ne!(payload["replace"], true, "{payload}");
            payload["deltaText"].as_str()
        });
        deltas.collect()
    }

    /// Prints when the hops of the run came.
    pub(crate) fn print(&self, backend: &str) {
        let at = |phase: &str| {
            let found = self.seen.iter().find(|(_, frame)| {
                frame["payload"]["stream"] == "tool" && frame["payload"]["data"]["phase"] == phase
            });
            found.map_or(Duration::ZERO, |(at, _)| *at)
        };
        let end = self.seen.last().map_or(Duration::ZERO, |(at, _)| *at);
        println!(
            "{backend:8} accepted {:>9.1?}  agent asks node {:>9.1?}  node's result {:>9.1?}  reply {:>9.1?}",
            self.accepted,
            at("start"),
            at("result"),
            end,
        );
    }
}

/// The text of a message.
pub(crate) fn text(message: &Value) -> String {
    let content = &message["content"];
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let blocks = content.as_array().into_iter().flatten();
    blocks.filter_map(|block| block["text"].as_str()).collect()
}

/// The transcript: role and text of each message.
pub(crate) fn history(client: &mut RawClient) -> TestResult<Vec<(String, String)>> {
    let params = json!({ "sessionKey": SESSION });
    let page = client.call("chat.history", params)?.payload()?;
    let messages = page["messages"].as_array().into_iter().flatten();
    Ok(messages
        .map(|message| {
            let role = message["role"].as_str().unwrap_or_default().to_owned();
            (role, text(message))
        })
        .collect())
}

/// Checks that a question was answered so, at the end of the transcript.
pub(crate) fn assert_answered(client: &mut RawClient, question: &str, answer: &str) -> TestResult {
    let history = history(client)?;
    let pair = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    assert_eq!(
        history.last(),
        Some(&pair("assistant", answer)),
        "{history:?}"
    );
    assert!(history.contains(&pair("user", question)), "{history:?}");
    assert!(
        history.iter().any(|(role, _)| role == "toolResult"),
        "{history:?}"
    );
    Ok(())
}

//! What all tests of Telegram need.

use std::path::PathBuf;
use std::time::Duration;

use clawgate_bot_api::{Act, BotApi, Fault, SentMessage, State, User};
use clawgate_tests::command_line::Machine;
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Attempt, Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use serde_json::{Value, json};

/// The token of the bot.
pub(crate) const TOKEN: &str = "123456:AAE9f-hunter2-of-the-telegram-tests";

/// The part of the token that is secret.
pub(crate) const KEY: &str = "AAE9f-hunter2-of-the-telegram-tests";

/// Enough for what the service and the gateway do together, with the pauses that the gateway makes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The service, a gateway with a bot there, and a person.
pub(crate) struct Scene {
    pub(crate) gateway: GatewayProcess,
    pub(crate) owner: Machine,
    pub(crate) anna: User,
    pub(crate) api: BotApi,
}

/// What differs from the usual gateway.
#[derive(Default)]
pub(crate) struct Change {
    /// `agents.defaults`, in place of the built-in agent's rules.
    pub(crate) agent: Option<Value>,
    /// More keys of `channels.telegram`.
    pub(crate) telegram: Vec<(&'static str, Value)>,
    /// More keys beside `agents` and `channels`.
    pub(crate) config: Vec<(&'static str, Value)>,
}

impl Scene {
    pub(crate) fn start() -> TestResult<Self> {
        Self::with(Change::default())
    }

    pub(crate) fn with(change: Change) -> TestResult<Self> {
        let api = BotApi::start()?;
        api.add_bot(TOKEN, "door_bot")?;
        let anna = api.user(7, "Anna");
        let mut telegram = json!({
            "enabled": true,
            "botToken": { "source": "env", "provider": "default", "id": "DOOR_BOT_TOKEN" },
            "apiRoot": api.url(),
            "dmPolicy": "open",
            "allowFrom": ["*"],
        });
        for (key, value) in change.telegram {
            telegram[key] = value;
        }
        let agent = change.agent.unwrap_or_else(rules);
        let mut config = vec![
            ("agents".to_owned(), json!({ "defaults": agent })),
            ("channels".to_owned(), json!({ "telegram": telegram })),
        ];
        let more = change.config.into_iter();
        config.extend(more.map(|(key, value)| (key.to_owned(), value)));
        let gateway = GatewayProcess::start_with(Settings {
            config,
            environment: vec![("DOOR_BOT_TOKEN".to_owned(), TOKEN.to_owned())],
            ..Settings::default()
        })?;
        Ok(Self {
            owner: Machine::of(&gateway),
            gateway,
            anna,
            api,
        })
    }

    /// The node `box`, approved.
    pub(crate) fn node(&self) -> TestResult<NodeProcess> {
        let setup = NodeSetup {
            name: "box".to_owned(),
            commands: vec![("room.read".to_owned(), tool())],
            ..NodeSetup::default()
        };
        NodeProcess::approved(&self.gateway, setup)
    }

    /// Waits until Anna has so many messages of the bot.
    pub(crate) fn told(&self, count: usize) -> TestResult<Vec<SentMessage>> {
        let sent = self.api.wait_for_sent(&self.anna, count, LIMIT);
        sent.attempt(|| format!("the gateway printed:\n{}", self.gateway.log()))
    }

    /// Waits until something is to be seen at the service.
    pub(crate) fn see<T>(&self, wanted: impl FnMut(&State) -> Option<T>) -> TestResult<T> {
        let seen = self.api.wait_for(LIMIT, wanted);
        seen.attempt(|| format!("the gateway printed:\n{}", self.gateway.log()))
    }

    /// Lays faults for the polls that begin after this, and ends the poll that waits with a message.
    pub(crate) fn fault_of_next_poll(&self, fault: Fault, message: &str) -> TestResult {
        self.see(|state| polls(state).then_some(()))?;
        self.api.fault(fault);
        self.api.says(&self.anna, message)?;
        Ok(())
    }

    /// How the account fares, once it satisfies.
    pub(crate) fn account(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> TestResult<Value> {
        let mut last = Value::Null;
        let found = Deadline::after(LIMIT).poll(what, || {
            let status = self.owner.json(&["channels", "status"])?;
            let row = status["channelAccounts"]["telegram"][0].clone();
            last = row.clone();
            Ok(wanted(&row).then_some(row))
        });
        found.attempt(|| format!("{last}"))
    }

    /// The messages that the gateway knows, the oldest first.
    pub(crate) fn messages(&self, words: &[&str]) -> TestResult<Vec<Value>> {
        let all = self.owner.json(&[&["messages", "list"], words].concat())?;
        let mut all = all["messages"].as_array().cloned().unwrap_or_default();
        all.reverse();
        Ok(all)
    }

    /// What the gateway knows of the message with these words, once it has come to this state.
    pub(crate) fn message(&self, text: &str, state: &str) -> TestResult<Value> {
        let what = format!("{text:?} to be {state}");
        let mut last = Vec::new();
        let found = Deadline::after(PATIENCE).poll(&what, || {
            last = self.messages(&[])?;
            let is = |row: &&Value| row["text"] == text && row["state"] == state;
            Ok(last.iter().find(is).cloned())
        });
        found.attempt(|| format!("{last:?}"))
    }

    /// Every step of a message and of its answer, printed under a name.
    pub(crate) fn trace(&self, name: &str, id: &Value) -> TestResult<Vec<String>> {
        let id = id.as_str().ok_or_else(|| Failure::new("no id"))?;
        let trace = self.owner.json(&["messages", "trace", id])?;
        let hops = trace["hops"].as_array().cloned().unwrap_or_default();
        let mut shown = Vec::new();
        let mut whole = 0;
        for hop in &hops {
            let after = hop["afterMs"].as_u64().unwrap_or_default();
            whole += after;
            let what = hop["what"].as_str().unwrap_or_default();
            println!("{name:8} {whole:>6} ms (+{after:>4} ms)  {what}");
            shown.push(what.to_owned());
        }
        Ok(shown)
    }
}

/// Whether a poll waits.
pub(crate) fn polls(state: &State) -> bool {
    let waits = |call: &clawgate_bot_api::Call| call.answered.is_none();
    state.calls_of("getUpdates").any(waits)
}

/// A fault of the next message that is sent.
pub(crate) fn of_sending(act: Act) -> Fault {
    Fault::on("sendMessage").act(act)
}

/// The program behind a node's own commands.
pub(crate) fn tool() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_node_tool"))
}

/// A reply that takes several messages: paragraphs, and code that is longer than one message.
pub(crate) fn long_reply() -> String {
    let paragraph = "The quick brown 🦊 jumps over the lazy 🐕. ".repeat(20);
    let code = "let answer = 42;\n".repeat(300);
    format!("{paragraph}\n\n```rust\n{code}```\n\n{paragraph}")
}

/// Settings of the built-in agent that can say how warm a room is, wait at a gate, take a picture and
/// talk much.
pub(crate) fn rules() -> Value {
    let read = |params: Value| json!({ "node": "box", "command": "room.read", "params": params });
    let rule = |pattern: &str, params: Value, reply: &str| {
        let mut rule = read(params);
        rule["match"] = json!(pattern);
        rule["reply"] = json!(reply);
        rule
    };
    json!({
        "backend": "builtin",
        "rules": [
            rule(
                "how warm is the {room}",
                json!({ "room": "{room}" }),
                "It is {result.celsius} degrees in the {room}.",
            ),
            rule(
                "wait at {port}",
                json!({ "gate": "{port:number}" }),
                "The gate {result.given.gate} is open.",
            ),
            rule(
                "look",
                json!({ "picture": true }),
                "This is {result.width} pixel wide.",
            ),
            json!({ "match": "talk", "reply": long_reply() }),
        ],
    })
}

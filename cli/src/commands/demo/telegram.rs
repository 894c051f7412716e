//! The same message, written in a chat: Telegram's part is played by a stand-in on this machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawgate_bot_api::{BotApi, User};
use clawgate_std::Client;
use serde_json::{Value, json};

use super::flow::{Flow, Hop, MESSAGE, NAME, refused, start};
use super::greet;
use super::stage::{Heard, Stage, spawn, system};
use crate::failure::Failure;

/// A token of the stand-in's own bot: it opens nothing else.
const TOKEN: &str = "1001:demo-of-clawgate";

const USER: i64 = 42;

/// Time for the reply to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stand-in, its bot, and somebody who writes to it.
#[derive(Debug)]
pub(super) struct Telegram {
    api: Arc<BotApi>,
    user: User,
}

impl Telegram {
    pub(super) fn start() -> Result<Self, Failure> {
        let api = BotApi::start().map_err(|error| system(&error.to_string()))?;
        api.add_bot(TOKEN, "demo_bot")
            .map_err(|error| system(&error.to_string()))?;
        let user = api.user(USER, "Ada");
        let api = Arc::new(api);
        Ok(Self { api, user })
    }

    /// `channels` of the gateway.
    pub(super) fn config(&self) -> Value {
        json!({ "telegram": {
            "enabled": true,
            "botToken": TOKEN,
            "apiRoot": self.api.url(),
            "dmPolicy": "allowlist",
            "allowFrom": [USER],
        } })
    }

    /// Writes the message, waits for the reply in the chat, and asks the gateway what it did when.
    pub(super) fn follow(&self, stage: &Stage, client: &Client) -> Result<Flow, Failure> {
        let (sent, sent_us) = (Instant::now(), greet::now_us());
        self.api
            .says(&self.user, MESSAGE)
            .map_err(|error| refused("the chat", &error.to_string()))?;
        let (api, tell) = (Arc::clone(&self.api), stage.teller());
        let user = self.user.clone();
        spawn("clawgate-chat", move || {
            let told = api.wait_for_sent(&user, 1, PATIENCE);
            let told = told.map_err(|error| error.to_string()).map(|told| {
                let first = told.into_iter().next();
                first.map(|message| message.text).unwrap_or_default()
            });
            tell(Heard::Chat(told));
        })?;
        let (reply, seen) = stage.wait("the reply comes", |at, heard| match heard {
            Heard::Chat(told) => {
                let reply = told.map_err(|why| refused("the chat", &why))?;
                Ok(Some((reply, at.saturating_duration_since(sent))))
            }
            Heard::Answer(..)
            | Heard::Client(_)
            | Heard::Ended(_)
            | Heard::Interrupt
            | Heard::Said(..) => Ok(None),
        })?;
        let wanted = greet::greeting(NAME);
        if reply.trim() != wanted {
            let why = format!("{reply:?} is not {wanted:?}");
            return Err(refused("the reply", &why));
        }
        // The first message of a gateway that has just begun.
        start(stage, client, "messages.trace", &json!({ "id": "m1" }))?;
        let trace = stage.wait("the gateway tells what it did", |_, heard| match heard {
            Heard::Answer(method, outcome) => {
                let trace = outcome.map_err(|error| refused(method, &error.to_string()))?;
                Ok(Some(trace))
            }
            Heard::Chat(_)
            | Heard::Client(_)
            | Heard::Ended(_)
            | Heard::Interrupt
            | Heard::Said(..) => Ok(None),
        })?;
        let trace: Value = serde_json::from_str(trace.as_str()).unwrap_or_default();
        let steps = trace.get("hops").and_then(Value::as_array);
        let mut hops: Vec<Hop> = steps
            .into_iter()
            .flatten()
            .filter_map(|step| {
                let what = step.get("what")?.as_str()?.to_owned();
                let at = step.get("at")?.as_u64()?;
                // The gateway counts in milliseconds: it can seem to be early by less than one.
                let after = at.saturating_sub(sent_us / 1_000);
                Some(Hop {
                    id: what.clone().into(),
                    words: what.into(),
                    after: Duration::from_millis(after),
                })
            })
            .collect();
        let last = "seen in the chat";
        hops.push(Hop {
            id: last.into(),
            words: last.into(),
            after: seen,
        });
        Ok(Flow {
            message: MESSAGE,
            reply,
            hops,
        })
    }
}

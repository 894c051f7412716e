//! One message through gateway, agent and node, with the time of each hop.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clawgate_core::client::{Call, Profile as ClientProfile, Route, Target};
use clawgate_core::config::EnvVars;
use clawgate_core::config::paths::{Locations, Profile};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::frame::RawJson;
use clawgate_core::policy::{Endpoint, Scheme};
use clawgate_core::protocol::{AuthParams, ClientId, ClientMode};
use clawgate_core::secret::Secret;
use clawgate_std::{Client, ClientEvent, ClientOptions};
use serde_json::{Value, json};

use super::folder::Folder;
use super::greet;
use super::process::{Process, environment};
use super::stage::{Heard, Stage, Who, spawn, system};
use super::telegram::Telegram;
use crate::conversation::fresh_key;
use crate::conversation::wire::{News, RunEnd, What};
use crate::dial::{self, device_info};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::run::running_gateway;

const NODE: &str = "demo";
const COMMAND: &str = "demo.greet";
pub(super) const MESSAGE: &str = "greet the world";
pub(super) const NAME: &str = "the world";

/// A message that came back as a reply.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) message: &'static str,
    pub(super) reply: String,
    pub(super) hops: Vec<Hop>,
}

/// One hop.
#[derive(Debug)]
pub(super) struct Hop {
    /// For programs.
    pub(super) id: Cow<'static, str>,
    /// For people.
    pub(super) words: Cow<'static, str>,
    /// After the message was sent.
    pub(super) after: Duration,
}

/// Where the message is written.
#[derive(Debug)]
pub(super) enum Scene {
    /// By a client of the gateway.
    Client,
    /// In a chat with a bot.
    Telegram(Telegram),
}

/// Sets everything up, sends the message, and ends everything.
pub(super) fn play(
    stage: Stage,
    folder: &Folder,
    scene: &Scene,
    format: Format,
) -> Result<Flow, Failure> {
    let tell = |words: &str| {
        if format == Format::Text {
            output::note(words);
        }
    };
    let token = Secret::new(fresh_key()?);
    folder.write("openclaw.json", &config(&token, scene)?)?;
    let run = ["gateway", "run", "--port", "0"].map(OsStr::new);
    let mut gateway = Process::start(Who::Gateway, &stage, folder.path(), &run)?;
    let port = match gateway_port(&stage, folder) {
        Ok(port) => port,
        Err(failure) => return Err(ended(failure, &mut [&mut gateway], &stage)),
    };
    tell(&format!("gateway  ready on ws://127.0.0.1:{port}"));
    let port_text = port.to_string();
    let run = [
        "node",
        "run",
        "--json",
        "--display-name",
        NODE,
        "--port",
        &port_text,
    ]
    .map(OsStr::new);
    let mut node = match Process::start(Who::Node, &stage, folder.path(), &run) {
        Ok(node) => node,
        Err(failure) => return Err(ended(failure, &mut [&mut gateway], &stage)),
    };
    let client = connect(&stage, port, token);
    let outcome = client.and_then(|client| {
        let outcome = approve(&stage, &client, &tell).and_then(|()| match scene {
            Scene::Client => follow(&stage, &client),
            Scene::Telegram(telegram) => telegram.follow(&stage, &client),
        });
        client.close();
        outcome
    });
    let flow = match outcome {
        Ok(flow) => flow,
        Err(failure) => return Err(ended(failure, &mut [&mut node, &mut gateway], &stage)),
    };
    for (name, process) in [("node", &mut node), ("gateway", &mut gateway)] {
        let status = process.stop(&stage);
        if cfg!(unix) && !status.is_some_and(|status| status.success()) {
            let failure = Failure::new(
                Exit::Failed,
                "demo_process_failed",
                format!("The {name} of the demo did not end in good order."),
                "Its last words are below.",
            );
            return Err(failure.note(process.last_words()));
        }
    }
    Ok(flow)
}

/// Ends what runs, the last one first, and adds the last words to a failure that they may explain.
fn ended(failure: Failure, processes: &mut [&mut Process], stage: &Stage) -> Failure {
    let mut failure = failure;
    for process in processes {
        process.stop(stage);
        if failure.exit != Exit::Interrupted {
            failure = failure.note(process.last_words());
        }
    }
    failure
}

/// The config of gateway and node.
fn config(token: &Secret, scene: &Scene) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(|error| system(&error.to_string()))?;
    let channels = match scene {
        Scene::Client => json!({}),
        Scene::Telegram(telegram) => telegram.config(),
    };
    let config = json!({
        "channels": channels,
        "gateway": {
            "mode": "local",
            "bind": "loopback",
            "auth": { "mode": "token", "token": token.expose() },
        },
        "agents": { "defaults": { "backend": "builtin", "rules": [{
            "match": "greet {name}",
            "node": NODE,
            "command": COMMAND,
            "params": { "name": "{name}" },
            "reply": "{result.greeting}",
        }] } },
        "node": { "exec": { "policy": "deny" }, "commands": { COMMAND: {
            "program": program.to_string_lossy(),
            "args": ["demo-greet"],
            "description": "Greets somebody.",
        } } },
    });
    Ok(config.to_string())
}

fn gateway_port(stage: &Stage, folder: &Folder) -> Result<u16, Failure> {
    let env: EnvVars = environment(folder.path(), "gateway").into_iter().collect();
    let places =
        Locations::resolve(&Profile::Default, &env).map_err(|error| system(&error.to_string()))?;
    stage.wait("the gateway is ready", |_, heard| {
        let Heard::Said(Who::Gateway, _) = heard else {
            return Ok(None);
        };
        // It says so when its addresses are written down.
        let holder = running_gateway(&places.own);
        let port = holder.and_then(|holder| {
            let address = holder.addresses.first()?.rsplit_once(':')?.1.parse().ok()?;
            Some(address)
        });
        Ok(port)
    })
}

/// Connects as a device of its own, whose key is nowhere but here.
fn connect(stage: &Stage, port: u16, token: Secret) -> Result<Client, Failure> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).map_err(|error| system(&error.to_string()))?;
    let auth = AuthParams {
        token: Some(token),
        ..AuthParams::default()
    };
    let route = Route::unpinned(Endpoint::local(Scheme::Ws, port));
    let scopes = dial::EVERYTHING.map(|scope| scope.as_str().to_owned());
    let profile = ClientProfile {
        device: Some(Arc::new(DeviceIdentity::from_seed(&seed))),
        caps: vec!["tool-events".to_owned()],
        ..ClientProfile::operator(device_info(ClientId::Cli, ClientMode::Cli), scopes.to_vec())
    };
    let target = Target::new(route, auth, None);
    let (client, events) = Client::start(target, profile, ClientOptions::default())
        .map_err(|error| system(&error.to_string()))?;
    let tell = stage.teller();
    spawn("clawgate-events", move || {
        for event in events {
            tell(Heard::Client(event));
        }
    })?;
    Ok(client)
}

/// Waits for connection and node, and approves what the node offers.
fn approve(stage: &Stage, client: &Client, tell: &impl Fn(&str)) -> Result<(), Failure> {
    let mut is_connected = false;
    let mut request = None;
    let request = stage.wait("the node asks to be approved", |_, heard| {
        match heard {
            Heard::Client(ClientEvent::Connected(_)) => is_connected = true,
            Heard::Client(ClientEvent::Disconnected { why, .. }) => {
                return Err(refused("connect", &format!("{why:?}")));
            }
            Heard::Said(Who::Node, line) => {
                let said: Value = serde_json::from_str(&line).unwrap_or_default();
                let id = said.get("requestId").and_then(Value::as_str);
                if is_state(&said, "awaiting-approval") && id.is_some() {
                    request = id.map(str::to_owned);
                }
            }
            Heard::Answer(..)
            | Heard::Chat(_)
            | Heard::Client(_)
            | Heard::Ended(_)
            | Heard::Interrupt
            | Heard::Said(..) => {}
        }
        Ok(request.clone().filter(|_| is_connected))
    })?;
    tell(&format!("node     connected as {NODE}, asks for {COMMAND}"));
    start(
        stage,
        client,
        "node.pair.approve",
        &json!({ "requestId": request }),
    )?;
    start(
        stage,
        client,
        "sessions.messages.subscribe",
        &json!({ "key": "main" }),
    )?;
    let mut answers = 0;
    let mut is_ready = false;
    stage.wait("the node may do it", |_, heard| {
        match heard {
            Heard::Answer(method, outcome) => {
                outcome.map_err(|error| refused(method, &error.to_string()))?;
                answers += 1;
            }
            Heard::Said(Who::Node, line) => {
                let said: Value = serde_json::from_str(&line).unwrap_or_default();
                is_ready |= is_state(&said, "ready");
            }
            Heard::Chat(_)
            | Heard::Client(_)
            | Heard::Ended(_)
            | Heard::Interrupt
            | Heard::Said(..) => {}
        }
        Ok((answers == 2 && is_ready).then_some(()))
    })?;
    tell("node     approved");
    Ok(())
}

/// Sends the message and notes when what happens.
fn follow(stage: &Stage, client: &Client) -> Result<Flow, Failure> {
    let run = fresh_key()?;
    let params = json!({ "sessionKey": "main", "message": MESSAGE, "idempotencyKey": run });
    let (sent, sent_us) = (Instant::now(), greet::now_us());
    start(stage, client, "chat.send", &params)?;
    let mut seen = Seen::default();
    let reply = stage.wait("the reply comes", |at, heard| {
        let after = at.saturating_duration_since(sent);
        match heard {
            Heard::Answer(method, outcome) => {
                outcome.map_err(|error| refused(method, &error.to_string()))?;
                seen.accepted = Some(after);
            }
            Heard::Client(ClientEvent::Event(event)) => {
                let Some(news) = News::of(&event).filter(|news| news.run == run) else {
                    return Ok(None);
                };
                match news.what {
                    What::ToolCalled { .. } => seen.decided = Some(after),
                    What::ToolDone { result, .. } => {
                        seen.answered = Some(after);
                        let result: Value = serde_json::from_str(&result).unwrap_or_default();
                        let asked = result.get("askedAtUs").and_then(Value::as_u64);
                        seen.asked =
                            asked.map(|asked| Duration::from_micros(asked.saturating_sub(sent_us)));
                    }
                    What::Kept(entry) if entry.role == "assistant" => seen.stored = Some(after),
                    What::End(RunEnd::Done(text)) => {
                        seen.received = Some(after);
                        seen.reply = Some(text);
                    }
                    What::End(end) => return Err(refused("the run", &format!("{end:?}"))),
                    What::Kept(_) | What::Text(_) => {}
                }
            }
            Heard::Chat(_)
            | Heard::Client(_)
            | Heard::Ended(_)
            | Heard::Interrupt
            | Heard::Said(..) => {}
        }
        Ok(seen.reply.clone().filter(|_| seen.is_whole()))
    })?;
    let wanted = greet::greeting(NAME);
    if reply.trim() != wanted {
        return Err(refused(
            "the reply",
            &format!("{reply:?} is not {wanted:?}"),
        ));
    }
    Ok(Flow {
        message: MESSAGE,
        reply,
        hops: seen.hops(),
    })
}

/// What was seen of the message so far.
#[derive(Debug, Default)]
struct Seen {
    accepted: Option<Duration>,
    decided: Option<Duration>,
    asked: Option<Duration>,
    answered: Option<Duration>,
    stored: Option<Duration>,
    received: Option<Duration>,
    reply: Option<String>,
}

impl Seen {
    const HOPS: [(&'static str, &'static str); 6] = [
        ("accepted", "message accepted, and on disk"),
        ("decided", "agent decided to call the node"),
        ("asked", "node asked: its program runs"),
        ("answered", "node answered"),
        ("stored", "reply stored"),
        ("received", "reply received"),
    ];

    const fn times(&self) -> [Option<Duration>; 6] {
        [
            self.accepted,
            self.decided,
            self.asked,
            self.answered,
            self.stored,
            self.received,
        ]
    }

    fn is_whole(&self) -> bool {
        self.times().iter().all(Option::is_some)
    }

    fn hops(&self) -> Vec<Hop> {
        let hop = |((id, words), after): ((&'static str, &'static str), Option<Duration>)| {
            Some(Hop {
                id: id.into(),
                words: words.into(),
                after: after?,
            })
        };
        Self::HOPS
            .into_iter()
            .zip(self.times())
            .filter_map(hop)
            .collect()
    }
}

pub(super) fn start(
    stage: &Stage,
    client: &Client,
    method: &'static str,
    params: &Value,
) -> Result<(), Failure> {
    let params = RawJson::encode(params).map_err(|error| refused(method, &error.to_string()))?;
    let tell = stage.teller();
    client
        .call_then(Call::new(method, params), move |outcome| {
            tell(Heard::Answer(method, outcome));
        })
        .map_err(|error| refused(method, &error.to_string()))
}

fn is_state(said: &Value, state: &str) -> bool {
    said.get("state").and_then(Value::as_str) == Some(state)
}

pub(super) fn refused(what: &str, why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "demo_failed",
        format!(
            "The demo did not work: {what}: {}.",
            why.trim_end_matches('.')
        ),
        "This should not happen: please report it with what is shown here.",
    )
}

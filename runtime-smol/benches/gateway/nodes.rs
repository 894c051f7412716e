//! Calls of a node's command: from an operator through the gateway to the node, and back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Effort, Outcome,
    child::ServerProcess,
    fleet::Fleet,
    load::{self, Callers, Round, Script},
    protocol::{self, COMMAND, Node},
    servers::{Bare, Kind},
    table::{self, Table, count, millis, percent, say},
    wire::{self, Incoming},
};

/// Calls in flight of the one operator.
const WINDOWS: [usize; 2] = [1, 16];

/// The node is the first connection, the operator the second.
const NODE: usize = 0;
const OPERATOR: usize = 1;

/// A server, and those who talk to it.
struct Side {
    server: ServerProcess,
    fleet: Fleet,
    script: Invokes,
}

pub(crate) fn measure(effort: Effort) -> Outcome {
    let (rounds, duration) = match effort {
        Effort::Full => (15, Duration::from_millis(200)),
        Effort::Quick => (3, Duration::from_millis(60)),
    };
    let folder = tempfile::tempdir()?;
    let gateway = ServerProcess::start(Kind::Durable, table::text(folder.path())?)?;
    let node = Node::new();
    let id = node.id().to_owned();
    let greeting = Box::new(move |client, challenge: Option<&[u8]>| match client {
        NODE => node.connect(challenge?),
        _ => Some(protocol::connect(&[])),
    });
    let mut fleet = Fleet::open_as(gateway.address, 2, 1, greeting)?;
    approve(&mut fleet)?;
    let script = Invokes::new(&id, true);
    let mut ours = Side {
        server: gateway,
        fleet,
        script,
    };
    let answer = ours.sample()?;
    let bare = |kind, answer: &str| {
        let server = ServerProcess::start(Kind::Bare(kind), answer)?;
        let fleet = Fleet::open(server.address, 2, 1)?;
        let script = Invokes::new(&id, false);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Side {
            server,
            fleet,
            script,
        })
    };
    let mut sides = [ours, bare(Bare::Relay, "")?, bare(Bare::Echo, &answer)?];
    say(format_args!(
        "\nnodes: `node.invoke` of an approved node, state on disk, medians of {rounds} rounds of {} \
         for each server in turn\n  relay passes the operator's call on to the node's socket and its \
         result back; echo answers the operator\n  itself, which is half of the way",
        millis(duration),
    ))?;
    let mut table = Table::new(&[
        "in flight",
        "calls/s",
        "relay",
        "ours/relay",
        "echo",
        "ours/echo",
        "p50",
        "relay",
        "echo",
        "p99",
        "relay",
        "CPU/call",
        "relay",
        "echo",
    ]);
    for window in WINDOWS {
        let mut series: [Vec<Round>; 3] = Default::default();
        for round in 0..rounds {
            let mut bouts: Vec<_> = sides.iter_mut().zip(&mut series).collect();
            bouts.rotate_left(round % 3);
            for (side, series) in bouts {
                series.push(side.run(window, duration)?);
            }
        }
        table.row(cells(window, &series));
    }
    table.print()
}

fn cells(window: usize, series: &[Vec<Round>; 3]) -> Vec<String> {
    let rate = |rounds: &Vec<Round>| load::median_of(rounds, |round| round.rate);
    let p50 = |rounds: &Vec<Round>| millis(load::median_of(rounds, |round| round.p50));
    let p99 = |rounds: &Vec<Round>| millis(load::median_of(rounds, |round| round.p99));
    let [ours, relay, echo] = series;
    vec![
        window.to_string(),
        count(rate(ours)),
        count(rate(relay)),
        percent(rate(ours) / rate(relay)),
        count(rate(echo)),
        percent(rate(ours) / rate(echo)),
        p50(ours),
        p50(relay),
        p50(echo),
        p99(ours),
        p99(relay),
        load::cpu_of(ours),
        load::cpu_of(relay),
        load::cpu_of(echo),
    ]
}

/// Somebody lets the node do what it claims.
fn approve(fleet: &mut Fleet) -> Outcome {
    let list = protocol::request("list", "node.pair.list", &json!({}));
    let list = fleet.ask(OPERATOR, &list)?;
    let request = list.pointer("/pending/0/requestId").and_then(Value::as_str);
    let request = request.ok_or("the node asks for nothing")?;
    let params = json!({ "requestId": request });
    let approve = protocol::request("approve", "node.pair.approve", &params);
    fleet.ask(OPERATOR, &approve)?;
    Ok(())
}

impl Side {
    fn run(&mut self, window: usize, duration: Duration) -> Outcome<Round> {
        let callers = Callers {
            clients: OPERATOR..OPERATOR + 1,
            window,
        };
        let Self {
            server,
            fleet,
            script,
        } = self;
        load::run(server, fleet, &callers, script, duration)
    }

    /// An answer that an operator gets.
    fn sample(&mut self) -> Outcome<String> {
        self.run(1, Duration::from_millis(50))?;
        Ok(String::from_utf8(std::mem::take(&mut self.script.answer))?)
    }
}

/// The operator's calls and the node's results.
struct Invokes {
    call: String,
    /// What stands before and after the call's id.
    result: [String; 2],
    /// Whether the node hears events of a gateway, and not what the operator says.
    with_gateway: bool,
    results: Vec<u8>,
    answer: Vec<u8>,
}

impl Invokes {
    fn new(node: &str, with_gateway: bool) -> Self {
        let params = json!({
            "nodeId": node,
            "command": COMMAND,
            "params": {},
            "idempotencyKey": "0123456789abcdef",
        });
        let result = json!({
            "id": "ID",
            "nodeId": node,
            "ok": true,
            "payload": { "battery": { "level": 0.8, "charging": false }, "thermal": "nominal" },
        });
        let result = protocol::request("result", "node.invoke.result", &result);
        let (before, after) = result.split_once("ID").unwrap_or_default();
        Self {
            call: protocol::request("00000001", "node.invoke", &params),
            result: [before.to_owned(), after.to_owned()],
            with_gateway,
            results: Vec::new(),
            answer: Vec::new(),
        }
    }
}

impl Script for Invokes {
    fn call(&mut self, _client: usize) -> String {
        self.call.clone()
    }

    fn ends(&mut self, client: usize, message: Incoming<'_>) -> bool {
        let [before, after] = &self.result;
        match (client, message) {
            (OPERATOR, Incoming::Answer(text)) => {
                if self.answer.is_empty() {
                    self.answer = text.to_vec();
                }
                true
            }
            (NODE, Incoming::Event(text)) if self.with_gateway => {
                // Other events have no payload that begins with an id.
                if let Some(id) = wire::text_after(text, r#""payload":{"id"#) {
                    let result = format!("{before}{id}{after}");
                    self.results.extend(wire::text(&result));
                }
                false
            }
            (NODE, Incoming::Answer(_)) if !self.with_gateway => {
                let id = "01234567-89ab-cdef-0123-456789abcdef";
                let result = format!("{before}{id}{after}");
                self.results.extend(wire::text(&result));
                false
            }
            _ => false,
        }
    }

    fn also(&mut self, client: usize, frames: &mut Vec<u8>) {
        if client == NODE {
            frames.append(&mut self.results);
        }
    }
}

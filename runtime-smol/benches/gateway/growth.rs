//! What grows with what is kept: the same number of messages in few and in many sessions.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clawgate_core::{gateway::Gateway, store::Table as RowTable};
use clawgate_smol::store::{FILE_NAME, StoreFile, StoreOptions};
use serde_json::{Value, json};

use crate::{
    Effort, Outcome,
    child::ServerProcess,
    fleet::Fleet,
    load::{self, Callers, Script},
    protocol,
    servers::{self, Kind},
    table::{self, Table, count, median, mib, millis, quantile, say},
    wire::Incoming,
};

/// Sessions that share the messages.
const SESSIONS: [usize; 3] = [1, 100, 10_000];

/// Calls that are measured.
const CALLS: [&str; 6] = [
    "chat.send, to its answer",
    "chat.send, to the end of the run",
    "chat.history of 10",
    "chat.history of 200",
    "chat.message.get",
    "sessions.list of 20",
];

pub(crate) fn measure(effort: Effort) -> Outcome {
    let (messages, rounds) = match effort {
        Effort::Full => (100_000, 200),
        Effort::Quick => (20_000, 10),
    };
    say(format_args!(
        "\ngrowth: {messages} messages on disk, in {SESSIONS:?} sessions; {rounds} calls of each kind, \
         one after the other, on each server in turn"
    ))?;
    let folder = tempfile::tempdir()?;
    let mut stores = Table::new(&[
        "sessions",
        "messages/s at first",
        "at last",
        "file",
        "start",
        "resident",
        "after the calls",
        "read and checked",
        "taken up",
        "health and tick",
    ]);
    let mut sides = Vec::new();
    for sessions in SESSIONS {
        let path = folder.path().join(sessions.to_string());
        std::fs::create_dir(&path)?;
        let filled = fill(&path, sessions, messages)?;
        let begin = Instant::now();
        let server = ServerProcess::start(Kind::Durable, table::text(&path)?)?;
        let start = begin.elapsed();
        let resident = server.rss_bytes()?;
        let greeting = Box::new(|_, _: Option<&[u8]>| Some(protocol::connect(&[protocol::SCOPED])));
        let fleet = Fleet::open_as(server.address, 1, 1, greeting)?;
        let size = std::fs::metadata(path.join(FILE_NAME))?.len();
        let row = vec![
            sessions.to_string(),
            count(filled.0),
            count(filled.1),
            mib(size),
            millis(start),
            mib(resident),
        ];
        sides.push(Side {
            server,
            fleet,
            sessions,
            waits: vec![Vec::new(); CALLS.len()],
            sent: 0,
            row,
        });
    }
    for round in 0..rounds {
        for side in &mut sides {
            side.calls(round)?;
        }
    }
    let mut calls = Table::new(&["", "1", "p99", "100", "p99", "10000", "p99"]);
    for (index, name) in CALLS.into_iter().enumerate() {
        let mut row = vec![name.to_owned()];
        for side in &mut sides {
            let waits = side.waits.get_mut(index).ok_or("no such call")?;
            row.push(millis(median(waits)));
            row.push(millis(quantile(waits, 0.99).unwrap_or_default()));
        }
        calls.row(row);
    }
    for side in sides {
        let mut row = side.row;
        row.push(mib(side.server.rss_bytes()?));
        drop(side.fleet);
        drop(side.server);
        row.extend(by_itself(&folder.path().join(side.sessions.to_string()))?);
        stores.row(row);
    }
    stores.print()?;
    calls.print()
}

/// A server with sessions.
struct Side {
    server: ServerProcess,
    fleet: Fleet,
    sessions: usize,
    /// How long the calls took.
    waits: Vec<Vec<Duration>>,
    sent: usize,
    row: Vec<String>,
}

impl Side {
    fn calls(&mut self, round: usize) -> Outcome {
        let session = format!("s-{}", round * 7_919 % self.sessions);
        let history = |limit: usize| {
            let params = json!({ "sessionKey": session, "limit": limit });
            protocol::request("history", "chat.history", &params)
        };
        self.sent += 1;
        let id = format!("m-{}", self.sent);
        let begin = Instant::now();
        let send = protocol::chat_send(&id, &session, "/echo The quick brown fox.");
        self.time(0, &send)?;
        let wait = json!({ "runId": id, "timeoutMs": 10_000 });
        self.fleet
            .ask(0, &protocol::request("wait", "agent.wait", &wait))?;
        self.keep(1, begin);
        let page = self.time(2, &history(10))?;
        self.time(3, &history(200))?;
        let message = page.pointer("/messages/0/__openclaw/id");
        let message = message.and_then(Value::as_str).ok_or("no message")?;
        let one = json!({ "sessionKey": session, "messageId": message });
        self.time(4, &protocol::request("one", "chat.message.get", &one))?;
        let list = json!({ "limit": 20 });
        self.time(5, &protocol::request("list", "sessions.list", &list))?;
        Ok(())
    }

    fn time(&mut self, index: usize, call: &str) -> Outcome<Value> {
        let begin = Instant::now();
        let answer = self.fleet.ask(0, call)?;
        self.keep(index, begin);
        Ok(answer)
    }

    fn keep(&mut self, index: usize, begin: Instant) {
        if let Some(waits) = self.waits.get_mut(index) {
            waits.push(begin.elapsed());
        }
    }
}

/// Puts messages into sessions by calls; gives how many there were in a second at first and at last.
fn fill(path: &Path, sessions: usize, messages: usize) -> Outcome<(f64, f64)> {
    const CLIENTS: usize = 64;
    let server = ServerProcess::start(Kind::Durable, table::text(path)?)?;
    let greeting = Box::new(|_, _: Option<&[u8]>| Some(protocol::connect(&[protocol::SCOPED])));
    let mut fleet = Fleet::open_as(server.address, CLIENTS, CLIENTS, greeting)?;
    let callers = Callers {
        clients: 0..CLIENTS,
        window: 16,
    };
    let mut script = Injections { sessions, sent: 0 };
    let mut rates = Vec::new();
    while script.sent < messages {
        let part = Duration::from_millis(200);
        let round = load::run(&server, &mut fleet, &callers, &mut script, part)?;
        rates.push(round.rate);
    }
    let some = rates.len().div_ceil(10);
    let first = median(rates.get(..some).unwrap_or_default());
    let last = median(rates.get(rates.len() - some..).unwrap_or_default());
    Ok((first, last))
}

/// Messages that no agent answers.
struct Injections {
    sessions: usize,
    sent: usize,
}

impl Script for Injections {
    fn call(&mut self, _client: usize) -> String {
        let session = format!("s-{}", self.sent % self.sessions);
        self.sent += 1;
        let text = format!("{} {}", self.sent, "The quick brown fox jumps. ".repeat(8));
        let params = json!({ "sessionKey": session, "message": text });
        protocol::request("inject", "chat.inject", &params)
    }

    fn ends(&mut self, _client: usize, message: Incoming<'_>) -> bool {
        matches!(message, Incoming::Answer(_))
    }
}

/// The parts of a start, and what the gateway does each minute, without sockets.
fn by_itself(path: &Path) -> Outcome<[String; 3]> {
    let begin = Instant::now();
    let opened = StoreFile::open(&path.join(FILE_NAME), StoreOptions::default())?;
    let read = begin.elapsed();
    let sessions = opened
        .rows
        .iter()
        .filter(|row| row.table == RowTable::Session);
    if sessions.count() == 0 {
        return Err("nothing was kept".into());
    }
    let now = clawgate_smol::now();
    let begin = Instant::now();
    let mut gateway = Gateway::restore(servers::setup(), &opened.rows, [3; 32], now);
    let taken_up = begin.elapsed();
    let mut waits = Vec::new();
    for minute in 1..=20 {
        let later = now.after(Duration::from_secs(60 * minute));
        let begin = Instant::now();
        gateway.handle_timeout(later);
        waits.push(begin.elapsed());
        while gateway.poll_delivery().is_some() {}
        while gateway.poll_effect().is_some() {}
        while let Some(commit) = gateway.poll_commit() {
            gateway.handle_committed(later, commit.id, Ok(()));
        }
    }
    Ok([millis(read), millis(taken_up), millis(median(&waits))])
}

//! A gateway with clients that talk, sessions that change and runs that call a real node is killed at
//! any moment. What it has acknowledged is there, transcripts have no gaps, every run is over, waits,
//! or is marked as cut, and no command of a node ran twice.
//!
//! `CLAWGATE_KILL_ROUNDS=200` makes it a long run; `CLAWGATE_KILL_SEED` repeats one.
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]
#![allow(clippy::print_stdout, reason = "a long run tells what it has done")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;

use clawgate_core::ids::SessionId;
use clawgate_core::rng::Rng;
use clawgate_core::store::{Author, Message, Table, TranscriptQuery};
use clawgate_smol::store::{FILE_NAME, Found, Reader, StoreFile, StoreOptions};
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::dice::{dice, seed};
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use clawgate_tests::raw_client::{Answer, RawClient};
use serde_json::{Value, json};

/// Rounds of a run that nobody waits for.
const ROUNDS: u64 = 3;

/// Clients that talk at the same time.
const CLIENTS: u64 = 5;

/// The gateway is killed after fewer acknowledgements than this.
const MOST_ACKNOWLEDGED: u64 = 120;

/// What a client was told to be done.
#[derive(Debug)]
enum Told {
    /// A message with these words, sent to a session under an id.
    Sent {
        run: String,
        key: String,
        text: String,
    },
    /// A message of an operator, by its id.
    Injected { id: String, key: String },
    /// A new session.
    Created { key: String },
    /// A label of a session that nobody else changes.
    Labelled { key: String, label: String },
    /// A new life of a session that nobody else changes.
    Reset { key: String, session: String },
}

/// What was told in one round, and what was asked for last without an answer.
#[derive(Default)]
struct Ledger {
    told: Vec<Told>,
    /// Labels and lives that may have come to be, by session.
    unsure: BTreeSet<String>,
}

/// What is on disk.
struct Disk {
    sessions: BTreeMap<String, Value>,
    runs: BTreeMap<String, Value>,
    /// Messages by the id of their session's life.
    transcripts: BTreeMap<String, Vec<Message>>,
}

#[derive(Default)]
struct Figures {
    told: usize,
    sent: usize,
    cut: usize,
    queued: usize,
    replies: usize,
}

fn rules() -> Value {
    json!([
        { "match": "mark {id}", "node": "box", "command": "mark", "params": { "id": "{id}" },
          "reply": "Marked {id}.", "error": "Not marked {id}: {error.message}" },
        { "match": "twice {id}",
          "calls": [
            { "node": "box", "command": "mark", "params": { "id": "{id}-a" }, "as": "a" },
            { "node": "box", "command": "mark", "params": { "id": "{id}-b{a.nothing}" }, "as": "b" },
          ],
          "reply": "Marked {id} twice.", "error": "Not marked {id}: {error.message}" },
    ])
}

/// Talks until the connection ends.
fn talk(mut client: RawClient, mut dice: Rng, name: &str, told: &Sender<()>) -> TestResult<Ledger> {
    let mut ledger = Ledger::default();
    let own = format!("agent:main:{name}");
    if client
        .call("sessions.create", json!({ "key": own }))
        .is_err()
    {
        return Ok(ledger);
    }
    for number in 0.. {
        let mark = format!("{name}-{number}");
        let key = match dice.u64() % 3 {
            0 => "agent:main:main".to_owned(),
            1 => "agent:main:other".to_owned(),
            _ => own.clone(),
        };
        let (method, params) = match dice.u64() % 12 {
            0..=6 => {
                let text = match dice.u64() % 3 {
                    0 => format!("/echo {mark}"),
                    1 => format!("mark {mark}"),
                    _ => format!("twice {mark}"),
                };
                let modes = ["collect", "followup", "steer", "interrupt"];
                let mode = modes.get((dice.u64() % 4) as usize);
                let params = json!({
                    "sessionKey": key, "message": text, "idempotencyKey": mark, "queueMode": mode,
                });
                ("chat.send", params)
            }
            7 => ("chat.inject", json!({ "sessionKey": key, "message": mark })),
            8 => ("sessions.create", json!({ "key": mark })),
            9 => ("sessions.patch", json!({ "key": own, "label": mark })),
            10 => ("sessions.reset", json!({ "key": own })),
            _ => ("chat.abort", json!({ "sessionKey": key })),
        };
        let changes_own = matches!(method, "sessions.patch" | "sessions.reset");
        let answer = match client.call(method, params.clone()) {
            Ok(Answer::Payload(answer)) => answer,
            // Too many wait.
            Ok(Answer::Refused(error)) if error["retryable"] == true => continue,
            Ok(Answer::Refused(error)) => {
                return Err(Failure::new(format!("{method} {params}: {error}")));
            }
            Err(_) => {
                if changes_own {
                    ledger.unsure.insert(format!("{method} {own}"));
                }
                return Ok(ledger);
            }
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match method {
            "chat.send" => ledger.told.push(Told::Sent {
                run: text(&answer["runId"]),
                key,
                text: text(&params["message"]),
            }),
            "chat.inject" => ledger.told.push(Told::Injected {
                id: text(&answer["messageId"]),
                key,
            }),
            "sessions.create" => ledger.told.push(Told::Created {
                key: text(&answer["key"]),
            }),
            "sessions.patch" => ledger.told.push(Told::Labelled {
                key: own.clone(),
                label: mark,
            }),
            "sessions.reset" => ledger.told.push(Told::Reset {
                key: own.clone(),
                session: text(&answer["entry"]["sessionId"]),
            }),
            _ => {}
        }
        let _ = told.send(());
    }
    Ok(ledger)
}

/// Lets clients talk, kills the gateway in the middle, and gives what they were told.
fn talk_and_kill(
    gateway: &mut GatewayProcess,
    dice: &mut Rng,
    round: u64,
) -> TestResult<Vec<Ledger>> {
    let (sender, told) = mpsc::channel();
    let mut talkers = Vec::new();
    for number in 0..CLIENTS {
        let scopes = ["operator.read", "operator.write", "operator.admin"];
        let client = RawClient::operator(&gateway.url(), gateway.token(), &scopes)?;
        let (dice, sender) = (Rng::new(dice.seed()), sender.clone());
        let name = format!("r{round}c{number}");
        talkers.push(thread::spawn(move || talk(client, dice, &name, &sender)));
    }
    drop(sender);
    let before_the_end = dice.u64() % MOST_ACKNOWLEDGED;
    for _ in 0..before_the_end {
        // When all have ended, the reason comes from them.
        if told.recv_timeout(PATIENCE).is_err() {
            break;
        }
    }
    gateway.kill()?;
    let ledgers = talkers.into_iter().map(|talker| {
        talker
            .join()
            .map_err(|_| Failure::new("a client panicked"))?
    });
    ledgers.collect()
}

impl Disk {
    fn read(path: &Path) -> TestResult<Self> {
        let opened = StoreFile::open(path, StoreOptions::default())?;
        if !matches!(opened.found, Found::Sound { .. }) || !opened.unreadable.is_empty() {
            return Err(Failure::new(format!(
                "the database is not sound: {:?}, {:?}",
                opened.found, opened.unreadable
            )));
        }
        drop(opened.file);
        let rows = |table: Table| -> TestResult<BTreeMap<String, Value>> {
            let rows = opened.rows.iter().filter(|row| row.table == table);
            rows.map(|row| Ok((row.key.clone(), row.document.parse()?)))
                .collect()
        };
        let mut disk = Self {
            sessions: rows(Table::Session)?,
            runs: rows(Table::Run)?,
            transcripts: BTreeMap::new(),
        };
        let reader = Reader::open(path)?;
        for session in disk.sessions.values() {
            let earlier = session["earlier"].as_array().into_iter().flatten();
            for id in earlier
                .chain([&session["sessionId"]])
                .filter_map(Value::as_str)
            {
                let query = TranscriptQuery::After {
                    session: SessionId::new(id),
                    after: 0,
                    limit: usize::MAX >> 1,
                    max_bytes: usize::MAX >> 1,
                };
                let page = reader.transcript(&query)?;
                disk.transcripts.insert(id.to_owned(), page.messages);
            }
        }
        Ok(disk)
    }

    /// The messages of a session, those of its earlier lives too.
    fn said<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Message> {
        let session = self.sessions.get(key);
        let earlier = session.and_then(|session| session["earlier"].as_array());
        let present = session.map(|session| &session["sessionId"]);
        earlier
            .into_iter()
            .flatten()
            .chain(present)
            .filter_map(Value::as_str)
            .filter_map(|id| self.transcripts.get(id))
            .flatten()
    }

    /// What must hold whatever was told.
    fn check(&self) -> TestResult {
        let mut ids = BTreeSet::new();
        let mut replies = BTreeMap::<String, u32>::new();
        for (life, messages) in &self.transcripts {
            let numbers: Vec<u64> = messages.iter().map(|message| message.seq).collect();
            let gapless: Vec<u64> = (1..).take(numbers.len()).collect();
            if numbers != gapless {
                return Err(Failure::new(format!("{life} has gaps: {numbers:?}")));
            }
            for message in messages {
                if !ids.insert(&message.id) {
                    return Err(Failure::new(format!(
                        "a message is there twice: {message:?}"
                    )));
                }
                let document: Value = message.document.parse()?;
                if let (Author::Assistant, Some(run)) =
                    (message.author, document["__openclaw"]["runId"].as_str())
                {
                    *replies.entry(run.to_owned()).or_default() += 1;
                }
            }
        }
        for (key, session) in &self.sessions {
            let id = session["sessionId"].as_str().unwrap_or_default();
            let last = self.transcripts.get(id).map_or(0, Vec::len);
            if session["lastSeq"] != last {
                return Err(Failure::new(format!(
                    "{key} ends at {last} and says {}",
                    session["lastSeq"]
                )));
            }
        }
        match replies.iter().find(|(_, count)| **count > 1) {
            Some((run, count)) => Err(Failure::new(format!("{run} was answered {count} times"))),
            None => Ok(()),
        }
    }

    /// What must hold of what was told in the round that just ended.
    fn check_told(&self, ledger: &Ledger) -> TestResult {
        for told in &ledger.told {
            let fault = |why: &str| Err(Failure::new(format!("{told:?}: {why}")));
            match told {
                Told::Sent { run, key, text } => {
                    let Some(record) = self.runs.get(run) else {
                        return fault("its run is not known");
                    };
                    let said = self.said(key);
                    let said = said.filter(|it| it.author == Author::User && it.text == *text);
                    let queued = usize::from(
                        record["state"] == "queued" && record["input"]["text"] == text.as_str(),
                    );
                    match (said.count() + queued, record["state"].as_str()) {
                        (1, _) => {}
                        // Somebody stopped it before its turn.
                        (0, Some("aborted")) if record["startedAt"].is_null() => {}
                        (count, state) => {
                            return fault(&format!("it is there {count} times, {state:?}"));
                        }
                    }
                }
                Told::Injected { id, key } => {
                    if self.said(key).filter(|message| message.id == *id).count() != 1 {
                        return fault("it is not there once");
                    }
                }
                Told::Created { key } | Told::Labelled { key, .. } => {
                    if !self.sessions.contains_key(key) {
                        return fault("there is no such session");
                    }
                }
                Told::Reset { .. } => {}
            }
        }
        // Of what replaces itself, the last counts.
        let mut labels = BTreeMap::new();
        let mut lives = BTreeMap::new();
        for told in &ledger.told {
            match told {
                Told::Labelled { key, label } => {
                    labels.insert(key, label);
                }
                Told::Reset { key, session } => {
                    lives.insert(key, session);
                }
                Told::Sent { .. } | Told::Injected { .. } | Told::Created { .. } => {}
            }
        }
        for (key, label) in labels {
            let found = &self.sessions.get(key).unwrap_or(&Value::Null)["settings"]["label"];
            if found != label && !ledger.unsure.contains(&format!("sessions.patch {key}")) {
                return Err(Failure::new(format!(
                    "{key} is labelled {found}, not {label}"
                )));
            }
        }
        for (key, life) in lives {
            let found = &self.sessions.get(key).unwrap_or(&Value::Null)["sessionId"];
            if found != life && !ledger.unsure.contains(&format!("sessions.reset {key}")) {
                return Err(Failure::new(format!("{key} lives as {found}, not {life}")));
            }
        }
        Ok(())
    }

    fn in_state(&self, state: &str) -> BTreeSet<String> {
        let runs = self.runs.iter().filter(|(_, run)| run["state"] == state);
        runs.map(|(id, _)| id.clone()).collect()
    }
}

/// Waits until the node is there and nothing is under way.
fn settle(gateway: &GatewayProcess, node: &NodeProcess) -> TestResult {
    let scopes = ["operator.read", "operator.admin"];
    let mut client = RawClient::operator(&gateway.url(), gateway.token(), &scopes)?;
    Deadline::after(PATIENCE).poll("the node and the last runs", || {
        let nodes = client.call("node.list", json!({}))?.payload()?;
        let mut nodes = nodes["nodes"].as_array().into_iter().flatten();
        let here = nodes.any(|one| one["nodeId"] == node.id() && one["connected"] == true);
        let status = client.call("status", json!({}))?.payload()?;
        Ok((here && status["tasks"]["total"] == 0).then_some(()))
    })
}

/// Runs that were under way are marked as cut.
fn check_cut(gateway: &GatewayProcess, runs: &BTreeSet<String>) -> TestResult {
    let scopes = ["operator.read", "operator.write", "operator.admin"];
    let mut client = RawClient::operator(&gateway.url(), gateway.token(), &scopes)?;
    for run in runs {
        let state = client
            .call("agent.wait", json!({ "runId": run }))?
            .payload()?;
        let why = state["error"].as_str().unwrap_or_default();
        if state["status"] != "error" || !why.contains("not tried again") {
            return Err(Failure::new(format!(
                "{run} was under way, and now: {state}"
            )));
        }
    }
    Ok(())
}

/// What must hold of the node: nothing was done twice.
fn check_node(node: &NodeProcess) -> TestResult<usize> {
    let ran = node.ran()?;
    let mut seen = BTreeSet::new();
    match ran.iter().find(|params| !seen.insert(params.to_string())) {
        Some(twice) => Err(Failure::new(format!("the node did this twice: {twice}"))),
        None => Ok(ran.len()),
    }
}

fn run(rounds: u64, seed: u64) -> TestResult {
    let mut dice = dice(seed);
    let agents = json!({ "defaults": { "backend": "builtin", "rules": rules() } });
    let mut gateway = GatewayProcess::start_with(Settings {
        config: vec![("agents".to_owned(), agents)],
        ..Settings::default()
    })?;
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_node_tool"));
    let node = NodeProcess::approved(
        &gateway,
        NodeSetup {
            name: "box".to_owned(),
            commands: vec![("mark".to_owned(), tool)],
            ..NodeSetup::default()
        },
    )?;
    let path = gateway.state_dir().join("clawgate").join(FILE_NAME);
    let mut figures = Figures::default();
    let mut ran = 0;
    for round in 0..rounds {
        let ledgers = talk_and_kill(&mut gateway, &mut dice, round).map_err(|failure| {
            Failure::new(format!("round {round}: {failure}\n{}", gateway.log()))
        })?;
        let of_round = || -> TestResult<Disk> {
            let disk = Disk::read(&path)?;
            disk.check()?;
            for ledger in &ledgers {
                disk.check_told(ledger)?;
            }
            Ok(disk)
        };
        let fault = |failure: Failure| Failure::new(format!("round {round}: {failure}"));
        let disk = of_round().map_err(fault)?;
        let told = ledgers.iter().flat_map(|ledger| &ledger.told);
        figures.told += told.clone().count();
        figures.sent += told
            .filter(|told| matches!(told, Told::Sent { .. }))
            .count();
        let (running, queued) = (disk.in_state("running"), disk.in_state("queued"));
        figures.queued += queued.len();
        gateway.restart()?;
        settle(&gateway, &node).map_err(fault)?;
        ran = check_node(&node).map_err(fault)?;
        check_cut(&gateway, &running).map_err(fault)?;
        figures.cut += running.len();
        println!(
            "round {round}: {} acknowledged, {} under way, {} waiting, {ran} commands run",
            figures.told, figures.cut, figures.queued
        );
    }
    gateway.stop()?;
    let disk = Disk::read(&path)?;
    disk.check()?;
    for state in ["running", "queued"] {
        let left = disk.in_state(state);
        if !left.is_empty() {
            return Err(Failure::new(format!("{state} at the end: {left:?}")));
        }
    }
    figures.replies = disk
        .transcripts
        .values()
        .flatten()
        .filter(|message| message.author == Author::Assistant)
        .count();
    println!(
        "{rounds} rounds: {} changes acknowledged, {} of them messages; {} runs cut, {} carried over \
         a restart while they waited; {} replies; {ran} commands run on the node, none twice",
        figures.told, figures.sent, figures.cut, figures.queued, figures.replies
    );
    Ok(())
}

#[test]
fn sessions_and_runs_outlive_the_end_of_the_gateway_at_any_moment() -> TestResult {
    let rounds = match std::env::var("CLAWGATE_KILL_ROUNDS") {
        Ok(rounds) => rounds.parse()?,
        Err(_) => ROUNDS,
    };
    let seed = seed()?;
    run(rounds, seed).map_err(|failure| Failure::new(format!("seed {seed}: {failure}")))
}

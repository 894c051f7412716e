//! Messages to agents, next to bare SQLite transactions that write the same rows on the same disk.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clawgate_smol::store::FILE_NAME;
use rusqlite::{Connection, params};
use serde_json::json;

use crate::{
    Effort, Outcome,
    child::ServerProcess,
    fleet::Fleet,
    load::{self, Callers, Round, Script},
    protocol,
    servers::Kind,
    table::{self, Table, count, micros, millis, percent, quantile, say},
    wire::{self, Incoming},
};

/// Clients, with one message in flight each; and transactions that the bare writer makes one.
const CLIENTS: [usize; 2] = [1, 64];

/// What is written to the agent.
const TEXT: &str = "/echo The quick brown fox jumps over the lazy dog.";

pub(crate) fn measure(effort: Effort) -> Outcome {
    let (rounds, duration) = match effort {
        Effort::Full => (9, Duration::from_millis(600)),
        Effort::Quick => (3, Duration::from_millis(100)),
    };
    say(format_args!(
        "\nchat: durable `chat.send`, medians of {rounds} rounds of {} for each in turn\n  accepted: \
         from the call to its answer, with runs that never end; answered: from the call to the reply's \
         event\n  bare: the rows that one message leaves, in SQLite (WAL, synchronous FULL): one \
         transaction for each\n  message that is accepted, two for one that is answered; with 64 \
         clients, 64 of them in one",
        millis(duration),
    ))?;
    let mut table = Table::new(&[
        "",
        "clients",
        "messages/s",
        "bare",
        "ours/bare",
        "p50",
        "bare",
        "p99",
        "bare",
        "CPU/message",
        "in the first round",
        "in the last",
    ]);
    for (name, kind) in [("accepted", Kind::Held), ("answered", Kind::Durable)] {
        let folder = tempfile::tempdir()?;
        let server = ServerProcess::start(kind, table::text(folder.path())?)?;
        for clients in CLIENTS {
            let greeting =
                Box::new(|_, _: Option<&[u8]>| Some(protocol::connect(&[protocol::SCOPED])));
            let mut fleet = Fleet::open_as(server.address, clients, clients, greeting)?;
            let mut script = Messages::new(clients, kind);
            if kind == Kind::Durable {
                for client in 0..clients {
                    let params = json!({ "key": script.session(client) });
                    let method = "sessions.messages.subscribe";
                    fleet.ask(client, &protocol::request("follow", method, &params))?;
                }
            }
            let callers = Callers {
                clients: 0..clients,
                window: 1,
            };
            let short = Duration::from_millis(100);
            load::run(&server, &mut fleet, &callers, &mut script, short)?;
            let mut bare = Bare::like(folder.path(), kind)?;
            let mut series: [Vec<Round>; 2] = Default::default();
            for round in 0..rounds {
                let [ours, theirs] = &mut series;
                let mut turns = [true, false];
                turns.rotate_left(round % 2);
                for is_ours in turns {
                    if is_ours {
                        let done = load::run(&server, &mut fleet, &callers, &mut script, duration)?;
                        ours.push(done);
                    } else {
                        theirs.push(bare.run(clients, duration)?);
                    }
                }
            }
            table.row(cells(name, clients, &series));
        }
    }
    table.print()
}

fn cells(name: &str, clients: usize, [ours, bare]: &[Vec<Round>; 2]) -> Vec<String> {
    let rate = |rounds: &[Round]| load::median_of(rounds, |round| round.rate);
    let p50 = |rounds: &[Round]| millis(load::median_of(rounds, |round| round.p50));
    let p99 = |rounds: &[Round]| millis(load::median_of(rounds, |round| round.p99));
    let cpu = |round: Option<&Round>| micros(round.and_then(|round| round.cpu).unwrap_or_default());
    vec![
        name.into(),
        clients.to_string(),
        count(rate(ours)),
        count(rate(bare)),
        percent(rate(ours) / rate(bare)),
        p50(ours),
        p50(bare),
        p99(ours),
        p99(bare),
        load::cpu_of(ours),
        cpu(ours.first()),
        cpu(ours.last()),
    ]
}

/// Messages, each with a key of its own.
struct Messages {
    clients: usize,
    kind: Kind,
    sent: usize,
}

impl Messages {
    fn new(clients: usize, kind: Kind) -> Self {
        Self {
            clients,
            kind,
            sent: 0,
        }
    }

    /// Where a client writes to.
    fn session(&self, client: usize) -> String {
        let clients = self.clients;
        if self.kind == Kind::Held {
            // A session takes no more than some messages that wait.
            format!("s-{clients}-{}", self.sent / 16)
        } else {
            format!("s-{clients}-{client}")
        }
    }
}

impl Script for Messages {
    fn call(&mut self, client: usize) -> String {
        self.sent += 1;
        let id = format!("m-{}-{}", self.clients, self.sent);
        protocol::chat_send(&id, &self.session(client), TEXT)
    }

    fn ends(&mut self, _client: usize, message: Incoming<'_>) -> bool {
        match (self.kind, message) {
            (Kind::Held, Incoming::Answer(_)) => true,
            (Kind::Durable, Incoming::Event(text)) => {
                text.starts_with(protocol::CHAT) && wire::contains(text, br#""state":"final""#)
            }
            _ => false,
        }
    }
}

/// SQLite alone, writing the rows that a message leaves.
struct Bare {
    connection: Connection,
    /// What each transaction writes of runs, sessions and messages: their documents.
    transactions: Vec<[Option<String>; 3]>,
    written: i64,
}

impl Bare {
    fn like(folder: &Path, kind: Kind) -> Outcome<Self> {
        let theirs = Connection::open(folder.join(FILE_NAME))?;
        let one =
            |query: &str| -> Outcome<String> { Ok(theirs.query_row(query, [], |row| row.get(0))?) };
        let run = one("SELECT document FROM run ORDER BY rowid DESC LIMIT 1")?;
        let transactions = if kind == Kind::Held {
            vec![[Some(run), None, None]]
        } else {
            let message = "SELECT document || text FROM message WHERE author =";
            let session = one("SELECT document FROM session ORDER BY rowid DESC LIMIT 1")?;
            let of = |author: &str| {
                let message = one(&format!("{message} '{author}' LIMIT 1"))?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>([
                    Some(run.clone()),
                    Some(session.clone()),
                    Some(message),
                ])
            };
            vec![of("user")?, of("assistant")?]
        };
        let connection = Connection::open(folder.join(format!("bare-{}.sqlite", kind.name())))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS run (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS session (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS message (session TEXT NOT NULL, seq INTEGER NOT NULL,
                 document TEXT NOT NULL, PRIMARY KEY (session, seq)) STRICT, WITHOUT ROWID;",
        )?;
        let written =
            connection.query_row("SELECT count(*) FROM run", [], |row| row.get::<_, i64>(0))?;
        Ok(Self {
            connection,
            transactions,
            written,
        })
    }

    /// Writes for a while, so many messages at once.
    fn run(&mut self, grouped: usize, duration: Duration) -> Outcome<Round> {
        let mut waits = Vec::new();
        let start = Instant::now();
        while start.elapsed() < duration {
            let begin = Instant::now();
            let first = self.written;
            for (step, documents) in self.transactions.iter().enumerate() {
                self.written = first;
                let transaction = self.connection.unchecked_transaction()?;
                for _ in 0..grouped {
                    self.written += 1;
                    let [run, session, message] = documents;
                    let key = format!("m-{}", self.written);
                    let put = |table: &str, key: &str, document: &str| {
                        let sql = format!(
                            "INSERT INTO {table} VALUES (?1, ?2)
                             ON CONFLICT (key) DO UPDATE SET document = excluded.document"
                        );
                        let mut put = transaction.prepare_cached(&sql)?;
                        put.execute(params![key, document])
                    };
                    if let Some(document) = run {
                        put("run", &key, document)?;
                    }
                    let place = self.written % grouped as i64;
                    if let Some(document) = session {
                        put("session", &format!("agent:main:s-{place}"), document)?;
                    }
                    if let Some(document) = message {
                        let seq = self.written * 2 + step as i64;
                        transaction
                            .prepare_cached("INSERT INTO message VALUES (?1, ?2, ?3)")?
                            .execute(params![format!("session-{place}"), seq, document])?;
                    }
                }
                transaction.commit()?;
            }
            let took = begin.elapsed();
            waits.extend(std::iter::repeat_n(took, grouped));
        }
        let rate = waits.len() as f64 / start.elapsed().as_secs_f64();
        Ok(Round {
            rate,
            p50: quantile(&mut waits, 0.5).unwrap_or_default(),
            p99: quantile(&mut waits, 0.99).unwrap_or_default(),
            cpu: None,
        })
    }
}

//! Events of runs for many subscribers, next to a bare server that writes as many texts of the same
//! size to as many sockets.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Effort, Outcome,
    child::ServerProcess,
    fleet::{Fleet, Watch},
    protocol,
    servers::{Bare, Kind},
    table::{self, Table, count, median, micros, millis, percent, say},
    wire::{self, Incoming},
};

const READERS: usize = 1_000;

/// Runs at once, each in a session of its own.
const RUNS: usize = 16;

/// Who subscribes to what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crowd {
    /// All hear everything.
    Readers,
    /// Clients that hear only what they follow, all of them one session.
    Followers,
    /// The same, each a session of its own.
    Own(usize),
}

impl Crowd {
    fn name(self) -> String {
        match self {
            Self::Readers => format!("{READERS} readers of everything"),
            Self::Followers => format!("{READERS} followers of {RUNS} sessions"),
            Self::Own(clients) => format!("{clients} followers of one session each"),
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::Readers | Self::Followers => READERS,
            Self::Own(clients) => clients,
        }
    }

    /// Who hears the end of a run.
    const fn hearers(self) -> usize {
        match self {
            Self::Readers | Self::Followers => READERS,
            Self::Own(_) => 1,
        }
    }
}

pub(crate) fn measure(effort: Effort) -> Outcome {
    let rounds = match effort {
        Effort::Full => 15,
        Effort::Quick => 3,
    };
    say(format_args!(
        "\nfanout: {RUNS} runs at once, state on disk, {rounds} rounds for each in turn; events of \
         `agent`, `chat` and `session.message`\n  bare: as many texts of the mean size of the events, \
         written to one socket after the other"
    ))?;
    let mut table = Table::new(&[
        "",
        "events of a run",
        "mean size",
        "events/s",
        "bare",
        "ours/bare",
        "CPU/event",
        "bare",
        "CPU/run",
        "round p50",
    ]);
    for crowd in [
        Crowd::Readers,
        Crowd::Followers,
        Crowd::Own(READERS),
        Crowd::Own(RUNS),
    ] {
        let folder = tempfile::tempdir()?;
        let server = ServerProcess::start(Kind::Durable, table::text(folder.path())?)?;
        let mut fleet = open(&server, crowd)?;
        let mut sent = 0;
        let first = round(&server, &mut fleet, crowd, &mut sent)?;
        let mut ours = vec![round(&server, &mut fleet, crowd, &mut sent)?];
        let size = first.bytes / first.events.max(1);
        let mut theirs = Vec::new();
        let mut bare = match crowd {
            Crowd::Own(_) => None,
            Crowd::Readers | Crowd::Followers => {
                let text = format!(r#"{{"type":"event","{}"}}"#, "x".repeat(size.max(40) - 18));
                let server = ServerProcess::start(Kind::Bare(Bare::Megaphone), &text)?;
                let fleet = Fleet::open(server.address, READERS, READERS)?;
                Some((server, fleet))
            }
        };
        for _ in 0..rounds {
            ours.push(round(&server, &mut fleet, crowd, &mut sent)?);
            if let Some((server, fleet)) = &mut bare {
                theirs.push(shout(server, fleet, first.events / READERS)?);
            }
        }
        table.row(cells(crowd, &first, &ours, &theirs));
    }
    table.print()
}

fn cells(crowd: Crowd, first: &Spent, ours: &[Spent], bare: &[Spent]) -> Vec<String> {
    let of = |rounds: &[Spent], pick: fn(&Spent) -> f64| {
        median(&rounds.iter().map(pick).collect::<Vec<_>>())
    };
    let rate = |spent: &Spent| spent.events as f64 / spent.took.as_secs_f64();
    let each = |spent: &Spent| spent.cpu.as_secs_f64() / spent.events as f64;
    let run = |spent: &Spent| spent.cpu.as_secs_f64() / RUNS as f64;
    let or = |text: String| if bare.is_empty() { "-".into() } else { text };
    vec![
        crowd.name(),
        (first.events / crowd.hearers() / RUNS).to_string(),
        format!("{} bytes", first.bytes / first.events.max(1)),
        count(of(ours, rate)),
        or(count(of(bare, rate))),
        or(percent(of(ours, rate) / of(bare, rate))),
        micros(of(ours, each)),
        or(micros(of(bare, each))),
        micros(of(ours, run)),
        millis(Duration::from_secs_f64(of(ours, |spent| {
            spent.took.as_secs_f64()
        }))),
    ]
}

fn open(server: &ServerProcess, crowd: Crowd) -> Outcome<Fleet> {
    let caps: &[&str] = match crowd {
        Crowd::Readers => &[],
        Crowd::Followers | Crowd::Own(_) => &[protocol::SCOPED],
    };
    let greeting = Box::new(|_, _: Option<&[u8]>| Some(protocol::connect(caps)));
    let mut fleet = Fleet::open_as(server.address, crowd.size(), crowd.size(), greeting)?;
    for client in 0..crowd.size() {
        let followed: Vec<usize> = match crowd {
            Crowd::Readers => Vec::new(),
            Crowd::Followers => (0..RUNS).collect(),
            Crowd::Own(_) => vec![client],
        };
        for session in followed {
            let params = json!({ "key": format!("s-{session}") });
            let follow = protocol::request("follow", "sessions.messages.subscribe", &params);
            fleet.ask(client, &follow)?;
        }
    }
    Ok(fleet)
}

/// What a round came to.
struct Spent {
    events: usize,
    bytes: usize,
    took: Duration,
    cpu: Duration,
}

/// Starts runs, and waits until all who hear of them have heard the last event.
fn round(
    server: &ServerProcess,
    fleet: &mut Fleet,
    crowd: Crowd,
    sent: &mut usize,
) -> Outcome<Spent> {
    let counter = Counter {
        missing: RUNS * crowd.hearers(),
        ends: |text| text.starts_with(protocol::CHAT) && wire::contains(text, FINAL),
        ..Counter::default()
    };
    let before = server.cpu_time().unwrap_or_default();
    let start = Instant::now();
    for session in 0..RUNS {
        *sent += 1;
        let id = format!("m-{sent}");
        let text = "/echo The quick brown fox jumps over the lazy dog.";
        let call = protocol::chat_send(&id, &format!("s-{session}"), text);
        fleet.send(session, &wire::text(&call))?;
    }
    wait(server, fleet, counter, start, before)
}

const FINAL: &[u8] = br#""state":"final""#;

/// Lets the bare server say so many texts.
fn shout(server: &ServerProcess, fleet: &mut Fleet, texts: usize) -> Outcome<Spent> {
    let counter = Counter {
        missing: texts * READERS,
        ends: |_| true,
        ..Counter::default()
    };
    let before = server.cpu_time().unwrap_or_default();
    let start = Instant::now();
    for _ in 0..texts {
        fleet.send(0, &wire::text("go"))?;
    }
    wait(server, fleet, counter, start, before)
}

fn wait(
    server: &ServerProcess,
    fleet: &mut Fleet,
    mut counter: Counter,
    start: Instant,
    before: Duration,
) -> Outcome<Spent> {
    fleet.watch(&mut counter, |counter| {
        counter.missing == 0 || counter.refusal.is_some()
    })?;
    if let Some(refusal) = counter.refusal {
        return Err(format!("the call was refused: {refusal}").into());
    }
    Ok(Spent {
        events: counter.events,
        bytes: counter.bytes,
        took: start.elapsed(),
        cpu: server.cpu_time().unwrap_or_default().saturating_sub(before),
    })
}

struct Counter {
    events: usize,
    bytes: usize,
    /// Ends that nobody has heard yet.
    missing: usize,
    ends: fn(&[u8]) -> bool,
    refusal: Option<String>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            events: 0,
            bytes: 0,
            missing: 0,
            ends: |_| false,
            refusal: None,
        }
    }
}

impl Watch for Counter {
    fn message(&mut self, _client: usize, message: Incoming<'_>) {
        match message {
            Incoming::Event(text) if !text.starts_with(protocol::PRESENCE) => {
                self.events += 1;
                self.bytes += text.len();
                if (self.ends)(text) {
                    self.missing = self.missing.saturating_sub(1);
                }
            }
            Incoming::Answer(text) if wire::is_refusal(text) => {
                self.refusal = Some(String::from_utf8_lossy(text).into_owned());
            }
            Incoming::Answer(_) | Incoming::Close | Incoming::Event(_) | Incoming::Ping => {}
        }
    }

    fn read(&mut self, _client: usize) -> &[u8] {
        &[]
    }
}

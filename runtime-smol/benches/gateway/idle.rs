//! Memory of the server's process for each connection that only waits.

use std::time::{Duration, Instant};

use crate::{
    Effort, Outcome,
    child::ServerProcess,
    fleet::{Fleet, Watch},
    protocol,
    servers::{Bare, Kind},
    table::{Table, kib, mib, say},
    wire::{self, Incoming},
};

/// Bytes of the large message, and of its answer.
const LARGE: usize = 20_000;

/// Time between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);

/// Connections on their way in at a time.
const AT_ONCE: usize = 256;

pub(crate) fn measure(effort: Effort) -> Outcome {
    let plan: &[(Kind, usize)] = match effort {
        Effort::Full => &[
            (Kind::Gateway, 1_000),
            (Kind::Bare(Bare::Echo), 1_000),
            (Kind::Bare(Bare::DefaultEcho), 1_000),
            (Kind::Gateway, 10_000),
            (Kind::Bare(Bare::Echo), 10_000),
        ],
        Effort::Quick => &[(Kind::Gateway, 1_000), (Kind::Bare(Bare::Echo), 1_000)],
    };
    let patience = match effort {
        Effort::Full => Duration::from_secs(5),
        Effort::Quick => Duration::from_secs(2),
    };
    say(format_args!(
        "\nidle: resident memory of the server's process\n  `large` is after one message of {LARGE} \
         bytes each way on every connection; `back` is the least within {} s after it",
        patience.as_secs()
    ))?;
    let mut table = Table::new(&[
        "server",
        "connections",
        "before",
        "after hello",
        "each",
        "large",
        "each",
        "back",
        "each",
        "took",
    ]);
    let files = rlimit::getrlimit(rlimit::Resource::NOFILE)?.0;
    for (kind, connections) in plan.iter().copied() {
        if files < connections as u64 + 64 {
            say(format_args!(
                "  not measured: {connections} connections, with {files} file descriptors"
            ))?;
            continue;
        }
        let server = ServerProcess::start(kind, "")?;
        let before = server.rss_bytes()?;
        let each = |bytes: u64| kib(bytes.saturating_sub(before) as f64 / connections as f64);
        let mut fleet = Fleet::open(server.address, connections, AT_ONCE)?;
        if fleet.refused() > 0 {
            return Err(format!("{} connections were refused", fleet.refused()).into());
        }
        let hello = least(&server, &mut fleet, patience, None)?.0;
        let mut answers = Answers(0);
        fleet.send_from_all(&wire::text(&protocol::large_call(LARGE)))?;
        fleet.watch(&mut answers, |answers| answers.0 == connections)?;
        let large = server.rss_bytes()?;
        let (back, took) = least(&server, &mut fleet, patience, Some(hello))?;
        table.row(vec![
            kind.name().into(),
            connections.to_string(),
            mib(before),
            mib(hello),
            each(hello),
            mib(large),
            each(large),
            mib(back),
            each(back),
            format!("{:.1} s", took.as_secs_f64()),
        ]);
    }
    table.print()?;
    say("  aim: 8 KiB or less for each idle connection, and memory that comes back")
}

struct Answers(usize);

impl Watch for Answers {
    fn message(&mut self, _client: usize, message: Incoming<'_>) {
        self.0 += usize::from(matches!(message, Incoming::Answer(_)));
    }

    fn read(&mut self, _client: usize) -> &[u8] {
        &[]
    }
}

/// The least memory within a while, and when it was reached. The wait ends early where the memory
/// is no more than a tenth above `goal`.
fn least(
    server: &ServerProcess,
    fleet: &mut Fleet,
    patience: Duration,
    goal: Option<u64>,
) -> Outcome<(u64, Duration)> {
    let start = Instant::now();
    let mut best = (server.rss_bytes()?, Duration::ZERO);
    while start.elapsed() < patience {
        fleet.turn(Instant::now() + LOOK, &mut Answers(0))?;
        let now = server.rss_bytes()?;
        if now < best.0 {
            best = (now, start.elapsed());
        }
        if goal.is_some_and(|goal| now <= goal + goal / 10) {
            break;
        }
    }
    Ok(best)
}

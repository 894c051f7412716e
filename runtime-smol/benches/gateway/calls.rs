//! Calls per second and their latency, next to a bare echo that says the same bytes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    Effort, Outcome,
    child::{self, ServerProcess},
    fleet::{Fleet, Watch},
    protocol,
    servers::{Bare, Kind},
    table::{Table, count, median, millis, percent, quantile, say},
    wire::{self, Incoming},
};

const SIZES: [usize; 4] = [1, 16, 128, 1_000];

/// Calls in flight on each connection.
const WINDOWS: [usize; 2] = [1, 32];

/// Connections for large messages.
const LARGE_SIZE: usize = 16;

/// Bytes of a large message, and of its answer.
const LARGE: usize = 20_000;

/// The gateway, and what it is compared with.
type Servers = [ServerProcess; 3];

pub(crate) fn measure(effort: Effort) -> Outcome {
    let (rounds, duration) = match effort {
        Effort::Full => (15, Duration::from_millis(150)),
        Effort::Quick => (3, Duration::from_millis(60)),
    };
    let request = wire::text(&protocol::health());
    let gateway = ServerProcess::start(Kind::Gateway, "")?;
    let answer = capture(&gateway, &request)?;
    let servers = against(gateway, &answer)?;
    say(format_args!(
        "\ncalls: `health` ({} bytes, answer {} bytes), medians of {rounds} rounds of {} for each \
         server in turn\n  echo answers the same bytes with one `send` for each message; \
         echo-default has the codec's own settings",
        protocol::health().len(),
        answer.len(),
        millis(duration),
    ))?;
    let mut table = Table::new(&[
        "connections × in flight",
        "calls/s",
        "echo",
        "ours/echo",
        "echo-default",
        "ours/that",
        "p50",
        "echo p50",
        "p99",
        "echo p99",
        "CPU/call",
        "echo",
        "client",
    ]);
    let mut at_once = Vec::new();
    for size in SIZES {
        let mut fleets = open(&servers, size)?;
        if size == 1_000 {
            for (server, fleet) in servers.iter().zip(&mut fleets) {
                at_once.push(burst(server, fleet, &request, effort)?);
            }
        }
        for window in WINDOWS {
            let name = format!("{size} × {window}");
            let series = compare(&servers, &mut fleets, &request, window, rounds, duration)?;
            table.row(cells(name, &series));
        }
    }
    let servers = against(ServerProcess::start(Kind::Gateway, "")?, "")?;
    let mut fleets = open(&servers, LARGE_SIZE)?;
    let request = wire::text(&protocol::large_call(LARGE));
    let series = compare(&servers, &mut fleets, &request, 1, rounds, duration)?;
    let name = format!("{LARGE_SIZE} × 1, {LARGE} bytes");
    table.row(cells(name, &series));
    table.print()?;
    say("  aim: ours/echo 70 % or more; `client` is the share of one core that the clients take")?;
    at_once.into_iter().try_for_each(say)
}

fn against(gateway: ServerProcess, answer: &str) -> Outcome<Servers> {
    Ok([
        gateway,
        ServerProcess::start(Kind::Bare(Bare::Echo), answer)?,
        ServerProcess::start(Kind::Bare(Bare::DefaultEcho), answer)?,
    ])
}

fn open(servers: &Servers, size: usize) -> Outcome<Vec<Fleet>> {
    servers
        .iter()
        .map(|server| Fleet::open(server.address, size, size))
        .collect()
}

/// Measures each server in turn, again and again.
fn compare(
    servers: &Servers,
    fleets: &mut [Fleet],
    request: &[u8],
    window: usize,
    rounds: usize,
    duration: Duration,
) -> Outcome<[Series; 3]> {
    let mut series = [(); 3].map(|()| Series::default());
    for round in 0..rounds {
        let mut bouts: Vec<_> = servers
            .iter()
            .zip(fleets.iter_mut())
            .zip(&mut series)
            .collect();
        // Each goes first, second and third as often as the others.
        bouts.rotate_left(round % servers.len());
        for ((server, fleet), series) in bouts {
            series.add(run(server, fleet, request, window, duration)?);
        }
    }
    Ok(series)
}

fn cells(name: String, [ours, echo, default]: &[Series; 3]) -> Vec<String> {
    vec![
        name,
        count(median(&ours.rates)),
        count(median(&echo.rates)),
        percent(median(&ours.rates) / median(&echo.rates)),
        count(median(&default.rates)),
        percent(median(&ours.rates) / median(&default.rates)),
        millis(median(&ours.p50)),
        millis(median(&echo.p50)),
        millis(median(&ours.p99)),
        millis(median(&echo.p99)),
        micros(&ours.cpu),
        micros(&echo.cpu),
        percent(median(&ours.client)),
    ]
}

/// The gateway's answer to the call.
fn capture(gateway: &ServerProcess, request: &[u8]) -> Outcome<String> {
    struct Catch(Vec<u8>);
    impl Watch for Catch {
        fn message(&mut self, _client: usize, message: Incoming<'_>) {
            if let Incoming::Answer(text) = message {
                self.0 = text.to_vec();
            }
        }

        fn read(&mut self, _client: usize) -> &[u8] {
            &[]
        }
    }
    let mut fleet = Fleet::open(gateway.address, 1, 1)?;
    fleet.send(0, request)?;
    let mut catch = Catch(Vec::new());
    fleet.watch(&mut catch, |catch| !catch.0.is_empty())?;
    Ok(String::from_utf8(catch.0)?)
}

/// What one server did in all rounds.
#[derive(Default)]
struct Series {
    rates: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    /// Seconds of CPU time for each call, where the kernel tells.
    cpu: Vec<f64>,
    client: Vec<f64>,
}

impl Series {
    fn add(&mut self, round: Round) {
        self.rates.push(round.rate);
        self.p50.push(round.p50);
        self.p99.push(round.p99);
        self.cpu.extend(round.cpu);
        self.client.extend(round.client);
    }
}

struct Round {
    rate: f64,
    p50: Duration,
    p99: Duration,
    cpu: Option<f64>,
    client: Option<f64>,
}

/// Keeps `window` calls in flight on each connection for a while.
fn run(
    server: &ServerProcess,
    fleet: &mut Fleet,
    request: &[u8],
    window: usize,
    duration: Duration,
) -> Outcome<Round> {
    let (cpu, client) = (server.cpu_time(), child::own_cpu_time());
    let start = Instant::now();
    let end = start + duration;
    let mut calls = Calls::new(fleet.size(), request, window, end);
    fleet.send_from_all(&calls.frames.clone())?;
    while Instant::now() < end {
        fleet.turn(end, &mut calls)?;
    }
    let (took, answered) = (start.elapsed(), calls.latencies.len());
    fleet.watch(&mut calls, |calls| calls.is_idle())?;
    let spent = |before: Option<Duration>, after: Option<Duration>| {
        Some(after?.saturating_sub(before?).as_secs_f64())
    };
    Ok(Round {
        rate: answered as f64 / took.as_secs_f64(),
        p50: quantile(&mut calls.latencies, 0.5).unwrap_or_default(),
        p99: quantile(&mut calls.latencies, 0.99).unwrap_or_default(),
        cpu: spent(cpu, server.cpu_time()).map(|cpu| cpu / calls.latencies.len() as f64),
        client: spent(client, child::own_cpu_time())
            .map(|client| client / start.elapsed().as_secs_f64()),
    })
}

/// All connections come at once, then all of them call at once.
fn burst(
    server: &ServerProcess,
    fleet: &mut Fleet,
    request: &[u8],
    effort: Effort,
) -> Outcome<String> {
    let mut latencies = Vec::new();
    let bursts = match effort {
        Effort::Full => 20,
        Effort::Quick => 3,
    };
    for _ in 0..bursts {
        let mut calls = Calls::new(fleet.size(), request, 1, Instant::now());
        fleet.send_from_all(request)?;
        fleet.watch(&mut calls, |calls| calls.is_idle())?;
        latencies.append(&mut calls.latencies);
    }
    let mut entries = fleet.entry_times().to_vec();
    let of =
        |values: &mut Vec<Duration>, share| millis(quantile(values, share).unwrap_or_default());
    Ok(format!(
        "  {} at once, {}: {} refused; hello-ok p50 {} last {}; one `health` each at once: p50 {} \
         p99 {} max {}",
        fleet.size(),
        server.kind.name(),
        fleet.refused(),
        of(&mut entries, 0.5),
        of(&mut entries, 1.0),
        of(&mut latencies, 0.5),
        of(&mut latencies, 0.99),
        of(&mut latencies, 1.0),
    ))
}

/// Counts answers, and calls again until the end.
struct Calls {
    /// As many requests as fit the window, one behind the other.
    frames: Vec<u8>,
    frame_len: usize,
    /// For each connection, when its calls in flight were sent.
    sent: Vec<VecDeque<Instant>>,
    in_flight: usize,
    /// Answers in the read that is going on.
    fresh: usize,
    latencies: Vec<Duration>,
    end: Instant,
}

impl Calls {
    fn new(connections: usize, request: &[u8], window: usize, end: Instant) -> Self {
        let now = Instant::now();
        Self {
            frames: request.repeat(window),
            frame_len: request.len(),
            sent: vec![VecDeque::from(vec![now; window]); connections],
            in_flight: connections * window,
            fresh: 0,
            latencies: Vec::new(),
            end,
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0
    }
}

impl Watch for Calls {
    fn message(&mut self, _client: usize, message: Incoming<'_>) {
        self.fresh += usize::from(matches!(message, Incoming::Answer(_)));
    }

    fn read(&mut self, client: usize) -> &[u8] {
        let now = Instant::now();
        let fresh = std::mem::take(&mut self.fresh);
        let Some(sent) = self.sent.get_mut(client) else {
            return &[];
        };
        let answered = sent.drain(..fresh.min(sent.len()));
        self.latencies.extend(answered.map(|at| now - at));
        if now >= self.end {
            self.in_flight -= fresh;
            return &[];
        }
        sent.extend(std::iter::repeat_n(now, fresh));
        self.frames
            .get(..fresh * self.frame_len)
            .unwrap_or_default()
    }
}

fn micros(seconds: &[f64]) -> String {
    if seconds.is_empty() {
        return "unknown".into();
    }
    format!("{:.1} µs", median(seconds) * 1e6)
}

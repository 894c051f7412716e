//! Calls that are made anew each time, some of them in flight on each connection.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    child::ServerProcess,
    fleet::{Fleet, Watch},
    table::{median, micros, quantile},
    wire::{self, Incoming},
};

/// What a client does next.
pub(crate) trait Script {
    /// The next call of a client.
    fn call(&mut self, client: usize) -> String;

    /// Whether a message ends a call of its client.
    fn ends(&mut self, client: usize, message: Incoming<'_>) -> bool;

    /// Adds frames that a client sends beside its calls.
    fn also(&mut self, _client: usize, _frames: &mut Vec<u8>) {}
}

/// What a server did in one round.
pub(crate) struct Round {
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Seconds of CPU time for each call, where the kernel tells.
    pub(crate) cpu: Option<f64>,
}

/// Clients that call.
pub(crate) struct Callers {
    pub(crate) clients: std::ops::Range<usize>,
    /// Calls in flight of each.
    pub(crate) window: usize,
}

/// Lets clients call for a while. What is in flight at the end is waited for.
pub(crate) fn run(
    server: &ServerProcess,
    fleet: &mut Fleet,
    callers: &Callers,
    script: &mut impl Script,
    duration: Duration,
) -> Outcome<Round> {
    let cpu = server.cpu_time();
    let start = Instant::now();
    let mut load = Load {
        script,
        sent: vec![VecDeque::new(); fleet.size()],
        in_flight: 0,
        fresh: 0,
        frames: Vec::new(),
        latencies: Vec::new(),
        end: start + duration,
        refusal: None,
    };
    for client in callers.clients.clone() {
        load.frames.clear();
        for _ in 0..callers.window {
            load.call(client, Instant::now());
        }
        let frames = std::mem::take(&mut load.frames);
        fleet.send(client, &frames)?;
    }
    while Instant::now() < load.end && load.refusal.is_none() {
        let end = load.end;
        fleet.turn(end, &mut load)?;
    }
    let (took, done) = (start.elapsed(), load.latencies.len());
    fleet.watch(&mut load, |load| {
        load.in_flight == 0 || load.refusal.is_some()
    })?;
    if let Some(refusal) = load.refusal {
        return Err(format!("a call was refused: {refusal}").into());
    }
    let spent = match (cpu, server.cpu_time()) {
        (Some(before), Some(after)) => Some(after.saturating_sub(before).as_secs_f64()),
        _ => None,
    };
    Ok(Round {
        rate: done as f64 / took.as_secs_f64(),
        p50: quantile(&mut load.latencies, 0.5).unwrap_or_default(),
        p99: quantile(&mut load.latencies, 0.99).unwrap_or_default(),
        cpu: spent.map(|spent| spent / load.latencies.len() as f64),
    })
}

/// The median of a figure of all rounds.
pub(crate) fn median_of<T: Copy + PartialOrd + Default>(
    rounds: &[Round],
    pick: impl Fn(&Round) -> T,
) -> T {
    median(&rounds.iter().map(pick).collect::<Vec<_>>())
}

/// The median CPU time of a call.
pub(crate) fn cpu_of(rounds: &[Round]) -> String {
    let known: Vec<f64> = rounds.iter().filter_map(|round| round.cpu).collect();
    micros(median(&known))
}

struct Load<'a, S> {
    script: &'a mut S,
    /// For each connection, when its calls in flight were sent.
    sent: Vec<VecDeque<Instant>>,
    in_flight: usize,
    /// Calls that ended in the read that is going on.
    fresh: usize,
    frames: Vec<u8>,
    latencies: Vec<Duration>,
    end: Instant,
    refusal: Option<String>,
}

impl<S: Script> Load<'_, S> {
    fn call(&mut self, client: usize, now: Instant) {
        let call = self.script.call(client);
        self.frames.extend(wire::text(&call));
        if let Some(sent) = self.sent.get_mut(client) {
            sent.push_back(now);
            self.in_flight += 1;
        }
    }
}

impl<S: Script> Watch for Load<'_, S> {
    fn message(&mut self, client: usize, message: Incoming<'_>) {
        if let Incoming::Answer(text) = message
            && wire::is_refusal(text)
        {
            self.refusal = Some(String::from_utf8_lossy(text).into_owned());
        }
        self.fresh += usize::from(self.script.ends(client, message));
    }

    fn read(&mut self, client: usize) -> &[u8] {
        self.frames.clear();
        self.script.also(client, &mut self.frames);
        let now = Instant::now();
        for _ in 0..std::mem::take(&mut self.fresh) {
            let Some(at) = self.sent.get_mut(client).and_then(VecDeque::pop_front) else {
                continue;
            };
            self.in_flight -= 1;
            self.latencies.push(now - at);
            if now < self.end {
                self.call(client, now);
            }
        }
        &self.frames
    }
}

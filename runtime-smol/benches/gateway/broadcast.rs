//! One event for many readers, next to a bare server that writes the same bytes to as many sockets.

use std::time::{Duration, Instant};

use crate::{
    Effort, Outcome,
    child::ServerProcess,
    fleet::{Fleet, Watch},
    protocol,
    servers::{Bare, Kind},
    table::{Table, mib, millis, quantile, say},
    wire::{self, Incoming},
};

const READERS: usize = 1_000;

/// Bytes that the events have beside what they need, below the limit of the gateway.
const SIZES: [usize; 2] = [0, 15_000];

pub(crate) fn measure(effort: Effort) -> Outcome {
    let rounds = match effort {
        Effort::Full => 40,
        Effort::Quick => 5,
    };
    say(format_args!(
        "\nbroadcast: one `presence` event to {READERS} readers, {rounds} rounds in turn\n  the \
         gateway gathers changes of presence before it tells them, so its spread counts from the \
         first\n  reader; the bare server writes the same bytes to one socket after the other, at once"
    ))?;
    let mut table = Table::new(&[
        "server",
        "event",
        "call to first p50",
        "call to last p50",
        "p99",
        "first to last p50",
        "p99",
        "largest resident",
    ]);
    for size in SIZES {
        let gateway = ServerProcess::start(Kind::Gateway, "")?;
        let mut ours = Fleet::open(gateway.address, READERS, READERS)?;
        let text = String::from_utf8(announce(&mut ours, 0, size)?.text)?;
        let bare = ServerProcess::start(Kind::Bare(Bare::Megaphone), &text)?;
        let mut theirs = Fleet::open(bare.address, READERS, READERS)?;
        let mut series = [(); 2].map(|()| Vec::new());
        for round in 1..=rounds {
            let [a, b] = &mut series;
            a.push(announce(&mut ours, round, size)?);
            b.push(announce(&mut theirs, round, 0)?);
        }
        for (server, rounds) in [gateway, bare].iter().zip(&series) {
            let of = |share, pick: fn(&Spread) -> Duration| {
                let mut values: Vec<_> = rounds.iter().map(pick).collect();
                millis(quantile(&mut values, share).unwrap_or_default())
            };
            table.row(vec![
                server.kind.name().into(),
                format!("{} bytes", text.len()),
                of(0.5, |spread| spread.first),
                of(0.5, |spread| spread.last),
                of(0.99, |spread| spread.last),
                of(0.5, |spread| spread.last - spread.first),
                of(0.99, |spread| spread.last - spread.first),
                mib(server.largest_rss_bytes()?),
            ]);
        }
    }
    table.print()
}

/// From the call until the event reached the first and the last reader.
struct Spread {
    first: Duration,
    last: Duration,
    text: Vec<u8>,
}

/// Calls once and waits until everybody has the event.
fn announce(fleet: &mut Fleet, round: usize, size: usize) -> Outcome<Spread> {
    let mut hearing = Hearing {
        heard: vec![false; fleet.size()],
        missing: fleet.size(),
        first: None,
        text: Vec::new(),
        refusal: None,
    };
    let start = Instant::now();
    fleet.send(0, &wire::text(&protocol::system_event(round, size)))?;
    fleet.watch(&mut hearing, |hearing| {
        hearing.missing == 0 || hearing.refusal.is_some()
    })?;
    if let Some(refusal) = hearing.refusal {
        return Err(format!("the call was refused: {refusal}").into());
    }
    Ok(Spread {
        first: hearing.first.map_or(Duration::ZERO, |first| first - start),
        last: start.elapsed(),
        text: hearing.text,
    })
}

/// What a refusal has and an answer has not.
const REFUSED: &[u8] = br#""ok":false"#;

struct Hearing {
    heard: Vec<bool>,
    missing: usize,
    first: Option<Instant>,
    text: Vec<u8>,
    refusal: Option<String>,
}

impl Watch for Hearing {
    fn message(&mut self, client: usize, message: Incoming<'_>) {
        let text = match message {
            Incoming::Event(text) => text,
            Incoming::Answer(text) => {
                if text.windows(REFUSED.len()).any(|part| part == REFUSED) {
                    self.refusal = Some(String::from_utf8_lossy(text).into_owned());
                }
                return;
            }
            Incoming::Close | Incoming::Ping => return,
        };
        let Some(heard) = self.heard.get_mut(client) else {
            return;
        };
        if !*heard && text.starts_with(protocol::PRESENCE) {
            *heard = true;
            self.missing -= 1;
            if self.first.is_none() {
                self.first = Some(Instant::now());
                self.text = text.to_vec();
            }
        }
    }

    fn read(&mut self, _client: usize) -> &[u8] {
        &[]
    }
}

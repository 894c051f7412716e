//! What the gateway costs: calls, idle connections, events for many, the start, durable state, calls of
//! nodes, messages to agents and from chats, and what grows with the number of sessions.
//!
//! `cargo bench -p clawgate-smol` measures everything in a few minutes; `-- --quick` takes seconds
//! and says little; `-- calls`, `idle`, `broadcast`, `cold`, `durable`, `nodes`, `chat`, `channel`, `fanout`,
//! `growth` choose. Nothing here passes or fails by
//! time: the tables are for people, on a machine that does nothing else.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]

mod broadcast;
mod calls;
mod channel;
mod chat;
mod child;
mod cold;
mod durable;
mod fanout;
mod fleet;
mod growth;
mod idle;
mod load;
mod nodes;
mod protocol;
mod servers;
mod table;
mod wire;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use servers::Kind;

/// The end of a measurement.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long a measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Full,
    Quick,
}

type Measurement = fn(Effort) -> Outcome;

/// Names and measurements, in the order in which they run.
const MEASUREMENTS: [(&str, Measurement); 10] = [
    ("calls", calls::measure),
    ("idle", idle::measure),
    ("broadcast", broadcast::measure),
    ("cold", cold::measure),
    ("durable", durable::measure),
    ("nodes", nodes::measure),
    ("chat", chat::measure),
    ("channel", channel::measure),
    ("fanout", fanout::measure),
    ("growth", growth::measure),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["serve", kind] => match Kind::of_name(kind) {
            Some(kind) => servers::serve(kind),
            None => Err(format!("no such server: {kind}").into()),
        },
        args => measure(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error is no reason for more.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &[&str]) -> Outcome {
    let effort = if args.contains(&"--quick") {
        Effort::Quick
    } else {
        Effort::Full
    };
    // `cargo bench` adds `--bench` to whatever it is given; `cargo test --all-targets` does not.
    if args.is_empty() {
        return table::say("nothing is measured here: run `cargo bench -p clawgate-smol`");
    }
    let wanted: Vec<&&str> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let known = |name: &str| MEASUREMENTS.iter().any(|(known, _)| *known == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        return Err(format!("no such measurement: {unknown}").into());
    }
    rlimit::increase_nofile_limit(u64::MAX)?;
    for (name, run) in MEASUREMENTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| **wanted == name) {
            run(effort)?;
        }
    }
    Ok(())
}

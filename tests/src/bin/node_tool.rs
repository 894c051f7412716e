//! A command of a node: reads its parameters, notes in the file `TOOL_LOG` that it was run, and gives
//! the parameters back. `{"gate": PORT}` lets it wait there first, `{"fail": true}` lets it fail,
//! `{"picture": true}` lets it give a picture as cameras do.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clawgate_tests::failure::{Attempt, TestResult};
use clawgate_tests::gate;
use serde_json::{Value, json};

/// A PNG of one pixel.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> TestResult<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut input = String::new();
    let params: Value = if words.is_empty() {
        io::stdin().read_to_string(&mut input)?;
        serde_json::from_str(&input).attempt(|| format!("no JSON: {input:?}"))?
    } else {
        json!({ "words": words })
    };
    if let Some(log) = std::env::var_os("TOOL_LOG") {
        let mut log = File::options().create(true).append(true).open(log)?;
        // One write, so that lines of programs that run at the same time stay whole.
        log.write_all(format!("{params}\n").as_bytes())?;
    }
    let gate = params.get("gate").and_then(Value::as_u64);
    if let Some(port) = gate.and_then(|port| u16::try_from(port).ok()) {
        gate::wait_at(port, &params.to_string())?;
    }
    if params.get("fail") == Some(&Value::Bool(true)) {
        eprintln!("it was told to fail");
        return Ok(ExitCode::from(3));
    }
    let given = if params.get("picture") == Some(&Value::Bool(true)) {
        json!({ "format": "png", "base64": PICTURE, "width": 1, "height": 1 })
    } else {
        json!({ "given": params, "celsius": 21.5 })
    };
    println!("{given}");
    Ok(ExitCode::SUCCESS)
}

//! An agent that is a program: it asks the node `box` how warm it is where the message says, and
//! answers in two pieces. The message `crash` makes it crash in the middle of its answer.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use std::io;
use std::process::ExitCode;

use clawgate_tests::failure::{Failure, TestResult};
use serde_json::{Value, json};

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
    let mut lines = io::stdin().lines();
    let mut next = || -> TestResult<Value> {
        let line = lines.next().ok_or_else(|| Failure::new("no line"))??;
        Ok(serde_json::from_str(&line)?)
    };
    let start = next()?;
    let message = start.get("message").and_then(Value::as_str).unwrap_or("");
    if message == "crash" {
        println!("{}", json!({ "type": "text", "text": "I was about" }));
        eprintln!("the program has had enough");
        return Ok(ExitCode::from(7));
    }
    let params = json!({ "room": message });
    println!(
        "{}",
        json!({ "type": "tool_call", "id": "1", "node": "box", "command": "room.read", "params": params })
    );
    let answer = next()?;
    let celsius = answer
        .pointer("/result/celsius")
        .ok_or_else(|| Failure::new(format!("no temperature: {answer}")))?;
    println!(
        "{}",
        json!({ "type": "text", "text": format!("It is {celsius} ") })
    );
    println!(
        "{}",
        json!({ "type": "text", "text": format!("degrees in the {message}.") })
    );
    let usage = json!({ "input": 5, "output": 7 });
    println!("{}", json!({ "type": "done", "usage": usage }));
    Ok(ExitCode::SUCCESS)
}

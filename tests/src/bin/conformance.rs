//! Runs files of conformance cases and prints those that fail.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use std::process::ExitCode;

use clawgate_tests::conformance::Report;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: conformance FILE...");
        eprintln!("Each line of a FILE is one case as in tests/data/cases.");
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => report.run(&text),
            Err(error) => {
                eprintln!("{}: {error}", file.to_string_lossy());
                return ExitCode::from(2);
            }
        }
    }
    for failure in &report.failures {
        println!("{failure}");
    }
    println!(
        "{} passed, {} failed",
        report.passed(),
        report.failures.len()
    );
    if report.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

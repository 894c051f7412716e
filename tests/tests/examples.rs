//! The examples for people who embed the core: each checks itself, and ends well.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use clawgate_tests::failure::{Attempt, Failure, TestResult};

fn run(package: &str, example: &str) -> TestResult<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or_else(|| Failure::new("the tests lie in no workspace"))?;
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", package, "--example", example])
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .attempt(|| format!("could not run {example}"))?;
    if status.success() {
        Ok(String::from_utf8(stdout)?)
    } else {
        let errors = String::from_utf8_lossy(&stderr);
        Err(Failure::new(format!(
            "{example} ended with {status}: {errors}"
        )))
    }
}

#[test]
fn the_machines_talk_through_memory() -> TestResult {
    let first = run("clawgate-core", "in_memory")?;
    assert!(first.contains("connect.challenge"), "{first}");
    assert!(first.contains("service restart"), "{first}");
    // Time and randomness come from the host alone, so every run is the same.
    assert_eq!(first, run("clawgate-core", "in_memory")?);
    Ok(())
}

#[test]
fn the_machines_talk_over_another_transport() -> TestResult {
    let answers = run("clawgate-tests", "length_prefixed")?;
    for method in ["health: {", "status: {", "system-presence: ["] {
        assert!(answers.contains(method), "{answers}");
    }
    Ok(())
}

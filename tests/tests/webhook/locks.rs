//! Two gateways of one user, and what only one of them may have.

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::{GatewayProcess, Settings, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bridge::operator;

fn gateway(runtime_dir: &TempDir, api: &str) -> TestResult<GatewayProcess> {
    let telegram = json!({ "botToken": "123456:token-of-the-tests", "apiRoot": api });
    GatewayProcess::start_with(Settings {
        config: vec![("channels".into(), json!({ "telegram": telegram }))],
        environment: vec![(
            "XDG_RUNTIME_DIR".into(),
            runtime_dir.path().to_string_lossy().into_owned(),
        )],
        ..Settings::default()
    })
}

/// What is wrong with the bot, as health tells it.
fn problem(gateway: &GatewayProcess) -> TestResult<Option<String>> {
    let health = operator(gateway)?.call("health", json!({}))?.payload()?;
    let problem = &health["channels"]["telegram"]["lastError"];
    Ok(problem.as_str().map(str::to_owned))
}

fn wait_for(gateway: &GatewayProcess, what: &str, wanted: fn(&str) -> bool) -> TestResult<String> {
    Deadline::after(PATIENCE).poll(what, || Ok(problem(gateway)?.filter(|text| wanted(text))))
}

#[test]
fn a_token_has_one_gateway_and_the_other_says_which() -> TestResult {
    let runtime_dir = TempDir::new()?;
    // Nobody is there, so the bots have nothing to do but to try.
    let api = format!("http://127.0.0.1:{}", free_port()?);
    let held = |text: &str| text.contains("held by another gateway");
    let mut first = gateway(&runtime_dir, &api)?;
    wait_for(&first, "the first to poll", |text| {
        !text.contains("held by")
    })?;
    let mut second = gateway(&runtime_dir, &api)?;
    let said = wait_for(&second, "the second to be locked out", held)?;
    let holder = first.state_dir().to_string_lossy().into_owned();
    assert!(
        said.contains(&holder) && said.contains("process "),
        "{said}"
    );
    assert!(!said.contains("token-of-the-tests"), "{said}");

    // The system lets go of the lock, however the process ends.
    first.kill()?;
    second.stop()?;
    second.restart()?;
    wait_for(&second, "the second to poll", |text| {
        !text.contains("held by")
    })?;
    let locks = runtime_dir.path().join("clawgate");
    let names: Vec<Value> = std::fs::read_dir(&locks)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned().into()))
        .collect::<TestResult<_>>()?;
    assert_eq!(names.len(), 1);
    assert!(!Value::from(names).to_string().contains("123456"));
    Ok(())
}

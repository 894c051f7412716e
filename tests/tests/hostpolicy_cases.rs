//! Runs the published cases about host policy.

use clawgate_tests::conformance::hostpolicy;
use serde_json::Value;

#[test]
fn published_cases_hold() {
    let cases = include_str!("../data/cases/hostpolicy.jsonl");
    let mut wrong = Vec::new();
    let mut answered = 0;
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let given = &case["given"];
        let Some(answer) = hostpolicy::call(given["fn"].as_str().unwrap(), given) else {
            continue;
        };
        answered += 1;
        if answer != case["expect"] {
            wrong.push(format!(
                "{}: {} instead of {}",
                case["id"], answer, case["expect"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(answered > 200, "only {answered} cases were answered");
}

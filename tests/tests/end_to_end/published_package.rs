//! What these tests take from the published packages is what is in them.

use std::fs;

use clawgate_tests::failure::TestResult;
use clawgate_tests::reference_client::install;
use serde_json::Value;

#[test]
fn the_schema_in_the_repository_is_the_published_one() -> TestResult {
    let package = install()?.join("node_modules/@openclaw/gateway-protocol/protocol.schema.json");

    let published: Value = serde_json::from_str(&fs::read_to_string(package)?)?;
    let ours: Value = serde_json::from_str(include_str!("../../data/protocol.schema.json"))?;

    assert!(
        published == ours,
        "tests/data/protocol.schema.json is not the published schema"
    );
    Ok(())
}

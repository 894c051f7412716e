//! The built-in agent, with a rule of the config.

use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::support::{Run, assert_answered, client, gateway, node, rules};

#[test]
fn a_rule_of_the_config_asks_the_node_and_answers() -> TestResult {
    let gateway = gateway(rules(), &[], &[])?;
    let node = node(&gateway)?;
    let mut client = client(&gateway)?;
    let question = "how warm is the kitchen";
    let mut run = Run::send(&mut client, "builtin-1", question)?;
    let asked = run.tool(&mut client, "start")?;
    assert_eq!(asked["name"], format!("{}:room.read", node.id()));
    assert_eq!(asked["args"], json!({ "room": "kitchen" }));
    let told = run.tool(&mut client, "result")?;
    assert_eq!(told["isError"], false);
    assert_eq!(told["result"]["celsius"], 21.5);
    run.end(&mut client, "final")?;
    run.print("builtin");
    assert_answered(&mut client, question, "It is 21.5 degrees in the kitchen.")?;
    assert_eq!(node.ran()?, [json!({ "room": "kitchen" })]);

    // The same message again is the same run: nothing happens twice.
    let again = client
        .call(
            "chat.send",
            json!({ "sessionKey": "agent:main:main", "message": question, "idempotencyKey": run.id }),
        )?
        .payload()?;
    assert_eq!(again["status"], "ok", "{again}");
    let mut second = Run::send(&mut client, "builtin-2", "how warm is the cellar")?;
    second.end(&mut client, "final")?;
    assert_eq!(
        node.ran()?,
        [json!({ "room": "kitchen" }), json!({ "room": "cellar" })]
    );
    Ok(())
}

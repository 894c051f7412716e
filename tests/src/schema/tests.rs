use super::*;

fn captured() -> Vec<Value> {
    include_str!("../../data/frames/released-gateway.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn accepts_every_frame_of_the_released_client_and_gateway() {
    let mut conversations: HashMap<String, Conversation> = HashMap::new();
    for line in captured() {
        let conversation = conversations
            .entry(line["conversation"].to_string())
            .or_default();
        let frame = &line["frame"];
        if frame["method"] == "chat.history" {
            // The one that the gateway refused, for a missing parameter.
            assert!(
                conversation
                    .check(frame)
                    .unwrap_err()
                    .to_string()
                    .contains("sessionKey")
            );
        } else if let Err(violation) = conversation.check(frame) {
            panic!("{violation}: {frame}");
        }
    }
}

#[test]
fn has_a_definition_for_what_the_released_gateway_says_most() {
    let mut specified = Vec::new();
    let mut conversation = Conversation::new();
    for line in captured() {
        let frame = &line["frame"];
        if conversation.check(frame) == Ok(Verdict::Conforms) {
            specified.extend(
                frame["method"]
                    .as_str()
                    .or_else(|| frame["event"].as_str())
                    .map(str::to_owned),
            );
            specified.extend(conversation.methods.get(text(frame, "id")).cloned());
        }
    }
    for name in [
        "connect",
        "tick",
        "health",
        "system-presence",
        "node.invoke.request",
    ] {
        assert!(
            specified.iter().any(|specified| specified == name),
            "{name}"
        );
    }
}

#[test]
fn rejects_a_hello_without_its_policy() {
    let mut hello = captured()
        .into_iter()
        .map(|line| line["frame"]["payload"].clone())
        .find(|payload| payload["type"] == "hello-ok")
        .unwrap();
    assert_eq!(check_result("connect", &hello), Ok(Verdict::Conforms));

    hello.as_object_mut().unwrap().remove("policy");
    let violation = check_result("connect", &hello).unwrap_err();

    assert_eq!(violation.definition, "HelloOk");
    assert_eq!(violation.problems, [r#""policy" is a required property"#]);
}

#[test]
fn rejects_an_unknown_member_and_says_where_it_is() {
    let params = json!({
        "minProtocol": 4, "maxProtocol": 4,
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli", "kind": "x"},
    });
    let violation = check_params("connect", Some(&params)).unwrap_err();
    assert!(
        violation
            .to_string()
            .starts_with("not a valid ConnectParams: /client: "),
        "{violation}"
    );
}

#[test]
fn rejects_envelopes_that_are_none_of_the_three() {
    for broken in [
        json!({"type": "bye"}),
        json!({"type": "res", "id": "1"}),
        json!({"type": "event", "event": ""}),
        json!({"type": "event", "event": "tick", "sequence": 1}),
        json!({"type": "req", "id": 1, "method": "health"}),
        json!([]),
    ] {
        assert!(check_frame(&broken).is_err(), "{broken}");
    }
}

#[test]
fn rejects_an_event_whose_payload_is_not_what_its_name_promises() {
    let broken = [
        json!({"type": "event", "event": "tick", "payload": {}}),
        json!({"type": "event", "event": "shutdown", "payload": {"reason": ""}}),
        json!({"type": "event", "event": "presence", "payload": {"presence": [{"host": "a"}]}}),
        json!({"type": "event", "event": "health", "payload": {"ok": false}}),
    ];
    for frame in broken {
        assert_eq!(check_frame(&frame), Ok(Verdict::Conforms), "{frame}");
        assert!(check_event(&frame).is_err(), "{frame}");
    }
}

#[test]
fn accepts_what_the_released_gateway_has_got_since() {
    let mut presence = json!([{"ts": 1}, {"ts": 2, "clientId": "cli"}]);
    assert_eq!(
        check_result("system-presence", &presence),
        Ok(Verdict::Conforms)
    );

    presence[0]["clientKind"] = json!("cli");
    assert!(check_result("system-presence", &presence).is_err());
}

#[test]
fn rejects_an_answer_that_nobody_asked_for() {
    let answer = json!({"type": "res", "id": "9", "ok": true, "payload": {}});
    let violation = Conversation::new().check(&answer).unwrap_err();
    assert_eq!(violation.problems, [r#"/id: nobody asked "9""#]);
}

#[test]
fn checks_a_refusal_and_the_details_of_a_missing_scope() {
    let mut error = json!({
        "code": "FORBIDDEN", "message": "missing scope: operator.read",
        "details": {"code": "MISSING_SCOPE", "missingScope": "operator.read", "requiredScopes": ["operator.read"]},
    });
    assert_eq!(check_error(&error), Ok(Verdict::Conforms));
    error["details"]["requiredScopes"] = json!([]);
    assert!(check_error(&error).is_err());
}

#[test]
fn names_definitions_by_the_rule_of_the_schema() {
    for (method, name) in [
        ("channels.status", "ChannelsStatusParams"),
        ("node.invoke.result", "NodeInvokeResultParams"),
        ("agent.identity.get", "AgentIdentityParams"),
        ("skills.bins", "SkillsBinsParams"),
    ] {
        assert_eq!(named(method, "Params"), name);
        assert!(document()["definitions"].get(name).is_some(), "{name}");
    }
}

#[test]
fn says_so_when_the_schema_is_silent() {
    assert_eq!(
        check_result("no.such.method", &json!({})),
        Ok(Verdict::Unspecified)
    );
    let event = json!({"type": "event", "event": "plugin.custom", "payload": 1});
    assert_eq!(check_event(&event), Ok(Verdict::Unspecified));
}

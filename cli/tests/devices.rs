//! When the command line is a device, and what it says when a gateway asks for one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;

use common::{Fake, Manner, SECRET, Sandbox};
use serde_json::{Value, json};

const KEY: &str = ".openclaw/clawgate/device.key";
const TOKENS: &str = ".openclaw/clawgate/device-tokens.json";

/// How a gateway asks for an approval.
fn pairing_required(request: &str, command: &str) -> Manner {
    Manner::Refuse(json!({
        "code": "NOT_PAIRED", "message": "pairing required: device is not approved yet",
        "details": {
            "code": "PAIRING_REQUIRED", "requestId": request, "approveCommand": command,
        },
    }))
}

fn device_required() -> Manner {
    Manner::Refuse(json!({
        "code": "NOT_PAIRED", "message": "device identity required",
        "details": { "code": "DEVICE_IDENTITY_REQUIRED" },
    }))
}

fn call(sandbox: &Sandbox, gateway: &Fake, more: &[&str]) -> common::Outcome {
    let url = gateway.url();
    let args = [
        &["gateway", "call", "status", "--json", "--url", &url],
        more,
    ];
    sandbox.run(&args.concat())
}

#[test]
fn a_gateway_that_asks_for_an_approval_is_told_with_the_command_that_gives_it() {
    let ours = pairing_required("3f2b-1", "clawgate devices approve 3f2b-1");
    let outcome = call(&Sandbox::new(), &Fake::start(ours), &["--token", "t"]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let error = outcome.error();
    assert_eq!(error["code"], "pairing_required");
    assert_eq!(error["requestId"], "3f2b-1");
    let next = error["next"].as_str().unwrap();
    assert!(next.contains("`clawgate devices approve 3f2b-1`"), "{next}");
}

#[test]
fn nothing_is_offered_for_pasting_that_a_gateway_made_up() {
    for (request, command, offered) in [
        // A command that is not known gives way to the one that fits the id.
        (
            "3f2b-1",
            "rm -rf /",
            Some("`openclaw devices approve 3f2b-1`"),
        ),
        ("3f2b-1; id", "clawgate devices approve 3f2b-1; id", None),
        ("--latest", "clawgate devices approve --latest", None),
        ("$(id)", "clawgate devices approve $(id)", None),
        ("", "", None),
    ] {
        let fake = Fake::start(pairing_required(request, command));
        let outcome = call(&Sandbox::new(), &fake, &["--token", "t"]);
        assert_eq!(outcome.code, 4, "{outcome:?}");
        let error = outcome.error();
        let next = error["next"].as_str().unwrap();
        match offered {
            Some(offered) => assert!(next.contains(offered), "{next}"),
            None => {
                assert!(!next.contains("approve "), "{next}");
                assert!(error["requestId"].is_null(), "{error}");
            }
        }
    }
}

#[test]
fn a_call_becomes_a_device_when_the_gateway_asks_for_one() {
    let (sandbox, gateway) = (Sandbox::new(), Fake::start(device_required()));
    let outcome = call(&sandbox, &gateway, &["--token", "t"]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let connects = gateway.connects();
    assert_eq!(connects.len(), 2, "{connects:?}");
    assert!(connects[0]["device"].is_null());
    assert!(connects[1]["device"]["signature"].is_string());
    assert_eq!(fs::read(sandbox.path(KEY)).unwrap().len(), 32);

    // The same device comes the next time.
    call(&sandbox, &gateway, &["--token", "t"]);
    let again = gateway.connects();
    assert_eq!(again[3]["device"]["id"], connects[1]["device"]["id"]);
}

#[test]
fn looks_never_become_a_device() {
    let looks: [&[&str]; 5] = [
        &["health"],
        &["status"],
        &["gateway", "status"],
        &["gateway", "probe"],
        &["gateway", "call", "status", "--no-auth"],
    ];
    for look in looks {
        let (sandbox, gateway) = (Sandbox::new(), Fake::start(device_required()));
        let url = gateway.url();
        let token: &[&str] = if look.contains(&"--no-auth") {
            &[]
        } else {
            &["--token", "t"]
        };
        let outcome = sandbox.run(&[look, token, &["--url", &url]].concat());
        assert_eq!(outcome.code, 4, "{look:?} {outcome:?}");
        let connects = gateway.connects();
        assert_eq!(connects.len(), 1, "{look:?}");
        assert!(connects[0]["device"].is_null(), "{look:?}");
        assert!(!sandbox.path(".openclaw").exists(), "{look:?}");
    }
}

#[test]
fn a_token_for_devices_is_kept_and_sent_to_the_gateway_that_gave_it_alone() {
    let (sandbox, gateway) = (Sandbox::new(), Fake::start(Manner::Devices));
    // Let in without scopes, it comes again as a device.
    let outcome = call(&sandbox, &gateway, &["--token", "t"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let connects = gateway.connects();
    assert_eq!(connects.len(), 2, "{connects:?}");
    assert!(connects[1]["device"].is_object());
    let kept = fs::read_to_string(sandbox.path(TOKENS)).unwrap();
    assert!(kept.contains(SECRET));

    // The token is enough from now on.
    let outcome = call(&sandbox, &gateway, &[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let last = gateway.connects()[2].clone();
    assert_eq!(last["auth"], json!({ "deviceToken": SECRET }));
    assert!(last["device"].is_object());

    // An explicit secret goes alone.
    call(&sandbox, &gateway, &["--token", "t"]);
    assert_eq!(gateway.connects()[3]["auth"], json!({ "token": "t" }));

    // Another gateway on another port gets nothing, and neither does this one on purpose.
    let other = Fake::start(Manner::Devices);
    let outcome = call(&sandbox, &other, &[]);
    assert_eq!(outcome.error()["code"], "explicit_auth_required");
    assert!(!other.was_visited());
    call(&sandbox, &gateway, &["--no-auth"]);
    let quiet = gateway.connects().last().unwrap().clone();
    assert!(
        quiet["auth"].is_null() && quiet["device"].is_null(),
        "{quiet}"
    );
}

#[test]
fn a_look_uses_the_token_and_asks_for_no_more_than_it_allows() {
    let (sandbox, gateway) = (Sandbox::new(), Fake::start(Manner::Devices));
    call(&sandbox, &gateway, &["--token", "t"]);
    let url = gateway.url();
    let outcome = sandbox.run(&["status", "--all", "--url", &url, "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let last = gateway.connects().last().unwrap().clone();
    assert_eq!(last["auth"]["deviceToken"], SECRET);
    let scopes: Vec<&str> = last["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(scopes.contains(&"operator.read"), "{scopes:?}");
    assert!(!scopes.contains(&"operator.pairing"), "{scopes:?}");
}

#[test]
fn a_refused_token_is_forgotten() {
    let (sandbox, gateway) = (Sandbox::new(), Fake::start(Manner::Devices));
    call(&sandbox, &gateway, &["--token", "t"]);
    let book = fs::read_to_string(sandbox.path(TOKENS)).unwrap();
    let strict = Fake::start(Manner::Refuse(json!({
        "code": "INVALID_REQUEST", "message": "unauthorized: device token mismatch",
        "details": { "code": "AUTH_DEVICE_TOKEN_MISMATCH" },
    })));
    let moved = book.replace(&gateway.port.to_string(), &strict.port.to_string());
    fs::write(sandbox.path(TOKENS), moved).unwrap();

    let outcome = call(&sandbox, &strict, &[]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert_eq!(strict.connects()[0]["auth"]["deviceToken"], SECRET);
    let left = fs::read_to_string(sandbox.path(TOKENS)).unwrap();
    assert!(!left.contains(SECRET), "{left}");
}

#[test]
fn a_broken_token_file_is_set_aside_and_a_broken_key_is_passed_over() {
    let (sandbox, gateway) = (Sandbox::new(), Fake::start(Manner::Devices));
    call(&sandbox, &gateway, &["--token", "t"]);
    sandbox.write(TOKENS, "{");
    let outcome = call(&sandbox, &gateway, &["--token", "t"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("was set aside as"), "{outcome:?}");

    sandbox.write(KEY, "short");
    let outcome = sandbox.run(&["health", "--url", &gateway.url(), "--token", "t"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("device.key is not 32 bytes"),
        "{outcome:?}"
    );
    let own = sandbox.run(&["devices", "self", "--create", "--json"]);
    assert_eq!(own.code, 78, "{own:?}");
    assert_eq!(own.error()["code"], "device_key_broken");
    assert_eq!(fs::read_to_string(sandbox.path(KEY)).unwrap(), "short");
}

#[test]
fn two_first_commands_are_one_device() {
    let sandbox = Sandbox::new();
    let children: Vec<_> = (0..6)
        .map(|_| {
            let command = &mut sandbox.command(&["devices", "self", "--create", "--json"]);
            command.spawn().unwrap()
        })
        .collect();
    let ids: Vec<Value> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            serde_json::from_slice::<Value>(&output.stdout).unwrap()["deviceId"].clone()
        })
        .collect();
    assert!(ids[0].is_string());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn wrong_codes_and_lengths_of_time_are_usage_errors() {
    let sandbox = Sandbox::new();
    let cases: [&[&str]; 6] = [
        &["devices", "join", "no-code"],
        &["devices", "join", "t", "--url", "ws://gw.example.com"],
        &["devices", "invite", "--ttl", "1"],
        &["devices", "invite", "--role", "boss"],
        &["devices", "invite", "--scopes", "operator.everything"],
        &["devices", "approve"],
    ];
    for args in cases {
        let outcome = sandbox.run(&[args, &["--json"]].concat());
        assert_eq!(outcome.code, 2, "{args:?} {outcome:?}");
        outcome.error();
    }
}

//! `channels`, `pairing`, `send` and `messages` with real processes on loopback.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../conversations/support.rs"]
#[allow(dead_code, reason = "made for conversations")]
mod support;

mod telegram;

use crate::support::World;

#[test]
fn a_gateway_without_channels_says_so() {
    let world = World::new();
    let status = world.run(&["channels", "status"]);
    assert_eq!(status.stdout, "No channel is configured.\n", "{status:?}");
    assert_eq!(
        world.json(&["channels", "status"])["channelOrder"],
        serde_json::json!([])
    );
    let pairing = world.run(&["pairing", "list"]);
    assert_eq!(
        pairing.stdout, "Nobody waits to be let in.\n",
        "{pairing:?}"
    );
    let messages = world.run(&["messages", "list"]);
    assert_eq!(
        messages.stdout, "There are no such messages.\n",
        "{messages:?}"
    );
    let health = world.run(&["health"]);
    assert!(health.stdout.contains("Channels  none"), "{health:?}");
}

#[test]
fn what_cannot_be_done_ends_with_the_code_for_it() {
    let world = World::new();
    for (args, code, words) in [
        (
            &["channels", "start", "telegram"][..],
            6,
            "none is configured",
        ),
        (
            &["send", "--to", "-5", "--message", "hello"],
            6,
            "no channel is configured",
        ),
        (
            &[
                "send",
                "--to",
                "5",
                "--message",
                "hello",
                "--channel",
                "fax",
            ],
            6,
            "'fax'",
        ),
        (&["send", "--to", "5"], 2, "--message"),
        (
            &["send", "--to", "5", "--file", "no/such/file"],
            2,
            "no/such/file",
        ),
        (
            &["pairing", "approve", "7kq2m9xb"],
            6,
            "Nobody has the code 7KQ2M9XB",
        ),
        (
            &["pairing", "reject", "telegram", "7KQ2M9XB"],
            6,
            "7KQ2M9XB",
        ),
        (&["messages", "trace", "m7"], 6, "no message m7"),
        (&["messages", "resend", "m7"], 6, "no message m7"),
        (&["messages", "list", "--state", "lost"], 6, "state must be"),
        (
            &["messages", "list", "--limit", "0"],
            2,
            "0 is not in 1..=500",
        ),
    ] {
        let outcome = world.run(args);
        assert_eq!(outcome.code, code, "{args:?}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{args:?}: {outcome:?}");
    }
    let refused = world.run(&["pairing", "approve", "7KQ2M9XB", "--json"]);
    assert_eq!(refused.json()["error"]["code"], "not_found");
}

//! `sessions …`.

use serde_json::json;

use crate::support::World;

#[test]
fn sessions_are_made_listed_searched_and_changed() {
    let world = World::new();
    let none = world.run(&["sessions", "list"]);
    assert!(none.stdout.contains("no sessions yet"), "{none:?}");
    world.run(&["agent", "--message", "/echo the red door"]);
    let made = world.json(&["sessions", "create", "work", "--label", "Work"]);
    assert_eq!(made["key"], "agent:main:work");
    let sent = world.json(&[
        "sessions",
        "send",
        "work",
        "--message",
        "/echo blue",
        "--idempotency-key",
        "k-1",
    ]);
    assert_eq!(sent["runId"], "k-1");
    world.is_over("k-1");
    let list = world.run(&["sessions", "list"]);
    assert!(
        list.stdout.contains("agent:main:work") && list.stdout.contains("Work"),
        "{list:?}"
    );
    let found = world.json(&["sessions", "search", "RED", "door"]);
    assert_eq!(found["results"][0]["sessionKey"], "agent:main:main");
    let history = world.run(&["sessions", "history", "work"]);
    assert_eq!(history.stdout, "you     /echo blue\nagent   blue\n");
    let page = world.run(&["sessions", "history", "work", "--limit", "1"]);
    assert!(page.stdout.starts_with("(2 messages in all"), "{page:?}");
    assert_eq!(world.run(&["sessions", "rename", "work", "Office"]).code, 0);
    let show = world.run(&["sessions", "show", "work"]);
    assert!(
        show.stdout.contains("Office") && show.stdout.contains("blue"),
        "{show:?}"
    );
    assert_eq!(
        world.json(&["sessions", "usage"])["totals"]["totalTokens"],
        0
    );
    let compact = world.run(&["sessions", "compact", "work", "--keep", "1", "--yes"]);
    assert_eq!(
        compact.stdout,
        "compacted to 1 messages: session agent:main:work\n"
    );
    let idle = world.run(&["sessions", "abort", "work"]);
    assert_eq!(idle.stdout, "nothing was under way\n");
}

#[test]
fn what_cannot_be_taken_back_is_confirmed() {
    let world = World::new();
    world.run(&["sessions", "create", "work"]);
    for command in ["reset", "delete", "compact"] {
        let refused = world.run(&["sessions", command, "work", "--json"]);
        assert_eq!(
            (refused.code, &refused.error()["code"]),
            (2, &json!("unconfirmed")),
            "{command}"
        );
    }
    assert_eq!(world.run(&["sessions", "reset", "work", "--yes"]).code, 0);
    assert_eq!(world.run(&["sessions", "delete", "work", "--yes"]).code, 0);
    let gone = world.run(&["sessions", "delete", "work", "--yes", "--json"]);
    assert_eq!((gone.code, &gone.error()["code"]), (6, &json!("not_found")));
    let gone = world.run(&["sessions", "show", "work", "--json"]);
    assert_eq!((gone.code, &gone.error()["code"]), (6, &json!("not_found")));
    world.run(&["agent", "--message", "/echo hi"]);
    let main = world.run(&["sessions", "delete", "main", "--yes"]);
    assert_eq!(main.code, 6, "{main:?}");
    assert!(main.stderr.contains("cannot be deleted"), "{main:?}");
    assert_eq!(world.said().len(), 2);
}

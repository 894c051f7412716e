//! `demo`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::PathBuf,
    process::Stdio,
};

use crate::{
    common::Sandbox,
    support::{Running, names},
};

/// A machine with a folder of its own for temporary files.
fn machine() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("tmp");
    fs::create_dir(&folder).unwrap();
    (sandbox.env("TMPDIR", &folder.to_string_lossy()), folder)
}

/// The hops of a demo that went well.
fn hops(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let outcome = sandbox.run(args);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let flow = outcome.json();
    assert_eq!(flow["reply"], "Hello, the world!");
    let hops = flow["hops"].as_array().unwrap();
    let named = hops.iter().map(|hop| hop["hop"].as_str().unwrap());
    named.map(str::to_owned).collect()
}

#[test]
fn every_hop_is_shown_and_nothing_is_left_behind() {
    let (sandbox, folder) = machine();
    let hops = hops(&sandbox, &["demo", "--json"]);
    let whole = [
        "accepted", "decided", "asked", "answered", "stored", "received",
    ];
    assert_eq!(hops, whole);
    assert_eq!(names(&folder), [""; 0]);
    assert_eq!(
        names(&sandbox.path("")),
        ["tmp"],
        "no files of the user's own"
    );

    let told = sandbox.run(&["demo"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("reply stored"), "{told:?}");
    let last = told.stdout.lines().last().unwrap();
    assert!(last.starts_with("ok: message to reply in "), "{told:?}");
}

#[test]
fn the_same_message_can_be_written_in_a_chat() {
    let (sandbox, folder) = machine();
    let hops = hops(&sandbox, &["demo", "--telegram", "--json"]);
    let ends = (
        hops.first().unwrap().as_str(),
        hops.last().unwrap().as_str(),
    );
    assert_eq!(ends, ("received", "seen in the chat"));
    let asked = hops.iter().any(|hop| hop == "calls demo.greet of demo");
    assert!(asked, "{hops:?}");
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let (sandbox, folder) = machine();
    let mut demo = Running::start(sandbox.command(&["demo"]).stderr(Stdio::piped()));
    let mut errors = BufReader::new(demo.child.stderr.take().unwrap());
    let mut ready = String::new();
    errors.read_line(&mut ready).unwrap();
    let port: u16 = ready.trim().rsplit(':').next().unwrap().parse().unwrap();
    demo.interrupt();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    let outcome = demo.end();
    // It may have been over in the same moment.
    assert!(matches!(outcome.code, 130 | 0), "{outcome:?} {rest}");
    assert_eq!(names(&folder), [""; 0]);
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the gateway is gone"
    );
}

#[test]
fn a_demo_without_a_place_says_so() {
    let sandbox = Sandbox::new().env("TMPDIR", "/no/such/folder");
    let outcome = sandbox.run(&["demo", "--json"]);
    assert_eq!(
        (outcome.code, &outcome.error()["code"]),
        (1, &"demo_folder".into())
    );
}

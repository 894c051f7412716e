//! `backup`, beside a database that is open.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use clawgate_smol::store::{FILE_NAME, StoreFile, StoreOptions};
use common::{SECRET, Sandbox};

#[test]
fn a_backup_says_what_it_holds_and_what_not() {
    let sandbox = Sandbox::with_config("{ gateway: { mode: 'local' } }");
    let token = sandbox.write(".openclaw/clawgate/gateway.token", SECRET);
    let database = token.replace("gateway.token", FILE_NAME);
    // Held open, as by a gateway.
    let _open = StoreFile::open(database.as_ref(), StoreOptions::default()).unwrap();
    let outcome = sandbox.run(&["backup", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let answer = outcome.json();
    let file = answer["file"].as_str().unwrap();
    assert!(
        file.contains("/.openclaw/clawgate/backups/state-2"),
        "{file}"
    );
    let found = fs::metadata(file).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(answer["bytes"], found.len());
    assert_eq!(answer["rows"]["device"], 0);
    let others = answer["notIncluded"].to_string();
    assert!(
        others.contains("openclaw.json") && others.contains("gateway.token"),
        "{others}"
    );

    let again = sandbox.run(&["backup", "--to", file, "--json"]);
    assert_eq!(
        (again.code, again.error()["code"].as_str()),
        (1, Some("backup_exists"))
    );
    let forced = sandbox.run(&["backup", "--to", file, "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(forced.stdout.contains("Restore"), "{forced:?}");
    StoreFile::open(file.as_ref(), StoreOptions::default()).unwrap();
}

#[test]
fn without_a_database_there_is_nothing_to_copy() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&["backup", "--json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.error()["code"], "state_missing");
    let home = sandbox.write("x", "");
    let home = std::path::Path::new(&home).parent().unwrap();
    assert!(!home.join(".openclaw").exists(), "nothing is made");
}

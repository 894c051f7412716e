//! SECURITY.md promises a test for each rule: the tests have to be there.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

/// Files and the tests that the table names in them.
fn promised(text: &str) -> Vec<(String, String)> {
    let mut promised = Vec::new();
    for row in text.lines().filter(|line| line.starts_with('|')) {
        let mut file = None;
        for word in row.split('`').skip(1).step_by(2) {
            if word.contains(".rs") {
                file = Some(word.to_owned());
            } else if let Some(file) = &file {
                promised.push((file.clone(), word.to_owned()));
            }
        }
    }
    promised
}

#[test]
fn every_rule_is_held_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let promised = promised(&text);
    assert!(
        promised.len() > 40,
        "only {} tests are named",
        promised.len()
    );
    for (file, test) in promised {
        let source =
            fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let name = format!("fn {test}(");
        let place = source
            .find(&name)
            .unwrap_or_else(|| panic!("{file} has no {test}"));
        let before: String = source[..place].chars().rev().take(120).collect();
        let before: String = before.chars().rev().collect();
        assert!(before.contains("#[test]"), "{test} in {file} is no test");
        assert!(!before.contains("#[ignore"), "{test} in {file} is ignored");
    }
    // Each rule names at least one.
    let section = text.split("held by |").nth(1).unwrap();
    for rule in section
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        assert!(rule.contains(".rs`"), "no test holds: {rule}");
    }
}

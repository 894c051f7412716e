//! The example that the README works out for people who write bridges.

use clawgate_core::channel::webhook::sign;
use clawgate_core::secret::Secret;
use clawgate_tests::failure::{Failure, TestResult};

#[test]
fn the_signature_in_the_readme_is_right() -> TestResult {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(readme)?;
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with("Webhooks\n"))
        .ok_or_else(|| Failure::new("the README has no section of webhooks"))?;
    let line = |name: &str| {
        let found = section.lines().find_map(|line| line.strip_prefix(name));
        let value = found.map(str::trim_start);
        value.ok_or_else(|| Failure::new(format!("the example has no {name}")))
    };
    let signature = sign(
        &Secret::new(line("secret ")?),
        line("timestamp ")?.parse()?,
        line("path ")?,
        line("body ")?.as_bytes(),
    );
    assert_eq!(signature, line("signature ")?);
    Ok(())
}

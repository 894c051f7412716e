//! The parameters of a call, from JSON5.

use std::io::{self, Read};

use clawgate_core::frame::RawJson;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;

/// Objects and lists inside each other: more is a mistake, and the parser recurses.
const MAX_DEPTH: usize = 128;

/// The most bytes that are read from standard input; no gateway takes more.
const MAX_BYTES: u64 = 25 * 1024 * 1024;

/// Reads `--params`; `-` is standard input. JSON goes out as it is written.
///
/// # Errors
/// When it is not JSON5. The message says where, and never repeats the text, which may be secret.
pub(crate) fn read(written: &str) -> Result<RawJson, Failure> {
    if written.trim() != "-" {
        return parse(written);
    }
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| invalid(format!("Standard input could not be read: {error}.")))?;
    parse(&text)
}

fn parse(text: &str) -> Result<RawJson, Failure> {
    if let Ok(json) = RawJson::checked(text.trim().to_owned()) {
        return Ok(json);
    }
    if depth(text) > MAX_DEPTH {
        return Err(invalid(format!(
            "--params has more than {MAX_DEPTH} objects and lists inside each other."
        )));
    }
    let value: Value = json5::from_str(text).map_err(|error| {
        let place = error.position().map_or_else(String::new, |at| {
            format!(" at line {}, column {}", at.line + 1, at.column + 1)
        });
        let what = error.code().map_or_else(
            || "a value that JSON cannot hold".to_owned(),
            |code| code.to_string(),
        );
        invalid(format!("--params is not JSON5{place}: {what}."))
    })?;
    RawJson::encode(&value).map_err(|_| invalid("--params has no JSON form.".to_owned()))
}

/// At least the real depth.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' => now += 1,
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

fn invalid(message: String) -> Failure {
    Failure::new(
        Exit::Usage,
        "invalid_params",
        message,
        "Write an object, in quotes for the shell: --params '{limit: 20}'.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_as_it_is_and_json5_becomes_json() {
        assert_eq!(
            parse(r#"{"b":1.0,"a":2}"#).unwrap().as_str(),
            r#"{"b":1.0,"a":2}"#
        );
        assert_eq!(
            parse("{limit: 20, q: 'x', /* c */}").unwrap().as_str(),
            r#"{"limit":20,"q":"x"}"#
        );
    }

    #[test]
    fn errors_say_where_and_never_repeat_the_text() {
        for text in [
            "{a: 'hunter2' 'b'}",
            "{a: hunter2}",
            "",
            "{",
            &"[".repeat(100_000),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(
                !failure.to_text().contains("hunter2"),
                "{}",
                failure.message
            );
        }
        let failure = parse("{\n  a: 'b' 'c'}").unwrap_err();
        assert!(
            failure.message.contains("line 2, column"),
            "{}",
            failure.message
        );
    }
}

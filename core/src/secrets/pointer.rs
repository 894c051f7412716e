//! JSON pointers (RFC 6901) into the text of a file. Only the way to the one value is parsed into
//! anything, so that the other secrets of the file are not copied around.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::ReadFault;

/// The string at a pointer. As in the JSON that other programs read, the last of equal keys counts.
pub(super) fn string_at(text: &str, pointer: &str) -> Result<String, ReadFault> {
    let mut here: &RawValue = serde_json::from_str(text).map_err(|_| ReadFault::NotJson)?;
    if !here.get().starts_with('{') {
        return Err(ReadFault::NotAnObject);
    }
    let tokens = pointer.strip_prefix('/').ok_or(ReadFault::NothingThere)?;
    for token in tokens.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        here = step(here, &token).ok_or(ReadFault::NothingThere)?;
    }
    serde_json::from_str(here.get()).map_err(|_| ReadFault::NotText)
}

fn step<'a>(here: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    let text = here.get();
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        return items.get(index(token)?).copied();
    }
    members(text)?.remove(token)
}

/// The members of an object.
pub(super) fn members(text: &str) -> Option<HashMap<String, &RawValue>> {
    // A list would be taken for a map of pairs by some formats; here it is refused.
    text.starts_with('{')
        .then(|| HashMap::deserialize(&mut serde_json::Deserializer::from_str(text)).ok())
        .flatten()
}

/// Digits without a leading zero; `-`, the place after the last, never holds a value.
fn index(token: &str) -> Option<usize> {
    let plain =
        token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    plain.then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_reach_strings() {
        let text = r#" { "a": { "b/c": "slash", "d~e": "tilde", "": "empty", "~1": "order" },
            "list": ["zero", ["one"]], "twice": "first", "twice": "last", "esc": "\u00e4\n", "n": 5 } "#;
        for (pointer, found) in [
            ("/a/b~1c", "slash"),
            ("/a/d~0e", "tilde"),
            ("/a/", "empty"),
            ("/a/~01", "order"),
            ("/list/0", "zero"),
            ("/list/1/0", "one"),
            ("/twice", "last"),
            ("/esc", "ä\n"),
        ] {
            assert_eq!(string_at(text, pointer).as_deref(), Ok(found), "{pointer}");
        }
        for nothing in [
            "/b", "/a/b", "/list/2", "/list/00", "/list/-", "/list/+0", "/esc/0", "", "a",
        ] {
            assert_eq!(
                string_at(text, nothing),
                Err(ReadFault::NothingThere),
                "{nothing}"
            );
        }
        for no_text in ["/n", "/a", "/list"] {
            assert_eq!(
                string_at(text, no_text),
                Err(ReadFault::NotText),
                "{no_text}"
            );
        }
    }

    #[test]
    fn only_an_object_is_a_file_of_secrets() {
        assert_eq!(string_at("", "/a"), Err(ReadFault::NotJson));
        assert_eq!(string_at("{\"a\": \"b\"} x", "/a"), Err(ReadFault::NotJson));
        assert_eq!(string_at("{'a': 'b'}", "/a"), Err(ReadFault::NotJson));
        assert_eq!(string_at("[\"b\"]", "/0"), Err(ReadFault::NotAnObject));
        assert_eq!(string_at("\"b\"", "/0"), Err(ReadFault::NotAnObject));
    }

    #[test]
    fn depth_does_not_exhaust_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(string_at(&deep, &format!("/a{}", "/0".repeat(200))).is_err());
    }
}

//! `${NAME}` in the strings of a config: names in upper-case letters, digits and `_`. `$${NAME}`
//! stands for the text `${NAME}`; every other `$` is a `$`.

/// A part of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// `${NAME}`, and the name in it.
    Variable(&'a str),
    /// `$${NAME}` without its first `$`.
    Escaped(&'a str),
}

/// The parts of a string, from left to right.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(dollar) = rest.find('$') else { break };
        at += dollar;
        let here = text.get(at..).unwrap_or_default();
        let escaped = here.strip_prefix('$').and_then(braced);
        let (piece, length) = match (escaped, braced(here)) {
            (Some((whole, _)), _) => (Piece::Escaped(whole), whole.len() + 1),
            (None, Some((whole, name))) => (Piece::Variable(name), whole.len()),
            (None, None) => {
                at += 1;
                continue;
            }
        };
        found.extend(
            text.get(plain..at)
                .filter(|t| !t.is_empty())
                .map(Piece::Text),
        );
        found.push(piece);
        at += length;
        plain = at;
    }
    found.extend(text.get(plain..).filter(|t| !t.is_empty()).map(Piece::Text));
    found
}

/// `${NAME}` at the start of a text: the whole of it, and the name.
fn braced(text: &str) -> Option<(&str, &str)> {
    let (name, _) = text.strip_prefix("${")?.split_once('}')?;
    let fits = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    fits.then(|| Some((text.get(..name.len() + 3)?, name)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Piece::{Escaped, Text, Variable};

    #[test]
    fn strings_fall_into_pieces() {
        for (text, expected) in [
            ("", vec![]),
            ("plain $ text", vec![Text("plain $ text")]),
            ("${A}", vec![Variable("A")]),
            (
                "a${_B1}c${D}",
                vec![Text("a"), Variable("_B1"), Text("c"), Variable("D")],
            ),
            ("$${A}b", vec![Escaped("${A}"), Text("b")]),
            ("$$${A}", vec![Text("$"), Escaped("${A}")]),
            ("${a} ${A ${} ${1A}", vec![Text("${a} ${A ${} ${1A}")]),
            ("ä${A}ö", vec![Text("ä"), Variable("A"), Text("ö")]),
            ("${${A}", vec![Text("${"), Variable("A")]),
            ("$", vec![Text("$")]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }
}

//! What a rule's `match` means: text with `{name}` for a part that is kept and `*` for one that is
//! not.
//!
//! A pattern covers the whole message. Case does not matter, and any run of blanks stands for one.
//! `*` may be nothing; `{name}` is at least one character that is not blank, and as short as the
//! rest allows. `{{`, `}}` and `**` stand for the characters themselves.

use std::collections::{BTreeMap, BTreeSet};

/// Characters of a pattern.
pub const MAX_PATTERN: usize = 500;
/// Characters of a message that rules look at; a longer one fits no rule.
pub const MAX_MATCHED: usize = 8_000;

/// A pattern.
///
/// ```
/// use clawgate_core::agent::builtin::Pattern;
///
/// let pattern = Pattern::parse("turn on {lamp} in *").unwrap();
/// let found = pattern.matches("Turn ON  the big lamp in the kitchen").unwrap();
/// assert_eq!(found["lamp"], "the big lamp");
/// assert!(pattern.matches("turn on in the kitchen").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Folded characters.
    Text(Vec<char>),
    /// `{name}`.
    Kept(String),
    /// `*`.
    Skipped,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// Nothing, or only blanks.
    #[error("the pattern is empty")]
    Empty,
    /// More than [`MAX_PATTERN`] characters.
    #[error("the pattern is longer than {MAX_PATTERN} characters")]
    TooLong,
    /// A brace without its other half.
    #[error("a brace has no other half; write {{{{ or }}}} for the character itself")]
    Brace,
    /// Something between braces that is no name.
    #[error("a name between braces needs letters, digits, _ or -, and a letter in front")]
    Name,
    /// One name twice.
    #[error("a name stands there twice")]
    Twice,
    /// Two open parts with nothing between them.
    #[error("two open parts touch, so where one ends cannot be told; put text between them")]
    Touching,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternFault`].
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.trim().is_empty() {
            return Err(PatternFault::Empty);
        }
        if text.chars().count() > MAX_PATTERN {
            return Err(PatternFault::TooLong);
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut names = BTreeSet::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let open = match c {
                '{' | '}' | '*' if rest.peek() == Some(&c) => {
                    rest.next();
                    plain.push(c);
                    continue;
                }
                '}' => return Err(PatternFault::Brace),
                '*' => Part::Skipped,
                '{' => {
                    let name = braced(&mut rest)?;
                    if !names.insert(name.clone()) {
                        return Err(PatternFault::Twice);
                    }
                    Part::Kept(name)
                }
                other => {
                    plain.push(other);
                    continue;
                }
            };
            push_text(&mut parts, &mut plain);
            if matches!(parts.last(), Some(Part::Kept(_) | Part::Skipped)) {
                return Err(PatternFault::Touching);
            }
            parts.push(open);
        }
        push_text(&mut parts, &mut plain);
        trim_ends(&mut parts);
        Ok(Self { parts })
    }

    /// The names of the parts that are kept.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Kept(name) => Some(name.as_str()),
            Part::Text(_) | Part::Skipped => None,
        })
    }

    /// The kept parts of a message that fits.
    pub fn matches(&self, message: &str) -> Option<BTreeMap<String, String>> {
        let written = normal(message);
        if written.len() > MAX_MATCHED {
            return None;
        }
        let folded: Vec<char> = written.iter().copied().map(fold).collect();
        let mut kept = BTreeMap::new();
        let mut at = 0;
        let mut open: Option<&Part> = None;
        for (index, part) in self.parts.iter().enumerate() {
            let Part::Text(text) = part else {
                open = Some(part);
                continue;
            };
            let is_last = index + 1 == self.parts.len();
            let start = match open {
                None if is_last => (folded.get(at..)? == text.as_slice()).then_some(at),
                None => folded.get(at..)?.starts_with(text).then_some(at),
                Some(open) => {
                    let fits = |start: &usize| fills(open, written.get(at..*start));
                    if is_last {
                        let start = folded.len().checked_sub(text.len())?;
                        (start >= at && folded.ends_with(text)).then_some(start)
                    } else {
                        find(&folded, text, at).find(fits)
                    }
                    .filter(fits)
                }
            }?;
            keep(open.take(), written.get(at..start)?, &mut kept);
            at = start + text.len();
        }
        match open {
            Some(part) if fills(part, written.get(at..)) => {
                keep(Some(part), written.get(at..)?, &mut kept);
            }
            None if at == folded.len() => {}
            Some(_) | None => return None,
        }
        Some(kept)
    }
}

/// Whether an open part may stand for these characters.
fn fills(part: &Part, between: Option<&[char]>) -> bool {
    match (part, between) {
        (_, None) => false,
        (Part::Kept(_), Some(between)) => between.iter().any(|c| !c.is_whitespace()),
        (Part::Skipped | Part::Text(_), Some(_)) => true,
    }
}

fn keep(part: Option<&Part>, between: &[char], kept: &mut BTreeMap<String, String>) {
    if let Some(Part::Kept(name)) = part {
        let text: String = between.iter().collect();
        kept.insert(name.clone(), text.trim().to_owned());
    }
}

/// Every place from `from` on where `text` stands.
fn find<'a>(within: &'a [char], text: &'a [char], from: usize) -> impl Iterator<Item = usize> + 'a {
    let last = within.len().saturating_sub(text.len());
    (from..=last).filter(move |at| within.get(*at..).is_some_and(|rest| rest.starts_with(text)))
}

/// The rest of `{name}`.
fn braced(rest: &mut impl Iterator<Item = char>) -> Result<String, PatternFault> {
    let mut name = String::new();
    for c in rest {
        if c == '}' {
            return if is_name(&name) {
                Ok(name)
            } else {
                Err(PatternFault::Name)
            };
        }
        name.push(c);
    }
    Err(PatternFault::Brace)
}

/// Whether a text can name a kept part or a result.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn push_text(parts: &mut Vec<Part>, plain: &mut String) {
    if plain.is_empty() {
        return;
    }
    let text: String = std::mem::take(plain);
    let mut folded: Vec<char> = Vec::new();
    for c in text.chars().map(fold) {
        let blank = c.is_whitespace();
        if blank && folded.last() == Some(&' ') {
            continue;
        }
        folded.push(if blank { ' ' } else { c });
    }
    parts.push(Part::Text(folded));
}

/// Blanks at the ends of a pattern mean nothing, as in a message.
fn trim_ends(parts: &mut Vec<Part>) {
    if let Some(Part::Text(text)) = parts.first_mut()
        && text.first() == Some(&' ')
    {
        text.remove(0);
    }
    if let Some(Part::Text(text)) = parts.last_mut()
        && text.last() == Some(&' ')
    {
        text.pop();
    }
    parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
}

/// The characters of a message with single blanks between words.
fn normal(message: &str) -> Vec<char> {
    let mut written = Vec::new();
    for word in message.split_whitespace() {
        if !written.is_empty() {
            written.push(' ');
        }
        written.extend(word.chars());
    }
    written
}

/// One character for one, so that places in the folded text are places in the written one.
fn fold(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(pattern: &str, message: &str) -> Option<Vec<(String, String)>> {
        let pattern = Pattern::parse(pattern).unwrap();
        Some(pattern.matches(message)?.into_iter().collect())
    }

    fn fits(pattern: &str, message: &str) -> bool {
        found(pattern, message).is_some()
    }

    #[test]
    fn messages_fit_as_a_whole() {
        for (pattern, message, expected) in [
            ("hello", "Hello", true),
            ("hello", "hello there", false),
            ("hello*", "hello there", true),
            ("hello*", "hello", true),
            ("*", "", true),
            ("*", "anything", true),
            ("* lamp", "the lamp", true),
            ("* lamp", "lamp", false),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("a*bc", "a bc bc", true),
            ("{a} x", "x x", true),
            ("{a} x", " x", false),
            ("  two   words ", "TWO\n words", true),
            ("{{a}} ** {b}", "{a} * c", true),
            ("straße", "STRASSE", false),
            ("ÄPFEL", "äpfel", true),
            ("{a}b{c}", "b", false),
            ("{a}b{c}", "bbb", true),
        ] {
            assert_eq!(fits(pattern, message), expected, "{pattern:?} {message:?}");
        }
    }

    #[test]
    fn kept_parts_are_as_short_as_the_rest_allows_and_keep_their_case() {
        let pairs = |pairs: &[(&str, &str)]| {
            let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
            Some(pairs.iter().map(own).collect())
        };
        assert_eq!(
            found("{a} on {b}", "Lamp on Desk on Top"),
            pairs(&[("a", "Lamp"), ("b", "Desk on Top")])
        );
        assert_eq!(
            found("say {what} to {who}", "say  Go to Bed to Tom"),
            pairs(&[("what", "Go"), ("who", "Bed to Tom")])
        );
        assert_eq!(found("{all}", " a  b "), pairs(&[("all", "a b")]));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, fault) in [
            (" ", PatternFault::Empty),
            ("{a", PatternFault::Brace),
            ("a}", PatternFault::Brace),
            ("{}", PatternFault::Name),
            ("{1}", PatternFault::Name),
            ("{a} and {a}", PatternFault::Twice),
            ("{a}{b}", PatternFault::Touching),
            ("{a}*", PatternFault::Touching),
        ] {
            assert_eq!(Pattern::parse(text), Err(fault), "{text:?}");
        }
        let long = "a".repeat(MAX_PATTERN + 1);
        assert_eq!(Pattern::parse(&long), Err(PatternFault::TooLong));
        assert!(!fits("*", &"a".repeat(MAX_MATCHED + 1)));
    }

    /// The meaning, without any cleverness.
    fn naive(parts: &[Part], text: &[char]) -> bool {
        match parts.split_first() {
            None => text.is_empty(),
            Some((Part::Text(start), rest)) => text
                .strip_prefix(start.as_slice())
                .is_some_and(|text| naive(rest, text)),
            Some((open, rest)) => (0..=text.len())
                .any(|end| fills(open, text.get(..end)) && naive(rest, &text[end..])),
        }
    }

    proptest! {
        #[test]
        fn the_quick_way_finds_what_the_slow_one_finds(
            pattern in "(a|b| |\\*|\\{x\\}|\\{y\\}){1,8}",
            message in "[ab ]{0,10}",
        ) {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let text: Vec<char> = normal(&message);
                prop_assert_eq!(pattern.matches(&message).is_some(), naive(&pattern.parts, &text));
            }
        }
    }
}

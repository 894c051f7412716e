//! A look at JSON5 text before and after it is parsed: how deep it nests, and where a key stands.
//!
//! The parser recurses without a limit, so [`check_limits`] must pass first. The parser gives no
//! places for keys that it accepted, so [`locate`] finds them afterwards.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

use super::key_path::{KeyPath, Segment};

/// The longest config text that is read, in bytes.
pub const MAX_CONFIG_BYTES: usize = 4 * 1024 * 1024;

/// How many objects and lists may lie inside each other.
pub const MAX_CONFIG_DEPTH: usize = 64;

/// A place in a text, both numbers from 1. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place of a byte offset.
    pub(super) fn of_offset(text: &str, offset: usize) -> Self {
        let mut place = Self::START;
        let mut after_return = false;
        for (at, c) in text.char_indices() {
            if at >= offset {
                break;
            }
            if c == '\n' && after_return {
                after_return = false;
                continue;
            }
            after_return = c == '\r';
            place.advance(c);
        }
        place
    }

    /// Steps over one character.
    pub(super) const fn advance(&mut self, c: char) {
        if is_line_end(c) {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }
}

/// What [`check_limits`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitFault {
    TooLong,
    TooDeep { offset: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    OpenObject,
    OpenList,
    Close,
    Colon,
    Comma,
    Quoted,
    Word,
}

pub(super) struct Scanner<'t> {
    chars: Peekable<CharIndices<'t>>,
    length: usize,
    comments: Vec<Range<usize>>,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            chars: text.char_indices().peekable(),
            length: text.len(),
            comments: Vec::new(),
        }
    }

    /// The comments that were passed so far.
    pub(super) fn into_comments(self) -> Vec<Range<usize>> {
        self.comments
    }

    fn here(&mut self) -> usize {
        self.chars.peek().map_or(self.length, |&(at, _)| at)
    }

    fn skip_line(&mut self) {
        while self.chars.next_if(|&(_, c)| !is_line_end(c)).is_some() {}
    }

    fn skip_block(&mut self) {
        let mut star = false;
        for (_, c) in self.chars.by_ref() {
            if star && c == '/' {
                return;
            }
            star = c == '*';
        }
    }

    fn skip_quoted(&mut self, quote: char) {
        let mut escaped = false;
        for (_, c) in self.chars.by_ref() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                return;
            }
        }
    }
}

impl Iterator for Scanner<'_> {
    type Item = (Token, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (start, c) = self.chars.next()?;
            let token = match c {
                '{' => Token::OpenObject,
                '[' => Token::OpenList,
                '}' | ']' => Token::Close,
                ':' => Token::Colon,
                ',' => Token::Comma,
                '"' | '\'' => {
                    self.skip_quoted(c);
                    Token::Quoted
                }
                '/' => {
                    if self.chars.next_if(|&(_, c)| c == '/').is_some() {
                        self.skip_line();
                    } else if self.chars.next_if(|&(_, c)| c == '*').is_some() {
                        self.skip_block();
                    }
                    let end = self.here();
                    self.comments.push(start..end);
                    continue;
                }
                c if c.is_whitespace() || c == '\u{feff}' => continue,
                _ => {
                    while self.chars.next_if(|&(_, c)| is_word(c)).is_some() {}
                    Token::Word
                }
            };
            let end = self.here();
            return Some((token, start, end));
        }
    }
}

pub(super) const fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

fn is_word(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(
            c,
            '{' | '[' | '}' | ']' | ':' | ',' | '"' | '\'' | '/' | '\u{feff}'
        )
}

/// Refuses text that the parser must not see.
pub(super) fn check_limits(text: &str) -> Result<(), LimitFault> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(LimitFault::TooLong);
    }
    let mut depth = 0_usize;
    for (token, offset, _) in Scanner::new(text) {
        match token {
            Token::OpenObject | Token::OpenList => {
                depth += 1;
                if depth > MAX_CONFIG_DEPTH {
                    return Err(LimitFault::TooDeep { offset });
                }
            }
            Token::Close => depth = depth.saturating_sub(1),
            Token::Colon | Token::Comma | Token::Quoted | Token::Word => {}
        }
    }
    Ok(())
}

/// The path of the innermost value that an offset lies in. Works on text that does not parse, up to
/// the place where it stops making sense.
pub(super) fn path_at(text: &str, offset: usize) -> KeyPath {
    let mut walk = Walk::default();
    for (token, start, end) in Scanner::new(text) {
        if start >= offset {
            break;
        }
        walk.step(text, token, start, end);
    }
    walk.path().into()
}

/// Where the keys (or list elements) of some paths begin in text that parses; `None` for those that
/// are not in it. When a key is given twice, the last one counts, as it does for the parser.
pub(super) fn locate(text: &str, wanted: &[KeyPath]) -> Vec<Option<Position>> {
    let mut offsets: Vec<Option<usize>> = vec![None; wanted.len()];
    let mut walk = Walk::default();
    for (token, start, end) in Scanner::new(text) {
        let Some(begun) = walk.step(text, token, start, end) else {
            continue;
        };
        for (path, found) in wanted.iter().zip(offsets.iter_mut()) {
            if path.segments() == begun {
                *found = Some(start);
            }
        }
    }
    offsets
        .into_iter()
        .zip(wanted)
        .map(|(offset, path)| match offset {
            Some(offset) => Some(Position::of_offset(text, offset)),
            None => path.segments().is_empty().then_some(Position::START),
        })
        .collect()
}

/// Follows the structure of a text. `segments` is one step per open object or list: the key or
/// index whose value is being read.
#[derive(Default)]
struct Walk {
    open: Vec<Container>,
    segments: Vec<Segment>,
}

enum Container {
    Object { key_next: bool },
    List { next: usize, value_next: bool },
}

impl Walk {
    /// Takes one token; gives the current path when a key or a list element begins with it.
    fn step(&mut self, text: &str, token: Token, start: usize, end: usize) -> Option<&[Segment]> {
        let mut begun = false;
        match (token, self.open.last_mut()) {
            (Token::Quoted | Token::Word, Some(Container::Object { key_next })) if *key_next => {
                *key_next = false;
                let raw = text.get(start..end).unwrap_or_default();
                self.segments.push(Segment::Key(decode_key(raw)));
                begun = true;
            }
            (
                Token::Quoted | Token::Word | Token::OpenObject | Token::OpenList,
                Some(Container::List { next, value_next }),
            ) if *value_next => {
                *value_next = false;
                self.segments.push(Segment::Index(*next));
                *next += 1;
                begun = true;
            }
            (Token::Comma, Some(container)) => {
                let pushed = match container {
                    Container::Object { key_next } => !std::mem::replace(key_next, true),
                    Container::List { value_next, .. } => !std::mem::replace(value_next, true),
                };
                if pushed {
                    self.segments.pop();
                }
            }
            (Token::Close, Some(container)) => {
                let pushed = match container {
                    Container::Object { key_next } => !*key_next,
                    Container::List { value_next, .. } => !*value_next,
                };
                if pushed {
                    self.segments.pop();
                }
                self.open.pop();
            }
            _ => {}
        }
        match token {
            Token::OpenObject => self.open.push(Container::Object { key_next: true }),
            Token::OpenList => self.open.push(Container::List {
                next: 0,
                value_next: true,
            }),
            Token::Close | Token::Colon | Token::Comma | Token::Quoted | Token::Word => {}
        }
        begun.then_some(self.segments.as_slice())
    }

    fn path(self) -> Vec<Segment> {
        self.segments
    }
}

/// A key as the parser reads it. Keys with escapes are rare, so only they pay for a parse.
pub(super) fn decode_key(raw: &str) -> String {
    if raw.contains('\\') {
        let object = format!("{{{raw}:0}}");
        if let Ok(serde_json::Value::Object(object)) = json5::from_str(&object)
            && let Some((key, _)) = object.into_iter().next()
        {
            return key;
        }
    }
    raw.strip_prefix(['"', '\''])
        .and_then(|rest| rest.strip_suffix(['"', '\'']))
        .unwrap_or(raw)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "// c: {[\n{\n  gateway: { /* [ */ 'au\\u0074h': {\r\n    mode: 'to]ken', },\n  \
                        list: [1, {a: 2}, [3]] },\n}";

    #[test]
    fn keys_and_elements_are_found_where_they_stand() {
        let paths = [
            KeyPath::of_keys("gateway"),
            KeyPath::of_keys("gateway.auth.mode"),
            KeyPath::of_keys("gateway.list").index(1).key("a"),
            KeyPath::of_keys("gateway.list").index(2).index(0),
            KeyPath::of_keys("gateway.port"),
            KeyPath::root(),
        ];
        let places = locate(TEXT, &paths);
        let at = |line, column| Some(Position { line, column });
        assert_eq!(
            places,
            [at(3, 3), at(4, 5), at(5, 14), at(5, 22), None, at(1, 1)]
        );
    }

    #[test]
    fn brackets_in_comments_and_strings_do_not_nest() {
        let text = format!(
            "{{a: '{}' /* {} */, // {}\n}}",
            "[".repeat(99),
            "{".repeat(99),
            "["
        );
        assert_eq!(check_limits(&text), Ok(()));
    }

    #[test]
    fn deep_text_is_refused_at_the_bracket_that_is_too_much() {
        let deep = "[".repeat(MAX_CONFIG_DEPTH);
        assert_eq!(check_limits(&deep), Ok(()));
        let offset = MAX_CONFIG_DEPTH;
        assert_eq!(
            check_limits(&format!("{deep}[")),
            Err(LimitFault::TooDeep { offset })
        );
        // A comment ends at every line end that JSON5 knows.
        for end in ["\n", "\r", "\u{2028}", "\u{2029}"] {
            let hidden = format!("//{end}{}", "[".repeat(MAX_CONFIG_DEPTH + 1));
            assert!(check_limits(&hidden).is_err(), "{end:?}");
        }
    }

    #[test]
    fn a_broken_text_still_tells_where_it_was() {
        let text = "{gateway: {auth: {mode: }";
        assert_eq!(path_at(text, 24).to_string(), "gateway.auth.mode");
    }
}

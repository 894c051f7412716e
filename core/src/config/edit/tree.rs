//! Where each value of a config text begins and ends. The text has been accepted by the parser, so
//! nothing here judges it.

use std::iter::Peekable;
use std::ops::Range;

use crate::config::scan::{Scanner, Token, decode_key};

/// A value in the text.
#[derive(Debug)]
pub(super) struct Node {
    /// The bytes that it takes.
    pub(super) span: Range<usize>,
    /// What lies in it.
    pub(super) kind: NodeKind,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    /// The members of an object; each has a key.
    Object(Vec<Child>),
    /// The elements of a list; none has a key.
    List(Vec<Child>),
    /// A string, a number, a word.
    Scalar,
}

/// A member of an object, or an element of a list.
#[derive(Debug)]
pub(super) struct Child {
    /// Its key, as the parser reads it; empty in a list.
    pub(super) key: String,
    /// Where its key, or the element itself, begins.
    pub(super) start: usize,
    /// Its value.
    pub(super) value: Node,
    /// The comma behind it.
    pub(super) comma: Option<usize>,
}

/// Reads the text. `None` for text that the parser would not have accepted.
pub(super) fn read(text: &str) -> Option<Node> {
    let mut tokens = Scanner::new(text).peekable();
    value(text, &mut tokens)
}

/// The comments of the text, in order.
pub(super) fn comments(text: &str) -> Vec<Range<usize>> {
    let mut scanner = Scanner::new(text);
    while scanner.next().is_some() {}
    scanner.into_comments()
}

type Tokens<'t> = Peekable<Scanner<'t>>;

fn value(text: &str, tokens: &mut Tokens<'_>) -> Option<Node> {
    let (token, start, end) = tokens.next()?;
    let (kind, end) = match token {
        Token::OpenObject => {
            let (children, end) = children(text, tokens, Keys::Written)?;
            (NodeKind::Object(children), end)
        }
        Token::OpenList => {
            let (children, end) = children(text, tokens, Keys::None)?;
            (NodeKind::List(children), end)
        }
        Token::Quoted | Token::Word => (NodeKind::Scalar, end),
        Token::Close | Token::Colon | Token::Comma => return None,
    };
    Some(Node {
        span: start..end,
        kind,
    })
}

#[derive(Clone, Copy)]
enum Keys {
    Written,
    None,
}

/// Everything up to the closing bracket, and where that ends.
fn children(text: &str, tokens: &mut Tokens<'_>, keys: Keys) -> Option<(Vec<Child>, usize)> {
    let mut found = Vec::new();
    loop {
        if let Some((_, _, end)) = tokens.next_if(|(token, ..)| *token == Token::Close) {
            return Some((found, end));
        }
        let (key, start) = match keys {
            Keys::None => (String::new(), tokens.peek()?.1),
            Keys::Written => {
                let (_, start, end) = tokens.next()?;
                tokens.next_if(|(token, ..)| *token == Token::Colon)?;
                (decode_key(text.get(start..end)?), start)
            }
        };
        let value = value(text, tokens)?;
        let comma = tokens
            .next_if(|(token, ..)| *token == Token::Comma)
            .map(|(_, at, _)| at);
        found.push(Child {
            key,
            start,
            value,
            comma,
        });
    }
}

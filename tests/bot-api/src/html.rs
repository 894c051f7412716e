//! What `parse_mode: HTML` makes of a text.

use crate::entities::{Entity, Formatted};

/// Takes the markup out of a text.
///
/// # Errors
///
/// What Telegram says about markup that it cannot read, with the place in bytes.
pub fn parse_html(markup: &str) -> Result<Formatted, String> {
    let mut parser = Parser {
        markup,
        at: 0,
        text: String::new(),
        length: 0,
        open: Vec::new(),
        entities: Vec::new(),
    };
    while let Some(next) = parser.peek() {
        match next {
            '<' if parser.rest().starts_with("</") => parser.end_tag()?,
            '<' => parser.start_tag()?,
            '&' => {
                let code = parser.character_reference().unwrap_or('&');
                parser.push(code);
            }
            other => {
                parser.at += other.len_utf8();
                parser.push(other);
            }
        }
    }
    if let Some(tag) = parser.open.last() {
        return Err(format!(
            "Can't find end tag corresponding to start tag \"{}\"",
            tag.name
        ));
    }
    let mut entities = parser.entities;
    entities.sort_by_key(|entity| (entity.offset, usize::MAX - entity.length));
    Ok(Formatted {
        text: parser.text,
        entities,
    })
}

const TAGS: [&str; 16] = [
    "a",
    "b",
    "strong",
    "i",
    "em",
    "s",
    "strike",
    "del",
    "u",
    "ins",
    "tg-spoiler",
    "tg-emoji",
    "span",
    "pre",
    "code",
    "blockquote",
];

struct Parser<'a> {
    markup: &'a str,
    at: usize,
    text: String,
    length: usize,
    open: Vec<OpenTag>,
    entities: Vec<Entity>,
}

struct OpenTag {
    name: String,
    argument: Option<String>,
    offset: usize,
    text_at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.markup.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, c: char) {
        self.text.push(c);
        self.length += c.len_utf16();
    }

    fn take_until(&mut self, stop: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = rest
            .find(stop)
            .map_or(rest, |end| rest.get(..end).unwrap_or_default());
        self.at += taken.len();
        taken
    }

    fn skip_space(&mut self) {
        self.take_until(|c| !c.is_ascii_whitespace());
    }

    /// Reads `&lt;`, `&#9731;` and the like. Anything else is an ampersand, which is taken too.
    fn character_reference(&mut self) -> Option<char> {
        self.at += 1;
        let rest = self.rest();
        let (code, length) = if let Some(number) = rest.strip_prefix('#') {
            let (digits, radix, before) = match number.strip_prefix('x') {
                Some(digits) => (digits, 16, 2),
                None => (number, 10, 1),
            };
            let count = digits.chars().take_while(|c| c.is_digit(radix)).count();
            let value = u32::from_str_radix(digits.get(..count)?, radix).ok()?;
            (
                char::from_u32(value).filter(|c| *c != '\0')?,
                before + count,
            )
        } else {
            let count = rest.chars().take_while(char::is_ascii_alphabetic).count();
            let code = match rest.get(..count)? {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                _ => return None,
            };
            (code, count)
        };
        self.at += length;
        if self.peek() == Some(';') {
            self.at += 1;
        }
        Some(code)
    }

    fn start_tag(&mut self) -> Result<(), String> {
        let begin = self.at;
        self.at += 1;
        let name = self
            .take_until(|c| c.is_ascii_whitespace() || c == '>')
            .to_ascii_lowercase();
        if self.peek().is_none() {
            return Err(format!("Unclosed start tag at byte offset {begin}"));
        }
        if !TAGS.contains(&name.as_str()) {
            return Err(format!(
                "Unsupported start tag \"{name}\" at byte offset {begin}"
            ));
        }
        let mut argument = None;
        loop {
            self.skip_space();
            if self.peek() == Some('>') {
                self.at += 1;
                break;
            }
            let attribute = self.attribute(&name, begin)?;
            if let Some(found) = meaning(&name, attribute) {
                argument = Some(found);
            }
        }
        if name == "span" && argument.is_none() {
            return Err(format!(
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset {begin}"
            ));
        }
        self.open.push(OpenTag {
            name,
            argument,
            offset: self.length,
            text_at: self.text.len(),
        });
        Ok(())
    }

    fn attribute(&mut self, tag: &str, begin: usize) -> Result<(&'a str, String), String> {
        let unclosed = || format!("Unclosed start tag \"{tag}\" at byte offset {begin}");
        let name = self
            .take_until(|c| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/' | '"' | '\''));
        if name.is_empty() {
            return Err(format!(
                "Empty attribute name in the tag \"{tag}\" at byte offset {begin}"
            ));
        }
        self.skip_space();
        match self.peek() {
            None => return Err(unclosed()),
            Some('=') => self.at += 1,
            Some(_) => return Ok((name, String::new())),
        }
        self.skip_space();
        let value_at = self.at;
        let value = match self.peek() {
            None => return Err(unclosed()),
            Some(quote @ ('"' | '\'')) => {
                self.at += 1;
                let mut value = String::new();
                while let Some(next) = self.peek().filter(|c| *c != quote) {
                    if next == '&' {
                        value.push(self.character_reference().unwrap_or('&'));
                    } else {
                        self.at += next.len_utf8();
                        value.push(next);
                    }
                }
                if self.peek().is_some() {
                    self.at += 1;
                }
                value
            }
            Some(_) => {
                let token = self
                    .take_until(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
                    .to_ascii_lowercase();
                if !self
                    .peek()
                    .is_some_and(|c| c.is_ascii_whitespace() || c == '>')
                {
                    return Err(format!(
                        "Unexpected end of name token at byte offset {value_at}"
                    ));
                }
                token
            }
        };
        if self.peek().is_none() {
            return Err(format!("Unclosed start tag at byte offset {begin}"));
        }
        Ok((name, value))
    }

    fn end_tag(&mut self) -> Result<(), String> {
        let begin = self.at;
        let Some(tag) = self.open.pop() else {
            return Err(format!("Unexpected end tag at byte offset {begin}"));
        };
        self.at += 2;
        let name = self
            .take_until(|c| c.is_ascii_whitespace() || c == '>')
            .to_ascii_lowercase();
        self.skip_space();
        if self.peek() != Some('>') {
            return Err(format!("Unclosed end tag at byte offset {begin}"));
        }
        self.at += 1;
        if !name.is_empty() && name != tag.name {
            return Err(format!(
                "Unmatched end tag at byte offset {begin}, expected \"</{}>\", found \"</{name}>\"",
                tag.name
            ));
        }
        self.close(tag);
        Ok(())
    }

    fn close(&mut self, tag: OpenTag) {
        let length = self.length - tag.offset;
        if length == 0 {
            return;
        }
        let inner = self.text.get(tag.text_at..).unwrap_or_default();
        let (kind, argument) = match tag.name.as_str() {
            "b" | "strong" => ("bold", None),
            "i" | "em" => ("italic", None),
            "s" | "strike" | "del" => ("strikethrough", None),
            "u" | "ins" => ("underline", None),
            "tg-spoiler" | "span" => ("spoiler", None),
            "tg-emoji" => ("custom_emoji", tag.argument),
            "blockquote" if tag.argument.is_some() => ("expandable_blockquote", None),
            "blockquote" => ("blockquote", None),
            "a" => match tag.argument.unwrap_or_else(|| inner.to_owned()) {
                url if is_link(&url) => ("text_link", Some(url)),
                _ => return,
            },
            "pre" => {
                // The language stands at the code in it.
                let code = self.entities.pop_if(|last| {
                    last.kind == "code" && last.offset == tag.offset && last.length == length
                });
                ("pre", code.and_then(|code| code.argument))
            }
            _ => ("code", tag.argument),
        };
        self.entities.push(Entity {
            kind,
            offset: tag.offset,
            length,
            argument,
        });
    }
}

/// What an attribute says about its tag, if it says anything.
fn meaning(tag: &str, (name, value): (&str, String)) -> Option<String> {
    match (tag, name) {
        ("a", "href") | ("tg-emoji", "emoji-id") => Some(value),
        ("code", "class") => value.strip_prefix("language-").map(str::to_owned),
        ("span", "class") => (value == "tg-spoiler").then_some(value),
        ("blockquote", "expandable") => Some(value),
        _ => None,
    }
}

/// Whether Telegram makes a link of it. Others lose their markup, and their text stays.
fn is_link(url: &str) -> bool {
    let host = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some(("tg", _)) => return true,
        Some(_) => return false,
        None => url,
    };
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    host.contains('.') && !host.starts_with('.') && host.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(markup: &str) -> Vec<(&'static str, usize, usize)> {
        let parsed = parse_html(markup).unwrap();
        parsed
            .entities
            .iter()
            .map(|entity| (entity.kind, entity.offset, entity.length))
            .collect()
    }

    #[test]
    fn markup_becomes_entities_in_utf16_units() {
        let parsed = parse_html("🙂 <b>bold <i>both</i></b> &amp; &#x263a;&lt;").unwrap();
        assert_eq!(parsed.text, "🙂 bold both & ☺<");
        assert_eq!(
            kinds("🙂 <b>bold <i>both</i></b>"),
            [("bold", 3, 9), ("italic", 8, 4)]
        );
        assert_eq!(parsed.length(), 17);
    }

    #[test]
    fn code_in_pre_keeps_its_language() {
        let parsed =
            parse_html("<pre><code class=\"language-rust\">fn</code></pre><code>x</code>").unwrap();
        assert_eq!(parsed.entities.len(), 2);
        assert_eq!(parsed.entities[0].kind, "pre");
        assert_eq!(parsed.entities[0].argument.as_deref(), Some("rust"));
        assert_eq!(parsed.entities[1].kind, "code");
    }

    #[test]
    fn links_keep_their_text_when_they_lead_nowhere() {
        assert_eq!(
            kinds("<a href='https://example.org/?a=1&amp;b=2'>a</a>"),
            [("text_link", 0, 1)]
        );
        assert_eq!(kinds("<a href=\"javascript:x\">a</a>"), []);
        assert_eq!(parse_html("<a href=\"nowhere\">a</a>").unwrap().text, "a");
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_telegrams_words() {
        for (markup, complaint) in [
            ("a <p>b</p>", "Unsupported start tag \"p\" at byte offset 2"),
            ("1 <2", "Unclosed start tag at byte offset 2"),
            ("x < y > z", "Unsupported start tag \"\" at byte offset 2"),
            (
                "<b>x",
                "Can't find end tag corresponding to start tag \"b\"",
            ),
            ("x</b>", "Unexpected end tag at byte offset 1"),
            (
                "<b><i>x</b></i>",
                "Unmatched end tag at byte offset 7, expected \"</i>\", found \"</b>\"",
            ),
            (
                "<span>x</span>",
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0",
            ),
            (
                "<a href=a_b>x</a>",
                "Unexpected end of name token at byte offset 8",
            ),
            ("<br/>", "Unsupported start tag \"br/\" at byte offset 0"),
        ] {
            assert_eq!(parse_html(markup).unwrap_err(), complaint, "{markup}");
        }
    }

    #[test]
    fn ampersands_that_mean_nothing_stay() {
        assert_eq!(
            parse_html("a & b &nbsp; &#0;").unwrap().text,
            "a & b &nbsp; &#0;"
        );
    }

    #[test]
    fn white_space_at_the_ends_goes_and_entities_follow() {
        let parsed = parse_html(" \n <b>x </b> \n").unwrap().trimmed();
        assert_eq!(parsed.text, "x");
        assert_eq!(
            (parsed.entities[0].offset, parsed.entities[0].length),
            (0, 1)
        );
        assert_eq!(
            parse_html("<b> </b>").unwrap().trimmed(),
            Formatted::default()
        );
    }
}

//! Text that strangers wrote.

/// Reads the escapes of DNS names: `\DDD` is a byte, `\c` is that character.
pub(super) fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match three_digits(rest.clone()) {
            Some(value) => {
                bytes.push(value);
                rest.by_ref().take(3).for_each(drop);
            }
            None => bytes.extend(rest.next()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The byte that the next three characters name, if they are digits.
fn three_digits(mut next: impl Iterator<Item = u8>) -> Option<u8> {
    let mut value: u32 = 0;
    for _ in 0..3 {
        value = value * 10 + char::from(next.next()?).to_digit(10)?;
    }
    u8::try_from(value).ok()
}

/// One line of at most so many characters, without anything that steers a terminal, hides, or turns
/// the direction of what stands beside it.
pub(super) fn clean(text: &str, most: usize) -> String {
    let shown: String = text
        .chars()
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .take(most)
        .collect();
    shown.trim().to_owned()
}

const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A label of a host name: letters, digits and inner hyphens, 63 at most (RFC 1123).
pub(super) fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The beginning of a text in so many bytes at most, cut between characters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_names_are_read() {
        assert_eq!(unescape(r"a\032b\.c\\d"), r"a b.c\d");
        assert_eq!(unescape(r"caf\195\169"), "café");
        assert_eq!(unescape(r"end\"), "end");
        assert_eq!(unescape(r"\999"), "999");
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n\u{202e}c\u{200b}", 80), "a[2Jbc");
        assert_eq!(clean("  long  ", 5), "lon");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(cut("naïve", 3), "na");
        assert_eq!(cut("ab", 63), "ab");
    }
}

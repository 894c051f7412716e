//! What Markdown marks within a paragraph.

use std::collections::BTreeSet;

use super::format::escape;

/// Marks within marks; deeper ones stay as they are written.
const MAX_DEPTH: usize = 8;

/// Marks around words, and the tag that each becomes. Longer ones come first.
const MARKS: [(&str, &str); 5] = [
    ("**", "b"),
    ("__", "b"),
    ("~~", "s"),
    ("*", "i"),
    ("_", "i"),
];

/// The HTML of a paragraph.
pub(super) fn inline(text: &str) -> String {
    inline_within(text, &[])
}

/// The HTML of words that stand between these tags.
pub(super) fn inline_within(text: &str, open: &[&'static str]) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    render(text, open, &mut out);
    out
}

/// `open` are the tags around this text: none is opened in itself.
fn render(text: &str, open: &[&'static str], out: &mut String) {
    // Marks that nothing closes from here on.
    let mut lonely: BTreeSet<&str> = BTreeSet::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else {
            return;
        };
        let used = match first {
            '\\' => escaped(rest, out),
            '`' => code(rest, out),
            '!' | '[' if open.len() < MAX_DEPTH && !open.contains(&"a") => link(rest, open, out),
            '<' => address(rest, out),
            '*' | '_' | '~' if open.len() < MAX_DEPTH => marked(text, at, open, &mut lonely, out),
            _ => None,
        };
        at += used.unwrap_or_else(|| {
            // A run of marks that mean nothing stays together.
            let run = match first {
                '*' | '_' | '~' | '`' => rest.len() - rest.trim_start_matches(first).len(),
                _ => first.len_utf8(),
            };
            out.push_str(&escape(rest.get(..run).unwrap_or_default()));
            run
        });
    }
}

fn escaped(rest: &str, out: &mut String) -> Option<usize> {
    let c = rest.chars().nth(1).filter(char::is_ascii_punctuation)?;
    out.push_str(&escape(c.encode_utf8(&mut [0; 4])));
    Some(2)
}

fn code(rest: &str, out: &mut String) -> Option<usize> {
    let (words, used) = code_span(rest)?;
    out.push_str("<code>");
    out.push_str(&escape(words));
    out.push_str("</code>");
    Some(used)
}

/// The words of a span of code at the start, and how long it is with its marks.
fn code_span(rest: &str) -> Option<(&str, usize)> {
    let marks = rest.len() - rest.trim_start_matches('`').len();
    let body = rest.get(marks..)?;
    let mut at = 0;
    while let Some(found) = body.get(at..)?.find('`') {
        let start = at + found;
        let run = body.get(start..)?;
        let count = run.len() - run.trim_start_matches('`').len();
        if count == marks {
            let words = body.get(..start)?;
            // One blank keeps a mark at the edge apart from the fence.
            let inner = words
                .strip_prefix(' ')
                .and_then(|words| words.strip_suffix(' '))
                .filter(|words| !words.trim().is_empty())
                .unwrap_or(words);
            return (!inner.is_empty()).then_some((inner, marks + start + count));
        }
        at = start + count;
    }
    None
}

/// `[words](url)`, and a picture as a link to it.
fn link(rest: &str, open: &[&'static str], out: &mut String) -> Option<usize> {
    let (words, url, used) = link_parts(rest)?;
    out.push_str("<a href=\"");
    out.push_str(&escape(url));
    out.push_str("\">");
    if words.trim().is_empty() {
        out.push_str(&escape(url));
    } else {
        let mut within = open.to_vec();
        within.push("a");
        render(words, &within, out);
    }
    out.push_str("</a>");
    Some(used)
}

fn link_parts(rest: &str) -> Option<(&str, &str, usize)> {
    let start = if rest.starts_with("![") { 2 } else { 1 };
    if !rest.get(..start)?.ends_with('[') {
        return None;
    }
    let close = matching(rest.get(start..)?, '[', ']')?;
    let words = rest.get(start..start + close)?;
    let target = start + close + 1;
    let inner = rest.get(target..)?.strip_prefix('(')?;
    let end = matching(inner, '(', ')')?;
    let written = inner.get(..end)?.trim();
    // A title behind the address is not shown.
    let url = written.split_whitespace().next()?;
    let known = ["https://", "http://", "tg://", "mailto:", "tel:"];
    let lower = url.to_ascii_lowercase();
    known
        .iter()
        .any(|scheme| lower.len() > scheme.len() && lower.starts_with(scheme))
        .then_some((words, url, target + 1 + end + 1))
}

/// Where the bracket closes that was opened before this text.
fn matching(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 1_usize;
    let mut quoted = false;
    // An address or its words are never this long.
    for (at, c) in text.char_indices().take(2_048) {
        if std::mem::take(&mut quoted) {
            continue;
        }
        if c == '\\' {
            quoted = true;
        } else if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// `<https://…>`: the service finds the address by itself.
fn address(rest: &str, out: &mut String) -> Option<usize> {
    let end = rest.find('>')?;
    let url = rest.get(1..end)?;
    let fits = (url.starts_with("https://") || url.starts_with("http://"))
        && !url.contains(char::is_whitespace)
        && !url.contains('<');
    fits.then(|| {
        out.push_str(&escape(url));
        end + 1
    })
}

fn marked<'a>(
    text: &'a str,
    at: usize,
    open: &[&'static str],
    lonely: &mut BTreeSet<&'a str>,
    out: &mut String,
) -> Option<usize> {
    let rest = text.get(at..)?;
    let before = text.get(..at)?.chars().next_back();
    for (mark, tag) in MARKS {
        let Some(body) = rest.strip_prefix(mark) else {
            continue;
        };
        let opens = body.chars().next().is_some_and(|c| !c.is_whitespace())
            && !(mark.starts_with('_') && before.is_some_and(char::is_alphanumeric));
        if !opens || lonely.contains(mark) {
            continue;
        }
        let Some(end) = closing(body, mark) else {
            lonely.insert(mark);
            continue;
        };
        let words = body.get(..end)?;
        let mut within = open.to_vec();
        within.push(tag);
        if open.contains(&tag) {
            // Bold in bold is bold.
            render(words, &within, out);
        } else {
            out.push_str(&format!("<{tag}>"));
            render(words, &within, out);
            out.push_str(&format!("</{tag}>"));
        }
        return Some(mark.len() + end + mark.len());
    }
    None
}

/// Where a mark closes, in what follows it. Code and links are passed over.
fn closing(body: &str, mark: &str) -> Option<usize> {
    let c = mark.chars().next()?;
    let mut at = 0;
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let next = rest.chars().next()?;
        if next == '\\' {
            at += 1 + rest.chars().nth(1).map_or(0, char::len_utf8);
        } else if next == '`' {
            let run = rest.len() - rest.trim_start_matches('`').len();
            at += code_span(rest).map_or(run, |(_, used)| used);
        } else if next == '[' {
            at += link_parts(rest).map_or(1, |(_, _, used)| used);
        } else if next == c {
            let run = rest.len() - rest.trim_start_matches(c).len();
            let before = body.get(..at)?.chars().next_back();
            let after = rest.get(run..)?.chars().next();
            let closes = before.is_some_and(|c| !c.is_whitespace())
                && !(c == '_' && after.is_some_and(char::is_alphanumeric));
            // Of a longer run, the last marks are this one's, the others belong to what is within.
            let fits = match mark.len() {
                1 => run != 2,
                _ => run >= 2,
            };
            if closes && fits && at + run > mark.len() {
                let end = at + run - mark.len();
                return (end > 0).then_some(end);
            }
            at += run;
        } else {
            at += next.len_utf8();
        }
    }
    None
}

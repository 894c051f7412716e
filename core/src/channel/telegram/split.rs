//! Cuts a reply into messages. The Bot API takes 4,096 UTF-16 units after it has read the markup; here
//! the Markdown itself stays below that, so that it also fits when it has to go out as plain text.

use super::fence::{Fence, MAX_MARKS};

/// UTF-16 units of one message.
pub(super) const MAX_UNITS: usize = 4_096;

/// How far back a better place for a cut is looked for, as a part of the message.
const FAR: usize = 2;

/// Cuts Markdown into pieces of at most `limit` units. Blocks of code are closed at a cut and opened
/// again after it. Between paragraphs is better than between lines, and that is better than between
/// words; a letter is never torn, and what belongs to it stays with it where there is room. Blanks at a
/// cut are dropped, since the service drops them too.
pub(super) fn split(text: &str, limit: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut open: Option<Fence> = None;
    while !rest.trim().is_empty() {
        let piece = take(rest, open.take(), limit);
        let trimmed = piece.text.trim_end();
        if !trimmed.trim().is_empty() {
            pieces.push(trimmed.to_owned());
        }
        // A piece takes something each time; if it ever did not, the rest is better lost than the loop.
        let Some(left) = rest.get(piece.taken..).filter(|_| piece.taken > 0) else {
            break;
        };
        rest = left;
        open = piece.open;
        if open.is_none() {
            rest = rest.trim_start_matches(['\n', '\r']);
        }
    }
    pieces
}

struct Piece {
    text: String,
    /// Bytes of the rest that are in it, or dropped behind it.
    taken: usize,
    /// The block of code that goes on in the next one.
    open: Option<Fence>,
}

/// A place where a text may be cut, with the block of code that is open there.
#[derive(Clone)]
struct Cut {
    at: usize,
    open: Option<Fence>,
}

fn take(rest: &str, open: Option<Fence>, limit: usize) -> Piece {
    let mut text = open.as_ref().map(Fence::opening).unwrap_or_default();
    let window = rest.get(..prefix(rest, limit)).unwrap_or_default();
    // Only what lies in the window is looked at: a long text is not read again for each piece.
    if window.len() == rest.len() {
        let after = state_after(rest, open.clone());
        if units(&text) + units(rest) + closing_units(after.as_ref()) <= limit {
            text.push_str(rest);
            close(&mut text, after.as_ref());
            return Piece {
                text,
                taken: rest.len(),
                open: None,
            };
        }
    }
    let fenced = open.is_some() || window.contains("```") || window.contains("~~~");
    let reserve = if fenced {
        units(&text) + MAX_CLOSING
    } else {
        0
    };
    let budget = limit.saturating_sub(reserve).max(1);
    let end = prefix(rest, budget);
    let window = rest.get(..end).unwrap_or_default();
    let cut = best_cut(window, rest, open);
    text.push_str(rest.get(..cut.at).unwrap_or_default());
    close(&mut text, cut.open.as_ref());
    let mut taken = cut.at;
    let mut open = cut.open;
    if let Some(fence) = &open {
        // Nothing but the end of the block would follow.
        let next = rest.get(taken..).unwrap_or_default();
        let line = first_line(next);
        if at_line_start(rest, taken) && fence.is_closed_by(line) {
            taken += line.len();
            open = None;
        }
    } else {
        let next = rest.get(taken..).unwrap_or_default();
        taken += next.len() - next.trim_start_matches(['\n', '\r']).len();
        if !at_line_start(rest, taken) {
            let next = rest.get(taken..).unwrap_or_default();
            taken += next.len() - next.trim_start().len();
        }
    }
    Piece { text, taken, open }
}

/// Units of a line break and of the longest fence.
const MAX_CLOSING: usize = 1 + MAX_MARKS;

fn closing_units(open: Option<&Fence>) -> usize {
    open.map_or(0, |fence| 1 + fence.closing().len())
}

fn close(text: &mut String, open: Option<&Fence>) {
    if let Some(fence) = open {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&fence.closing());
    }
}

fn best_cut(window: &str, rest: &str, mut open: Option<Fence>) -> Cut {
    let mut paragraph: Option<Cut> = None;
    let mut line_end: Option<Cut> = None;
    let mut at = 0;
    // The block that is open at the start of the last line, which may be torn.
    let mut torn = open.clone();
    for line in window.split_inclusive('\n') {
        let before = open.clone();
        let after = step(open, line);
        let end = at + line.len();
        let whole = line.ends_with('\n') || rest.get(end..).is_some_and(|it| it.starts_with('\n'));
        // A block that begins here would be empty on this side.
        let opens = before.is_none() && after.is_some();
        if whole && !opens {
            let cut = Cut {
                at: end,
                open: after.clone(),
            };
            if after.is_none()
                && first_line(rest.get(end..).unwrap_or_default())
                    .trim()
                    .is_empty()
            {
                paragraph = Some(cut.clone());
            }
            line_end = Some(cut);
        }
        if whole {
            torn = after.clone();
            at = end;
        }
        open = if whole { after } else { before };
    }
    let far = window.len() / FAR;
    if let Some(cut) = paragraph.filter(|cut| cut.at > far) {
        return cut;
    }
    if let Some(cut) = line_end.as_ref().filter(|cut| cut.at > far / FAR) {
        return cut.clone();
    }
    let tail = window.get(at..).unwrap_or_default();
    if let Some(cut) = line_end.clone().filter(|_| tail.is_empty()) {
        return cut;
    }
    // A fence is not torn: it goes to the next piece, or is what the block is closed with anyway.
    let line = first_line(rest.get(at..).unwrap_or_default());
    let is_fence = match &torn {
        None => Fence::open(line).is_some(),
        Some(fence) => fence.is_closed_by(line),
    };
    if is_fence && at > 0 {
        return Cut { at, open: torn };
    }
    // Within the last line: behind a blank, or else behind a letter.
    let word = tail
        .char_indices()
        .filter(|(index, c)| c.is_whitespace() && *index > 0)
        .map(|(index, c)| index + c.len_utf8())
        .next_back();
    let within = match (word, line_end) {
        (Some(word), _) => at + word,
        (None, Some(cut)) if cut.at == at => at,
        (None, _) => letter_end(rest, window.len(), at),
    };
    Cut {
        at: within,
        open: torn,
    }
}

fn state_after(text: &str, mut open: Option<Fence>) -> Option<Fence> {
    for line in text.split_inclusive('\n') {
        open = step(open, line);
    }
    open
}

fn step(open: Option<Fence>, line: &str) -> Option<Fence> {
    match open {
        None => Fence::open(line),
        Some(fence) if fence.is_closed_by(line) => None,
        still => still,
    }
}

/// Where a window can end without tearing a letter from what belongs to it: accents, joined pictures,
/// flags.
fn letter_end(rest: &str, end: usize, start: usize) -> usize {
    let mut at = end;
    for _ in 0..32 {
        let before = rest.get(..at).and_then(|text| text.chars().next_back());
        let after = rest.get(at..).and_then(|text| text.chars().next());
        let (Some(before), Some(after)) = (before, after) else {
            return end;
        };
        if !belongs(before, after) {
            return at;
        }
        at -= before.len_utf8();
        if at <= start {
            return end;
        }
    }
    end
}

fn belongs(before: char, after: char) -> bool {
    const JOINER: char = '\u{200d}';
    let flag = |c: char| matches!(c, '\u{1f1e6}'..='\u{1f1ff}');
    let mark = matches!(after,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{900}'..='\u{903}'
        | '\u{93a}'..='\u{94f}' | '\u{e31}' | '\u{e34}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{1f3fb}'..='\u{1f3ff}'
        | '\u{e0020}'..='\u{e007f}');
    mark || after == JOINER || before == JOINER || (flag(before) && flag(after))
}

/// Bytes of the longest beginning with at most so many units.
fn prefix(text: &str, units: usize) -> usize {
    let mut left = units;
    for (at, c) in text.char_indices() {
        let size = c.len_utf16();
        if size > left {
            // A single letter is taken in any case, so that something is.
            return if at == 0 { c.len_utf8() } else { at };
        }
        left -= size;
    }
    text.len()
}

pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn first_line(text: &str) -> &str {
    text.split_inclusive('\n').next().unwrap_or_default()
}

fn at_line_start(text: &str, at: usize) -> bool {
    at == 0 || text.get(..at).is_some_and(|before| before.ends_with('\n'))
}

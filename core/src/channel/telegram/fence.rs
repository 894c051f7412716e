//! Fenced blocks of code in Markdown: one rule for those who format them and those who cut them.

/// The longest word behind a fence that counts as a language, in bytes.
const MAX_LANGUAGE: usize = 32;
/// The longest fence.
pub(super) const MAX_MARKS: usize = 16;

/// A fence that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    mark: char,
    count: usize,
    language: String,
}

impl Fence {
    /// The fence that a line opens.
    pub(super) fn open(line: &str) -> Option<Self> {
        let (mark, count, rest) = marks(line)?;
        let language = rest.trim();
        let fits = language.len() <= MAX_LANGUAGE
            && count <= MAX_MARKS
            && !language.contains(['`', '~'])
            && !language.contains(char::is_whitespace);
        fits.then(|| Self {
            mark,
            count,
            language: language.to_owned(),
        })
    }

    /// Whether a line closes it.
    pub(super) fn is_closed_by(&self, line: &str) -> bool {
        marks(line).is_some_and(|(mark, count, rest)| {
            mark == self.mark && count >= self.count && rest.trim().is_empty()
        })
    }

    /// The word behind it.
    pub(super) fn language(&self) -> &str {
        &self.language
    }

    /// The line that opens it again.
    pub(super) fn opening(&self) -> String {
        format!("{}{}\n", self.closing(), self.language)
    }

    /// The line that closes it.
    pub(super) fn closing(&self) -> String {
        self.mark.to_string().repeat(self.count)
    }
}

/// Three or more marks at the start of a line, and what follows.
fn marks(line: &str) -> Option<(char, usize, &str)> {
    let line = line.trim_end_matches(['\n', '\r']);
    let text = line.trim_start_matches(' ');
    // Four blanks would make it a block of another kind.
    if line.len() - text.len() > 3 {
        return None;
    }
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let rest = text.trim_start_matches(mark);
    let count = text.len() - rest.len();
    (count >= 3).then_some((mark, count, rest))
}

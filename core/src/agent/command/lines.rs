//! Lines out of whatever pieces a program writes.

/// Cuts bytes into lines at line feeds. A carriage return before one belongs to it. After a line
/// that is too long it gives nothing more.
///
/// ```
/// use clawgate_core::agent::command::LineReader;
///
/// let mut lines = LineReader::new(100);
/// assert!(lines.push(b"{\"a\"").unwrap().is_empty());
/// assert_eq!(lines.push(b":1}\r\n{}\n").unwrap(), [b"{\"a\":1}".to_vec(), b"{}".to_vec()]);
/// ```
#[derive(Clone, Debug)]
pub struct LineReader {
    limit: usize,
    line: Vec<u8>,
    failed: bool,
}

/// A line is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {0} bytes")]
pub struct LineTooLong(pub usize);

impl LineReader {
    /// A reader of lines of at most so many bytes.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            failed: false,
        }
    }

    /// Takes bytes, and gives the lines that end in them.
    ///
    /// # Errors
    /// When a line is too long; lines before it are lost.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut lines = Vec::new();
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (part, rest) = bytes.split_at(at);
            self.take(part)?;
            let mut line = std::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            lines.push(line);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.take(bytes)?;
        Ok(lines)
    }

    /// The end: what stands behind the last line feed, if anything does.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        (!line.is_empty()).then_some(line)
    }

    fn take(&mut self, part: &[u8]) -> Result<(), LineTooLong> {
        if self.failed || self.line.len() + part.len() > self.limit {
            self.failed = true;
            self.line = Vec::new();
            return Err(LineTooLong(self.limit));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_that_is_too_long_is_the_end() {
        let mut lines = LineReader::new(3);
        assert_eq!(lines.push(b"abc\nd").unwrap(), [b"abc".to_vec()]);
        assert_eq!(lines.finish(), Some(b"d".to_vec()));
        assert_eq!(lines.push(b"abcd\n"), Err(LineTooLong(3)));
        assert_eq!(lines.push(b"\n"), Err(LineTooLong(3)));
        assert_eq!(lines.finish(), None);
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_does_not_matter(
            text in "[ab\r\n]{0,30}",
            cuts in prop::collection::vec(0usize..30, 0..5),
        ) {
            let bytes = text.as_bytes();
            let mut whole = LineReader::new(100);
            let mut expected = whole.push(bytes).unwrap();
            expected.extend(whole.finish());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let (mut lines, mut found, mut from) = (LineReader::new(100), Vec::new(), 0);
            for cut in cuts {
                found.extend(lines.push(&bytes[from..cut]).unwrap());
                from = cut;
            }
            found.extend(lines.finish());
            prop_assert_eq!(found, expected);
        }
    }
}

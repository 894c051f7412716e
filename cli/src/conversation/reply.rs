//! How much of a reply was shown already. Events tell the whole text each time, so whatever was lost
//! or comes twice, each part is shown once.

/// What is to be shown next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// More of the same text.
    More(String),
    /// What was shown does not hold any more: this is the text.
    Instead(String),
}

/// The text of a reply as far as it was shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    shown: String,
}

impl Reply {
    /// Takes the text as it is by now. A shorter beginning of what was shown is old news.
    pub(crate) fn come_to(&mut self, text: &str) -> Option<Piece> {
        self.take(text, text.is_empty() || self.shown.starts_with(text))
    }

    /// Takes the text as it ends, whatever was shown before.
    pub(crate) fn end_with(&mut self, text: &str) -> Option<Piece> {
        self.take(text, text == self.shown)
    }

    fn take(&mut self, text: &str, is_known: bool) -> Option<Piece> {
        if is_known {
            return None;
        }
        let piece = match text.strip_prefix(self.shown.as_str()) {
            Some(more) => Piece::More(more.to_owned()),
            None => Piece::Instead(text.to_owned()),
        };
        self.shown = text.to_owned();
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_shown_once_whatever_is_lost_or_comes_again() {
        let mut reply = Reply::default();
        let more = |text: &str| Some(Piece::More(text.into()));
        assert_eq!(reply.come_to("one"), more("one"));
        assert_eq!(reply.come_to("one two three"), more(" two three"));
        assert_eq!(reply.come_to("one two"), None);
        assert_eq!(reply.come_to("one two three"), None);
        assert_eq!(reply.end_with("one two three four"), more(" four"));
        assert_eq!(reply.end_with("one two three four"), None);
    }

    #[test]
    fn a_text_that_changed_is_shown_anew() {
        let mut reply = Reply::default();
        let instead = |text: &str| Some(Piece::Instead(text.into()));
        reply.come_to("draft");
        assert_eq!(reply.come_to("final"), instead("final"));
        assert_eq!(reply.end_with("fin"), instead("fin"));
    }
}

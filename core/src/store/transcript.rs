//! What was said in sessions. Transcripts grow without a bound that memory has, so the core keeps
//! none of them: it appends by [`Write::Append`](super::Write::Append) and asks its host by
//! [`TranscriptQuery`].

use serde::{Deserialize, Serialize};

use crate::{frame::RawJson, ids::SessionId, time::WallTime};

/// One message of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The transcript.
    pub session: SessionId,
    /// Its place there, from 1 and without gaps.
    pub seq: u64,
    /// Its id, unique in all transcripts.
    pub id: String,
    /// Whose it is.
    pub author: Author,
    /// When it was written.
    pub at: WallTime,
    /// Its words, for searches and previews; the document's own.
    pub text: String,
    /// The message as clients see it.
    pub document: RawJson,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// The agent.
    Assistant,
    /// The gateway itself: what became of a run, a compaction.
    Note,
    /// The result of a tool.
    Tool,
    /// Whoever wrote to the agent.
    User,
}

impl Author {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Note => "note",
            Self::Tool => "tool",
            Self::User => "user",
        }
    }

    /// The reverse of [`Author::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Assistant, Self::Note, Self::Tool, Self::User]
            .into_iter()
            .find(|author| author.as_str() == name)
    }
}

/// A question about transcripts. It sees every commit that was durable when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TranscriptQuery {
    /// Messages of one transcript that stand before a number, the last ones of them.
    Before {
        /// Whose.
        session: SessionId,
        /// The number that comes after the page; `None` for the end.
        before: Option<u64>,
        /// Messages at most.
        limit: usize,
        /// Bytes of documents at most; one message is given however large it is.
        max_bytes: usize,
    },
    /// Messages of one transcript that stand after a number, the first ones of them.
    After {
        /// Whose.
        session: SessionId,
        /// The number that comes before the page.
        after: u64,
        /// Messages at most.
        limit: usize,
        /// Bytes of documents at most.
        max_bytes: usize,
    },
    /// One message.
    One {
        /// Whose.
        session: SessionId,
        /// Its id.
        id: String,
    },
    /// The last messages of several transcripts.
    Tails {
        /// Whose.
        sessions: Vec<SessionId>,
        /// Messages of each at most.
        limit: usize,
        /// Bytes of documents of each at most.
        max_bytes: usize,
    },
    /// Messages of people and agents with all of these words, the newest first.
    Search {
        /// Where to look.
        sessions: Vec<SessionId>,
        /// The words, in lower case; never empty.
        words: Vec<String>,
        /// Messages at most.
        limit: usize,
    },
}

/// The answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TranscriptPage {
    /// The messages, by transcript and in their order; for a search, the newest first.
    pub messages: Vec<Message>,
    /// Whether there are more that would fit the question but not its limits.
    pub more: bool,
}

/// Whether a text has all of the words, whatever their case.
pub fn matches_words(text: &str, words: &[String]) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

/// The part of a text around its first word that was looked for, `width` characters at most.
pub fn excerpt(text: &str, words: &[String], width: usize) -> String {
    let lower = text.to_lowercase();
    let at = words
        .iter()
        .filter_map(|word| lower.find(word.as_str()))
        .min()
        .unwrap_or(0);
    // Lower case may have other lengths: the place is near enough in characters.
    let at = lower
        .get(..at)
        .map_or(0, |before| before.chars().count())
        .saturating_sub(width / 4);
    let mut part: String = text.chars().skip(at).take(width).collect();
    if at > 0 {
        part.insert(0, '…');
    }
    if text.chars().count() > at + width {
        part.push('…');
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_shows_the_words_within_its_width() {
        let text = format!("{} Straße nach Süden {}", "a ".repeat(50), "z ".repeat(50));
        let words = ["süden".to_owned()];
        assert!(matches_words(&text, &words));
        let part = excerpt(&text, &words, 40);
        assert!(part.contains("Süden"), "{part}");
        assert_eq!(part.chars().count(), 42);
        assert_eq!(excerpt("short", &["x".into()], 40), "short");
    }

    #[test]
    fn every_author_has_a_name_of_its_own() {
        for name in ["assistant", "note", "tool", "user"] {
            assert_eq!(Author::parse(name).map(Author::as_str), Some(name));
        }
        assert_eq!(Author::parse("else"), None);
    }
}

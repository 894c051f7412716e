//! A store without a disk, for hosts that keep nothing, and for tests.

use std::collections::BTreeMap;

use super::{
    Author, Commit, Message, Row, Table, TranscriptPage, TranscriptQuery, Write,
    transcript::matches_words,
};
use crate::{frame::RawJson, ids::SessionId};

/// Rows and transcripts in memory. It answers as a database would, and is gone with the process.
///
/// ```
/// use clawgate_core::store::MemoryStore;
///
/// let mut store = MemoryStore::default();
/// // For each commit of the gateway: store.apply(&commit), then handle_committed(…, Ok(())).
/// assert!(store.rows().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    rows: BTreeMap<(Table, String), RawJson>,
    transcripts: BTreeMap<SessionId, BTreeMap<u64, Message>>,
}

impl MemoryStore {
    /// Makes a commit part of what is kept.
    pub fn apply(&mut self, commit: &Commit) {
        for write in &commit.writes {
            match write {
                Write::Append(message) => {
                    self.transcripts
                        .entry(message.session.clone())
                        .or_default()
                        .insert(message.seq, message.clone());
                }
                // Nobody could read it here.
                Write::Audit { .. } => {}
                Write::Delete { table, key } => {
                    self.rows.remove(&(*table, key.clone()));
                }
                Write::Forget { session, keep_from } => match keep_from {
                    None => {
                        self.transcripts.remove(session);
                    }
                    Some(first) => {
                        if let Some(messages) = self.transcripts.get_mut(session) {
                            *messages = messages.split_off(first);
                        }
                    }
                },
                Write::Put {
                    table,
                    key,
                    document,
                } => {
                    self.rows.insert((*table, key.clone()), document.clone());
                }
            }
        }
    }

    /// Every row, for [`crate::gateway::Gateway::restore`].
    pub fn rows(&self) -> Vec<Row> {
        self.rows
            .iter()
            .map(|((table, key), document)| Row {
                table: *table,
                key: key.clone(),
                document: document.clone(),
            })
            .collect()
    }

    /// Answers a question about transcripts.
    pub fn query(&self, query: &TranscriptQuery) -> TranscriptPage {
        match query {
            TranscriptQuery::Before {
                session,
                before,
                limit,
                max_bytes,
            } => self.before(session, *before, *limit, *max_bytes),
            TranscriptQuery::After {
                session,
                after,
                limit,
                max_bytes,
            } => {
                let messages = self.messages(session).filter(|m| m.seq > *after);
                page(messages, *limit, *max_bytes)
            }
            TranscriptQuery::One { session, id } => TranscriptPage {
                messages: self
                    .messages(session)
                    .filter(|m| m.id == *id)
                    .cloned()
                    .collect(),
                more: false,
            },
            TranscriptQuery::Tails {
                sessions,
                limit,
                max_bytes,
            } => TranscriptPage {
                messages: sessions
                    .iter()
                    .flat_map(|session| self.before(session, None, *limit, *max_bytes).messages)
                    .collect(),
                more: false,
            },
            TranscriptQuery::Search {
                sessions,
                words,
                limit,
            } => {
                let mut found: Vec<&Message> = sessions
                    .iter()
                    .flat_map(|session| self.messages(session))
                    .filter(|m| matches!(m.author, Author::Assistant | Author::User))
                    .filter(|m| matches_words(&m.text, words))
                    .collect();
                found.sort_by(|a, b| (b.at, b.seq, &b.id).cmp(&(a.at, a.seq, &a.id)));
                page(found.into_iter(), *limit, usize::MAX)
            }
        }
    }

    fn messages(&self, session: &SessionId) -> impl DoubleEndedIterator<Item = &Message> {
        self.transcripts
            .get(session)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    fn before(
        &self,
        session: &SessionId,
        before: Option<u64>,
        limit: usize,
        max_bytes: usize,
    ) -> TranscriptPage {
        let messages = self
            .messages(session)
            .rev()
            .filter(|m| before.is_none_or(|before| m.seq < before));
        let mut page = page(messages, limit, max_bytes);
        page.messages.reverse();
        page
    }
}

/// The first messages that fit into the limits; one is given however large it is.
fn page<'a>(
    messages: impl Iterator<Item = &'a Message>,
    limit: usize,
    max_bytes: usize,
) -> TranscriptPage {
    let mut page = TranscriptPage::default();
    let mut bytes = 0_usize;
    for message in messages {
        bytes = bytes.saturating_add(message.document.as_str().len());
        let full = page.messages.len() >= limit;
        if full || (bytes > max_bytes && !page.messages.is_empty()) {
            page.more = true;
            break;
        }
        page.messages.push(message.clone());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{CommitId, Epoch},
        time::WallTime,
    };

    fn message(session: &str, seq: u64, text: &str) -> Message {
        Message {
            session: SessionId::new(session),
            seq,
            id: format!("{session}-{seq}"),
            author: Author::User,
            at: WallTime(seq),
            text: text.into(),
            document: RawJson::encode(text).unwrap(),
        }
    }

    fn store(messages: &[Message]) -> MemoryStore {
        let mut store = MemoryStore::default();
        store.apply(&Commit {
            id: CommitId(1),
            epoch: Epoch(0),
            writes: messages.iter().cloned().map(Write::Append).collect(),
        });
        store
    }

    fn seqs(page: &TranscriptPage) -> Vec<u64> {
        page.messages.iter().map(|m| m.seq).collect()
    }

    #[test]
    fn pages_go_back_from_the_end_and_forward_from_a_place() {
        let all: Vec<Message> = (1..=5).map(|n| message("a", n, "four")).collect();
        let mut store = store(&all);
        let session = SessionId::new("a");
        let back = |store: &MemoryStore, before, limit, max_bytes| {
            let session = session.clone();
            let page = store.query(&TranscriptQuery::Before {
                session,
                before,
                limit,
                max_bytes,
            });
            (seqs(&page), page.more)
        };
        assert_eq!(back(&store, None, 2, usize::MAX), (vec![4, 5], true));
        assert_eq!(back(&store, Some(4), 3, usize::MAX), (vec![1, 2, 3], false));
        assert_eq!(back(&store, None, 9, 12), (vec![4, 5], true));
        assert_eq!(back(&store, None, 9, 1), (vec![5], true));
        let forward = store.query(&TranscriptQuery::After {
            session: session.clone(),
            after: 3,
            limit: 9,
            max_bytes: usize::MAX,
        });
        assert_eq!(seqs(&forward), [4, 5]);
        store.apply(&Commit {
            id: CommitId(2),
            epoch: Epoch(0),
            writes: vec![Write::Forget {
                session: session.clone(),
                keep_from: Some(4),
            }],
        });
        assert_eq!(back(&store, None, 9, usize::MAX), (vec![4, 5], false));
    }

    #[test]
    fn a_search_gives_the_newest_first_and_only_where_it_was_asked_for() {
        let store = store(&[
            message("a", 1, "Blue sky"),
            message("a", 2, "blue SKY again"),
            message("b", 1, "blue sky elsewhere"),
            message("a", 3, "red sky"),
        ]);
        let page = store.query(&TranscriptQuery::Search {
            sessions: vec![SessionId::new("a")],
            words: vec!["sky".into(), "blue".into()],
            limit: 10,
        });
        assert_eq!(seqs(&page), [2, 1]);
    }
}

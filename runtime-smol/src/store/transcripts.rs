//! Questions about transcripts, answered from the database as the core's own store answers them.

use clawgate_core::{
    frame::RawJson,
    ids::SessionId,
    store::{Author, Message, TranscriptPage, TranscriptQuery, matches_words},
    time::WallTime,
};
use rusqlite::{Row, ToSql, params};

use super::reader::{ReadError, Reader};

const COLUMNS: &str = "session, seq, id, author, at, text, document";

impl Reader {
    /// Answers a question about transcripts. Messages that cannot be read are left out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn transcript(&self, query: &TranscriptQuery) -> Result<TranscriptPage, ReadError> {
        let page = match query {
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
            } => self.page(
                "session = ?1 AND seq > ?2 ORDER BY seq",
                params![session.as_str(), number(*after)],
                *limit,
                *max_bytes,
                |_| true,
            ),
            TranscriptQuery::One { session, id } => self.page(
                "session = ?1 AND id = ?2",
                params![session.as_str(), id],
                1,
                usize::MAX,
                |_| true,
            ),
            TranscriptQuery::Tails {
                sessions,
                limit,
                max_bytes,
            } => sessions
                .iter()
                .map(|session| self.before(session, None, *limit, *max_bytes))
                .try_fold(TranscriptPage::default(), |mut all, page| {
                    all.messages.extend(page?.messages);
                    Ok(all)
                }),
            TranscriptQuery::Search {
                sessions,
                words,
                limit,
            } => {
                let wanted: Vec<&str> = sessions.iter().map(SessionId::as_str).collect();
                let wanted = serde_json::to_string(&wanted).unwrap_or_default();
                self.page(
                    "session IN (SELECT value FROM json_each(?1))
                     AND author IN ('assistant', 'user')
                     ORDER BY at DESC, seq DESC, id DESC",
                    params![wanted],
                    *limit,
                    usize::MAX,
                    |message| matches_words(&message.text, words),
                )
            }
        };
        page.map_err(|error| self.error(&error))
    }

    fn before(
        &self,
        session: &SessionId,
        before: Option<u64>,
        limit: usize,
        max_bytes: usize,
    ) -> rusqlite::Result<TranscriptPage> {
        let mut page = self.page(
            "session = ?1 AND seq < ?2 ORDER BY seq DESC",
            params![session.as_str(), before.map_or(i64::MAX, number)],
            limit,
            max_bytes,
            |_| true,
        )?;
        page.messages.reverse();
        Ok(page)
    }

    /// The first messages that are wanted and fit into the limits; one is given however large it is.
    fn page(
        &self,
        what: &str,
        values: &[&dyn ToSql],
        limit: usize,
        max_bytes: usize,
        wanted: impl Fn(&Message) -> bool,
    ) -> rusqlite::Result<TranscriptPage> {
        let mut query = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM message WHERE {what}"))?;
        let mut rows = query.query(values)?;
        let mut page = TranscriptPage::default();
        let mut bytes = 0_usize;
        while let Some(row) = rows.next()? {
            let Some(message) = message(row)?.filter(&wanted) else {
                continue;
            };
            bytes = bytes.saturating_add(message.document.as_str().len());
            let full = page.messages.len() >= limit;
            if full || (bytes > max_bytes && !page.messages.is_empty()) {
                page.more = true;
                break;
            }
            page.messages.push(message);
        }
        Ok(page)
    }
}

fn message(row: &Row<'_>) -> rusqlite::Result<Option<Message>> {
    let author: String = row.get(3)?;
    let document: String = row.get(6)?;
    let (Some(author), Ok(document)) = (Author::parse(&author), RawJson::checked(document)) else {
        return Ok(None);
    };
    Ok(Some(Message {
        session: SessionId::new(row.get::<_, String>(0)?),
        seq: row.get(1)?,
        id: row.get(2)?,
        author,
        at: WallTime(row.get(4)?),
        text: row.get(5)?,
        document,
    }))
}

/// SQLite counts to 2^63; nobody writes that many messages.
fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

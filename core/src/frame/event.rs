//! Events to many connections: serialised once, numbered for each (spec protocol §5.1).

use std::sync::Arc;

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::{RawJson, encode::push_json_string};

/// Versions of the two kinds of state that clients may cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVersion {
    /// Grows with each change of presence.
    pub presence: u64,
    /// Grows with each change of health.
    pub health: u64,
}

const SEQ: &str = r#","seq":"#;

/// An addition of this gateway, sent only to clients that asked for it by a capability.
const RESUME_SEQ: &str = r#","resumeSeq":"#;

/// What happens to an event for a connection whose buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Droppable {
    /// Advisory: it is skipped, and the client sees a gap in the sequence.
    IfSlow,
    /// It must arrive: the connection is closed instead.
    Never,
}

/// An event, ready for any number of connections. Cloning shares the text.
#[derive(Clone, Debug)]
pub struct OutboundEvent {
    inner: Arc<Inner>,
    /// Its number in the gateway's own count, for clients that resume.
    resume_seq: Option<u64>,
}

#[derive(Debug)]
struct Inner {
    name: Box<str>,
    /// Everything up to the sequence number.
    head: Box<str>,
    /// Everything after it.
    tail: Box<str>,
    droppable: Droppable,
}

impl OutboundEvent {
    /// Serialises an event.
    ///
    /// ```
    /// use clawgate_core::frame::{Droppable, OutboundEvent, RawJson};
    ///
    /// let payload = RawJson::checked(r#"{"ts":1}"#)?;
    /// let tick = OutboundEvent::new("tick", &payload, None, Droppable::Never);
    /// assert_eq!(
    ///     tick.encode(Some(7)),
    ///     r#"{"type":"event","event":"tick","payload":{"ts":1},"seq":7}"#
    /// );
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn new(
        name: &str,
        payload: &RawJson,
        state_version: Option<StateVersion>,
        droppable: Droppable,
    ) -> Self {
        let mut head = String::with_capacity(48 + name.len() + payload.as_str().len());
        head.push_str(r#"{"type":"event","event":"#);
        push_json_string(&mut head, name);
        head.push_str(r#","payload":"#);
        head.push_str(payload.as_str());
        let tail = state_version.map_or_else(
            || "}".into(),
            |StateVersion { presence, health }| {
                format!(r#","stateVersion":{{"presence":{presence},"health":{health}}}}}"#)
            },
        );
        Self {
            inner: Arc::new(Inner {
                name: name.into(),
                head: head.into_boxed_str(),
                tail: tail.into_boxed_str(),
                droppable,
            }),
            resume_seq: None,
        }
    }

    /// The same event with its number in the gateway's own count.
    #[must_use]
    pub fn numbered(&self, resume_seq: u64) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            resume_seq: Some(resume_seq),
        }
    }

    /// The same event for a client that does not resume.
    #[must_use]
    pub fn unnumbered(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            resume_seq: None,
        }
    }

    /// Its number in the gateway's own count.
    pub fn resume_seq(&self) -> Option<u64> {
        self.resume_seq
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What happens to it where a buffer is full.
    pub fn droppable(&self) -> Droppable {
        self.inner.droppable
    }

    /// An upper bound of the encoded size, in bytes.
    pub fn max_len(&self) -> usize {
        let number = |name: &str| name.len() + "18446744073709551615".len();
        self.inner.head.len()
            + self.inner.tail.len()
            + number(SEQ)
            + self.resume_seq.map_or(0, |_| number(RESUME_SEQ))
    }

    /// The exact size of the text with this number, in bytes.
    pub fn encoded_len(&self, seq: u64) -> usize {
        let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
        let resume = self
            .resume_seq
            .map_or(0, |number| RESUME_SEQ.len() + digits(number));
        self.inner.head.len() + SEQ.len() + digits(seq) + resume + self.inner.tail.len()
    }

    /// The text for one connection: `seq` is its number there, `None` for an event outside the
    /// sequence.
    pub fn encode(&self, seq: Option<u64>) -> ByteString {
        let mut text = String::with_capacity(self.max_len());
        text.push_str(&self.inner.head);
        for (name, number) in [(SEQ, seq), (RESUME_SEQ, self.resume_seq)] {
            if let Some(number) = number {
                text.push_str(name);
                text.push_str(&number.to_string());
            }
        }
        text.push_str(&self.inner.tail);
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_size_is_exact() {
        let plain = OutboundEvent::new("e", &RawJson::empty_object(), None, Droppable::Never);
        for event in [plain.clone(), plain.numbered(0), plain.numbered(12_345)] {
            for seq in [1, 9, 10, 99, 100, u64::MAX] {
                let text = event.encode(Some(seq));
                assert_eq!(text.len(), event.encoded_len(seq), "{text}");
                assert!(text.len() <= event.max_len());
            }
        }
        assert_eq!(
            plain.numbered(7).encode(Some(1)),
            r#"{"type":"event","event":"e","payload":{},"seq":1,"resumeSeq":7}"#
        );
        assert_eq!(
            plain.numbered(7).unnumbered().encode(None),
            plain.encode(None)
        );
    }
}

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
        }
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
        self.inner.head.len() + self.inner.tail.len() + r#","seq":18446744073709551615"#.len()
    }

    /// The exact size of the text with this number, in bytes.
    pub fn encoded_len(&self, seq: u64) -> usize {
        let digits = seq.checked_ilog10().unwrap_or(0) as usize + 1;
        self.inner.head.len() + r#","seq":"#.len() + digits + self.inner.tail.len()
    }

    /// The text for one connection: `seq` is its number there, `None` for an event outside the
    /// sequence.
    pub fn encode(&self, seq: Option<u64>) -> ByteString {
        let mut text = String::with_capacity(self.max_len());
        text.push_str(&self.inner.head);
        if let Some(seq) = seq {
            text.push_str(r#","seq":"#);
            text.push_str(&seq.to_string());
        }
        text.push_str(&self.inner.tail);
        text.into()
    }
}

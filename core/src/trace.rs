//! Trace context of a request: which work belongs together across programs (W3C Trace Context, level
//! 1; the `traceparent` of a request frame, spec protocol §2).
//!
//! A client may send a `traceparent`. It is checked here once; from then on it is numbers, so nothing
//! that a client wrote reaches a log line or another program.

use std::fmt;

/// Bytes that a `traceparent` may have at most; a request with a longer one is refused.
pub const MAX_TRACEPARENT: usize = 128;

/// The place in a trace that a caller names.
///
/// ```
/// use clawgate_core::trace::TraceParent;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent = TraceParent::parse(text).unwrap();
/// assert_eq!(parent.to_string(), text);
/// assert_eq!(parent.trace().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert!(TraceParent::parse("00-0-0-01").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    sampled: Sampled,
}

/// Whether the caller keeps what belongs to the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sampled {
    No,
    Yes,
}

/// What names a trace: never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(u128);

/// What names one piece of work in a trace: never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u64);

impl TraceParent {
    /// Reads a `traceparent`. What is not exactly as the standard has it counts as none; versions of
    /// the future are read as far as they are like the first one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() < 55 || bytes.len() > MAX_TRACEPARENT {
            return None;
        }
        let (head, rest) = text.split_at(55);
        let mut parts = head.split('-');
        let version = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            1..=0xfe => rest.is_empty() || rest.starts_with('-'),
        };
        if parts.next().is_some() || !is_whole || trace == 0 || span == 0 {
            return None;
        }
        Some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: if flags & 1 == 1 {
                Sampled::Yes
            } else {
                Sampled::No
            },
        })
    }

    /// The trace.
    pub const fn trace(&self) -> TraceId {
        self.trace
    }

    /// The caller's own piece of work.
    pub const fn span(&self) -> SpanId {
        self.span
    }

    /// A piece of work that the caller's caused. `random` becomes its name.
    #[must_use]
    pub fn child(&self, random: [u8; 8]) -> Span {
        Span {
            own: Self {
                span: SpanId(u64::from_be_bytes(random).max(1)),
                ..*self
            },
            parent: self.span,
        }
    }
}

impl fmt::Display for TraceParent {
    /// As a `traceparent` of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = match self.sampled {
            Sampled::No => 0,
            Sampled::Yes => 1,
        };
        write!(f, "00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A piece of work of the gateway in somebody's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    own: TraceParent,
    parent: SpanId,
}

impl Span {
    /// The trace.
    pub const fn trace(&self) -> TraceId {
        self.own.trace
    }

    /// The name of this piece of work.
    pub const fn id(&self) -> SpanId {
        self.own.span
    }

    /// The piece of work that caused it.
    pub const fn parent(&self) -> SpanId {
        self.parent
    }

    /// What whoever works for it is told: this piece of work is their parent.
    pub const fn traceparent(&self) -> TraceParent {
        self.own
    }
}

/// A number of so many hexadecimal digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn only_what_the_standard_has_is_read() {
        let zero = ("0".repeat(32), "0".repeat(16));
        for (text, is_read) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!(" 00-{TRACE}-{SPAN}-00\t"), true),
            (format!("00-{TRACE}-{SPAN}-01-more"), false),
            (format!("cc-{TRACE}-{SPAN}-01-more"), true),
            (format!("cc-{TRACE}-{SPAN}-01.more"), false),
            (format!("ff-{TRACE}-{SPAN}-01"), false),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), false),
            (format!("00-{}-{SPAN}-01", zero.0), false),
            (format!("00-{TRACE}-{}-01", zero.1), false),
            (format!("00-{TRACE}-{SPAN}-0"), false),
            (format!("00-{TRACE}{SPAN}--01"), false),
            (format!("00-+{}-{SPAN}-01", &TRACE[1..]), false),
            (format!("cc-{TRACE}-{SPAN}-01-{}", "x".repeat(100)), false),
            (format!("00-{TRACE}-{SPAN}-0é"), false),
            (String::new(), false),
        ] {
            assert_eq!(TraceParent::parse(&text).is_some(), is_read, "{text}");
        }
    }

    #[test]
    fn a_child_stays_in_the_trace_and_names_its_parent() {
        let parent = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-03")).unwrap();
        let child = parent.child([0; 8]);
        assert_eq!(child.trace(), parent.trace());
        assert_eq!(child.parent().to_string(), SPAN);
        // Flags that nobody knows yet are not passed on, and no name is all zeros.
        let told = child.traceparent().to_string();
        assert_eq!(told, format!("00-{TRACE}-0000000000000001-01"));
        assert_eq!(TraceParent::parse(&told), Some(child.traceparent()));
    }
}

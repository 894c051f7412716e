//! Server-sent events: bytes in whatever pieces they come, events out.

/// Limits of an [`SseParser`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseLimits {
    /// Bytes of one line.
    pub line: usize,
    /// Bytes of the data of one event.
    pub event: usize,
}

impl Default for SseLimits {
    fn default() -> Self {
        Self {
            line: 1024 * 1024,
            event: 4 * 1024 * 1024,
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// Its `event`; empty where there is none.
    pub name: String,
    /// Its `data`, lines joined by line feeds.
    pub data: String,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseFault {
    /// A line is too long.
    #[error("a line of the stream is longer than {0} bytes")]
    Line(usize),
    /// The data of an event is too long.
    #[error("an event of the stream is longer than {0} bytes")]
    Event(usize),
}

/// Reads server-sent events (HTML Living Standard, *Server-sent events*): lines end with CR, LF or
/// CRLF, a blank line ends an event, and a line that begins with a colon says nothing. Bytes that
/// are no UTF-8 become U+FFFD. Events without data are left out. After a fault it gives nothing more.
///
/// ```
/// use clawgate_core::agent::openai::SseParser;
///
/// let mut parser = SseParser::default();
/// assert!(parser.push(b"data: {\"a\":").unwrap().is_empty());
/// let events = parser.push(b"1}\r\n\r\ndata: [DONE]\n\n").unwrap();
/// assert_eq!(events[0].data, "{\"a\":1}");
/// assert_eq!(events[1].data, "[DONE]");
/// ```
#[derive(Clone, Debug, Default)]
pub struct SseParser {
    limits: SseLimits,
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    /// A line feed that follows belongs to the carriage return before it.
    after_return: bool,
    started: bool,
    fault: Option<SseFault>,
}

impl SseParser {
    /// A parser with these limits.
    pub fn new(limits: SseLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes bytes, and gives the events that end in them.
    ///
    /// # Errors
    /// When a limit is passed; events before that are lost.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, SseFault> {
        let mut events = Vec::new();
        match self.fault {
            Some(fault) => return Err(fault),
            None => self.read(bytes, &mut events),
        }
        .inspect_err(|fault| {
            self.fault = Some(*fault);
            self.line = Vec::new();
            self.data = None;
        })?;
        Ok(events)
    }

    /// The end of the stream: an event that lacks only its blank line is given.
    pub fn finish(&mut self) -> Option<SseEvent> {
        if self.fault.is_some() || (!self.line.is_empty() && self.end_line().is_err()) {
            return None;
        }
        self.dispatch()
    }

    fn read(&mut self, mut bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), SseFault> {
        if self.after_return
            && let Some(first) = bytes.first()
        {
            self.after_return = false;
            if *first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
            }
        }
        while let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(at);
            self.take(line)?;
            match self.line.is_empty() {
                true => events.extend(self.dispatch()),
                false => self.end_line()?,
            }
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.take(bytes)
    }

    fn take(&mut self, part: &[u8]) -> Result<(), SseFault> {
        if self.line.len() + part.len() > self.limits.line {
            return Err(SseFault::Line(self.limits.line));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), SseFault> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = match std::mem::replace(&mut self.started, true) {
            true => &line,
            false => line.strip_prefix('\u{feff}').unwrap_or(&line),
        };
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                let data = match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data
                    }
                    none => none.insert(String::new()),
                };
                if data.len() + value.len() > self.limits.event {
                    return Err(SseFault::Event(self.limits.event));
                }
                data.push_str(value);
            }
            "event" => value.clone_into(&mut self.name),
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let name = std::mem::take(&mut self.name);
        let data = self.data.take()?;
        Some(SseEvent { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Vec<SseEvent> {
        let mut parser = SseParser::default();
        let mut events = parser.push(bytes).unwrap();
        events.extend(parser.finish());
        events
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        whole(bytes).into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        for (stream, expected) in [
            (&b"data: a\n\ndata: b\n\n"[..], &["a", "b"][..]),
            (b"data: a\r\rdata: b\r\n\r\n", &["a", "b"]),
            (b"data:a\ndata: b\ndata\n\n", &["a\nb\n"]),
            (b": ping\n\n\n\ndata:  x\n\n", &[" x"]),
            (b"event: e\nid: 1\nretry: 5\nother: 2\n\n", &[]),
            (b"\xef\xbb\xbfdata: a\n\n", &["a"]),
            (b"data: \xff\n\n", &["\u{fffd}"]),
            (b"data: [DONE]", &["[DONE]"]),
            (b"data:\n\n", &[""]),
            (b"", &[]),
        ] {
            assert_eq!(data(stream), expected, "{}", stream.escape_ascii());
        }
        assert_eq!(whole(b"event: e\ndata: a\n\n")[0].name, "e");
    }

    #[test]
    fn limits_end_the_stream_for_good() {
        let limits = SseLimits {
            line: 10,
            event: 12,
        };
        let mut parser = SseParser::new(limits);
        assert_eq!(parser.push(b"data: 12345"), Err(SseFault::Line(10)));
        assert_eq!(parser.push(b"\n\n"), Err(SseFault::Line(10)));
        assert_eq!(parser.finish(), None);
        let mut parser = SseParser::new(limits);
        let four = b"data:12345\ndata:12345\ndata:12345\n";
        assert_eq!(parser.push(four), Err(SseFault::Event(12)));
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_does_not_matter(
            lines in prop::collection::vec("(data: ?|event:|:)?[aä€🦀 ]{0,4}", 0..12),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r", "\r\n"]), 12),
            cuts in prop::collection::vec(0usize..200, 0..20),
        ) {
            let text: String = lines.iter().zip(&ends).flat_map(|(line, end)| [line.as_str(), end]).collect();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut parser = SseParser::default();
            let mut events = Vec::new();
            let mut from = 0;
            for cut in cuts {
                events.extend(parser.push(&bytes[from..cut]).unwrap());
                from = cut;
            }
            events.extend(parser.finish());
            prop_assert_eq!(events, whole(bytes));
        }
    }
}

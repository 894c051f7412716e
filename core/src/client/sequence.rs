//! Event numbers of one connection, and the gaps between them (spec protocol §5.1, §10).

/// Events that never came: the gateway dropped them because this client was slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The number that should have come.
    pub expected: u64,
    /// The number that came.
    pub received: u64,
}

/// The last number that was seen. The first one of a connection may be any.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last: Option<u64>,
}

impl Sequence {
    /// Takes the number of an event, and says what is missing before it. A number that is not
    /// higher than the last one, which no gateway should send, is no gap.
    pub(super) fn observe(&mut self, seq: u64) -> Option<Gap> {
        let last = self.last;
        self.last = Some(last.map_or(seq, |last| last.max(seq)));
        let expected = last?.saturating_add(1);
        (seq > expected).then_some(Gap {
            expected,
            received: seq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_jump_forward_is_a_gap() {
        let mut sequence = Sequence::default();
        for (seq, gap) in [
            (5, None),
            (6, None),
            (9, Some((7, 9))),
            (9, None),
            (2, None),
            (10, None),
            (u64::MAX, Some((11, u64::MAX))),
            (u64::MAX, None),
        ] {
            let expected = gap.map(|(expected, received)| Gap { expected, received });
            assert_eq!(sequence.observe(seq), expected, "{seq}");
        }
    }
}

//! Lines that come again and again: the first ones are written, the rest is counted. So a client that
//! fails in a loop, or a disk that is full, cannot fill the log, and cannot hide what else happens.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Lines of one kind that are written in a window.
const BURST: u32 = 20;

/// The window.
const WINDOW: Duration = Duration::from_secs(10);

/// Kinds of lines that are remembered; the oldest ones are forgotten first.
const MAX_KINDS: usize = 512;

/// What distinguishes kinds of lines.
pub(super) type Kind = u64;

/// The counts of each kind.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    kinds: HashMap<Kind, Seen>,
    /// Kinds of which lines were left out.
    silent: usize,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    written: u32,
    left_out: u64,
    /// What the line says, for the one that tells how many were left out.
    about: String,
}

/// Lines that were left out, and what they said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) count: u64,
    pub(super) about: String,
}

impl Repeats {
    /// Whether a line is written.
    pub(super) fn take(&mut self, now: Instant, kind: Kind, about: &str) -> bool {
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&kind) {
            self.forget_oldest();
        }
        let seen = self.kinds.entry(kind).or_insert_with(|| Seen {
            since: now,
            written: 0,
            left_out: 0,
            about: about.to_owned(),
        });
        if seen.left_out == 0 && now.saturating_duration_since(seen.since) >= WINDOW {
            (seen.since, seen.written) = (now, 0);
        }
        if seen.written < BURST {
            seen.written += 1;
            return true;
        }
        self.silent += usize::from(seen.left_out == 0);
        seen.left_out += 1;
        false
    }

    /// What was left out in windows that are over. Call it before [`Repeats::take`].
    pub(super) fn over(&mut self, now: Instant) -> Vec<LeftOut> {
        let mut told = Vec::new();
        if self.silent == 0 {
            return told;
        }
        for seen in self.kinds.values_mut() {
            if seen.left_out > 0 && now.saturating_duration_since(seen.since) >= WINDOW {
                told.push(LeftOut {
                    count: seen.left_out,
                    about: seen.about.clone(),
                });
                (seen.since, seen.written, seen.left_out) = (now, 0, 0);
                self.silent -= 1;
            }
        }
        told.sort_by(|a, b| a.about.cmp(&b.about));
        told
    }

    fn forget_oldest(&mut self) {
        let oldest = self.kinds.iter().min_by_key(|(_, seen)| seen.since);
        if let Some(kind) = oldest.map(|(kind, _)| *kind)
            && let Some(seen) = self.kinds.remove(&kind)
        {
            self.silent -= usize::from(seen.left_out > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_told_when_their_window_is_over() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let written = (0..1_000).filter(|_| repeats.take(start, 1, "a")).count();
        assert_eq!(written, 20);
        assert!(repeats.take(start, 2, "b"), "another kind is not held up");
        assert_eq!(repeats.over(start + WINDOW / 2), []);
        let later = start + WINDOW;
        let told = LeftOut {
            count: 980,
            about: "a".into(),
        };
        assert_eq!(repeats.over(later), [told]);
        assert_eq!(repeats.over(later), []);
        assert!(repeats.take(later, 1, "a"));
    }

    #[test]
    fn kinds_that_are_made_up_do_not_grow_without_end() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        for kind in 0..10_000 {
            for _ in 0..22 {
                repeats.take(start + Duration::from_nanos(kind), kind, "made up");
            }
        }
        assert_eq!(repeats.kinds.len(), MAX_KINDS);
        assert_eq!(repeats.silent, MAX_KINDS);
        assert_eq!(repeats.over(start + WINDOW * 2).len(), MAX_KINDS);
        assert_eq!(repeats.silent, 0);
    }
}

//! What happened and is for an agent to know: short texts, for each session in their order, until a
//! run takes them.

use std::collections::VecDeque;

use super::{Gateway, sessions::SessionKey};
use crate::time::Now;

/// Sessions that may have texts at once, in multiples of the texts of one.
const SESSIONS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct SystemEvents {
    /// Session and text, the oldest first.
    texts: VecDeque<(String, String)>,
}

impl SystemEvents {
    /// Keeps the newest texts of a session up to `max`, and of all sessions up to a multiple of it.
    fn push(&mut self, session: String, text: String, max: usize) {
        let of_session = |(of, _): &(String, String)| *of == session;
        if self.texts.iter().filter(|each| of_session(each)).count() >= max
            && let Some(first) = self.texts.iter().position(of_session)
        {
            self.texts.remove(first);
        }
        if self.texts.len() >= max.saturating_mul(SESSIONS) {
            self.texts.pop_front();
        }
        self.texts.push_back((session, text));
    }

    /// Everything that waits, the oldest first.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn take(&mut self, session: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.texts)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(of, _)| of == session);
        self.texts = left;
        taken.into_iter().map(|(_, text)| text).collect()
    }
}

impl Gateway {
    pub(super) fn queue_system_event(&mut self, session: &SessionKey, text: String) {
        let max = self.setup.limits.max_system_events;
        self.system_events.push(session.as_str().into(), text, max);
    }

    /// The texts that wait for a session, the oldest first; they wait no more.
    pub(super) fn take_system_events(&mut self, session: &SessionKey) -> Vec<String> {
        self.system_events.take(session.as_str())
    }

    /// Somebody wants a session to run now: its agent is told what waits for it.
    pub(super) fn wake_session(&mut self, now: Now, session: &SessionKey) {
        let texts = self.take_system_events(session);
        if !texts.is_empty() {
            self.submit_own(now, session, texts.join("\n"), "system-event");
        }
    }

    /// The main session of an agent; of the default one, if none is named.
    pub(super) fn main_session(&self, agent: Option<&str>) -> SessionKey {
        SessionKey::main(agent.unwrap_or_else(|| self.setup.host.default_agent()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_session_stay_in_order() {
        let mut events = SystemEvents::default();
        for number in 0..5 {
            events.push("a".into(), format!("a{number}"), 2);
            events.push("b".into(), format!("b{number}"), 2);
        }
        assert_eq!(events.take("a"), ["a3", "a4"]);
        assert!(events.take("a").is_empty());
        assert_eq!(events.take("b"), ["b3", "b4"]);
    }

    #[test]
    fn all_sessions_together_are_bounded() {
        let mut events = SystemEvents::default();
        for number in 0..1_000 {
            events.push(format!("s{number}"), "x".into(), 2);
        }
        assert_eq!(events.texts.len(), 2 * SESSIONS);
    }
}

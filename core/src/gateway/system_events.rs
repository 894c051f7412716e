//! What happened and is for an agent to know: short texts, for each session in their order, until a
//! run takes them; and the sessions that somebody wants to run now.

use std::collections::{BTreeSet, VecDeque};

use super::Gateway;

/// Sessions that may have texts or be wanted at once, in multiples of the texts of one.
const SESSIONS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct SystemEvents {
    /// Session and text, the oldest first.
    texts: VecDeque<(String, String)>,
    wanted: BTreeSet<String>,
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

    fn want(&mut self, session: &str) {
        if self.wanted.len() >= SESSIONS && !self.wanted.contains(session) {
            self.wanted.pop_first();
        }
        self.wanted.insert(session.into());
    }
}

impl Gateway {
    /// The session of this name: with none, or by `main`, the main one of an agent.
    pub(super) fn session_key(&self, named: Option<&str>, agent: Option<&str>) -> String {
        match named.map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) if name != "main" => name.into(),
            Some(_) | None => {
                let own = self.setup.host.default_agent();
                format!("agent:{}:main", agent.unwrap_or(own))
            }
        }
    }

    pub(super) fn queue_system_event(&mut self, session: String, text: String) {
        let max = self.setup.limits.max_system_events;
        self.system_events.push(session, text, max);
    }

    /// The texts that wait for a session, the oldest first; they wait no more.
    #[cfg_attr(not(test), expect(dead_code, reason = "runs take them"))]
    pub(super) fn take_system_events(&mut self, session_key: &str) -> Vec<String> {
        self.system_events.take(session_key)
    }

    /// Somebody wants a session to run now.
    pub(super) fn wake_session(&mut self, session_key: &str) {
        self.system_events.want(session_key);
    }

    /// The sessions that are wanted; they are wanted no more.
    #[cfg_attr(not(test), expect(dead_code, reason = "runs begin by it"))]
    pub(super) fn take_wakes(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.system_events.wanted)
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
            events.want(&format!("s{number}"));
        }
        assert_eq!(events.texts.len(), 2 * SESSIONS);
        assert_eq!(events.wanted.len(), SESSIONS);
    }
}

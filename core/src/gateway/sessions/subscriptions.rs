//! Who wants to hear of which session (spec protocol §5.1).

use std::collections::{BTreeMap, BTreeSet};

use super::key::SessionKey;
use crate::ids::ConnId;

/// Sessions that one connection may subscribe to.
const MAX_KEYS: usize = 256;

/// The capability of clients that want only events of sessions to which they subscribed.
const SESSION_SCOPED: &str = "session-scoped-events";

/// Subscriptions of all connections.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Subscriptions {
    /// To all sessions, without asking.
    all: BTreeSet<ConnId>,
    /// To every change of any session.
    lists: BTreeSet<ConnId>,
    /// To the messages of a session.
    messages: BTreeMap<ConnId, BTreeSet<SessionKey>>,
    /// The same, by session. No set is empty.
    followers: BTreeMap<SessionKey, BTreeSet<ConnId>>,
}

/// A connection has subscribed to enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this connection is subscribed to {MAX_KEYS} sessions already")]
pub(in crate::gateway) struct SubscriptionFull;

impl Subscriptions {
    /// An operator is in. It hears of all sessions, unless it says that it does not want to.
    pub(in crate::gateway) fn admitted(&mut self, conn: ConnId, caps: &[String]) {
        if !caps.iter().any(|cap| cap == SESSION_SCOPED) {
            self.all.insert(conn);
        }
    }

    pub(in crate::gateway) fn follow_list(&mut self, conn: ConnId) {
        self.lists.insert(conn);
    }

    pub(in crate::gateway) fn follow(
        &mut self,
        conn: ConnId,
        key: SessionKey,
    ) -> Result<(), SubscriptionFull> {
        let keys = self.messages.entry(conn).or_default();
        if keys.len() >= MAX_KEYS && !keys.contains(&key) {
            return Err(SubscriptionFull);
        }
        keys.insert(key.clone());
        self.followers.entry(key).or_default().insert(conn);
        Ok(())
    }

    pub(in crate::gateway) fn unfollow(&mut self, conn: ConnId, key: &SessionKey) {
        if let Some(keys) = self.messages.get_mut(&conn) {
            keys.remove(key);
        }
        self.lose_follower(conn, key);
    }

    /// Who follows the list of sessions.
    pub(in crate::gateway) fn list_followers(&self) -> impl Iterator<Item = ConnId> {
        self.lists.iter().copied()
    }

    /// Who asked for the messages of a session.
    pub(in crate::gateway) fn followers(&self, key: &SessionKey) -> impl Iterator<Item = ConnId> {
        self.followers.get(key).into_iter().flatten().copied()
    }

    /// Who hears what happens in a session: those who hear everything, and those who follow it.
    pub(in crate::gateway) fn hearers(&self, key: &SessionKey) -> impl Iterator<Item = ConnId> {
        let others = self.followers(key).filter(|conn| !self.all.contains(conn));
        self.all.iter().copied().chain(others)
    }

    /// A connection is gone.
    pub(in crate::gateway) fn forget(&mut self, conn: ConnId) {
        self.all.remove(&conn);
        self.lists.remove(&conn);
        for key in self.messages.remove(&conn).unwrap_or_default() {
            self.lose_follower(conn, &key);
        }
    }

    fn lose_follower(&mut self, conn: ConnId, key: &SessionKey) {
        if let Some(conns) = self.followers.get_mut(key) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.followers.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SessionKey {
        SessionKey::resolve(name, "main").unwrap()
    }

    fn hearers(subscriptions: &Subscriptions, name: &str) -> Vec<u64> {
        let key = key(name);
        let conns = subscriptions.hearers(&key);
        conns.map(|conn| conn.0).collect()
    }

    #[test]
    fn each_hears_once_what_it_wants_and_nothing_after_its_end() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.admitted(ConnId(1), &[]);
        for conn in [2, 3] {
            subscriptions.admitted(ConnId(conn), &[SESSION_SCOPED.to_owned()]);
        }
        for (conn, name) in [(1, "a"), (2, "a"), (2, "b"), (3, "b")] {
            subscriptions.follow(ConnId(conn), key(name)).unwrap();
        }
        assert_eq!(hearers(&subscriptions, "a"), [1, 2]);
        assert_eq!(hearers(&subscriptions, "b"), [1, 2, 3]);
        assert_eq!(hearers(&subscriptions, "c"), [1]);
        subscriptions.unfollow(ConnId(2), &key("b"));
        assert_eq!(hearers(&subscriptions, "b"), [1, 3]);
        for conn in [1, 2, 3] {
            subscriptions.forget(ConnId(conn));
        }
        assert_eq!(hearers(&subscriptions, "a"), Vec::<u64>::new());
        assert!(subscriptions.followers.is_empty());
    }
}

//! Who wants to hear of which session (spec protocol §5.1).

use std::collections::{BTreeMap, BTreeSet};

use super::key::SessionKey;
use crate::ids::ConnId;

/// Sessions that one connection may subscribe to.
const MAX_KEYS: usize = 256;

/// Subscriptions of all connections.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Subscriptions {
    /// To every change of any session.
    lists: BTreeSet<ConnId>,
    /// To the messages of a session.
    messages: BTreeMap<ConnId, BTreeSet<SessionKey>>,
}

/// A connection has subscribed to enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this connection is subscribed to {MAX_KEYS} sessions already")]
pub(in crate::gateway) struct SubscriptionFull;

impl Subscriptions {
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
        keys.insert(key);
        Ok(())
    }

    pub(in crate::gateway) fn unfollow(&mut self, conn: ConnId, key: &SessionKey) {
        if let Some(keys) = self.messages.get_mut(&conn) {
            keys.remove(key);
        }
    }

    pub(in crate::gateway) fn follows_list(&self, conn: ConnId) -> bool {
        self.lists.contains(&conn)
    }

    pub(in crate::gateway) fn follows(&self, conn: ConnId, key: &SessionKey) -> bool {
        self.messages
            .get(&conn)
            .is_some_and(|keys| keys.contains(key))
    }

    /// A connection is gone.
    pub(in crate::gateway) fn forget(&mut self, conn: ConnId) {
        self.lists.remove(&conn);
        self.messages.remove(&conn);
    }
}

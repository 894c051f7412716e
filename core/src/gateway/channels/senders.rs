//! Callers of `send` that wait until their message is at the service. The message goes on whether
//! anybody waits or not.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{MessageId, PartRecord};
use crate::{
    gateway::Gateway,
    ids::{ConnId, RequestId},
    protocol::RpcError,
    server::Delivery,
    time::Now,
};

/// The longest time that a caller waits.
const WAIT: Duration = Duration::from_secs(60);

/// The pause that a caller is told to make before it asks again.
const ASK_AGAIN_MS: u64 = 5_000;

/// Everybody who waits, by the message.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Senders(BTreeMap<MessageId, Vec<Sender>>);

#[derive(Debug)]
struct Sender {
    conn: ConnId,
    id: RequestId,
    until: Instant,
}

impl Senders {
    pub(in crate::gateway) fn wait(
        &mut self,
        now: Now,
        message: MessageId,
        conn: ConnId,
        id: RequestId,
    ) {
        let until = now.mono + WAIT;
        let waiting = self.0.entry(message).or_default();
        waiting.push(Sender { conn, id, until });
    }

    /// A connection is gone.
    pub(in crate::gateway) fn forget(&mut self, conn: ConnId) {
        self.retain(|_, sender| sender.conn != conn);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let all = self.0.values().flatten();
        all.map(|sender| sender.until).min()
    }

    /// Those who wait for a message, in their order.
    pub(super) fn take(&mut self, message: &MessageId) -> Vec<(ConnId, RequestId)> {
        let waiting = self.0.remove(message).unwrap_or_default();
        let waiting = waiting.into_iter();
        waiting.map(|sender| (sender.conn, sender.id)).collect()
    }

    /// Those who have to be told something else than what became of their message.
    fn take_where(
        &mut self,
        is_it: impl Fn(&MessageId, &Sender) -> bool,
    ) -> Vec<(MessageId, ConnId, RequestId)> {
        let mut taken = Vec::new();
        self.retain(|message, sender| {
            let takes = is_it(message, sender);
            if takes {
                taken.push((message.clone(), sender.conn, sender.id.clone()));
            }
            !takes
        });
        taken
    }

    fn retain(&mut self, mut keep: impl FnMut(&MessageId, &Sender) -> bool) {
        self.0.retain(|message, waiting| {
            waiting.retain(|sender| keep(message, sender));
            !waiting.is_empty()
        });
    }
}

impl Gateway {
    /// Those who have waited for long enough.
    pub(super) fn expire_senders(&mut self, now: Now) {
        let late = self
            .accounts
            .senders
            .take_where(|_, sender| sender.until <= now.mono);
        for (message, conn, id) in late {
            let outcome = Err(self.not_yet_sent(&message));
            self.deliver(conn, Delivery::Response { id, outcome });
        }
    }

    fn not_yet_sent(&self, id: &MessageId) -> RpcError {
        let record = self.channels.get(id);
        let parts = record
            .and_then(|record| record.outbound())
            .map(|outbound| outbound.parts.as_slice())
            .unwrap_or_default();
        let why = parts.iter().find_map(|part: &PartRecord| part.why.clone());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let message = format!(
            "message {id} is not sent yet{why}, and goes on; ask again with the same idempotencyKey"
        );
        let state = record.map(|record| record.state.as_str());
        RpcError::retry_later(message, ASK_AGAIN_MS)
            .with_details(json!({ "message": id, "state": state }))
    }

    /// Messages that the disk did not take are not sent.
    pub(super) fn lose_senders(&mut self) {
        let channels = &self.channels;
        let lost = self
            .accounts
            .senders
            .take_where(|message, _| channels.get(message).is_none());
        for (_, conn, id) in lost {
            let message = "the message could not be kept, and is not sent";
            let outcome = Err(RpcError::retry_later(message, ASK_AGAIN_MS));
            self.deliver(conn, Delivery::Response { id, outcome });
        }
    }

    /// The gateway ends. Messages that are kept are sent after its next start.
    pub(in crate::gateway) fn dismiss_senders(&mut self) {
        for (message, conn, id) in self.accounts.senders.take_where(|_, _| true) {
            let outcome = Err(self.not_yet_sent(&message));
            self.deliver(conn, Delivery::Response { id, outcome });
        }
    }
}

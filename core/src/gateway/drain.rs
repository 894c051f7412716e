//! The orderly end: refuse new work, finish what runs, tell clients, close (spec protocol §1.1,
//! §5.2).

use std::time::Instant;

use serde_json::json;

use super::machine::Gateway;
use crate::{
    frame::{Droppable, OutboundEvent, RawJson},
    protocol::{CloseCode, CloseReason},
    server::Delivery,
    time::Now,
};

/// Where the gateway is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It stops: nothing new is taken, what runs may finish until the deadline.
    Draining {
        /// Why, for clients.
        reason: String,
        /// When it stops waiting.
        deadline: Instant,
    },
    /// It serves.
    Running,
    /// Every connection has been told to go; the host may end once they are gone.
    Stopped,
}

impl Gateway {
    /// Begins the orderly end. Calls in flight get `limits.drain` to finish.
    pub fn shutdown(&mut self, now: Now, reason: &str) {
        if self.phase == Phase::Running {
            let deadline = now.mono + self.setup.limits.drain;
            self.phase = Phase::Draining {
                reason: reason.into(),
                deadline,
            };
            // Nothing new is heard, and nothing more is said than what is under way.
            self.drive_channels(now);
            self.finish_drain(now);
            self.end_input(now);
        }
    }

    /// Ends the drain when nothing is in flight, or when its time is over.
    pub(super) fn finish_drain(&mut self, now: Now) {
        let Phase::Draining { reason, deadline } = &self.phase else {
            return;
        };
        if self.has_pending_calls() && now.mono < *deadline {
            return;
        }
        let payload = RawJson::encode(&json!({ "reason": reason }));
        self.fail_pending_calls("gateway stopped before the call was done");
        self.stop_invokes(now);
        self.halt_channels(now);
        self.end_posts();
        if let Ok(payload) = payload {
            let event = OutboundEvent::new("shutdown", &payload, None, Droppable::Never);
            self.broadcast_once(&event, None);
        }
        for conn in self.connection_ids() {
            self.deliver(
                conn,
                Delivery::Close {
                    code: CloseCode::ServiceRestart,
                    reason: CloseReason::new("service restart"),
                },
            );
        }
        self.phase = Phase::Stopped;
    }
}

//! A node comes and goes.

use super::{
    LiveNode,
    book::{Asked, new_request},
    invoke::InvokeFault,
    record::Prompt,
};
use crate::{
    gateway::{
        Gateway,
        audit::{AuditEntry, Verdict},
        clients::Conn,
        devices::{ApprovedVia, PairedDevice},
    },
    ids::ConnId,
    protocol::{CloseCode, CloseReason},
    server::{ConnectRequest, Delivery},
    time::Now,
};

/// What the older of two connections of one node is told.
const REPLACED: &str = "replaced by a newer connection of this node";

impl Gateway {
    /// A node was let in. It takes the place of an older connection with the same id.
    pub(in crate::gateway) fn node_connected(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &ConnectRequest,
    ) {
        let Some(device) = &request.device else {
            return;
        };
        let id = device.id.as_str();
        self.replace_older(now, id);
        let live = LiveNode::new(now, conn, &self.setup.admission.node_commands, request);
        let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
        book.connected(journal, now.wall, id, live.facts.clone());
        self.nodes.live.insert(id.into(), live);
        self.approve_invited(now, id);
        self.ask_for_surface(now, id);
    }

    fn replace_older(&mut self, now: Now, id: &str) {
        let Some(older) = self.nodes.live.get(id).map(|live| live.conn) else {
            return;
        };
        self.node_gone(now, older);
        if let Some(Conn::Admitted(client)) = self.conns.remove(&older) {
            self.conns.insert(older, Conn::Leaving(client));
            let close = Delivery::Close {
                code: CloseCode::Policy,
                reason: CloseReason::new(REPLACED),
            };
            self.deliver(older, close);
        }
    }

    /// A connection is gone, or was told to go: if it is a node's, its calls fail at once; if calls
    /// were made from it, nobody wants them any more.
    pub(in crate::gateway) fn node_gone(&mut self, now: Now, conn: ConnId) {
        let node = self.nodes.of_conn(conn).map(|(id, _)| id.to_owned());
        if let Some(id) = node {
            self.nodes.live.remove(&id);
            let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
            book.disconnected(journal, now.wall, &id);
        }
        for id in self.nodes.invokes.pick(|call| call.conn == conn) {
            let command = self
                .nodes
                .invokes
                .get(id)
                .map(|call| call.call.command.clone());
            let fault = InvokeFault::Disconnected {
                command: command.unwrap_or_default(),
            };
            self.end_invoke(now, id, Err(fault));
        }
        for id in self.nodes.invokes.pick(|call| call.origin.is_of(conn)) {
            self.cancel_invoke(now, id);
        }
    }

    /// Ends what depends on connections that were told to go in this input.
    pub(in crate::gateway) fn settle_departed(&mut self, now: Now) {
        for conn in std::mem::take(&mut self.nodes.departed) {
            self.node_gone(now, conn);
        }
    }

    /// Everything that is kept of a node goes.
    pub(in crate::gateway) fn forget_node(&mut self, now: Now, node_id: &str) {
        let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
        if let Some(request) = book.remove(journal, node_id) {
            self.tell_surface(now, &request.request_id, node_id, "rejected");
        }
        self.nodes.work.forget(node_id);
        self.recheck_invokes(now);
    }

    /// Commands that were approved with the join token that the device brought.
    fn approve_invited(&mut self, now: Now, id: &str) {
        let (Some(device), Some(live)) = (self.devices.get(id), self.nodes.live.get(id)) else {
            return;
        };
        let invited = live
            .claim
            .commands
            .iter()
            .filter(|command| device.invited_commands.contains(command));
        let invited: Vec<String> = invited.cloned().collect();
        if invited.is_empty() {
            return;
        }
        let before = self.nodes.book.approval(id).map(|known| &known.surface);
        let mut surface = before.cloned().unwrap_or_else(|| {
            // Whoever made the token approved of a node with these commands, whatever it has.
            let mut first = live.claim.clone();
            first.commands.clear();
            first
        });
        surface.commands.extend(invited);
        if before == Some(&surface) {
            return;
        }
        let mut entry = AuditEntry::new(now, "node.pair.auto", Verdict::Allowed);
        entry.device = Some(id.into());
        entry.subject = Some("commands of the join token".into());
        self.audit.record(&mut self.out.journal, now, entry);
        let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
        book.approve(journal, now.wall, id, surface);
    }

    /// Has somebody asked, if a node claims more than was approved.
    fn ask_for_surface(&mut self, now: Now, id: &str) {
        let Some(live) = self.nodes.live.get(id) else {
            return;
        };
        let approval = self.nodes.book.approval(id);
        if approval.is_some_and(|known| known.surface.covers(&live.claim)) {
            let answered = self.nodes.book.request_of(id);
            if let Some(request) = answered.map(|request| request.request_id.clone()) {
                let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
                book.drop_request(journal, &request);
                self.tell_surface(now, &request, id, "rejected");
            }
            return;
        }
        let is_silent = |device: &PairedDevice| device.approved_via == ApprovedVia::Silent;
        let prompt = if approval.is_none() && self.devices.get(id).is_some_and(is_silent) {
            Prompt::Silent
        } else {
            Prompt::Needed
        };
        let new = new_request(now, id, live.facts.clone(), live.claim.clone(), prompt);
        let (journal, rng) = (&mut self.out.journal, &mut self.rng);
        let (limit, there) = (self.setup.limits.max_node_requests, &self.nodes.live);
        let asked = self
            .nodes
            .book
            .ask(journal, rng, new, limit, |node| there.contains_key(node));
        match asked {
            Asked::New(request, replaced) => {
                for old in replaced {
                    self.tell_surface(now, &old.request_id, &old.node_id, "rejected");
                }
                self.tell_pairing("node.pair.requested", &super::approval::shown(&request));
            }
            Asked::Same => {}
            Asked::Full => {
                let mut entry = AuditEntry::new(now, "node.pair.request", Verdict::Denied);
                entry.reason = Some("too-many-requests".into());
                entry.device = Some(id.into());
                self.audit.record(&mut self.out.journal, now, entry);
            }
        }
    }
}

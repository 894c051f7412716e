//! Calls that wait for a piece of work of the host.

use std::time::Instant;

use super::{
    Effect, EffectOutcome, Gateway,
    calls::{ApprovalsCall, PendingCall, PendingTranscript, SecretsCall},
    channels::PartWaiter,
    clients::Conn,
};
use crate::{
    channel::AccountRef,
    ids::{ConnId, EffectId, RunId},
    policy::Whois,
    protocol::RpcError,
    server::Delivery,
    time::Now,
};

/// A call that waits for a piece of work.
#[derive(Debug)]
pub(super) enum Waiter {
    Approvals(Box<ApprovalsCall>),
    Call(PendingCall),
    /// A run whose agent has to know what was said before.
    History(RunId),
    /// An account that only one gateway of the machine may run.
    Lock(AccountRef),
    /// A part of a message that is a file.
    Part(PartWaiter),
    Secrets(SecretsCall),
    Transcript(Box<PendingTranscript>),
}

impl Waiter {
    /// Whether it ends with this connection.
    pub(super) fn is_of(&self, conn: ConnId) -> bool {
        match self {
            Self::Approvals(call) => call.conn == conn && call.ends_with_caller(),
            Self::Call(call) => call.conn == conn,
            Self::History(_) | Self::Lock(_) | Self::Part(_) => false,
            Self::Transcript(call) => call.conn == conn,
            Self::Secrets(call) => call.conn == conn && call.ends_with_caller(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) waiter: Waiter,
    pub(super) deadline: Instant,
}

impl Gateway {
    pub(super) fn wait_for(&mut self, now: Now, effect: Effect, waiter: Waiter) -> EffectId {
        let deadline = now.mono + self.setup.limits.effect;
        let id = self.out.effect(effect);
        self.pending.insert(id, Pending { waiter, deadline });
        id
    }

    /// Whether a call changes the shared secret at this moment.
    pub(super) fn is_changing_secrets(&self) -> bool {
        self.pending
            .values()
            .any(|pending| matches!(pending.waiter, Waiter::Secrets(_)))
    }

    pub(super) fn has_pending_calls(&self) -> bool {
        !self.pending.is_empty()
            || self.runs.running() > 0
            || self.out.is_waiting()
            || self.nodes.invokes.len() > 0
            || self.accounts.is_busy()
    }

    pub(super) fn fail_pending_calls(&mut self, message: &str) {
        self.dismiss_senders();
        for (_, Pending { waiter, .. }) in std::mem::take(&mut self.pending) {
            let (conn, id) = match waiter {
                Waiter::Approvals(call) => (call.conn, call.id),
                Waiter::Call(call) => (call.conn, call.id),
                // The next start finds it unfinished.
                Waiter::History(_) | Waiter::Lock(_) | Waiter::Part(_) => continue,
                Waiter::Transcript(call) => (call.conn, call.id),
                Waiter::Secrets(call) => (call.conn, call.id),
            };
            let outcome = Err(RpcError::retry_later(message, 1_000));
            self.deliver(conn, Delivery::Response { id, outcome });
        }
    }

    /// Whoever waits for an effect goes on with its outcome.
    pub(super) fn go_on(&mut self, now: Now, effect: EffectId, outcome: EffectOutcome) {
        match self.pending.remove(&effect).map(|pending| pending.waiter) {
            Some(Waiter::Approvals(call)) => return self.approvals_file_done(now, *call, outcome),
            Some(Waiter::Call(call)) => return self.resume(now, call, outcome),
            Some(Waiter::History(run)) => return self.history_ready(now, &run, effect, outcome),
            Some(Waiter::Lock(account)) => return self.lock_done(now, &account, outcome),
            Some(Waiter::Part(part)) => {
                self.part_read(now, part, outcome);
                return self.drive_channels(now);
            }
            Some(Waiter::Secrets(call)) => return self.secrets_done(now, call, outcome),
            Some(Waiter::Transcript(call)) => return self.transcript_ready(now, *call, outcome),
            None => {}
        }
        let whois = match outcome {
            EffectOutcome::Whois(whois) => whois,
            EffectOutcome::Config(_)
            | EffectOutcome::Done
            | EffectOutcome::ExecApprovals(_)
            | EffectOutcome::Failed(_)
            | EffectOutcome::Log(_)
            | EffectOutcome::Process(_)
            | EffectOutcome::Secrets(_)
            | EffectOutcome::Transcript(_) => Whois::Unknown,
        };
        let waiting = self.whois.answered(now.mono, effect, &whois);
        for (conn, request) in waiting.into_iter().flatten() {
            if matches!(self.conns.get(&conn), Some(Conn::Opened(_))) {
                self.conclude(now, conn, &request, &whois);
            }
        }
    }

    pub(super) fn expire_effects(&mut self, now: Now) {
        let late: Vec<EffectId> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.deadline <= now.mono)
            .map(|(id, _)| *id)
            .chain(self.whois.late(now.mono))
            .collect();
        for id in late {
            let outcome = EffectOutcome::Failed("the host took too long".into());
            self.go_on(now, id, outcome);
        }
        self.finish_drain(now);
    }
}

//! What the gateway does by itself when its time has come.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    Gateway, Phase,
    audit::{AuditEntry, Verdict},
    devices::Resolution,
};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson, StateVersion},
    scope::Scope,
    server::Delivery,
    time::Now,
};

/// Time for which presence changes are gathered into one event, so that a thousand clients that
/// come at once cause a few events and not a thousand.
const PRESENCE_PAUSE: Duration = Duration::from_millis(100);

/// How often the health payload is renewed (spec protocol §5.2).
pub(super) const HEALTH_INTERVAL: Duration = Duration::from_secs(60);

/// Why the gateway wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// An approval ends without a decision.
    Approval,
    /// A channel wants to go on, or something that waits is due.
    Channel,
    /// The drain has taken long enough.
    Drain,
    /// An effect took too long.
    Effect,
    /// Health is to be renewed.
    Health,
    /// A refusal was held back long enough.
    LateRefusal,
    /// A call of a node is late, or is to be sent again.
    NodeInvoke,
    /// A pairing request ends without an answer.
    PairRequest,
    /// A request over HTTP waits too long for its answer.
    Post,
    /// Presence changed and is to be told.
    Presence,
    /// A presence row has run out.
    PresenceExpiry,
    /// A replaced secret ends.
    RetiredSecret,
    /// Runs of before have to be looked at.
    Recover,
    /// Something about runs is due.
    Run,
    /// The agent wants to go on.
    Agent,
    /// A `tick` is due.
    Tick,
}

impl Gateway {
    /// Acts on every timer that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.assert_drained();
        while let Some(timer) = self.poll_timeout().filter(|(at, _)| *at <= now.mono) {
            match timer.1 {
                Timer::Approval => self.expire_approvals(now),
                Timer::Drain => self.finish_drain(now),
                Timer::Effect => self.expire_effects(now),
                Timer::Health => {
                    self.timers.arm(Timer::Health, now.mono + HEALTH_INTERVAL);
                    self.try_the_disk_again(now);
                    self.refresh_health(now);
                }
                Timer::LateRefusal => self.refuse_late(now),
                Timer::NodeInvoke => self.run_due_invokes(now),
                Timer::PairRequest => {
                    let ended = self.devices.expire(&mut self.out.journal, now.mono);
                    for request in ended {
                        self.resolve(now, &request, Resolution::Expired);
                    }
                }
                Timer::Post => self.expire_posts(now),
                Timer::Presence => {
                    self.timers.disarm(Timer::Presence);
                    self.tell_presence();
                }
                Timer::PresenceExpiry => {
                    if self.presence.expire(now.mono) {
                        self.presence_changed(now);
                    }
                }
                Timer::Agent => {
                    self.agent.handle_timeout(now);
                    self.drive_agent(now);
                }
                Timer::Channel => self.expire_channels(now),
                Timer::Recover => self.recover(now),
                Timer::Run => self.expire_runs(now),
                Timer::RetiredSecret => self.expire_secrets(now),
                Timer::Tick => {
                    self.events.age(now.mono, self.setup.limits.resume_age);
                    self.timers
                        .arm(Timer::Tick, now.mono + self.setup.limits.tick_interval);
                    if let Ok(payload) = RawJson::encode(&json!({ "ts": now.wall })) {
                        let event = OutboundEvent::new("tick", &payload, None, Droppable::Never);
                        self.broadcast_once(&event, None);
                    }
                }
            }
        }
        self.end_input(now);
    }

    /// What was left by the last run, or by a disk that took nothing, goes on.
    pub(super) fn recover(&mut self, now: Now) {
        if self.phase != Phase::Running || self.health.store_fails() {
            return;
        }
        if self.runs.is_to_recover() {
            self.recover_runs(now);
        }
        if self.channels.is_to_recover() {
            self.recover_channels(now);
        }
    }

    fn refuse_late(&mut self, now: Now) {
        while let Some(first) = self.late.first_entry()
            && first.key().0 <= now.mono
        {
            let ((_, conn), refusal) = first.remove_entry();
            self.deliver(conn, Delivery::Refuse(refusal));
        }
    }

    /// A gateway that changes nothing would never notice that there is room again.
    fn try_the_disk_again(&mut self, now: Now) {
        if self.health.store_fails() {
            let entry = AuditEntry::new(now, "state.retry", Verdict::Allowed);
            self.audit.record(&mut self.out.journal, now, entry);
        }
    }

    pub(super) fn refresh_health(&mut self, now: Now) {
        let channels = self.channel_health();
        self.health
            .refresh(now, &self.setup.host, &self.sessions, channels);
        let payload = self.health.payload();
        let version = Some(self.state_version());
        let event = OutboundEvent::new("health", &payload, version, Droppable::IfSlow);
        self.broadcast_once(&event, None);
    }

    pub(super) fn presence_changed(&mut self, now: Now) {
        if !self.timers.is_armed(Timer::Presence) {
            self.timers.arm(Timer::Presence, now.mono + PRESENCE_PAUSE);
        }
    }

    pub(super) fn state_version(&self) -> StateVersion {
        StateVersion {
            presence: self.presence.version(),
            health: self.health.version(),
        }
    }

    fn tell_presence(&mut self) {
        let payload = RawJson::encode(&json!({ "presence": self.presence.entries() }));
        if let Ok(payload) = payload {
            let version = Some(self.state_version());
            let event = OutboundEvent::new("presence", &payload, version, Droppable::IfSlow);
            self.broadcast_once(&event, Some(Scope::Read));
        }
    }

    /// When to call [`Gateway::handle_timeout`], and what for. It may change with every input.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let drain = match &self.phase {
            Phase::Draining { deadline, .. } => Some((*deadline, Timer::Drain)),
            Phase::Running | Phase::Stopped => None,
        };
        // Every effect gets the same time, so the oldest is the first that is late.
        let effect = self
            .pending
            .values()
            .next()
            .map(|pending| pending.deadline)
            .into_iter()
            .chain(self.whois.deadline())
            .min()
            .map(|at| (at, Timer::Effect));
        let presence = self
            .presence
            .next_expiry()
            .map(|at| (at, Timer::PresenceExpiry));
        let late = self.late.first_key_value();
        let late = late.map(|((at, _), _)| (*at, Timer::LateRefusal));
        let request = self.devices.next_end().map(|at| (at, Timer::PairRequest));
        let retired = self
            .rotation
            .next_end()
            .map(|at| (at, Timer::RetiredSecret));
        let invoke = self
            .nodes
            .invokes
            .next_wake()
            .map(|at| (at, Timer::NodeInvoke));
        let approval = self.approvals.next_end().map(|at| (at, Timer::Approval));
        let run = self.runs.next_deadline().map(|at| (at, Timer::Run));
        let agent = self.agent.poll_timeout().map(|at| (at, Timer::Agent));
        let channel = self.accounts.next_deadline();
        let channel = channel.map(|at| (at, Timer::Channel));
        let post = self.posts.next_deadline().map(|at| (at, Timer::Post));
        let to_recover = self.runs.is_to_recover() || self.channels.is_to_recover();
        let recover = (to_recover && !self.health.store_fails() && self.phase == Phase::Running)
            .then_some((self.started, Timer::Recover));
        let own = [
            drain, effect, presence, late, request, retired, invoke, approval, run, agent, channel,
            post, recover,
        ];
        own.into_iter()
            .chain([self.timers.next()])
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

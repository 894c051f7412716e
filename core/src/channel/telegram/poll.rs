//! Listening: who the bot is, then one long poll after the other, and what to do when one goes wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    api::{Answer, ApiRefusal, Bounds, Exchange, Outcome, SMALL},
    receive::{Me, read_update},
    shared::Shared,
};
use crate::{
    channel::{ChannelJob, ChannelOutput, ChannelStatus, Link, Room},
    job::JobEvent,
    time::{Now, WallTime},
};

/// Time for which the API holds a poll when there is nothing to tell.
const POLL: Duration = Duration::from_secs(25);
/// Time for which an answer may be overdue, or silent in its middle.
const GRACE: Duration = Duration::from_secs(15);
/// Time for the body of one answer.
const BODY: Duration = Duration::from_secs(60);
/// Updates in one answer, at most; the API gives no more.
const MAX_LIMIT: u64 = 100;
/// Bytes of one answer.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// An id that is this far behind is no repeated one: the API begins a new row of ids after a week in
/// which nothing happened.
const NEW_ROW: i64 = 10_000;

/// The listening part of an account.
#[derive(Debug, Default)]
pub(super) struct Poller {
    phase: Phase,
    /// The id of the next update.
    offset: Option<i64>,
    /// Updates that are asked for at once; fewer when an answer did not come through.
    limit: u64,
    /// Failures in a row.
    failures: u32,
    full: bool,
    /// Whether a webhook was just removed.
    webhook_removed: bool,
    me: Option<Me>,
    link: Link,
    problem: Option<String>,
    last_contact: Option<WallTime>,
    restarts: u32,
}

#[derive(Debug, Default)]
enum Phase {
    /// Not running, or of no use: the status says which.
    #[default]
    Off,
    /// Waiting for an answer.
    Asking {
        step: Step,
        job: ChannelJob,
        exchange: Exchange,
        /// How long this answer may be silent.
        patience: Duration,
        /// When it has been silent for too long.
        silent: Instant,
        /// When its body has taken too long.
        whole: Option<Instant>,
    },
    /// Waiting for the time of the next try.
    Pausing { step: Step, until: Instant },
    /// Waiting for room.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// `getMe`.
    Me,
    /// `deleteWebhook`.
    Webhook,
    /// `getUpdates`.
    Updates,
}

impl Poller {
    pub(super) fn start(&mut self, shared: &mut Shared, now: Now, cursor: Option<&str>) {
        self.end_job(shared);
        self.offset = cursor.and_then(|cursor| cursor.parse().ok());
        self.limit = MAX_LIMIT;
        self.failures = 0;
        if self.link != Link::Connected {
            self.set(shared, Link::Connecting, None);
        }
        if self.me.is_some() && self.link == Link::Connected {
            self.next_poll(shared, now);
        } else {
            self.ask(shared, now, Step::Me);
        }
    }

    pub(super) fn stop(&mut self, shared: &mut Shared) {
        self.end_job(shared);
        self.set(shared, Link::Stopped, None);
    }

    pub(super) fn room(&mut self, shared: &mut Shared, now: Now, room: Room) {
        self.full = room == Room::Full;
        if !self.full && matches!(self.phase, Phase::Held) {
            self.ask(shared, now, Step::Updates);
        }
    }

    /// Whether a job is this part's.
    pub(super) fn owns(&self, id: ChannelJob) -> bool {
        matches!(&self.phase, Phase::Asking { job, .. } if *job == id)
    }

    /// Takes an event of its job.
    pub(super) fn handle_job(&mut self, shared: &mut Shared, now: Now, event: JobEvent) {
        let Phase::Asking {
            step,
            exchange,
            patience,
            silent,
            whole,
            ..
        } = &mut self.phase
        else {
            return;
        };
        let step = *step;
        *silent = now.mono + *patience;
        if let Some(outcome) = exchange.handle(event) {
            self.phase = Phase::Off;
            self.settle(shared, now, step, outcome);
            return;
        }
        if exchange.has_begun() && whole.is_none() {
            *whole = Some(now.mono + BODY);
        }
        if exchange.len() > MAX_BODY {
            self.end_job(shared);
            self.limit = (self.limit / 2).max(1);
            let why = "the answer is longer than 8 MB".to_owned();
            self.fail(shared, now, step, None, why);
        }
    }

    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Now) {
        match &self.phase {
            Phase::Asking {
                step,
                silent,
                whole,
                ..
            } => {
                let step = *step;
                let slow = whole.is_some_and(|whole| whole <= now.mono);
                if !slow && *silent > now.mono {
                    return;
                }
                self.end_job(shared);
                self.restarts += 1;
                self.failures += 1;
                let host = shared.api.host();
                let what = if slow {
                    format!("an answer of {host} took more than a minute")
                } else {
                    format!("{host} went silent")
                };
                let words = format!(
                    "{what}, so the poll was begun again; if this comes back, look at the network"
                );
                self.set(shared, Link::Failing, Some(words));
                // `restarts` has changed, even if the words have not.
                shared.outputs.push_back(ChannelOutput::Status);
                self.ask(shared, now, step);
            }
            Phase::Pausing { step, until } if *until <= now.mono => {
                let step = *step;
                self.ask(shared, now, step);
            }
            Phase::Off | Phase::Pausing { .. } | Phase::Held => {}
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Asking { silent, whole, .. } => {
                Some(whole.map_or(*silent, |whole| whole.min(*silent)))
            }
            Phase::Pausing { until, .. } => Some(*until),
            Phase::Off | Phase::Held => None,
        }
    }

    pub(super) fn status(&self) -> ChannelStatus {
        ChannelStatus {
            link: self.link,
            name: self.me.as_ref().map(Me::shown),
            problem: self.problem.clone(),
            last_contact: self.last_contact,
            restarts: self.restarts,
        }
    }

    fn next_poll(&mut self, shared: &mut Shared, now: Now) {
        if self.full {
            self.phase = Phase::Held;
        } else {
            self.ask(shared, now, Step::Updates);
        }
    }

    fn ask(&mut self, shared: &mut Shared, now: Now, step: Step) {
        if step == Step::Updates && self.full {
            self.phase = Phase::Held;
            return;
        }
        let (method, params, patience, max_body) = match step {
            Step::Me => ("getMe", json!({}), GRACE, SMALL),
            Step::Webhook => {
                let params = json!({ "drop_pending_updates": false });
                ("deleteWebhook", params, GRACE, SMALL)
            }
            Step::Updates => {
                // The first poll comes back at once, so that what is wrong shows at once.
                let poll = match self.link {
                    Link::Connected => POLL,
                    Link::Stopped | Link::Connecting | Link::Failing | Link::Blocked => {
                        Duration::ZERO
                    }
                };
                let mut params = json!({
                    "timeout": poll.as_secs(),
                    "limit": self.limit,
                    "allowed_updates": ["message", "edited_message"],
                });
                if let (Some(offset), Some(params)) = (self.offset, params.as_object_mut()) {
                    params.insert("offset".to_owned(), json!(offset));
                }
                ("getUpdates", params, poll + GRACE, MAX_BODY)
            }
        };
        let bounds = Bounds {
            // This part has its own, shorter patience.
            idle: patience + GRACE,
            max_body: max_body + 1,
        };
        let spec = shared.api.call(method, &params, bounds);
        self.phase = Phase::Asking {
            step,
            job: shared.start_job(spec),
            exchange: Exchange::default(),
            patience,
            silent: now.mono + patience,
            whole: None,
        };
    }

    fn settle(&mut self, shared: &mut Shared, now: Now, step: Step, outcome: Outcome) {
        if let Outcome::Whole(..) = outcome {
            self.last_contact = Some(now.wall);
        }
        let answer = shared.api.read(outcome);
        match (step, answer) {
            (Step::Me, Answer::Done(result)) => match Me::read(&result) {
                Some(me) => {
                    self.me = Some(me);
                    self.next_poll(shared, now);
                }
                None => {
                    let why = "its answer to getMe names no bot".to_owned();
                    self.fail(shared, now, step, None, why);
                }
            },
            (Step::Webhook, Answer::Done(_)) => {
                self.webhook_removed = true;
                self.next_poll(shared, now);
            }
            (Step::Updates, Answer::Done(Value::Array(updates))) => {
                self.take(shared, now, &updates);
            }
            (Step::Updates, Answer::Done(_)) => {
                let why = "its answer is not a list of updates".to_owned();
                self.fail(shared, now, step, None, why);
            }
            (_, Answer::Refused(refusal)) => self.refused(shared, now, step, refusal),
            (_, Answer::Garbled(why)) => {
                // Perhaps there was too much in it.
                self.limit = (self.limit / 2).max(1);
                self.fail(shared, now, step, None, why);
            }
            (_, Answer::Lost { why, .. }) => self.fail(shared, now, step, None, why),
        }
    }

    fn refused(&mut self, shared: &mut Shared, now: Now, step: Step, refusal: ApiRefusal) {
        if refusal.is_token() {
            self.me = None;
            self.phase = Phase::Off;
            let words = format!(
                "{} does not know the bot token ({}); get a new one from @BotFather, put it where \
                 botToken says, and run `clawgate secrets reload` (`clawgate channels start telegram` \
                 tries the old one again)",
                shared.api.host(),
                refusal.description
            );
            self.set(shared, Link::Blocked, Some(words));
            return;
        }
        if refusal.code == 409 {
            let webhook = refusal.description.to_lowercase().contains("webhook");
            if webhook && !self.webhook_removed {
                let words =
                    "a webhook takes this bot's messages; it is being removed, so that they \
                             can be polled"
                        .to_owned();
                self.set(shared, Link::Failing, Some(words));
                return self.ask(shared, now, Step::Webhook);
            }
            self.webhook_removed = false;
            let words = if webhook {
                "a webhook takes this bot's messages and was set again after its removal; stop the \
                 program that sets it, or make a new token with @BotFather"
            } else {
                "another program polls with this bot token; stop it, or make a new token with \
                 @BotFather and run `clawgate secrets reload`"
            };
            return self.pause(shared, now, step, None, words.to_owned());
        }
        let why = format!("{} ({})", refusal.description, refusal.code);
        self.fail(shared, now, step, refusal.retry_after, why);
    }

    /// Something that may be over by the next try.
    fn fail(
        &mut self,
        shared: &mut Shared,
        now: Now,
        step: Step,
        wait: Option<Duration>,
        why: String,
    ) {
        let words = match wait {
            Some(wait) => format!(
                "{} asks to wait for {} s: {why}",
                shared.api.host(),
                wait.as_secs()
            ),
            None => format!("{} cannot be used for now: {why}", shared.api.host()),
        };
        self.pause(shared, now, step, wait, words);
    }

    fn pause(
        &mut self,
        shared: &mut Shared,
        now: Now,
        step: Step,
        wait: Option<Duration>,
        words: String,
    ) {
        self.failures = self.failures.saturating_add(1);
        let pause = shared.pause(self.failures);
        self.phase = Phase::Pausing {
            step,
            until: now.mono + wait.unwrap_or(pause),
        };
        self.set(shared, Link::Failing, Some(words));
    }

    /// Updates, in their order. Each counts as seen, understood or not.
    fn take(&mut self, shared: &mut Shared, now: Now, updates: &[Value]) {
        self.failures = 0;
        self.webhook_removed = false;
        self.limit = (self.limit * 2).clamp(1, MAX_LIMIT);
        self.set(shared, Link::Connected, None);
        let mut known: Vec<(i64, &Value)> = updates
            .iter()
            .filter_map(|update| Some((update.get("update_id")?.as_i64()?, update)))
            .collect();
        known.sort_by_key(|(id, _)| *id);
        known.dedup_by_key(|(id, _)| *id);
        let newest = known.last().map(|(id, _)| *id);
        if let (Some(offset), Some(newest)) = (self.offset, newest)
            && newest >= offset.saturating_sub(NEW_ROW)
        {
            known.retain(|(id, _)| *id >= offset);
        }
        if let (false, Some(me), Some((last, _))) = (known.is_empty(), &self.me, known.last()) {
            let next = last.saturating_add(1);
            let account = &shared.account;
            let messages = known
                .iter()
                .filter_map(|(_, update)| read_update(account, me, update))
                .collect();
            self.offset = Some(next);
            shared.outputs.push_back(ChannelOutput::Received {
                cursor: Some(next.to_string()),
                messages,
            });
        } else if !updates.is_empty() {
            // It gives the same again and again; asking at once would not end.
            self.phase = Phase::Pausing {
                step: Step::Updates,
                until: now.mono + shared.pause(1),
            };
            return;
        }
        self.next_poll(shared, now);
    }

    fn end_job(&mut self, shared: &mut Shared) {
        if let Phase::Asking { job, .. } = std::mem::take(&mut self.phase) {
            shared.stop_job(job);
        }
    }

    fn set(&mut self, shared: &mut Shared, link: Link, problem: Option<String>) {
        if self.link != link || self.problem != problem {
            self.link = link;
            self.problem = problem;
            shared.outputs.push_back(ChannelOutput::Status);
        }
    }
}

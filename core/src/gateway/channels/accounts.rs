//! Starting, stopping and driving the channels.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use super::{MessageId, PartBody, inbound::Fetching, senders::Senders};
use crate::{
    channel::{
        Account, AccountRef, ChannelJob, ChannelOutput, ChannelStatus, Channels, Errand, Link,
        Outgoing, Place, Post, Room,
    },
    gateway::{Effect, EffectOutcome, Gateway, Phase, waiting::Waiter},
    ids::{EffectId, RunId},
    job::{JobEvent, JobFailure, Reached},
    store::CommitId,
    time::Now,
};

/// The time after which a lock that another process holds is tried again.
const LOCK_PAUSE: Duration = Duration::from_secs(30);

/// Every account of the config, as it runs.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Accounts {
    pub(super) all: BTreeMap<AccountRef, Running>,
    /// Those that are meant where only their channel is named.
    pub(super) mains: BTreeSet<AccountRef>,
    jobs: BTreeMap<EffectId, (AccountRef, ChannelJob)>,
    /// Accounts that may have something to say.
    touched: VecDeque<AccountRef>,
    pub(super) errands: BTreeMap<Errand, Use>,
    last_errand: u64,
    /// Files that are fetched for messages that wait.
    pub(super) fetching: BTreeMap<Place, Fetching>,
    /// What is under way to the services, one part in each place.
    pub(super) under_way: BTreeMap<Place, UnderWay>,
    /// Attempts that are made as soon as they are on disk.
    pub(super) saving: VecDeque<(CommitId, MessageId, usize, Outgoing)>,
    /// Places whose next part has to wait, and until when.
    pub(super) pauses: BTreeMap<Place, Pause>,
    /// How often in a row a part of a place was not sent.
    pub(super) tries: BTreeMap<Place, u32>,
    /// Places whose next message has to wait for room in its session.
    pub(super) inbox_pauses: BTreeMap<Place, Pause>,
    /// Places that were told that they say too much.
    pub(super) turned_away: BTreeSet<Place>,
    /// Calls of `send` that wait until their message is sent.
    pub(in crate::gateway) senders: Senders,
    /// Files that nodes gave to runs under way.
    pub(super) files: BTreeMap<RunId, Vec<PartBody>>,
    pub(super) room: Option<Room>,
}

/// What an errand is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A part of a message.
    Send(MessageId, usize),
    /// A file of the next message of this place.
    Fetch(Place, MessageId),
}

/// How far a part is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// Its file is being read.
    Reading(MessageId),
    /// The attempt is being put on disk.
    Saving(MessageId, usize),
    /// The channel has it.
    Sending(MessageId, usize),
}

impl UnderWay {
    /// Whether the attempt at this part goes on.
    pub(super) fn is_of(&self, id: &MessageId, part: usize) -> bool {
        match self {
            Self::Reading(_) => false,
            Self::Saving(known, number) | Self::Sending(known, number) => {
                known == id && *number == part
            }
        }
    }
}

/// Until when a place waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) until: Instant,
}

/// An account as it runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) account: Account,
    pub(super) state: State,
    jobs: BTreeMap<ChannelJob, EffectId>,
    /// What was last told of it.
    told: Option<(Link, Option<String>, Option<String>)>,
}

/// Whether an account runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Off,
    /// It waits for the host's word that nobody else holds its lock.
    Locking,
    /// Somebody else does: as the host says it.
    Locked {
        why: String,
        retry_at: Instant,
    },
    On,
}

impl Running {
    fn new(account: Account) -> Self {
        Self {
            account,
            state: State::Off,
            jobs: BTreeMap::new(),
            told: None,
        }
    }

    /// How it fares, with what the gateway knows beside the channel.
    pub(super) fn status(&self) -> ChannelStatus {
        let stuck = |link, why: &String| ChannelStatus {
            link,
            problem: Some(why.clone()),
            ..ChannelStatus::default()
        };
        match (&self.account.machine, &self.state) {
            (Err(why), _) => stuck(Link::Blocked, why),
            (Ok(_), State::Locked { why, .. }) => stuck(Link::Failing, why),
            (Ok(machine), State::On) => machine.status(),
            (Ok(machine), State::Off | State::Locking) => ChannelStatus {
                link: if self.state == State::Off {
                    Link::Stopped
                } else {
                    Link::Connecting
                },
                ..machine.status()
            },
        }
    }
}

impl Accounts {
    pub(super) fn next_errand(&mut self, what: Use) -> Errand {
        self.last_errand += 1;
        let errand = Errand(self.last_errand);
        self.errands.insert(errand, what);
        errand
    }

    /// Whether anything is under way that a stop would leave uncertain.
    pub(in crate::gateway) fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Jobs of accounts that are under way.
    pub(in crate::gateway) fn jobs_under_way(&self) -> usize {
        self.jobs.len()
    }

    /// The first deadline of all accounts.
    pub(in crate::gateway) fn next_deadline(&self) -> Option<Instant> {
        let machines = self.all.values().filter_map(|running| {
            let machine = running.account.machine.as_ref().ok()?;
            let locked = match &running.state {
                State::Locked { retry_at, .. } => Some(*retry_at),
                State::On => machine.poll_timeout(),
                State::Off | State::Locking => None,
            };
            locked.into_iter().min()
        });
        let pauses = self.pauses.values().chain(self.inbox_pauses.values());
        let pauses = pauses.map(|pause| pause.until);
        let senders = self.senders.next_deadline();
        machines.chain(pauses).chain(senders).min()
    }
}

impl Gateway {
    /// Listens to these accounts. Call it before the first input.
    #[must_use]
    pub fn with_channels(mut self, channels: Channels) -> Self {
        self.accounts.mains = channels.mains();
        let accounts = channels.into_accounts().into_iter();
        self.accounts.all = accounts
            .map(|(name, account)| (name, Running::new(account)))
            .collect();
        self.channels.to_recover = true;
        self
    }

    /// Takes up another state of the channels' config, as after a change of their credentials. Accounts
    /// that have not changed go on undisturbed.
    pub fn take_up_channels(&mut self, now: Now, newer: Channels) {
        self.assert_drained();
        self.accounts.mains = newer.mains();
        let mut newer = newer.into_accounts();
        let known: Vec<AccountRef> = self.accounts.all.keys().cloned().collect();
        for name in known {
            let same = |running: &Running| {
                newer
                    .get(&name)
                    .is_some_and(|account| account.digest == running.account.digest)
            };
            if self.accounts.all.get(&name).is_some_and(same) {
                newer.remove(&name);
                continue;
            }
            self.halt_account(now, &name);
            self.accounts.all.remove(&name);
        }
        for (name, account) in newer {
            self.accounts
                .all
                .insert(name.clone(), Running::new(account));
            self.begin_account(now, &name);
        }
        self.drive_channels(now);
        self.refresh_health(now);
        self.end_input(now);
    }

    /// Starts an account, unless it runs, is off, or cannot run.
    pub(super) fn begin_account(&mut self, now: Now, name: &AccountRef) {
        let stopped = self
            .channels
            .account(name)
            .is_some_and(|record| record.stopped);
        let Some(running) = self.accounts.all.get_mut(name) else {
            return;
        };
        let is_off = matches!(running.state, State::Off | State::Locked { .. });
        if !is_off || stopped || !running.account.enabled || running.account.machine.is_err() {
            return;
        }
        match running.account.lock.clone() {
            None => self.run_account(now, name),
            Some(lock) => {
                running.state = State::Locking;
                self.wait_for(now, Effect::HoldLock(lock), Waiter::Lock(name.clone()));
            }
        }
    }

    /// The host holds the lock of an account, or somebody else does.
    pub(in crate::gateway) fn lock_done(
        &mut self,
        now: Now,
        name: &AccountRef,
        outcome: EffectOutcome,
    ) {
        let Some(running) = self.accounts.all.get_mut(name) else {
            return;
        };
        if running.state != State::Locking {
            return;
        }
        match outcome {
            EffectOutcome::Done => self.run_account(now, name),
            EffectOutcome::Failed(why) => {
                let retry_at = now.mono + LOCK_PAUSE;
                running.state = State::Locked { why, retry_at };
                self.tell_accounts(now);
            }
            EffectOutcome::Config(_)
            | EffectOutcome::ExecApprovals(_)
            | EffectOutcome::Log(_)
            | EffectOutcome::Process(_)
            | EffectOutcome::Secrets(_)
            | EffectOutcome::Transcript(_)
            | EffectOutcome::Whois(_) => running.state = State::Off,
        }
        self.drive_channels(now);
    }

    pub(super) fn run_account(&mut self, now: Now, name: &AccountRef) {
        let cursor = self
            .channels
            .account(name)
            .and_then(|record| record.cursor.clone());
        let room = self.room_now();
        let Some(running) = self.accounts.all.get_mut(name) else {
            return;
        };
        if let Ok(machine) = &mut running.account.machine {
            running.state = State::On;
            machine.room(now, room);
            machine.start(now, cursor.as_deref());
            self.accounts.touched.push_back(name.clone());
        }
        let places = self.channels.places();
        for place in places.iter().filter(|place| place.account == *name) {
            self.send_next(now, place);
            self.start_inbox(now, place);
        }
    }

    /// Ends what an account does. Parts that were under way are uncertain.
    pub(in crate::gateway) fn halt_account(&mut self, now: Now, name: &AccountRef) {
        let Some(running) = self.accounts.all.get_mut(name) else {
            return;
        };
        let was = std::mem::replace(&mut running.state, State::Off);
        if let (State::On, Ok(machine)) = (&was, &mut running.account.machine) {
            machine.stop(now);
            self.accounts.touched.push_back(name.clone());
        }
        if let Some(lock) = running.account.lock.clone()
            && matches!(was, State::On | State::Locking)
        {
            self.out.effect(Effect::ReleaseLock(lock));
        }
        self.drive_channels(now);
        let jobs = match self.accounts.all.get_mut(name) {
            Some(running) => std::mem::take(&mut running.jobs),
            None => BTreeMap::new(),
        };
        for effect in jobs.into_values() {
            if self.accounts.jobs.remove(&effect).is_some() {
                self.out.effect(Effect::StopJob(effect));
            }
        }
        let channels = &self.channels;
        let of_account = |what: &Use| match what {
            Use::Send(id, _) => channels
                .get(id)
                .is_some_and(|record| record.place.account == *name),
            Use::Fetch(place, _) => place.account == *name,
        };
        let lost: Vec<Errand> = self
            .accounts
            .errands
            .iter()
            .filter(|(_, what)| of_account(what))
            .map(|(errand, _)| *errand)
            .collect();
        for errand in lost {
            if let Some(Use::Send(id, part)) = self.accounts.errands.remove(&errand) {
                self.part_is_uncertain(now, &id, part, "the channel was stopped meanwhile");
            }
        }
        self.accounts
            .fetching
            .retain(|place, _| place.account != *name);
        self.accounts
            .pauses
            .retain(|place, _| place.account != *name);
        self.tell_accounts(now);
    }

    /// Ends all accounts, as the gateway itself ends.
    pub(in crate::gateway) fn halt_channels(&mut self, now: Now) {
        let names: Vec<AccountRef> = self.accounts.all.keys().cloned().collect();
        for name in names {
            self.halt_account(now, &name);
        }
    }

    /// An account's machine, while it runs.
    pub(super) fn touch_machine(
        &mut self,
        name: &AccountRef,
    ) -> Option<&mut Box<dyn crate::channel::Channel>> {
        let running = self.accounts.all.get_mut(name)?;
        if running.state != State::On {
            return None;
        }
        self.accounts.touched.push_back(name.clone());
        running.account.machine.as_mut().ok()
    }

    /// Whether an account runs.
    pub(super) fn is_on(&self, name: &AccountRef) -> bool {
        let running = self.accounts.all.get(name);
        running.is_some_and(|running| running.state == State::On)
    }

    /// Whether the path of an account is there, so that requests may come to it.
    pub(in crate::gateway) fn takes_posts(&self, name: &AccountRef) -> bool {
        let machine = self.accounts.all.get(name);
        let machine = machine.and_then(|running| running.account.machine.as_ref().ok());
        machine.is_some_and(|machine| machine.takes_posts())
    }

    /// A request came to the path of an account. Gives whether it takes such.
    pub(in crate::gateway) fn channel_post(
        &mut self,
        now: Now,
        name: &AccountRef,
        post: Post,
    ) -> bool {
        let taken = self
            .touch_machine(name)
            .is_some_and(|machine| machine.post(now, post));
        self.drive_channels(now);
        taken
    }

    /// Something came of a job. Gives whether it is a channel's.
    pub(in crate::gateway) fn channel_job(
        &mut self,
        now: Now,
        effect: EffectId,
        event: &JobEvent,
    ) -> bool {
        let Some((name, job)) = self.accounts.jobs.get(&effect).cloned() else {
            return false;
        };
        if matches!(event, JobEvent::Ended(_) | JobEvent::Failed(_)) {
            self.accounts.jobs.remove(&effect);
            if let Some(running) = self.accounts.all.get_mut(&name) {
                running.jobs.remove(&job);
            }
        }
        if let Some(machine) = self.touch_machine(&name) {
            machine.handle_job(now, job, event.clone());
        }
        self.drive_channels(now);
        true
    }

    /// A job of a channel could not begin, since the disk did not take what came before it.
    pub(in crate::gateway) fn lose_channel_job(
        &mut self,
        now: Now,
        effect: EffectId,
        message: String,
    ) {
        let reached = Reached::No;
        let event = JobEvent::Failed(JobFailure { reached, message });
        self.channel_job(now, effect, &event);
    }

    /// Whether a job is a channel's.
    pub(in crate::gateway) fn is_channel_job(&self, effect: EffectId) -> bool {
        self.accounts.jobs.contains_key(&effect)
    }

    /// Acts on every deadline of the channels.
    pub(in crate::gateway) fn expire_channels(&mut self, now: Now) {
        self.expire_senders(now);
        let names: Vec<AccountRef> = self.accounts.all.keys().cloned().collect();
        for name in names {
            let Some(running) = self.accounts.all.get_mut(&name) else {
                continue;
            };
            match (&running.state, &mut running.account.machine) {
                (State::Locked { retry_at, .. }, _) if *retry_at <= now.mono => {
                    self.begin_account(now, &name);
                }
                (State::On, Ok(machine)) if due(machine.poll_timeout(), now) => {
                    machine.handle_timeout(now);
                    self.accounts.touched.push_back(name);
                }
                (State::On | State::Off | State::Locking | State::Locked { .. }, _) => {}
            }
        }
        let over = |pauses: &BTreeMap<Place, Pause>| -> Vec<Place> {
            let over = pauses.iter().filter(|(_, pause)| pause.until <= now.mono);
            over.map(|(place, _)| place.clone()).collect()
        };
        for place in over(&self.accounts.pauses) {
            self.end_pause(now, &place);
        }
        for place in over(&self.accounts.inbox_pauses) {
            self.accounts.inbox_pauses.remove(&place);
            self.start_inbox(now, &place);
        }
        self.drive_channels(now);
    }

    /// Carries out what channels want, until none of them wants anything more.
    pub(in crate::gateway) fn drive_channels(&mut self, now: Now) {
        while let Some(name) = self.accounts.touched.pop_front() {
            while let Some(output) = self.next_output(&name) {
                self.carry_out_for_channel(now, &name, output);
            }
        }
        self.settle_room(now);
    }

    fn next_output(&mut self, name: &AccountRef) -> Option<ChannelOutput> {
        let running = self.accounts.all.get_mut(name)?;
        running.account.machine.as_mut().ok()?.poll_output()
    }

    fn carry_out_for_channel(&mut self, now: Now, name: &AccountRef, output: ChannelOutput) {
        match output {
            ChannelOutput::StartJob(job, spec) => {
                // It may tell the service that what it gave is taken.
                self.out.lean_on(self.channels.unsettled_account(name));
                let effect = self.out.effect(Effect::StartJob(Box::new(spec)));
                self.accounts.jobs.insert(effect, (name.clone(), job));
                if let Some(running) = self.accounts.all.get_mut(name) {
                    running.jobs.insert(job, effect);
                }
            }
            ChannelOutput::StopJob(job) => {
                let running = self.accounts.all.get_mut(name);
                if let Some(effect) = running.and_then(|running| running.jobs.remove(&job)) {
                    self.accounts.jobs.remove(&effect);
                    self.out.effect(Effect::StopJob(effect));
                }
            }
            ChannelOutput::Received { cursor, messages } => {
                for message in messages {
                    self.hear(now, message);
                }
                if let Some(cursor) = cursor {
                    self.channels
                        .change_account(&mut self.out.journal, name, |record| {
                            record.cursor = Some(cursor);
                        });
                }
            }
            ChannelOutput::Sent(errand, outcome) => self.errand_sent(now, errand, outcome),
            ChannelOutput::Fetched(errand, file) => self.errand_fetched(now, errand, file),
            ChannelOutput::Answer(post, answer) => self.out.answer(post, answer),
            ChannelOutput::Status => self.tell_accounts(now),
        }
    }

    /// Health tells when an account begins to work, or stops to.
    pub(super) fn tell_accounts(&mut self, now: Now) {
        let mut news = false;
        for running in self.accounts.all.values_mut() {
            let ChannelStatus {
                link,
                name,
                problem,
                ..
            } = running.status();
            let told = Some((link, name, problem));
            news |= running.told != told;
            running.told = told;
        }
        if news {
            self.refresh_health(now);
        }
    }

    /// Whether more messages can be taken: not while the disk takes nothing, and not beyond a number.
    pub(super) fn room_now(&self) -> Room {
        let max = self.setup.limits.max_waiting_messages;
        let waiting = self.channels.waiting();
        let full = match self.accounts.room {
            Some(Room::Full) => waiting > max / 4 * 3,
            Some(Room::Free) | None => waiting >= max,
        };
        if full || self.health.store_fails() || self.phase != Phase::Running {
            Room::Full
        } else {
            Room::Free
        }
    }

    fn settle_room(&mut self, now: Now) {
        let room = self.room_now();
        if self.accounts.room == Some(room) {
            return;
        }
        self.accounts.room = Some(room);
        let names: Vec<AccountRef> = self.accounts.all.keys().cloned().collect();
        for name in names {
            if let Some(machine) = self.touch_machine(&name) {
                machine.room(now, room);
            }
        }
        while let Some(name) = self.accounts.touched.pop_front() {
            while let Some(output) = self.next_output(&name) {
                self.carry_out_for_channel(now, &name, output);
            }
        }
    }

    /// What the disk did not take did not happen: channels go back to where the disk is, and wait.
    pub(in crate::gateway) fn rewind_channels(&mut self, now: Now) {
        self.lose_senders();
        self.accounts.room = Some(Room::Full);
        let names: Vec<AccountRef> = self.accounts.all.keys().cloned().collect();
        for name in names {
            let kept = self.channels.account(&name);
            let cursor = kept.and_then(|record| record.cursor.clone());
            if let Some(machine) = self.touch_machine(&name) {
                machine.room(now, Room::Full);
                machine.start(now, cursor.as_deref());
            }
        }
        let channels = &self.channels;
        self.accounts
            .fetching
            .retain(|_, fetching| channels.get(&fetching.id).is_some());
    }

    /// After a start, and when a disk that took nothing does again.
    pub(in crate::gateway) fn recover_channels(&mut self, now: Now) {
        self.channels.to_recover = false;
        self.settle_parts(now);
        let names: Vec<AccountRef> = self.accounts.all.keys().cloned().collect();
        for name in &names {
            let kept = self.channels.account(name);
            if kept.is_some_and(|record| record.stopped) {
                // A start that the disk did not take was none.
                self.halt_account(now, name);
            } else {
                self.begin_account(now, name);
            }
        }
        for place in self.channels.places() {
            self.send_next(now, &place);
            self.start_inbox(now, &place);
        }
        self.drive_channels(now);
        self.tell_accounts(now);
    }
}

fn due(at: Option<Instant>, now: Now) -> bool {
    at.is_some_and(|at| at <= now.mono)
}

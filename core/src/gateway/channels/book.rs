//! All messages, accounts and senders that are kept, and who is next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::record::{AccountRecord, MessageId, MessageRecord, MessageState, SenderRecord, Way};
use crate::{
    channel::{AccountRef, ChatKind, Place, SendOutcome},
    device::DeviceIdentity,
    ids::RunId,
    store::{CommitId, Journal, Mirror, Row},
    time::{Now, WallTime},
};

/// Characters of a message that stay when it is over.
const KEPT_TEXT: usize = 300;

/// Everything that is kept for channels. The queues say what the records say.
#[derive(Debug, Default)]
pub(in crate::gateway) struct ChannelBook {
    messages: Mirror<MessageRecord>,
    pub(super) accounts: Mirror<AccountRecord>,
    pub(super) senders: Mirror<SenderRecord>,
    pub(super) queues: BTreeMap<Place, Queue>,
    /// What was heard, by account, chat and the service's own id.
    seen: BTreeMap<(AccountRef, String, String), MessageId>,
    by_run: BTreeMap<RunId, MessageId>,
    by_key: BTreeMap<String, MessageId>,
    /// Messages that are over, the oldest first.
    over: VecDeque<MessageId>,
    /// The same of which nobody knows whether they were delivered: they are somebody's to look at.
    uncertain: VecDeque<MessageId>,
    /// Messages that wait for an agent, in all places.
    waiting: usize,
    last_order: u64,
    /// What services answered and is not on disk yet.
    pub(super) unsettled: Vec<(CommitId, MessageId, usize, SendOutcome)>,
    /// The same, where the disk did not take it.
    pub(super) lost: Vec<(MessageId, usize, SendOutcome)>,
    /// Whether things of before a restart or a full disk have to be looked at.
    pub(super) to_recover: bool,
}

/// What waits in one place, by the records.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What an agent has to answer, the next one first.
    pub(super) inbox: VecDeque<MessageId>,
    /// What an agent works on.
    pub(super) running: Option<MessageId>,
    /// What is to be said, the next one first.
    pub(super) outbox: VecDeque<MessageId>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.running.is_none() && self.outbox.is_empty()
    }
}

/// A message that is new.
pub(super) struct Fresh<'a> {
    pub(super) place: &'a Place,
    pub(super) kind: ChatKind,
    pub(super) text: String,
    /// How it came to be, in words.
    pub(super) what: &'static str,
    pub(super) way: Way,
}

impl ChannelBook {
    /// Takes the rows of the last run. Gives the keys of those that cannot be read.
    pub(in crate::gateway) fn restore(rows: &[Row]) -> (Self, Vec<String>) {
        let (messages, mut unreadable) = Mirror::restore(rows);
        let (accounts, more) = Mirror::restore(rows);
        unreadable.extend(more);
        let (senders, more) = Mirror::restore(rows);
        unreadable.extend(more);
        let mut book = Self {
            messages,
            accounts,
            senders,
            to_recover: true,
            ..Self::default()
        };
        book.rebuild();
        (book, unreadable)
    }

    pub(in crate::gateway) fn get(&self, id: &MessageId) -> Option<&MessageRecord> {
        self.messages.get(id.as_str())
    }

    /// All messages, in no order that means anything.
    pub(in crate::gateway) fn messages(&self) -> impl Iterator<Item = &MessageRecord> {
        self.messages.values()
    }

    pub(in crate::gateway) fn senders(&self) -> impl Iterator<Item = &SenderRecord> {
        self.senders.values()
    }

    /// Messages that wait for an agent, in all places.
    pub(in crate::gateway) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Messages of an account that wait: for an agent, and for the service.
    pub(in crate::gateway) fn waiting_of(&self, account: &AccountRef) -> (usize, usize) {
        let of = |(place, queue): (&Place, &Queue)| {
            (place.account == *account).then_some((queue.inbox.len(), queue.outbox.len()))
        };
        self.queues
            .iter()
            .filter_map(of)
            .fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
    }

    /// Messages that are to be sent: in one place, and in all.
    pub(in crate::gateway) fn to_send(&self, place: &Place) -> (usize, usize) {
        let here = self.queues.get(place).map_or(0, |queue| queue.outbox.len());
        let everywhere = self.queues.values().map(|queue| queue.outbox.len()).sum();
        (here, everywhere)
    }

    /// Messages of an account that agents work on.
    pub(in crate::gateway) fn running_of(&self, account: &AccountRef) -> usize {
        let of = |(place, queue): &(&Place, &Queue)| {
            place.account == *account && queue.running.is_some()
        };
        self.queues.iter().filter(of).count()
    }

    /// Places of an account in which something waits.
    pub(in crate::gateway) fn places_of(&self, account: &AccountRef) -> usize {
        let places = self.queues.keys();
        places.filter(|place| place.account == *account).count()
    }

    /// Messages of an account that are not over.
    pub(super) fn waiting_records(&self, account: &AccountRef) -> Vec<&MessageRecord> {
        let all = self.messages.values();
        all.filter(|record| record.place.account == *account && !record.state.is_over())
            .collect()
    }

    /// A message that no session had room for waits at the head of its queue.
    pub(super) fn put_back(&mut self, journal: &mut Journal, id: &MessageId, wall: WallTime) {
        self.change(journal, id, |record| {
            record.state = MessageState::Received;
            record.hop(wall, "waits for room in its session");
            if let Some(inbound) = record.inbound_mut() {
                inbound.run = None;
            }
        });
        let Some(place) = self.get(id).map(|record| record.place.clone()) else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(&place)
            && let Some(last) = queue.inbox.pop_back()
        {
            queue.inbox.push_front(last);
        }
    }

    /// What names this state for the service: the same after each restart.
    pub(super) fn epoch(identity: &DeviceIdentity) -> String {
        identity.id().as_str().chars().take(12).collect()
    }

    /// The message that a run answers.
    pub(super) fn of_run(&self, run: &RunId) -> Option<&MessageId> {
        self.by_run.get(run)
    }

    /// The message that a `send` call asked for.
    pub(in crate::gateway) fn of_key(&self, key: &str) -> Option<&MessageRecord> {
        self.get(self.by_key.get(key)?)
    }

    /// The message that a service knows by this id.
    pub(super) fn known(&self, place: &Place, remote: &str) -> Option<&MessageRecord> {
        let key = (place.account.clone(), place.chat.clone(), remote.to_owned());
        self.get(self.seen.get(&key)?)
    }

    /// The last change of a message that is not durable yet.
    pub(in crate::gateway) fn unsettled(&self, id: &MessageId) -> Option<CommitId> {
        self.messages.unsettled(id.as_str())
    }

    /// The last change of an account that is not durable yet.
    pub(super) fn unsettled_account(&self, account: &AccountRef) -> Option<CommitId> {
        self.accounts.unsettled(&account.to_string())
    }

    /// A new message at the end of its queue.
    pub(super) fn add(&mut self, journal: &mut Journal, now: Now, fresh: Fresh<'_>) -> MessageId {
        let Fresh {
            place,
            kind,
            text,
            what,
            way,
        } = fresh;
        self.last_order += 1;
        let id = MessageId::of_order(self.last_order);
        let state = match &way {
            Way::In(_) => MessageState::Received,
            Way::Out(_) => MessageState::Replying,
        };
        let mut record = MessageRecord {
            id: id.clone(),
            order: self.last_order,
            place: place.clone(),
            kind,
            state,
            text,
            hops: Vec::new(),
            way,
        };
        record.hop(now.wall, what);
        self.index(&record);
        self.enqueue(&record);
        self.messages.put(journal, record);
        id
    }

    /// Changes a message, and its place in the queues with it.
    pub(super) fn change(
        &mut self,
        journal: &mut Journal,
        id: &MessageId,
        change: impl FnOnce(&mut MessageRecord),
    ) {
        let Some(before) = self.get(id) else {
            return;
        };
        let mut record = before.clone();
        change(&mut record);
        let before = before.state;
        if before != record.state {
            self.dequeue(&record.place, id, before);
            if record.state.is_over() {
                end(&mut record);
                self.note_end(&record);
            } else {
                self.enqueue(&record);
            }
        }
        self.index(&record);
        self.messages.put(journal, record);
    }

    /// A message begins anew, as somebody wants it.
    pub(super) fn reopen(
        &mut self,
        journal: &mut Journal,
        id: &MessageId,
        change: impl FnOnce(&mut MessageRecord),
    ) {
        // Most are not over when their answer is sent: those are not looked for.
        if self.get(id).is_some_and(|record| record.state.is_over()) {
            self.over.retain(|over| over != id);
            self.uncertain.retain(|over| over != id);
        }
        self.change(journal, id, change);
    }

    /// Changes what is kept of an account.
    pub(super) fn change_account(
        &mut self,
        journal: &mut Journal,
        account: &AccountRef,
        change: impl FnOnce(&mut AccountRecord),
    ) {
        let mut record = self
            .account(account)
            .cloned()
            .unwrap_or_else(|| AccountRecord::new(account));
        let before = record.clone();
        change(&mut record);
        if record != before {
            self.accounts.put(journal, record);
        }
    }

    pub(super) fn account(&self, account: &AccountRef) -> Option<&AccountRecord> {
        self.accounts.get(&account.to_string())
    }

    /// Forgets the oldest messages that are over, beyond a number; and those that are uncertain, beyond the
    /// same number of their own. Gives those that are gone.
    pub(in crate::gateway) fn trim(
        &mut self,
        journal: &mut Journal,
        max: usize,
    ) -> Vec<MessageRecord> {
        let (mut gone, mut ids) = (Vec::new(), Vec::new());
        for over in [&mut self.over, &mut self.uncertain] {
            let beyond = over.len().saturating_sub(max);
            ids.extend(over.drain(..beyond));
        }
        for id in ids {
            if let Some(record) = self.messages.remove(journal, id.as_str()) {
                self.forget(&record);
                gone.push(record);
            }
        }
        gone
    }

    pub(in crate::gateway) fn settle(&mut self, commit: CommitId) {
        self.messages.settle(commit);
        self.accounts.settle(commit);
        self.senders.settle(commit);
        self.unsettled.retain(|(id, ..)| *id > commit);
    }

    pub(in crate::gateway) fn roll_back(&mut self, commit: CommitId) {
        self.messages.roll_back(commit);
        self.accounts.roll_back(commit);
        self.senders.roll_back(commit);
        let outcomes = std::mem::take(&mut self.unsettled);
        for (id, message, part, outcome) in outcomes {
            if id < commit {
                self.unsettled.push((id, message, part, outcome));
            } else {
                self.lost.push((message, part, outcome));
            }
        }
        self.rebuild();
        self.to_recover = true;
    }

    /// Makes everything that is derived say what the records say.
    fn rebuild(&mut self) {
        self.queues.clear();
        self.seen.clear();
        self.by_run.clear();
        self.by_key.clear();
        self.over.clear();
        self.uncertain.clear();
        self.waiting = 0;
        let mut records: Vec<MessageRecord> = self.messages.values().cloned().collect();
        records.sort_by_key(|record| record.order);
        self.last_order = records.last().map_or(0, |record| record.order);
        for record in &records {
            self.index(record);
            if !record.state.is_over() {
                self.enqueue(record);
            }
        }
        records.retain(|record| record.state.is_over());
        records.sort_by_key(|record| {
            let ended = record.hops.last().map_or(WallTime(0), |hop| hop.at);
            (ended, record.order)
        });
        for record in &records {
            self.note_end(record);
        }
    }

    fn note_end(&mut self, record: &MessageRecord) {
        let over = match record.state {
            MessageState::Uncertain => &mut self.uncertain,
            MessageState::Received
            | MessageState::Running
            | MessageState::CallingNode
            | MessageState::Replying
            | MessageState::Sent
            | MessageState::Failed => &mut self.over,
        };
        over.push_back(record.id.clone());
    }

    fn index(&mut self, record: &MessageRecord) {
        match &record.way {
            Way::In(inbound) => {
                let key = seen_key(record, &inbound.remote_id);
                self.seen.insert(key, record.id.clone());
                if let Some(run) = &inbound.run {
                    self.by_run.insert(run.clone(), record.id.clone());
                }
            }
            Way::Out(outbound) => {
                if let Some(asked) = &outbound.asked {
                    self.by_key
                        .insert(asked.idempotency_key.clone(), record.id.clone());
                }
            }
        }
    }

    fn forget(&mut self, record: &MessageRecord) {
        match &record.way {
            Way::In(inbound) => {
                self.seen.remove(&seen_key(record, &inbound.remote_id));
                if let Some(run) = &inbound.run {
                    self.by_run.remove(run);
                }
            }
            Way::Out(outbound) => {
                if let Some(asked) = &outbound.asked {
                    self.by_key.remove(&asked.idempotency_key);
                }
            }
        }
    }

    fn enqueue(&mut self, record: &MessageRecord) {
        let queue = self.queues.entry(record.place.clone()).or_default();
        let id = record.id.clone();
        match (record.state, &record.way) {
            (MessageState::Received, Way::In(_)) => {
                queue.inbox.push_back(id);
                self.waiting += 1;
            }
            (MessageState::Running | MessageState::CallingNode, Way::In(_)) => {
                queue.running = Some(id);
            }
            (MessageState::Replying, Way::Out(_)) => queue.outbox.push_back(id),
            (
                MessageState::Received
                | MessageState::Running
                | MessageState::CallingNode
                | MessageState::Replying
                | MessageState::Sent
                | MessageState::Uncertain
                | MessageState::Failed,
                _,
            ) => {}
        }
        if queue.is_empty() {
            self.queues.remove(&record.place);
        }
    }

    fn dequeue(&mut self, place: &Place, id: &MessageId, state: MessageState) {
        let Some(queue) = self.queues.get_mut(place) else {
            return;
        };
        if state == MessageState::Received {
            let before = queue.inbox.len();
            queue.inbox.retain(|waiting| waiting != id);
            self.waiting -= before - queue.inbox.len();
        }
        if queue.running.as_ref() == Some(id) {
            queue.running = None;
        }
        queue.outbox.retain(|waiting| waiting != id);
        if queue.is_empty() {
            self.queues.remove(place);
        }
    }

    /// Whether things of before have to be looked at.
    pub(in crate::gateway) const fn is_to_recover(&self) -> bool {
        self.to_recover
    }

    /// Every place in which something waits.
    pub(super) fn places(&self) -> BTreeSet<Place> {
        self.queues.keys().cloned().collect()
    }
}

fn seen_key(record: &MessageRecord, remote: &str) -> (AccountRef, String, String) {
    let place = &record.place;
    (place.account.clone(), place.chat.clone(), remote.to_owned())
}

/// What is over takes little room. What was not delivered for certain keeps its words: somebody may
/// want it to be said after all.
fn end(record: &mut MessageRecord) {
    let delivered = record.state == MessageState::Sent;
    if delivered {
        cut(&mut record.text);
    }
    if let Some(inbound) = record.inbound_mut()
        && delivered
    {
        inbound.quoted = None;
    }
    if let Some(outbound) = record.outbound_mut()
        && delivered
    {
        for part in &mut outbound.parts {
            if let super::PartBody::Text(text) = &mut part.body {
                text.clear();
            }
        }
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(KEPT_TEXT) {
        text.truncate(end);
        text.push('…');
    }
}

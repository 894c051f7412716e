//! From a reply to the service: one part at a time in each place, and each attempt on disk before it
//! is made.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Asked, ChannelBook, MessageId, MessageRecord, MessageState, Outbound, PartBody, PartRecord,
    PartState, Way,
    accounts::{Pause, UnderWay, Use},
    book::Fresh,
};
use crate::{
    channel::{ChatKind, Errand, FileBytes, Outgoing, Part, Place, ReplyTo, SendOutcome},
    frame::RawJson,
    gateway::{Effect, EffectOutcome, Gateway, Phase, waiting::Waiter},
    ids::SessionId,
    protocol::{RpcCode, RpcError},
    server::Delivery,
    store::{CommitId, TranscriptQuery, Write},
    time::Now,
};

/// The first pause after something could not be sent, where the service names none.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Something that is to be said.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct NewMessage {
    pub(in crate::gateway) place: Place,
    pub(in crate::gateway) kind: ChatKind,
    pub(in crate::gateway) text: String,
    /// Files that are kept already, and where.
    pub(in crate::gateway) files: Vec<PartBody>,
    pub(in crate::gateway) kept_in: Option<SessionId>,
    pub(in crate::gateway) answers: Option<MessageId>,
    pub(in crate::gateway) reply_to: Option<String>,
    pub(in crate::gateway) silent: bool,
    pub(in crate::gateway) asked: Option<Asked>,
}

impl NewMessage {
    /// Words only.
    pub(in crate::gateway) fn text(place: &Place, kind: ChatKind, text: String) -> Self {
        Self {
            place: place.clone(),
            kind,
            text,
            files: Vec::new(),
            kept_in: None,
            answers: None,
            reply_to: None,
            silent: false,
            asked: None,
        }
    }
}

/// A file that is being read to be sent.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct PartWaiter {
    id: MessageId,
    part: usize,
}

impl Gateway {
    /// Says something, after everything that is to be said in the same place.
    pub(in crate::gateway) fn say(&mut self, now: Now, message: NewMessage) -> MessageId {
        let NewMessage {
            place,
            kind,
            text,
            files,
            kept_in,
            answers,
            reply_to,
            silent,
            asked,
        } = message;
        let mut parts: Vec<PartRecord> = files.into_iter().map(PartRecord::new).collect();
        let texts = match self.accounts.all.get(&place.account) {
            Some(running) => match &running.account.machine {
                Ok(machine) => machine.split(&text),
                Err(_) => vec![text.clone()],
            },
            None => vec![text.clone()],
        };
        let texts = texts.into_iter().filter(|text| !text.trim().is_empty());
        parts.extend(texts.map(|text| PartRecord::new(PartBody::Text(text))));
        let way = Way::Out(Outbound {
            answers,
            reply_to,
            silent,
            parts,
            files: kept_in,
            asked,
        });
        let fresh = Fresh {
            place: &place,
            kind,
            text,
            what: "to be sent",
            way,
        };
        let id = self.channels.add(&mut self.out.journal, now, fresh);
        self.send_next(now, &place);
        id
    }

    /// Says the answer to a message that somebody wrote.
    pub(super) fn answer_message(&mut self, now: Now, id: &MessageId, answer: NewMessage) {
        let place = answer.place.clone();
        let reply_to = self
            .channels
            .get(id)
            .and_then(MessageRecord::inbound)
            .map(|inbound| inbound.remote_id.clone());
        // The queue of the place goes on only when both are in the same commit.
        self.channels.change(&mut self.out.journal, id, |record| {
            record.state = MessageState::Replying;
            record.hop(now.wall, "answered by the agent");
        });
        let said = self.say(
            now,
            NewMessage {
                answers: Some(id.clone()),
                reply_to,
                ..answer
            },
        );
        self.channels.change(&mut self.out.journal, id, |record| {
            if let Some(inbound) = record.inbound_mut() {
                inbound.answer = Some(said);
            }
        });
        if let Some(machine) = self.touch_machine(&place.account) {
            machine.working(now, &place, false);
        }
    }

    /// Gives the next part of a place to its service, unless one is under way.
    pub(super) fn send_next(&mut self, now: Now, place: &Place) {
        if self.channels.to_recover
            || self.health.store_fails()
            || self.phase != Phase::Running
            || self.accounts.under_way.contains_key(place)
            || self.accounts.pauses.contains_key(place)
            || !self.is_on(&place.account)
        {
            return;
        }
        let Some(id) = self
            .channels
            .queues
            .get(place)
            .and_then(|queue| queue.outbox.front().cloned())
        else {
            return;
        };
        let Some(record) = self.channels.get(&id) else {
            return;
        };
        let Some(outbound) = record.outbound() else {
            return;
        };
        let waiting = |part: &PartRecord| part.state == PartState::Waiting;
        let sending = |part: &PartRecord| part.state == PartState::Sending;
        // What became of that one is not on disk yet.
        if outbound.parts.iter().any(sending) {
            return;
        }
        let Some(part) = outbound.parts.iter().position(waiting) else {
            return self.finish_message(now, &id);
        };
        let files = outbound.files.clone();
        match outbound.parts.get(part).map(|part| part.body.clone()) {
            Some(PartBody::Text(text)) => self.begin_part(now, place, &id, part, Part::Text(text)),
            Some(PartBody::File { seq, .. }) => {
                let session = files.unwrap_or_else(|| SessionId::new(""));
                self.accounts
                    .under_way
                    .insert(place.clone(), UnderWay::Reading(id.clone()));
                let query = TranscriptQuery::Before {
                    session,
                    before: Some(seq.saturating_add(1)),
                    limit: 1,
                    max_bytes: 1,
                };
                let waiter = Waiter::Part(PartWaiter { id, part });
                self.wait_for(now, Effect::ReadTranscript(query), waiter);
            }
            None => {}
        }
    }

    /// The file of a part is there, or not any more.
    pub(in crate::gateway) fn part_read(
        &mut self,
        now: Now,
        waiter: PartWaiter,
        outcome: EffectOutcome,
    ) {
        let PartWaiter { id, part } = waiter;
        let Some(record) = self.channels.get(&id).cloned() else {
            return;
        };
        let place = record.place.clone();
        if self.accounts.under_way.get(&place) == Some(&UnderWay::Reading(id.clone())) {
            self.accounts.under_way.remove(&place);
        }
        let body = record
            .outbound()
            .and_then(|outbound| outbound.parts.get(part))
            .filter(|part| part.state == PartState::Waiting)
            .map(|part| part.body.clone());
        let Some(PartBody::File {
            seq,
            name,
            mime_type,
        }) = body
        else {
            return self.send_next(now, &place);
        };
        let data = if let EffectOutcome::Transcript(page) = outcome {
            let kept = page.messages.into_iter().find(|message| message.seq == seq);
            kept.and_then(|message| {
                let document = message.document.parse::<Value>().ok()?;
                STANDARD.decode(document.get("data")?.as_str()?).ok()
            })
        } else {
            // The disk may answer later.
            return self.pause_place(now, &place, None);
        };
        match data {
            Some(data) => {
                let file = FileBytes {
                    name,
                    mime_type,
                    data: data.into(),
                };
                self.begin_part(now, &place, &id, part, Part::File(file));
            }
            None => {
                self.channels.change(&mut self.out.journal, &id, |record| {
                    set_part(record, part, PartState::Refused, Some("the file is gone"));
                    record.hop(now.wall, "a file is gone");
                });
                self.send_next(now, &place);
            }
        }
    }

    /// A part is to be sent as soon as it is on disk that it is.
    fn begin_part(&mut self, now: Now, place: &Place, id: &MessageId, part: usize, body: Part) {
        let Some(outbound) = self.channels.get(id).and_then(MessageRecord::outbound) else {
            return;
        };
        let outgoing = Outgoing {
            place: place.clone(),
            part: body,
            reply_to: outbound.reply_to.clone().filter(|_| part == 0).map(|id| {
                match outbound.asked {
                    Some(_) => ReplyTo::Named(id),
                    None => ReplyTo::Heard(id),
                }
            }),
            silent: outbound.silent,
            key: format!("{}-{id}-{part}", ChannelBook::epoch(&self.setup.identity)),
        };
        self.channels.change(&mut self.out.journal, id, |record| {
            set_part(record, part, PartState::Sending, None);
            record.hop(now.wall, "given to the service");
        });
        let commit = self.out.journal.next();
        self.accounts
            .under_way
            .insert(place.clone(), UnderWay::Saving(id.clone(), part));
        self.accounts
            .saving
            .push_back((commit, id.clone(), part, outgoing));
    }

    /// Attempts that are on disk now are made.
    pub(in crate::gateway) fn make_attempts(&mut self, now: Now, commit: CommitId) {
        while let Some((_, id, part, outgoing)) = self
            .accounts
            .saving
            .pop_front_if(|(saving, ..)| *saving <= commit)
        {
            let place = outgoing.place.clone();
            let errand = self.accounts.next_errand(Use::Send(id.clone(), part));
            self.accounts
                .under_way
                .insert(place.clone(), UnderWay::Sending(id.clone(), part));
            match self.touch_machine(&place.account) {
                Some(machine) => machine.send(now, errand, outgoing),
                None => {
                    let outcome = SendOutcome::NotSent {
                        why: "the channel was stopped".into(),
                        wait: None,
                    };
                    self.errand_sent(now, errand, outcome);
                }
            }
        }
        self.drive_channels(now);
    }

    /// Attempts that the disk did not take are not made.
    pub(in crate::gateway) fn drop_attempts(&mut self, commit: CommitId) {
        self.accounts.saving.retain(|(saving, ..)| *saving < commit);
        let saving = &self.accounts.saving;
        let channels = &self.channels;
        self.accounts
            .under_way
            .retain(|_, under_way| match under_way {
                UnderWay::Reading(id) => channels.get(id).is_some(),
                UnderWay::Saving(id, part) => saving
                    .iter()
                    .any(|(_, saved, number, _)| saved == id && number == part),
                UnderWay::Sending(..) => true,
            });
    }

    /// The service has answered, or nobody knows.
    pub(super) fn errand_sent(&mut self, now: Now, errand: Errand, outcome: SendOutcome) {
        let Some(Use::Send(id, part)) = self.accounts.errands.remove(&errand) else {
            return;
        };
        self.part_ended(now, &id, part, outcome);
    }

    /// A part was under way when its channel was stopped.
    pub(super) fn part_is_uncertain(&mut self, now: Now, id: &MessageId, part: usize, why: &str) {
        self.part_ended(now, id, part, SendOutcome::Uncertain(why.into()));
    }

    fn part_ended(&mut self, now: Now, id: &MessageId, part: usize, outcome: SendOutcome) {
        let Some(record) = self.channels.get(id) else {
            return;
        };
        let place = record.place.clone();
        self.accounts.under_way.remove(&place);
        let state = record
            .outbound()
            .and_then(|outbound| outbound.parts.get(part))
            .map(|part| part.state);
        if state != Some(PartState::Sending) {
            return self.send_next(now, &place);
        }
        let journal = &mut self.out.journal;
        self.channels
            .unsettled
            .push((journal.next(), id.clone(), part, outcome.clone()));
        let mut wait = None;
        self.channels.change(journal, id, |record| match &outcome {
            SendOutcome::Sent(remote) => {
                set_part(record, part, PartState::Sent, None);
                if let Some(outbound) = record.outbound_mut()
                    && let Some(part) = outbound.parts.get_mut(part)
                {
                    part.remote_id.clone_from(remote);
                }
                record.hop(now.wall, "taken by the service");
            }
            SendOutcome::NotSent { why, wait: asked } => {
                set_part(record, part, PartState::Waiting, Some(why));
                record.hop(now.wall, format!("not sent yet: {why}"));
                wait = Some(*asked);
            }
            SendOutcome::Refused(why) => {
                set_part(record, part, PartState::Refused, Some(why));
                record.hop(now.wall, format!("refused by the service: {why}"));
            }
            SendOutcome::Uncertain(why) => {
                set_part(record, part, PartState::Uncertain, Some(why));
                record.hop(now.wall, format!("perhaps taken by the service: {why}"));
            }
        });
        match wait {
            Some(asked) => self.pause_place(now, &place, asked),
            None => {
                self.accounts.tries.remove(&place);
                self.send_next(now, &place);
            }
        }
    }

    /// A place waits before its next part is tried.
    fn pause_place(&mut self, now: Now, place: &Place, asked: Option<Duration>) {
        let times = self.accounts.tries.entry(place.clone()).or_default();
        let backoff = FIRST_PAUSE
            .saturating_mul(1_u32.checked_shl(*times).unwrap_or(u32::MAX))
            .min(LONGEST_PAUSE);
        *times = times.saturating_add(1);
        let until = now.mono + asked.unwrap_or(backoff);
        self.accounts.pauses.insert(place.clone(), Pause { until });
    }

    /// Every part has its end: so has the message, and what it answers.
    fn finish_message(&mut self, now: Now, id: &MessageId) {
        let Some(record) = self.channels.get(id).cloned() else {
            return;
        };
        let Some(outbound) = record.outbound() else {
            return;
        };
        let some = |wanted| outbound.parts.iter().any(|part| part.state == wanted);
        let state = if some(PartState::Uncertain) {
            MessageState::Uncertain
        } else if some(PartState::Refused) {
            MessageState::Failed
        } else {
            MessageState::Sent
        };
        let journal = &mut self.out.journal;
        self.channels
            .change(journal, id, |record| record.state = state);
        if let (MessageState::Sent, Some(session)) = (state, outbound.files.clone()) {
            journal.stage(Write::Forget {
                session,
                keep_from: None,
            });
        }
        if let Some(answered) = &outbound.answers {
            self.channels.reopen(journal, answered, |record| {
                let doubt = record
                    .inbound()
                    .is_some_and(|inbound| inbound.doubt.is_some());
                record.state = if doubt {
                    MessageState::Uncertain
                } else {
                    state
                };
                let what = match state {
                    MessageState::Sent => "its answer is sent",
                    MessageState::Uncertain => "nobody knows whether its answer was sent",
                    MessageState::Failed
                    | MessageState::Received
                    | MessageState::Running
                    | MessageState::CallingNode
                    | MessageState::Replying => "its answer could not be sent",
                };
                record.hop(now.wall, what);
                if record.state == MessageState::Sent {
                    record.let_go_of_files();
                }
            });
        }
        if state != MessageState::Sent {
            // Nobody has to wait for the next look to learn that something needs a word of theirs.
            self.refresh_health(now);
        }
        self.answer_senders(id);
        self.send_next(now, &record.place);
    }

    /// After a restart, or on a disk that works again: what was under way and is not any more.
    pub(super) fn settle_parts(&mut self, now: Now) {
        for (id, part, outcome) in std::mem::take(&mut self.channels.lost) {
            self.part_ended(now, &id, part, outcome);
        }
        let under_way = &self.accounts.under_way;
        let stray: Vec<(MessageId, usize, bool)> = self
            .channels
            .messages()
            .filter_map(|record| {
                let parts = &record.outbound()?.parts;
                let part = parts
                    .iter()
                    .position(|part| part.state == PartState::Sending)?;
                let known = under_way.get(&record.place);
                let is_stray = known.is_none_or(|known| !known.is_of(&record.id, part));
                let machine = self.accounts.all.get(&record.place.account);
                let repeats = machine
                    .and_then(|running| running.account.machine.as_ref().ok())
                    .is_some_and(|machine| machine.knows_repeats());
                is_stray.then(|| (record.id.clone(), part, repeats))
            })
            .collect();
        for (id, part, repeats) in stray {
            if repeats {
                let journal = &mut self.out.journal;
                self.channels.change(journal, &id, |record| {
                    set_part(record, part, PartState::Waiting, None);
                    record.hop(now.wall, "given to the service again: it knows what it has");
                });
            } else {
                let why = "the gateway stopped while it was being sent";
                self.part_is_uncertain(now, &id, part, why);
            }
        }
    }

    /// Says a message again, or answers one again, because somebody wants it: what was uncertain or
    /// failed.
    ///
    /// # Errors
    /// Why not, for the caller.
    pub(in crate::gateway) fn resend_message(
        &mut self,
        now: Now,
        id: &MessageId,
    ) -> Result<MessageId, String> {
        let record = self
            .channels
            .get(id)
            .cloned()
            .ok_or_else(|| format!("there is no message {id}"))?;
        if !matches!(record.state, MessageState::Uncertain | MessageState::Failed) {
            return Err(format!(
                "message {id} is {}; only what is uncertain or failed can be sent again",
                record.state.as_str()
            ));
        }
        let place = record.place.clone();
        match &record.way {
            Way::In(inbound) => match &inbound.answer {
                Some(answer) if inbound.doubt.is_none() => {
                    let answer = answer.clone();
                    return self.resend_message(now, &answer);
                }
                Some(_) | None => {
                    let journal = &mut self.out.journal;
                    self.channels.reopen(journal, id, |record| {
                        record.state = MessageState::Received;
                        record.hop(now.wall, "to be answered again, as an operator wants it");
                        if let Some(inbound) = record.inbound_mut() {
                            inbound.run = None;
                            inbound.answer = None;
                            inbound.doubt = None;
                        }
                    });
                    self.start_inbox(now, &place);
                }
            },
            Way::Out(_) => {
                let journal = &mut self.out.journal;
                self.channels.reopen(journal, id, |record| {
                    record.state = MessageState::Replying;
                    record.hop(now.wall, "to be sent again, as an operator wants it");
                    for part in record
                        .outbound_mut()
                        .into_iter()
                        .flat_map(|out| &mut out.parts)
                    {
                        if matches!(part.state, PartState::Uncertain | PartState::Refused) {
                            part.state = PartState::Waiting;
                        }
                    }
                });
                self.accounts.pauses.remove(&place);
                self.send_next(now, &place);
            }
        }
        self.drive_channels(now);
        Ok(id.clone())
    }

    /// Callers of `send` are told what became of their message.
    fn answer_senders(&mut self, id: &MessageId) {
        let waiting = self.accounts.senders.take(id);
        for (conn, request) in waiting {
            let outcome = self.sent_answer(id);
            self.deliver(
                conn,
                Delivery::Response {
                    id: request,
                    outcome,
                },
            );
        }
    }

    /// What became of a message, as `send` answers (spec protocol §6.6).
    pub(in crate::gateway) fn sent_answer(&self, id: &MessageId) -> Result<RawJson, RpcError> {
        let gone = || RpcError::new(RpcCode::Unavailable, format!("message {id} is gone"));
        let record = self.channels.get(id).ok_or_else(gone)?;
        let outbound = record.outbound().ok_or_else(gone)?;
        let why = outbound.parts.iter().find_map(|part| part.why.clone());
        let why = why.unwrap_or_default();
        let key = outbound.asked.as_ref().map(|asked| &asked.idempotency_key);
        let message = match record.state {
            MessageState::Sent => {
                let remote = outbound
                    .parts
                    .iter()
                    .find_map(|part| part.remote_id.clone());
                let payload = json!({
                    "runId": key,
                    "messageId": remote.unwrap_or_else(|| id.to_string()),
                    "channel": record.place.account.channel,
                    "chatId": record.place.chat,
                });
                return RawJson::encode(&payload).map_err(|_| gone());
            }
            MessageState::Uncertain => format!(
                "nobody knows whether message {id} was sent: {why}; `clawgate messages resend {id}`                  sends it again"
            ),
            MessageState::Failed
            | MessageState::Received
            | MessageState::Running
            | MessageState::CallingNode
            | MessageState::Replying => format!("message {id} was not sent: {why}"),
        };
        let details = json!({ "message": id, "state": record.state.as_str() });
        Err(RpcError::new(RpcCode::Unavailable, message).with_details(details))
    }

    /// Forgets the oldest messages that are over, and their files.
    pub(in crate::gateway) fn trim_messages(&mut self) {
        let max = self.setup.limits.max_kept_messages;
        let journal = &mut self.out.journal;
        for gone in self.channels.trim(journal, max) {
            let files = gone.outbound().and_then(|outbound| outbound.files.clone());
            if let (Some(session), false) = (files, gone.state == MessageState::Sent) {
                journal.stage(Write::Forget {
                    session,
                    keep_from: None,
                });
            }
        }
    }

    /// A pause is over.
    pub(super) fn end_pause(&mut self, now: Now, place: &Place) {
        self.accounts.pauses.remove(place);
        self.send_next(now, place);
    }
}

fn set_part(record: &mut MessageRecord, part: usize, state: PartState, why: Option<&str>) {
    let outbound = record.outbound_mut();
    if let Some(part) = outbound.and_then(|outbound| outbound.parts.get_mut(part)) {
        part.state = state;
        part.why = why.map(str::to_owned);
    }
}

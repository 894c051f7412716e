//! From what somebody wrote to a run that answers it. Each place has its own order: what was written
//! first is answered first, and places do not wait for one another.

use std::time::Duration;

use super::{
    MessageId, MessageState, Way,
    accounts::{Pause, Use},
    book::Fresh,
    outbound::NewMessage,
    places::session_name,
    record::{Inbound, MessageRecord},
    replies::DeliverTo,
    words,
};
use crate::{
    agent::Attachment,
    channel::{Access, ChatKind, Errand, FileBytes, FileRef, Incoming, Place, Revision},
    gateway::{
        Gateway, Phase,
        runs::{QueueMode, RunOptions, Submission},
        sessions::SessionKey,
    },
    ids::RunId,
    protocol::RpcError,
    time::Now,
};

/// The time after which a message that the sessions had no room for is tried again.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Characters of a name that an agent is told.
const MAX_NAME: usize = 64;

/// Characters of what a message answers that an agent is told.
const MAX_QUOTE: usize = 1_000;

/// The files of a message that are fetched, one after the other.
#[derive(Debug)]
pub(in crate::gateway) struct Fetching {
    pub(super) id: MessageId,
    got: Vec<Attachment>,
    left: Vec<FileRef>,
}

impl Gateway {
    /// Somebody wrote. What may not be answered is forgotten at once.
    pub(super) fn hear(&mut self, now: Now, message: Incoming) {
        let place = message.place.clone();
        if let Some(known) = self.channels.known(&place, &message.id) {
            if message.revision == Revision::Edit {
                let known = known.clone();
                self.hear_edit(now, &known, message.text);
            }
            return;
        }
        let Some(running) = self.accounts.all.get(&place.account) else {
            return;
        };
        let channels = &self.channels;
        let paired = |sender: &_| channels.is_paired(&place.account, sender);
        match running.account.access.decide(&message, &paired) {
            Access::Denied | Access::NotAddressed => return,
            Access::Pair => return self.ask_to_pair(now, &message),
            Access::Allowed => {}
        }
        // An edit of what is not known any more is no new question.
        if message.revision == Revision::Edit {
            return;
        }
        if self.hear_owner(now, &message) || self.hear_stop(now, &message) {
            return;
        }
        let waiting = self
            .channels
            .queues
            .get(&place)
            .map_or(0, |queue| queue.inbox.len());
        let Incoming {
            id,
            kind,
            title,
            sender,
            text,
            files,
            quoted,
            at,
            ..
        } = message;
        let way = Way::In(Inbound {
            remote_id: id,
            sender,
            title,
            files,
            quoted,
            written_at: at,
            run: None,
            answer: None,
            doubt: None,
        });
        let fresh = Fresh {
            place: &place,
            kind,
            text,
            what: "received",
            way,
        };
        let journal = &mut self.out.journal;
        let id = self.channels.add(journal, now, fresh);
        if waiting >= self.setup.limits.max_waiting_per_chat {
            return self.turn_away(now, &place, kind, &id);
        }
        self.start_inbox(now, &place);
    }

    /// Other words for what was written before. They count as long as nobody has read the old ones.
    fn hear_edit(&mut self, now: Now, known: &MessageRecord, text: String) {
        let waits = known.state == MessageState::Received;
        let journal = &mut self.out.journal;
        self.channels.change(journal, &known.id, |record| {
            if waits {
                record.text = text;
                record.hop(now.wall, "edited before its turn");
            } else {
                record.hop(now.wall, "edited too late to count");
            }
        });
    }

    /// One chat cannot fill the queues of all.
    fn turn_away(&mut self, now: Now, place: &Place, kind: ChatKind, id: &MessageId) {
        self.channels.change(&mut self.out.journal, id, |record| {
            record.state = MessageState::Failed;
            record.hop(now.wall, "not taken: too many messages of this chat wait");
        });
        let told = self.accounts.turned_away.insert(place.clone());
        if told {
            let text = words::TOO_MANY.into();
            self.say(now, NewMessage::text(place, kind, text));
        }
    }

    /// Gives the next message of a place to its agent, unless it works on one.
    pub(super) fn start_inbox(&mut self, now: Now, place: &Place) {
        if self.phase != Phase::Running
            || self.channels.to_recover
            || self.accounts.fetching.contains_key(place)
            || self.accounts.inbox_pauses.contains_key(place)
        {
            return;
        }
        let Some(queue) = self.channels.queues.get(place) else {
            self.accounts.turned_away.remove(place);
            return;
        };
        if queue.running.is_some() {
            return;
        }
        let Some(id) = queue.inbox.front().cloned() else {
            self.accounts.turned_away.remove(place);
            return;
        };
        let files = self
            .channels
            .get(&id)
            .and_then(MessageRecord::inbound)
            .map(|inbound| inbound.files.clone())
            .unwrap_or_default();
        if files.is_empty() {
            return self.submit_message(now, place, &id, Vec::new());
        }
        // Without its account, nobody can get the files.
        if !self.is_on(&place.account) {
            return;
        }
        let mut left = files;
        left.truncate(self.setup.limits.max_attachments);
        left.reverse();
        let got = Vec::new();
        let fetching = Fetching { id, got, left };
        self.accounts.fetching.insert(place.clone(), fetching);
        self.fetch_next(now, place);
    }

    fn fetch_next(&mut self, now: Now, place: &Place) {
        let Some(fetching) = self.accounts.fetching.get_mut(place) else {
            return;
        };
        let Some(file) = fetching.left.pop() else {
            let Some(Fetching { id, got, .. }) = self.accounts.fetching.remove(place) else {
                return;
            };
            return self.submit_message(now, place, &id, got);
        };
        let id = fetching.id.clone();
        let errand = self.accounts.next_errand(Use::Fetch(place.clone(), id));
        if let Some(machine) = self.touch_machine(&place.account) {
            machine.fetch(now, errand, &file);
        }
    }

    /// A file is here, or will not come. The message is answered all the same.
    pub(super) fn errand_fetched(
        &mut self,
        now: Now,
        errand: Errand,
        file: Result<FileBytes, String>,
    ) {
        let Some(Use::Fetch(place, id)) = self.accounts.errands.remove(&errand) else {
            return;
        };
        let max = self.setup.limits.max_attachment_bytes;
        let Some(fetching) = self
            .accounts
            .fetching
            .get_mut(&place)
            .filter(|fetching| fetching.id == id)
        else {
            return;
        };
        let held: usize = fetching.got.iter().map(|file| file.content.len()).sum();
        let file = match file {
            Ok(file) if held + file.data.len() > max => {
                Err(format!("the files have more than {max} bytes in all"))
            }
            Ok(_) | Err(_) => file,
        };
        match file {
            Ok(file) => fetching.got.push(Attachment {
                mime_type: file.mime_type,
                file_name: file.name,
                content: file.data,
            }),
            Err(why) => {
                let journal = &mut self.out.journal;
                self.channels.change(journal, &id, |record| {
                    record.hop(now.wall, format!("a file was left out: {why}"));
                });
            }
        }
        self.fetch_next(now, &place);
    }

    /// The message becomes a run.
    fn submit_message(
        &mut self,
        now: Now,
        place: &Place,
        id: &MessageId,
        attachments: Vec<Attachment>,
    ) {
        let Some(record) = self.channels.get(id).cloned() else {
            return;
        };
        let Some(inbound) = record.inbound() else {
            return;
        };
        if self.hear_reset(now, &record) {
            return self.start_inbox(now, place);
        }
        let run = RunId::new(format!("{id}:{}", self.rng.uuid()));
        let deliver = DeliverTo {
            place: place.clone(),
            kind: record.kind,
            reply_to: Some(inbound.remote_id.clone()),
            answers: Some(id.clone()),
        };
        let options = RunOptions {
            extra_prompt: context(&record, inbound),
            deliver: Some(deliver),
            ..RunOptions::default()
        };
        let submission = self.session_of(place, record.kind).map(|key| Submission {
            run_id: run.clone(),
            key,
            text: what_is_asked(&record, inbound, &attachments),
            attachments,
            mode: QueueMode::Followup,
            options,
            client: Some((place.account.channel.clone(), "channel".into())),
        });
        // Before the run begins: it may end at once.
        self.channels.change(&mut self.out.journal, id, |record| {
            record.state = MessageState::Running;
            record.hop(now.wall, "given to the agent");
            if let Some(inbound) = record.inbound_mut() {
                inbound.run = Some(run);
            }
        });
        let submitted = submission.and_then(|submission| self.submit(now, submission));
        let Err(error) = submitted else {
            return;
        };
        if error.retryable == Some(true) {
            self.channels.put_back(&mut self.out.journal, id, now.wall);
            return self.pause_inbox(now, place, BUSY_PAUSE);
        }
        self.not_submitted(now, &record, &error);
        self.start_inbox(now, place);
    }

    fn not_submitted(&mut self, now: Now, record: &MessageRecord, error: &RpcError) {
        let why = format!("not given to an agent: {}", error.message);
        self.channels
            .change(&mut self.out.journal, &record.id, |record| {
                record.hop(now.wall, why);
            });
        let id = &record.id;
        let state = crate::gateway::runs::RunState::Failed;
        if let Some(text) = words::no_reply(state, id, &[]) {
            self.answer_message(now, id, NewMessage::text(&record.place, record.kind, text));
        }
    }

    fn pause_inbox(&mut self, now: Now, place: &Place, time: Duration) {
        let until = now.mono + time;
        self.accounts
            .inbox_pauses
            .insert(place.clone(), Pause { until });
    }

    /// The session in which the messages of a place are answered: each place has one of its own.
    pub(in crate::gateway) fn session_of(
        &self,
        place: &Place,
        kind: ChatKind,
    ) -> Result<SessionKey, RpcError> {
        let name = session_name(place, kind);
        let agent = self.setup.host.default_agent();
        SessionKey::resolve(&format!("agent:{agent}:{name}"), agent)
            .map_err(|why| RpcError::invalid_request(format!("the chat's name {why}")))
    }
}

/// The words for the agent.
fn what_is_asked(record: &MessageRecord, inbound: &Inbound, got: &[Attachment]) -> String {
    if !record.text.trim().is_empty() || !got.is_empty() {
        return record.text.clone();
    }
    let names: Vec<&str> = inbound
        .files
        .iter()
        .map(|file| file.name.as_deref().unwrap_or(&file.mime_type))
        .collect();
    format!("[a file that could not be read: {}]", names.join(", "))
}

/// What the agent is told of where a message comes from. Strangers chose the names: they are shown as
/// JSON texts, short and in one line.
fn context(record: &MessageRecord, inbound: &Inbound) -> Option<String> {
    let short = |text: &str, max: usize| {
        let text: String = text.chars().filter(|c| !c.is_control()).take(max).collect();
        serde_json::Value::from(text).to_string()
    };
    let mut lines = Vec::new();
    if record.kind == ChatKind::Group {
        let sender = &inbound.sender;
        let name = sender.name.as_deref().or(sender.username.as_deref());
        let who = short(name.unwrap_or(&sender.id), MAX_NAME);
        let group = short(
            inbound.title.as_deref().unwrap_or(&record.place.chat),
            MAX_NAME,
        );
        lines.push(format!(
            "The message was written by {who} in the group {group}. Others read the answer, too."
        ));
    }
    if let Some(quoted) = &inbound.quoted {
        let quoted = short(quoted, MAX_QUOTE);
        lines.push(format!("It answers an earlier message: {quoted}."));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

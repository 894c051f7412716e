//! What people can say to the gateway itself, in their chats.

use super::{
    MessageState, Standing, Way, book::Fresh, outbound::NewMessage, record::MessageRecord, words,
};
use crate::{
    channel::{ChatKind, Incoming},
    gateway::{
        Gateway,
        calls::{RESET_WORDS, STOP_WORDS},
    },
    time::Now,
};

/// The word before what an owner says about people who ask to be let in.
const PAIRING: &str = "/pairing";

const HELP: &str = "Say /pairing, /pairing approve CODE or /pairing reject CODE.";

impl Gateway {
    /// A word that stops what is under way. It does not wait for its turn.
    pub(super) fn hear_stop(&mut self, now: Now, message: &Incoming) -> bool {
        if !STOP_WORDS.contains(&message.text.trim()) {
            return false;
        }
        let place = &message.place;
        let Ok(key) = self.session_of(place, message.kind) else {
            return false;
        };
        // What waits is not answered either: it was written before.
        let waiting: Vec<_> = self
            .channels
            .queues
            .get(place)
            .map(|queue| queue.inbox.iter().cloned().collect())
            .unwrap_or_default();
        self.accounts.fetching.remove(place);
        for id in &waiting {
            self.channels.change(&mut self.out.journal, id, |record| {
                record.state = MessageState::Failed;
                record.hop(now.wall, "stopped by the sender before its turn");
            });
        }
        let stopped = self.abort_session(now, &key, "stopped by the user", true);
        let text = if stopped.is_empty() && waiting.is_empty() {
            words::NOTHING_TO_STOP
        } else {
            words::STOPPED
        };
        self.note_and_say(now, message, text.into());
        true
    }

    /// A word that begins a new life of the session, in its turn.
    pub(super) fn hear_reset(&mut self, now: Now, record: &MessageRecord) -> bool {
        if !RESET_WORDS.contains(&record.text.trim()) {
            return false;
        }
        let Ok(key) = self.session_of(&record.place, record.kind) else {
            return false;
        };
        if self.open_session(now, &key).is_err() {
            return false;
        }
        self.reset_session(now, &key);
        let text = words::NEW_SESSION.into();
        self.answer_message(
            now,
            &record.id,
            NewMessage::text(&record.place, record.kind, text),
        );
        true
    }

    /// What an owner says about people who ask to be let in. Others are not heard, so that nobody
    /// learns who is an owner.
    pub(super) fn hear_owner(&mut self, now: Now, message: &Incoming) -> bool {
        let mut words = message.text.split_whitespace();
        if message.kind != ChatKind::Direct
            || words.next() != Some(PAIRING)
            || !self.is_owner(&message.place.account, &message.sender)
        {
            return false;
        }
        let account = message.place.account.clone();
        let text = match (words.next(), words.next()) {
            (None, _) => self.pairing_list(now, &account),
            (Some("approve"), Some(code)) => {
                match self.approve_sender(now, &account, code, false) {
                    Some(sender) => {
                        self.welcome_sender(now, &sender);
                        format!("{} may write now.", sender.id)
                    }
                    None => "There is no such code, or its time is over.".into(),
                }
            }
            (Some("reject"), Some(code)) => match self.reject_sender(now, &account, code) {
                Some(sender) => format!("{} was turned away.", sender.id),
                None => "There is no such code, or its time is over.".into(),
            },
            (Some(_), _) => HELP.into(),
        };
        self.note_and_say(now, message, text);
        true
    }

    fn pairing_list(&self, now: Now, account: &crate::channel::AccountRef) -> String {
        let lines: Vec<String> = self
            .channels
            .asking(now.wall)
            .filter(|record| record.account == *account)
            .filter_map(|record| match &record.standing {
                Standing::Asking { code, .. } => {
                    let name = record.sender.name.as_deref().unwrap_or("without a name");
                    Some(format!("{code}: {} ({name:.64})", record.sender.id))
                }
                Standing::Paired { .. } => None,
            })
            .collect();
        if lines.is_empty() {
            return "Nobody asks to be let in.".into();
        }
        lines.join("\n")
    }

    /// Keeps a message that needs no agent, and answers it.
    fn note_and_say(&mut self, now: Now, message: &Incoming, text: String) {
        let way = Way::In(super::record::Inbound {
            remote_id: message.id.clone(),
            sender: message.sender.clone(),
            title: message.title.clone(),
            files: Vec::new(),
            quoted: None,
            written_at: message.at,
            run: None,
            answer: None,
            doubt: None,
        });
        let (place, kind) = (&message.place, message.kind);
        let fresh = Fresh {
            place,
            kind,
            text: message.text.clone(),
            what: "received",
            way,
        };
        let id = self.channels.add(&mut self.out.journal, now, fresh);
        self.answer_message(now, &id, NewMessage::text(place, kind, text));
    }
}

//! What tests see: the messages that bots sent, every call with what became of it, chat actions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::chats::{Author, ChatKey, Message};
use super::{Attachment, State};
use crate::entities::Entity;
use crate::ids::{BotId, ChatId, MessageId, TopicId};
use crate::moment::Moment;

/// How many messages of a chat stay when the history is forgotten, so that they can still be answered.
const KEPT_MESSAGES: usize = 100;

/// How a bot sent a message, beside what the message says.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) number: u64,
    pub(crate) parse_mode: Option<String>,
    pub(crate) silent: bool,
    pub(crate) edits: u32,
}

/// A message that the service took from a bot, as it is now.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// Its place among all messages of all bots, from zero.
    pub number: u64,
    /// The bot.
    pub bot: BotId,
    /// Where.
    pub chat: ChatId,
    /// Its number there.
    pub message_id: MessageId,
    /// Its text without markup, or the text under its file.
    pub text: String,
    /// The markup.
    pub entities: Vec<Entity>,
    /// `parse_mode`, if the call had one.
    pub parse_mode: Option<String>,
    /// The topic.
    pub thread: Option<TopicId>,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// Its file.
    pub file: Option<Attachment>,
    /// Whether nobody was to be woken by it.
    pub silent: bool,
    /// How often the bot changed it.
    pub edits: u32,
    /// When the service took it.
    pub at: Moment,
}

/// The number of a call, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallNumber(pub u64);

/// A call, or a download.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number.
    pub number: CallNumber,
    /// The method as it was written, or [`DOWNLOAD`](crate::DOWNLOAD).
    pub method: String,
    /// The bot; none if its token is unknown.
    pub bot: Option<BotId>,
    /// The chat that it names.
    pub chat: Option<ChatId>,
    /// Its parameters without files. What came as JSON stands there as a text.
    pub params: BTreeMap<String, String>,
    /// When it came.
    pub at: Moment,
    /// Whether a fault was laid for it.
    pub faulty: bool,
    /// Whether the service carried it out, so that a message is there. Known when it has ended.
    pub taken: bool,
    /// The status of the answer, if all of it was sent.
    pub status: Option<u16>,
    /// When its answer began, or its end without one. None while it goes on.
    pub answered: Option<Moment>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number.0, self.method)?;
        if let Some(chat) = self.chat {
            write!(f, " in {chat}")?;
        }
        match (self.answered, self.status) {
            (None, _) => f.write_str(": goes on")?,
            (Some(_), Some(status)) => write!(f, ": {status}")?,
            (Some(_), None) => f.write_str(": cut off")?,
        }
        f.write_str(if self.taken { ", taken" } else { ", not taken" })
    }
}

/// `sendChatAction`.
#[derive(Clone, Debug)]
pub struct ChatAction {
    /// The bot.
    pub bot: BotId,
    /// Where.
    pub chat: ChatId,
    /// The topic.
    pub thread: Option<TopicId>,
    /// Such as `typing`.
    pub action: String,
    /// When.
    pub at: Moment,
}

impl State {
    /// The messages that bots sent to a chat, in order.
    pub fn sent(&self, chat: impl Into<ChatId>) -> impl Iterator<Item = SentMessage> {
        let chat = chat.into();
        self.chats
            .iter()
            .filter(move |(key, _)| key.chat() == chat)
            .flat_map(|(key, chat)| {
                chat.messages
                    .iter()
                    .map(|(id, message)| (*key, *id, message))
            })
            .filter_map(|(key, id, message)| self.sent_message(key, id, message))
    }

    /// How many messages bots have sent.
    #[must_use]
    pub const fn sent_count(&self) -> u64 {
        self.sent
    }

    /// All messages of bots, in the order in which the service took them.
    #[must_use]
    pub fn sent_everywhere(&self) -> Vec<SentMessage> {
        let mut all: Vec<_> = self
            .chats
            .iter()
            .flat_map(|(key, chat)| {
                chat.messages
                    .iter()
                    .map(|(id, message)| (*key, *id, message))
            })
            .filter_map(|(key, id, message)| self.sent_message(key, id, message))
            .collect();
        all.sort_by_key(|message| message.number);
        all
    }

    /// The calls, in the order in which they came, since the history was forgotten last.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The calls of one method.
    pub fn calls_of<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Call> {
        self.calls
            .iter()
            .filter(move |call| call.method.eq_ignore_ascii_case(method))
    }

    /// The chat actions, in the order in which they came.
    #[must_use]
    pub fn actions(&self) -> &[ChatAction] {
        &self.actions
    }

    /// When a message of a chat was written.
    #[must_use]
    pub fn written_at(&self, chat: ChatId, message: MessageId) -> Option<SystemTime> {
        let (_, chat) = self
            .chats
            .iter()
            .find(|(key, found)| key.chat() == chat && found.messages.contains_key(&message))?;
        chat.messages.get(&message).map(Message::wall)
    }

    fn sent_message(&self, key: ChatKey, id: MessageId, message: &Message) -> Option<SentMessage> {
        let Author::Bot(bot, sending) = &message.author else {
            return None;
        };
        let file = message
            .content
            .file
            .and_then(|(_, number)| self.files.get(number));
        Some(SentMessage {
            number: sending.number,
            bot: *bot,
            chat: key.chat(),
            message_id: id,
            text: message.content.text.text.clone(),
            entities: message.content.text.entities.clone(),
            parse_mode: sending.parse_mode.clone(),
            thread: message.thread,
            reply_to: message.reply_to,
            file: file.cloned(),
            silent: sending.silent,
            edits: sending.edits,
            at: message.at,
        })
    }

    /// The number of the next message of a bot.
    pub(crate) fn next_sent(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }

    pub(crate) fn add_action(&mut self, action: ChatAction) {
        self.actions.push(action);
    }

    pub(crate) fn begin_call(&mut self, call: Call) -> CallNumber {
        let number = CallNumber(self.calls_before + self.calls.len() as u64);
        self.calls.push(Call { number, ..call });
        number
    }

    pub(crate) fn end_call(&mut self, number: CallNumber, status: Option<u16>, now: Moment) {
        if let Some(call) = self.call_mut(number) {
            call.status = status;
            call.answered = Some(now);
        }
    }

    pub(crate) fn take_call(&mut self, number: CallNumber) {
        if let Some(call) = self.call_mut(number) {
            call.taken = true;
        }
    }

    /// Forgets chat actions, calls that have ended, and all but the last messages of each chat.
    pub(crate) fn forget_history(&mut self) {
        self.actions.clear();
        let goes_on = self.calls.iter().position(|call| call.answered.is_none());
        let ended = goes_on.unwrap_or(self.calls.len());
        self.calls.drain(..ended);
        self.calls_before += ended as u64;
        for chat in self.chats.values_mut() {
            while chat.messages.len() > KEPT_MESSAGES {
                chat.messages.pop_first();
            }
        }
    }

    fn call_mut(&mut self, number: CallNumber) -> Option<&mut Call> {
        let index = number.0.checked_sub(self.calls_before)?;
        self.calls.get_mut(usize::try_from(index).ok()?)
    }
}

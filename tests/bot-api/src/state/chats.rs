//! Chats and their messages, and how those look in JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::record::Sending;
use super::{FileKind, FileNumber, State};
use crate::entities::{Entity, Formatted};
use crate::ids::{BotId, ChatId, MessageId, TopicId, UserId};
use crate::moment::Moment;

/// What tells chats apart: two bots that talk with the same person have two chats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChatKey {
    Direct(BotId, UserId),
    Group(ChatId),
}

impl ChatKey {
    pub(crate) fn chat(self) -> ChatId {
        match self {
            Self::Direct(_, user) => user.into(),
            Self::Group(chat) => chat,
        }
    }
}

/// A chat.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) kind: ChatType,
    pub(crate) topics: BTreeMap<TopicId, String>,
    pub(crate) messages: BTreeMap<MessageId, Message>,
    pub(crate) blocked: BTreeSet<BotId>,
    last: i64,
}

#[derive(Debug)]
pub(crate) enum ChatType {
    Direct,
    Supergroup(String),
    Forum(String),
}

/// Whether a bot may write in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    Member,
    Blocked,
}

/// A message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) author: Author,
    pub(crate) at: Moment,
    pub(crate) edited: Option<Moment>,
    pub(crate) thread: Option<TopicId>,
    pub(crate) reply_to: Option<MessageId>,
    pub(crate) content: Content,
}

/// Who wrote a message; for bots with what only tests ask for.
#[derive(Debug)]
pub(crate) enum Author {
    User(UserId),
    Bot(BotId, Sending),
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) text: Formatted,
    pub(crate) file: Option<(FileKind, FileNumber)>,
}

impl Chat {
    pub(crate) fn new(kind: ChatType) -> Self {
        Self {
            kind,
            topics: BTreeMap::new(),
            messages: BTreeMap::new(),
            blocked: BTreeSet::new(),
            last: 0,
        }
    }

    /// The next number. Topics are numbered as the message that opened them.
    pub(crate) fn number(&mut self) -> MessageId {
        self.last += 1;
        MessageId(self.last)
    }

    pub(crate) fn add(&mut self, message: Message) -> MessageId {
        let id = self.number();
        self.messages.insert(id, message);
        id
    }

    pub(crate) fn membership(&self, bot: BotId) -> Membership {
        match self.blocked.contains(&bot) {
            true => Membership::Blocked,
            false => Membership::Member,
        }
    }
}

impl State {
    /// A message as the Bot API shows it, with the message that it answers.
    pub(crate) fn message_json(&self, key: ChatKey, id: MessageId) -> Option<Value> {
        self.one_message(key, id, true)
    }

    fn one_message(&self, key: ChatKey, id: MessageId, with_reply: bool) -> Option<Value> {
        let chat = self.chats.get(&key)?;
        let message = chat.messages.get(&id)?;
        let from = match &message.author {
            Author::User(user) => self.users.get(user)?.to_json(),
            Author::Bot(bot, _) => self.bots.get(bot)?.to_json(),
        };
        let mut object = Map::new();
        let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
        add("message_id", id.0.into());
        add("from", from);
        add("chat", self.chat_json(key, chat)?);
        add("date", message.at.unix_seconds().into());
        if let Some(edited) = message.edited {
            add("edit_date", edited.unix_seconds().into());
        }
        if let Some(thread) = message.thread {
            add("message_thread_id", thread.0.into());
            if matches!(chat.kind, ChatType::Forum(_)) {
                add("is_topic_message", true.into());
            }
        }
        if let Some(replied) = message.reply_to.filter(|_| with_reply)
            && let Some(replied) = self.one_message(key, replied, false)
        {
            add("reply_to_message", replied);
        }
        let Formatted { text, entities } = &message.content.text;
        let (text_name, entities_name) = match message.content.file {
            None => ("text", "entities"),
            Some((kind, number)) => {
                add(kind.name(), self.files.in_message(number));
                ("caption", "caption_entities")
            }
        };
        if !text.is_empty() {
            add(text_name, text.as_str().into());
        }
        if !entities.is_empty() {
            add(
                entities_name,
                entities.iter().map(Entity::to_json).collect(),
            );
        }
        Some(object.into())
    }

    fn chat_json(&self, key: ChatKey, chat: &Chat) -> Option<Value> {
        let id = key.chat().0;
        Some(match (&chat.kind, key) {
            (ChatType::Direct, ChatKey::Direct(_, user)) => {
                let mut value = self.users.get(&user)?.to_json();
                let object = value.as_object_mut()?;
                object.remove("is_bot");
                object.insert("type".to_owned(), "private".into());
                value
            }
            (ChatType::Forum(title), _) => {
                json!({"id": id, "title": title, "type": "supergroup", "is_forum": true})
            }
            (ChatType::Supergroup(title), _) => {
                json!({"id": id, "title": title, "type": "supergroup"})
            }
            (ChatType::Direct, ChatKey::Group(_)) => return None,
        })
    }

    /// Edits a message. Gives whether it is another one now.
    pub(crate) fn edit(
        &mut self,
        key: ChatKey,
        id: MessageId,
        text: Formatted,
        now: Moment,
    ) -> Option<bool> {
        let message = self.chats.get_mut(&key)?.messages.get_mut(&id)?;
        if message.content.text == text {
            return Some(false);
        }
        message.content.text = text;
        message.edited = Some(now);
        if let Author::Bot(_, sending) = &mut message.author {
            sending.edits += 1;
        }
        Some(true)
    }
}

impl Message {
    pub(crate) fn wall(&self) -> SystemTime {
        self.at.wall
    }
}

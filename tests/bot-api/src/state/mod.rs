//! What the service knows: bots, people, chats, messages, files; and what happened to every call.
//!
//! Nothing here opens a socket or asks for the time.
//!
//! | file | rule |
//! | --- | --- |
//! | `updates` | what waits for a bot, and who may fetch it |
//! | `chats` | chats, their messages, and how those look in JSON |
//! | `files` | files and their limits |
//! | `people` | what people do: write, edit, block |
//! | `record` | what tests see: messages of bots, calls, chat actions |

mod chats;
mod files;
mod people;
mod record;
mod updates;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(crate) use chats::{Author, Chat, ChatKey, ChatType, Content, Membership, Message};
pub use files::{
    Attachment, Content as FileContent, Declared, FileKind, MAX_DOWNLOAD, MAX_PHOTO, MAX_UPLOAD,
};
pub(crate) use files::{FileNumber, Files};
pub use people::{Group, Post, User};
pub(crate) use record::Sending;
pub use record::{Call, CallNumber, ChatAction, SentMessage};
pub(crate) use updates::{Begun, PollNumber, Polled, Updates};

use crate::fault::{Act, Fault};
use crate::ids::{BotId, ChatId, UserId};
use crate::wrong::Wrong;

/// Everything that the service knows.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) bots: BTreeMap<BotId, Bot>,
    pub(crate) tokens: BTreeMap<String, BotId>,
    pub(crate) users: BTreeMap<UserId, User>,
    pub(crate) chats: BTreeMap<ChatKey, Chat>,
    pub(crate) files: Files,
    faults: Vec<Fault>,
    calls: Vec<Call>,
    calls_before: u64,
    actions: Vec<ChatAction>,
    sent: u64,
}

/// A bot.
#[derive(Debug)]
pub(crate) struct Bot {
    pub(crate) id: BotId,
    pub(crate) username: String,
    pub(crate) updates: Updates,
    pub(crate) webhook: Option<String>,
    pub(crate) commands: Value,
}

impl Bot {
    /// The bot as a user, in messages.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id.0,
            "is_bot": true,
            "first_name": self.username,
            "username": self.username,
        })
    }
}

impl State {
    /// Makes a token known.
    pub(crate) fn add_bot(&mut self, token: &str, username: &str) -> Result<BotId, Wrong> {
        let id = token
            .split_once(':')
            .and_then(|(id, secret)| (!secret.is_empty()).then_some(id))
            .and_then(|id| id.parse().ok())
            .filter(|id| *id > 0)
            .map(BotId)
            .ok_or(Wrong::NoToken)?;
        self.tokens.insert(token.to_owned(), id);
        self.bots.entry(id).or_insert_with(|| Bot {
            id,
            username: username.to_owned(),
            updates: Updates::default(),
            webhook: None,
            commands: Value::Array(Vec::new()),
        });
        Ok(id)
    }

    /// Makes a token unknown, as its owner does who asks for a new one.
    pub(crate) fn revoke(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    pub(crate) fn set_webhook(&mut self, bot: BotId, url: Option<&str>) {
        if let Some(bot) = self.bots.get_mut(&bot) {
            bot.webhook = url.map(str::to_owned);
        }
    }

    pub(crate) fn add_fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// What is to go wrong with a call. The first fault that is due acts; the others wait.
    pub(crate) fn fault(&mut self, method: &str, chat: Option<ChatId>) -> Option<Act> {
        let mut act = None;
        for fault in &mut self.faults {
            if fault.applies(method, chat) && (act.is_none() || fault.skip > 0) {
                let own = fault.count();
                act = act.or(own);
            }
        }
        self.faults.retain(|fault| !fault.is_over());
        act
    }

    /// The chat that a bot means by a number.
    pub(crate) fn chat_key(&self, bot: BotId, chat: ChatId) -> ChatKey {
        if chat.0 > 0 {
            ChatKey::Direct(bot, UserId(chat.0))
        } else {
            ChatKey::Group(chat)
        }
    }

    /// How many updates wait for a bot.
    #[must_use]
    pub fn pending_updates(&self, bot: BotId) -> usize {
        self.bots.get(&bot).map_or(0, |bot| bot.updates.pending())
    }

    /// Whether somebody waits for a bot's updates now.
    #[must_use]
    pub fn is_polled(&self, bot: BotId) -> bool {
        self.bots
            .get(&bot)
            .is_some_and(|bot| bot.updates.is_polled())
    }
}

//! What comes and goes, as values.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// One account of one channel, such as `telegram` and `default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountRef {
    /// The channel's name, such as `telegram`.
    pub channel: String,
    /// The account's name; `default` where there is only one.
    pub account: String,
}

/// The account that is meant where none is named.
pub const DEFAULT_ACCOUNT: &str = "default";

impl AccountRef {
    /// An account by its names.
    pub fn new(channel: impl Into<String>, account: impl Into<String>) -> Self {
        Self {
            channel: channel.into(),
            account: account.into(),
        }
    }
}

impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.account)
    }
}

/// Where something is said: a chat, or a topic in it. Each has an order of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The account.
    pub account: AccountRef,
    /// The chat, by the service's own id.
    pub chat: String,
    /// The topic in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.account, self.chat)?;
        match &self.thread {
            Some(thread) => write!(f, ":{thread}"),
            None => Ok(()),
        }
    }
}

/// What kind of chat it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatKind {
    /// One person and the account.
    Direct,
    /// Several people.
    Group,
}

/// Who wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The service's own id, which does not change.
    pub id: String,
    /// The name that people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name that people may change, without `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// A file at the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRef {
    /// What to ask the service for.
    pub id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Such as `image/jpeg`.
    pub mime_type: String,
    /// Bytes, if the service said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBytes {
    /// Its name.
    pub name: Option<String>,
    /// Such as `image/jpeg`.
    pub mime_type: String,
    /// The file itself.
    pub data: Bytes,
}

/// Whether somebody wrote something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// A message of its own.
    New,
    /// Another text for a message that was written before.
    Edit,
}

/// Something that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The service's own id, unique in its chat. What comes again under the same id is the same
    /// message.
    pub id: String,
    /// Where it was written, and where the reply goes.
    pub place: Place,
    /// What kind of chat that is.
    pub kind: ChatKind,
    /// The group's name.
    pub title: Option<String>,
    /// Who wrote it.
    pub sender: Sender,
    /// Its words.
    pub text: String,
    /// Its files.
    pub files: Vec<FileRef>,
    /// What it answers, in words.
    pub quoted: Option<String>,
    /// Whether it is meant for the account: by a mention, a command, or as an answer to it.
    pub addressed: bool,
    /// Whether it is new.
    pub revision: Revision,
    /// When it was written.
    pub at: WallTime,
}

/// One part of what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Markdown, short enough for one message.
    Text(String),
    /// A file.
    File(FileBytes),
}

//! What is kept of messages, accounts and the people who write.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    channel::{AccountRef, ChatKind, FileRef, Place, Sender},
    ids::{RunId, SessionId},
    store::{Record, Table},
    time::WallTime,
};

/// The name of a message for people: `m` and its place among all messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::gateway) struct MessageId(String);

impl MessageId {
    pub(super) fn of_order(order: u64) -> Self {
        Self(format!("m{order}"))
    }

    /// Takes a name as somebody wrote it.
    pub(in crate::gateway) fn new(text: &str) -> Self {
        Self(text.trim().to_lowercase())
    }

    pub(in crate::gateway) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::gateway) enum MessageState {
    /// It is on disk and waits for its turn.
    Received,
    /// An agent works on it.
    Running,
    /// The agent waits for a node.
    CallingNode,
    /// Its reply is on disk; or it is one, and waits to be sent.
    Replying,
    /// It is at the service; or its reply is.
    Sent,
    /// Nobody knows whether it is at the service, or whether what it asked for was done.
    Uncertain,
    /// It will not be answered, or not be sent.
    Failed,
}

impl MessageState {
    pub(in crate::gateway) const fn is_over(self) -> bool {
        match self {
            Self::Received | Self::Running | Self::CallingNode | Self::Replying => false,
            Self::Sent | Self::Uncertain | Self::Failed => true,
        }
    }

    pub(in crate::gateway) const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Running => "running",
            Self::CallingNode => "calling-node",
            Self::Replying => "replying",
            Self::Sent => "sent",
            Self::Uncertain => "uncertain",
            Self::Failed => "failed",
        }
    }

    /// The reverse of [`MessageState::as_str`].
    pub(in crate::gateway) fn parse(name: &str) -> Option<Self> {
        [
            Self::Received,
            Self::Running,
            Self::CallingNode,
            Self::Replying,
            Self::Sent,
            Self::Uncertain,
            Self::Failed,
        ]
        .into_iter()
        .find(|state| state.as_str() == name)
    }
}

/// A step on the way of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::gateway) struct Hop {
    pub(in crate::gateway) at: WallTime,
    /// What happened, in words.
    pub(in crate::gateway) what: String,
}

/// A message, from the moment that the gateway has it until its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct MessageRecord {
    pub(in crate::gateway) id: MessageId,
    /// Its place among all messages.
    pub(in crate::gateway) order: u64,
    pub(in crate::gateway) place: Place,
    pub(in crate::gateway) kind: ChatKind,
    pub(in crate::gateway) state: MessageState,
    /// Its words; their beginning when it is over.
    pub(in crate::gateway) text: String,
    pub(in crate::gateway) hops: Vec<Hop>,
    pub(in crate::gateway) way: Way,
}

/// Which way a message goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) enum Way {
    In(Inbound),
    Out(Outbound),
}

/// What somebody wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct Inbound {
    /// The service's own id.
    pub(in crate::gateway) remote_id: String,
    pub(in crate::gateway) sender: Sender,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) title: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::gateway) files: Vec<FileRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) quoted: Option<String>,
    /// When it was written.
    pub(in crate::gateway) written_at: WallTime,
    /// The run that answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) run: Option<RunId>,
    /// The message that answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) answer: Option<MessageId>,
    /// Why nobody knows whether what it asked for was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) doubt: Option<String>,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct Outbound {
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) answers: Option<MessageId>,
    /// The same, by the service's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::gateway) silent: bool,
    pub(in crate::gateway) parts: Vec<PartRecord>,
    /// Where its files are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) files: Option<SessionId>,
    /// The key and the digest of the call that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) asked: Option<Asked>,
}

/// The `send` call behind a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct Asked {
    pub(in crate::gateway) idempotency_key: String,
    pub(in crate::gateway) fingerprint: String,
}

/// One part of what is said: the service takes it or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct PartRecord {
    pub(in crate::gateway) body: PartBody,
    pub(in crate::gateway) state: PartState,
    /// The service's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) remote_id: Option<String>,
    /// Why it is not known, or known not, to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) why: Option<String>,
}

impl PartRecord {
    pub(in crate::gateway) fn new(body: PartBody) -> Self {
        Self {
            body,
            state: PartState::Waiting,
            remote_id: None,
            why: None,
        }
    }
}

/// What a part holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) enum PartBody {
    Text(String),
    /// A file, by its number among the kept files of the message.
    #[serde(rename_all = "camelCase")]
    File {
        seq: u64,
        name: Option<String>,
        mime_type: String,
    },
}

/// How far a part has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum PartState {
    Waiting,
    /// It was given to the service, which has not answered.
    Sending,
    Sent,
    Refused,
    Uncertain,
}

impl MessageRecord {
    pub(in crate::gateway) fn inbound(&self) -> Option<&Inbound> {
        match &self.way {
            Way::In(inbound) => Some(inbound),
            Way::Out(_) => None,
        }
    }

    pub(in crate::gateway) fn outbound(&self) -> Option<&Outbound> {
        match &self.way {
            Way::Out(outbound) => Some(outbound),
            Way::In(_) => None,
        }
    }

    pub(super) fn inbound_mut(&mut self) -> Option<&mut Inbound> {
        match &mut self.way {
            Way::In(inbound) => Some(inbound),
            Way::Out(_) => None,
        }
    }

    pub(super) fn outbound_mut(&mut self) -> Option<&mut Outbound> {
        match &mut self.way {
            Way::Out(outbound) => Some(outbound),
            Way::In(_) => None,
        }
    }

    /// Forgets files that came with the message itself: once it is answered, nobody asks for them any
    /// more, and they would take room for as long as the message is known.
    pub(super) fn let_go_of_files(&mut self) {
        let files = self.inbound_mut().map(|inbound| &mut inbound.files);
        for file in files.into_iter().flatten() {
            if file.id.len() > MAX_FILE_ID {
                file.id = String::new();
            }
        }
    }

    /// Notes a step.
    pub(super) fn hop(&mut self, at: WallTime, what: impl Into<String>) {
        // What a message can go through is bounded; an agent's calls are not so small in number.
        if self.hops.len() < MAX_HOPS {
            let what = what.into();
            self.hops.push(Hop { at, what });
        }
    }
}

/// Bytes of what names a file at a service. What is longer is the file.
const MAX_FILE_ID: usize = 512;

/// Steps of one message that are kept.
const MAX_HOPS: usize = 64;

impl Record for MessageRecord {
    const TABLE: Table = Table::ChannelMessage;

    fn key(&self) -> &str {
        self.id.as_str()
    }
}

/// What is kept of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct AccountRecord {
    key: String,
    pub(super) account: AccountRef,
    /// Where the service's list goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
    /// Whether somebody stopped it by a call. It stays so until somebody starts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stopped: bool,
}

impl AccountRecord {
    pub(super) fn new(account: &AccountRef) -> Self {
        Self {
            key: account.to_string(),
            account: account.clone(),
            cursor: None,
            stopped: false,
        }
    }
}

impl Record for AccountRecord {
    const TABLE: Table = Table::Channel;

    fn key(&self) -> &str {
        &self.key
    }
}

/// Somebody who may write, or asks to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct SenderRecord {
    key: String,
    pub(in crate::gateway) account: AccountRef,
    pub(in crate::gateway) sender: Sender,
    /// Where they asked, and are told what became of it.
    pub(in crate::gateway) place: Place,
    pub(in crate::gateway) standing: Standing,
}

/// How somebody stands with the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) enum Standing {
    /// They were told a code, which somebody has to approve.
    #[serde(rename_all = "camelCase")]
    Asking {
        code: String,
        asked_at: WallTime,
        ends_at: WallTime,
    },
    /// They may write.
    #[serde(rename_all = "camelCase")]
    Paired {
        at: WallTime,
        /// Whether they may let others in.
        owner: bool,
    },
}

impl SenderRecord {
    pub(super) fn new(place: &Place, sender: &Sender, standing: Standing) -> Self {
        Self {
            key: Self::key_of(&place.account, &sender.id),
            account: place.account.clone(),
            sender: sender.clone(),
            place: place.clone(),
            standing,
        }
    }

    pub(super) fn key_of(account: &AccountRef, sender: &str) -> String {
        format!("{account}:{sender}")
    }
}

impl Record for SenderRecord {
    const TABLE: Table = Table::ChannelSender;

    fn key(&self) -> &str {
        &self.key
    }
}

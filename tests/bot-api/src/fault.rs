//! What a test lets go wrong.

use std::time::Duration;

use crate::answer::Answer;
use crate::ids::ChatId;

/// One thing that goes wrong, and for which calls.
///
/// ```
/// use clawgate_bot_api::{Act, Answer, ChatId, Fault, Taken};
///
/// // The third message to this chat arrives, but its sender does not learn it.
/// let lost_answer = Fault::on("sendMessage").in_chat(ChatId(7)).skip(2).act(Act::Taken(Taken::Reset));
/// // Five polls in a row find the service down.
/// let outage = Fault::on("getUpdates").times(5).act(Act::Answer(Answer::bad_gateway()));
/// # let _ = (lost_answer, outage);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) method: Option<String>,
    pub(crate) chat: Option<ChatId>,
    pub(crate) skip: u32,
    pub(crate) left: Left,
    pub(crate) act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Times(u32),
    Forever,
}

/// The name by which faults and calls know the download of a file, which is no method.
pub const DOWNLOAD: &str = "download";

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Act {
    /// The service does not carry it out, and answers this.
    Answer(Answer),
    /// The service does not carry it out; the connection is reset before a byte of an answer.
    LostReset,
    /// The service does not carry it out and never answers. The connection stays open.
    LostSilence,
    /// The service carries it out; this becomes of its answer.
    Taken(Taken),
    /// For `getUpdates`: so many confirmed updates, the last ones, come again before the others.
    /// `usize::MAX` stands for a service that has forgotten the offset.
    UpdatesAgain(usize),
    /// For `getUpdates`: each update stands twice in the answer.
    UpdatesTwice,
}

/// What becomes of the answer to a call that was carried out.
#[derive(Clone, Debug)]
pub enum Taken {
    /// Another one arrives in its place.
    Answer(Answer),
    /// The connection is reset before a byte of it.
    Reset,
    /// The connection is reset after its head.
    ResetAfterHead,
    /// The connection is reset in the middle of its body.
    ResetInBody,
    /// The connection is closed in order, in the middle of its body.
    CloseInBody,
    /// Nothing is ever sent. The connection stays open.
    Silence,
    /// So many bytes of it at a time, with a pause before each.
    Trickle {
        /// Bytes.
        piece: usize,
        /// How long nothing is sent.
        pause: Duration,
    },
}

impl Fault {
    /// A fault of one method, or of [`DOWNLOAD`]. It happens to the first call, once, and answers 500,
    /// unless more is said.
    #[must_use]
    pub fn on(method: &str) -> Self {
        Self {
            method: Some(method.to_ascii_lowercase()),
            ..Self::on_any()
        }
    }

    /// A fault of every method.
    #[must_use]
    pub fn on_any() -> Self {
        Self {
            method: None,
            chat: None,
            skip: 0,
            left: Left::Times(1),
            act: Act::Answer(Answer::internal_error()),
        }
    }

    /// Only calls that name this chat.
    #[must_use]
    pub fn in_chat(mut self, chat: impl Into<ChatId>) -> Self {
        self.chat = Some(chat.into());
        self
    }

    /// So many calls go well before.
    #[must_use]
    pub const fn skip(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// It happens to so many calls in a row.
    #[must_use]
    pub const fn times(mut self, calls: u32) -> Self {
        self.left = Left::Times(calls);
        self
    }

    /// It happens until [`clear_faults`](crate::BotApi::clear_faults).
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.left = Left::Forever;
        self
    }

    /// What happens.
    #[must_use]
    pub fn act(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    pub(crate) fn applies(&self, method: &str, chat: Option<ChatId>) -> bool {
        self.method
            .as_ref()
            .is_none_or(|own| own.eq_ignore_ascii_case(method))
            && (self.chat.is_none() || self.chat == chat)
    }

    /// Counts a call that the fault applies to, and gives what happens to it.
    pub(crate) fn count(&mut self) -> Option<Act> {
        if let Some(skip) = self.skip.checked_sub(1) {
            self.skip = skip;
            return None;
        }
        match &mut self.left {
            Left::Forever => {}
            Left::Times(left) => *left = left.checked_sub(1)?,
        }
        Some(self.act.clone())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left == Left::Times(0)
    }
}

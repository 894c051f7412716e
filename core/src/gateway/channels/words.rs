//! What the gateway itself says to people in chats. A group reads it too: reasons that are for the
//! operator are in `messages trace`.

use super::MessageId;
use crate::gateway::runs::RunState;

/// In place of a reply: why there is none. `None` for a run that ended well.
pub(super) fn no_reply(state: RunState, id: &MessageId, calls: &[String]) -> Option<String> {
    let text = match state {
        RunState::Done | RunState::Queued | RunState::Running => return None,
        RunState::Aborted => "This was stopped.".into(),
        RunState::Failed => {
            format!("Sorry, that did not work. The gateway's operator can look at message {id}.")
        }
        RunState::Timeout => format!("Sorry, that took too long (message {id})."),
        RunState::Cut => cut(id, calls),
    };
    Some(text)
}

fn cut(id: &MessageId, calls: &[String]) -> String {
    if calls.is_empty() {
        return format!(
            "Sorry, I was interrupted before I could answer (message {id}). Please ask again."
        );
    }
    format!(
        "I was interrupted while I worked on this (message {id}). What may have been done: {}. I did \
         not try again.",
        calls.join(", ")
    )
}

/// To somebody whom nobody has let in yet.
pub(super) fn pairing(code: &str, sender: &str, channel: &str) -> String {
    format!(
        "I do not know you yet. Your id is {sender}, your pairing code is {code}. The owner lets you \
         in by:\n\nclawgate pairing approve {channel} {code}"
    )
}

pub(super) const APPROVED: &str = "You have been let in. Write to me whenever you like.";

pub(super) const TOO_MANY: &str = "I have more messages of yours than I can remember: the last ones were not taken. Please wait for \
     my answers.";

pub(super) const NEW_SESSION: &str = "A new session has begun.";

pub(super) const STOPPED: &str = "Stopped.";

pub(super) const NOTHING_TO_STOP: &str = "There was nothing to stop.";

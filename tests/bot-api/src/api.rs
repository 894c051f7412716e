//! The stand-in as tests and the demo hold it.

use std::io;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::http::Server;
use crate::ids::{BotId, ChatId, MessageId, TopicId, UserId};
use crate::moment::Moment;
use crate::state::{Call, ChatAction, ChatType, Group, Post, SentMessage, State, User};
use crate::wrong::Wrong;

/// How many calls are told of when something was waited for in vain.
const CALLS_TOLD: usize = 20;

/// A running Bot API on a loopback port. It stops when it is dropped.
#[derive(Debug)]
pub struct BotApi {
    server: Server,
}

impl BotApi {
    /// Starts the service, with nobody in it.
    ///
    /// # Errors
    ///
    /// When there is no port or no thread left.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            server: Server::start()?,
        })
    }

    /// What a config names it by, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Adds a bot: a token such as `123456:secret`, whose number becomes the bot's, and its name without
    /// `@`. A second token for the same number belongs to the same bot.
    ///
    /// # Errors
    ///
    /// When the token has not this form.
    pub fn add_bot(&self, token: &str, username: &str) -> Result<BotId, Wrong> {
        self.change(|state| state.add_bot(token, username))
    }

    /// Makes a token unknown, so that calls with it get 401.
    pub fn revoke(&self, token: &str) {
        self.change(|state| state.revoke(token));
    }

    /// Sets a webhook, which keeps the bot from `getUpdates` by 409. No update is ever sent to it.
    pub fn set_webhook(&self, bot: BotId, url: &str) {
        self.change(|state| state.set_webhook(bot, Some(url)));
    }

    /// Adds a person.
    #[must_use]
    pub fn user(&self, id: i64, name: &str) -> User {
        self.add_user(User {
            id: UserId(id),
            name: name.to_owned(),
            username: None,
        })
    }

    /// Adds a person, or changes their names.
    pub fn add_user(&self, user: User) -> User {
        self.change(|state| state.add_user(user.clone()));
        user
    }

    /// Adds a group, whose number is negative, with all bots in it.
    #[must_use]
    pub fn group(&self, id: i64, title: &str) -> Group {
        let kind = ChatType::Supergroup(title.to_owned());
        self.change(|state| state.add_group(ChatId(id), kind))
    }

    /// Adds a group with topics.
    #[must_use]
    pub fn forum(&self, id: i64, title: &str) -> Group {
        let kind = ChatType::Forum(title.to_owned());
        self.change(|state| state.add_group(ChatId(id), kind))
    }

    /// Opens a topic in a forum.
    ///
    /// # Errors
    ///
    /// When the group is no forum.
    pub fn topic(&self, forum: Group, name: &str) -> Result<TopicId, Wrong> {
        self.change(|state| state.add_topic(forum, name))
    }

    /// Lets somebody write to the only bot, in their private chat.
    ///
    /// # Errors
    ///
    /// When there is no bot.
    pub fn says(&self, user: &User, text: &str) -> Result<MessageId, Wrong> {
        self.post(Post::by(user, text))
    }

    /// Lets somebody write anything anywhere.
    ///
    /// # Errors
    ///
    /// When the chat, the topic or the message that is answered is not there.
    pub fn post(&self, post: Post) -> Result<MessageId, Wrong> {
        self.change(|state| state.post(post, Moment::now()))
    }

    /// Lets somebody change the text of what they wrote.
    ///
    /// # Errors
    ///
    /// When nobody wrote such a message in this chat.
    pub fn edits(
        &self,
        chat: impl Into<ChatId>,
        message: MessageId,
        text: &str,
    ) -> Result<(), Wrong> {
        self.change(|state| state.user_edits(chat.into(), message, text, Moment::now()))
    }

    /// Lets a person block a bot, or a group throw it out: 403 for what it sends there.
    ///
    /// # Errors
    ///
    /// When there is no such chat.
    pub fn block(&self, bot: BotId, chat: impl Into<ChatId>) -> Result<(), Wrong> {
        self.change(|state| state.block(bot, chat.into(), true))
    }

    /// Takes a [`block`](Self::block) back.
    ///
    /// # Errors
    ///
    /// When there is no such chat.
    pub fn unblock(&self, bot: BotId, chat: impl Into<ChatId>) -> Result<(), Wrong> {
        self.change(|state| state.block(bot, chat.into(), false))
    }

    /// Lays a fault. Of several that are due for a call the first acts, and the others wait.
    pub fn fault(&self, fault: Fault) {
        self.change(|state| state.add_fault(fault));
    }

    /// Takes all faults away. Connections that are kept silent stay so.
    pub fn clear_faults(&self) {
        self.change(State::clear_faults);
    }

    /// The messages that bots sent to a chat, in order.
    #[must_use]
    pub fn sent(&self, chat: impl Into<ChatId>) -> Vec<SentMessage> {
        self.look(|state| state.sent(chat).collect())
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.look(|state| state.calls().to_vec())
    }

    /// The chat actions so far.
    #[must_use]
    pub fn actions(&self) -> Vec<ChatAction> {
        self.look(|state| state.actions().to_vec())
    }

    /// Looks at the state. Nothing else happens meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.server.shared.lock().state)
    }

    /// Waits until `wanted` gives something; it is asked again whenever anything has changed.
    ///
    /// # Errors
    ///
    /// When it gave nothing within `limit`; with the last calls.
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&State) -> Option<T>,
    ) -> Result<T, Wrong> {
        let until = Instant::now() + limit;
        let mut inner = self.server.shared.lock();
        loop {
            if let Some(found) = wanted(&inner.state) {
                return Ok(found);
            }
            if Instant::now() >= until {
                let calls = inner.state.calls();
                let skip = calls.len().saturating_sub(CALLS_TOLD);
                let calls: Vec<_> = calls.iter().skip(skip).map(ToString::to_string).collect();
                return Err(Wrong::InVain {
                    waited: limit,
                    calls: calls.join("\n"),
                });
            }
            inner = self.server.shared.wait(inner, until);
        }
    }

    /// Waits until bots have sent so many messages to a chat, and gives all of them.
    ///
    /// # Errors
    ///
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_sent(
        &self,
        chat: impl Into<ChatId>,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<SentMessage>, Wrong> {
        let chat = chat.into();
        self.wait_for(limit, |state| {
            let sent: Vec<_> = state.sent(chat).collect();
            (sent.len() >= count).then_some(sent)
        })
    }

    /// Forgets chat actions, ended calls, and all but the last hundred messages of each chat, so that a
    /// long run needs no more memory. Chats go on counting.
    pub fn forget_history(&self) {
        self.change(State::forget_history);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.server.shared.change(change)
    }
}

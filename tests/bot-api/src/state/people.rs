//! What people do: they write, edit, answer, open topics and block bots.

use serde_json::{Value, json};

use super::chats::{Author, Chat, ChatKey, ChatType, Content, Message};
use super::{Attachment, State};
use crate::entities::Formatted;
use crate::ids::{BotId, ChatId, MessageId, TopicId, UserId};
use crate::moment::Moment;
use crate::wrong::Wrong;

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their number, which is also the number of their private chats.
    pub id: UserId,
    /// The name that others see.
    pub name: String,
    /// Their `@name`, if they took one.
    pub username: Option<String>,
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number, which is negative.
    pub id: ChatId,
}

impl From<&User> for ChatId {
    fn from(user: &User) -> Self {
        user.id.into()
    }
}

impl From<Group> for ChatId {
    fn from(group: Group) -> Self {
        group.id
    }
}

impl User {
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({"id": self.id.0, "is_bot": false, "first_name": self.name});
        if let (Some(username), Some(object)) = (&self.username, value.as_object_mut()) {
            object.insert("username".to_owned(), username.as_str().into());
        }
        value
    }
}

/// Something that a person writes.
#[derive(Clone, Debug)]
pub struct Post {
    author: UserId,
    text: String,
    bot: Option<BotId>,
    group: Option<ChatId>,
    topic: Option<TopicId>,
    reply_to: Option<MessageId>,
    file: Option<Attachment>,
}

impl Post {
    /// A message to the only bot, in the private chat with it.
    #[must_use]
    pub fn by(author: &User, text: &str) -> Self {
        Self {
            author: author.id,
            text: text.to_owned(),
            bot: None,
            group: None,
            topic: None,
            reply_to: None,
            file: None,
        }
    }

    /// To this bot, where there are several.
    #[must_use]
    pub const fn to(mut self, bot: BotId) -> Self {
        self.bot = Some(bot);
        self
    }

    /// In a group, where all its bots read it.
    #[must_use]
    pub const fn in_group(mut self, group: Group) -> Self {
        self.group = Some(group.id);
        self
    }

    /// In a topic of the group.
    #[must_use]
    pub const fn in_topic(mut self, topic: TopicId) -> Self {
        self.topic = Some(topic);
        self
    }

    /// As an answer to a message of the same chat.
    #[must_use]
    pub const fn replying_to(mut self, message: MessageId) -> Self {
        self.reply_to = Some(message);
        self
    }

    /// With a file; the text stands under it.
    #[must_use]
    pub fn with(mut self, file: Attachment) -> Self {
        self.file = Some(file);
        self
    }
}

impl State {
    pub(crate) fn add_user(&mut self, user: User) {
        self.users.insert(user.id, user);
    }

    pub(crate) fn add_group(&mut self, id: ChatId, kind: ChatType) -> Group {
        self.chats
            .entry(ChatKey::Group(id))
            .or_insert_with(|| Chat::new(kind));
        Group { id }
    }

    pub(crate) fn add_topic(&mut self, group: Group, name: &str) -> Result<TopicId, Wrong> {
        let chat = self
            .chats
            .get_mut(&ChatKey::Group(group.id))
            .ok_or(Wrong::NoChat)?;
        if !matches!(chat.kind, ChatType::Forum(_)) {
            return Err(Wrong::NoChat);
        }
        // The first number is the general topic's.
        let mut id = chat.number();
        if id.0 == 1 {
            id = chat.number();
        }
        chat.topics.insert(TopicId(id.0), name.to_owned());
        Ok(TopicId(id.0))
    }

    /// Takes a message in, and tells the bots of its chat.
    pub(crate) fn post(&mut self, post: Post, now: Moment) -> Result<MessageId, Wrong> {
        let key = match post.group {
            Some(group) => ChatKey::Group(group),
            None => {
                let bot = post.bot.or_else(|| self.bots.keys().next().copied());
                let key = ChatKey::Direct(bot.ok_or(Wrong::NoBot)?, post.author);
                self.chats
                    .entry(key)
                    .or_insert_with(|| Chat::new(ChatType::Direct));
                key
            }
        };
        let chat = self.chats.get_mut(&key).ok_or(Wrong::NoChat)?;
        if post
            .topic
            .is_some_and(|topic| !chat.topics.contains_key(&topic))
        {
            return Err(Wrong::NoTopic);
        }
        if post
            .reply_to
            .is_some_and(|id| !chat.messages.contains_key(&id))
        {
            return Err(Wrong::NoMessage);
        }
        let file = post.file.map(|file| (file.kind, self.files.keep(file)));
        let id = chat.add(Message {
            author: Author::User(post.author),
            at: now,
            edited: None,
            thread: post.topic,
            reply_to: post.reply_to,
            content: Content {
                text: Formatted::written(&post.text),
                file,
            },
        });
        self.tell(key, id, "message");
        Ok(id)
    }

    /// Lets a person change what they wrote.
    pub(crate) fn user_edits(
        &mut self,
        chat: ChatId,
        id: MessageId,
        text: &str,
        now: Moment,
    ) -> Result<(), Wrong> {
        let wrote = |chat: &Chat| {
            let author = chat.messages.get(&id).map(|message| &message.author);
            matches!(author, Some(Author::User(_)))
        };
        let key = self
            .chats
            .iter()
            .find(|(key, found)| key.chat() == chat && wrote(found))
            .map(|(key, _)| *key)
            .ok_or(Wrong::NoMessage)?;
        self.edit(key, id, Formatted::written(text), now);
        self.tell(key, id, "edited_message");
        Ok(())
    }

    /// Lets a person block a bot, or a group throw it out; or takes that back.
    pub(crate) fn block(&mut self, bot: BotId, chat: ChatId, blocked: bool) -> Result<(), Wrong> {
        let key = self.chat_key(bot, chat);
        let chat = self.chats.get_mut(&key).ok_or(Wrong::NoChat)?;
        if blocked {
            chat.blocked.insert(bot);
        } else {
            chat.blocked.remove(&bot);
        }
        Ok(())
    }

    fn tell(&mut self, key: ChatKey, id: MessageId, kind: &str) {
        let Some(message) = self.message_json(key, id) else {
            return;
        };
        let blocked = self.chats.get(&key).map(|chat| &chat.blocked);
        for (bot, to) in &mut self.bots {
            let reads = match key {
                ChatKey::Direct(own, _) => own == *bot,
                ChatKey::Group(_) => true,
            };
            if reads
                && !blocked.is_some_and(|blocked| blocked.contains(bot))
                && to.webhook.is_none()
            {
                to.updates.push(kind, &message);
            }
        }
    }
}

//! Numbers that Telegram gives out, each of a kind of its own.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A bot: the number before the colon of its token.
    BotId
);
id!(
    /// A person.
    UserId
);
id!(
    /// A chat as bots name it: the person's number in a private chat, a negative number for a group.
    ChatId
);
id!(
    /// A message in its chat. Every chat counts from one.
    MessageId
);
id!(
    /// A topic of a forum.
    TopicId
);

impl From<UserId> for ChatId {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}

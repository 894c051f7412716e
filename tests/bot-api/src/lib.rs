//! A stand-in for Telegram's Bot API, for the tests and the demo of clawgate.
//!
//! [`BotApi`] serves `/bot<token>/<method>` and `/file/bot<token>/<path>` on a loopback port. Its other
//! side is people: they write, answer, edit and send files by calls in Rust, and tests see what bots sent
//! them. [`Fault`]s let single calls go wrong, and every [`Call`] on record says whether the service has
//! carried it out, so that a test can compare the truth with what a client believes.
//!
//! ```
//! use clawgate_bot_api::BotApi;
//!
//! let api = BotApi::start()?;
//! api.add_bot("123456:secret", "example_bot")?;
//! let anna = api.user(7, "Anna");
//! api.says(&anna, "Hello")?;
//! // A bot that polls `api.url()` gets the message now. What it says is in `api.sent(&anna)`.
//! assert!(api.sent(&anna).is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does as the service does
//!
//! By <https://core.telegram.org/bots/api>, and by the published server of the Bot API where the
//! documentation is silent:
//!
//! - `getUpdates`: offsets confirm; negative ones keep the last updates; one that lies far in the future
//!   confirms nothing; at most 100 updates and 50 seconds; `allowed_updates` is remembered. Of two polls
//!   that wait the earlier one ends with 409. With a webhook all of them do.
//! - `getMe`, `deleteWebhook`, `getWebhookInfo`, `setMyCommands`, `sendMessage`, `sendPhoto`,
//!   `sendDocument`, `sendVideo`, `sendAudio`, `sendVoice`, `sendChatAction`, `editMessageText`,
//!   `getFile` and downloads. Other methods are not found.
//! - Texts: HTML is parsed; 4096 UTF-16 units after that, 1024 under files. White space at the ends goes.
//! - Files: 10 MB for photos, which must be pictures; 50 MB for others; 20 MB for downloads.
//! - Chats: bots cannot write first, nor where they are blocked. The general topic of a forum cannot be
//!   named by its number when something is sent.
//! - Parameters in the query, as JSON, as a form or as a form with files; also in chunks.
//!
//! # What it does not do
//!
//! - Markdown is refused as unsupported, and so are URLs in the place of files.
//! - No limits of rates, unless a fault sets them; no delay for those who ask for the same updates again
//!   at once, or after a 409.
//! - Bots read everything in groups, as with privacy mode off. There are no channels, keyboards,
//!   reactions, stickers, albums or polls.
//! - Offsets of entities that a bot sends as a list are not looked at.
//!
//! # Compared with `telegram-test-api` 4.2.1 from npm
//!
//! That server cannot stand in for the service where messages must be neither lost nor repeated. Its
//! `getUpdates` hands out an update once, whatever the offset says, so that one whose answer is lost is
//! gone; it has no long polling, no limit and no 409. It knows no files, no multipart forms, no
//! `sendPhoto`, `sendDocument`, `sendChatAction`, `getFile` or `getWebhookInfo`. It takes every token and
//! every text: nothing is empty, too long or badly formatted. `getMe` answers the same for all bots,
//! dates of its answers are milliseconds, message numbers are shared by all chats, and errors have not the form of the
//! Bot API. What it can do is take part in a plain exchange: `getUpdates`, `sendMessage`,
//! `editMessageText`, `deleteWebhook`.

#![forbid(unsafe_code)]

mod answer;
mod api;
mod entities;
mod fault;
mod html;
mod http;
mod ids;
mod image;
mod methods;
mod moment;
mod params;
mod state;
mod wrong;

pub use answer::Answer;
pub use api::BotApi;
pub use entities::{Entity, Formatted, MAX_CAPTION, MAX_TEXT};
pub use fault::{Act, DOWNLOAD, Fault, Taken};
pub use html::parse_html;
pub use ids::{BotId, ChatId, MessageId, TopicId, UserId};
pub use moment::Moment;
pub use state::{
    Attachment, Call, CallNumber, ChatAction, Declared, FileContent, FileKind, Group, MAX_DOWNLOAD,
    MAX_PHOTO, MAX_UPLOAD, Post, SentMessage, State, User,
};
pub use wrong::Wrong;

//! What an update of the Bot API says.

use serde_json::Value;

use crate::{
    channel::{AccountRef, ChatKind, FileRef, Incoming, Place, Revision, Sender},
    time::WallTime,
};

use super::words::special_words;

/// Who the bot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Me {
    id: i64,
    username: Option<String>,
}

impl Me {
    pub(super) fn read(user: &Value) -> Option<Self> {
        Some(Self {
            id: user.get("id")?.as_i64()?,
            username: text(user, "username"),
        })
    }

    /// The name for people.
    pub(super) fn shown(&self) -> String {
        match &self.username {
            Some(name) => format!("@{name}"),
            None => self.id.to_string(),
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.username
            .as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    fn is(&self, user: Option<&Value>) -> bool {
        user.and_then(|user| user.get("id")).and_then(Value::as_i64) == Some(self.id)
    }
}

/// The message in an update. `None` where nobody wrote one: a channel's post, another bot's message,
/// somebody who joined.
pub(super) fn read_update(account: &AccountRef, me: &Me, update: &Value) -> Option<Incoming> {
    let (message, revision) = match update.get("message") {
        Some(message) => (message, Revision::New),
        None => (update.get("edited_message")?, Revision::Edit),
    };
    let chat = message.get("chat")?;
    let kind = match chat.get("type")?.as_str()? {
        "private" => ChatKind::Direct,
        "group" | "supergroup" => ChatKind::Group,
        _ => return None,
    };
    let from = message.get("from")?;
    // Nobody can be told apart behind the name of a chat.
    if is_true(from, "is_bot") || me.is(Some(from)) || message.get("sender_chat").is_some() {
        return None;
    }
    let files = read_files(message);
    let (mut words, entities) = match (text(message, "text"), text(message, "caption")) {
        (Some(words), _) => (words, message.get("entities")),
        (None, Some(words)) => (words, message.get("caption_entities")),
        (None, None) => (special_words(message).unwrap_or_default(), None),
    };
    if words.is_empty() && files.is_empty() {
        return None;
    }
    let marks = Marks::read(me, &words, entities);
    let answered = message
        .get("reply_to_message")
        // In a topic, everything answers the message that made it.
        .filter(|answered| answered.get("forum_topic_created").is_none());
    let addressed = kind == ChatKind::Direct
        || marks.calls_bot
        || answered.is_some_and(|answered| me.is(answered.get("from")));
    if let Some((start, end)) = marks.cut
        && let (Some(before), Some(after)) = (words.get(..start), words.get(end..))
    {
        words = format!("{before}{after}").trim_start().to_owned();
    }
    let quoted = message
        .get("quote")
        .and_then(|quote| text(quote, "text"))
        .or_else(|| {
            let answered = answered?;
            text(answered, "text")
                .or_else(|| text(answered, "caption"))
                .or_else(|| special_words(answered))
        });
    let written = match revision {
        Revision::New => message.get("date"),
        Revision::Edit => message.get("edit_date").or_else(|| message.get("date")),
    };
    Some(Incoming {
        id: message.get("message_id")?.as_i64()?.to_string(),
        place: Place {
            account: account.clone(),
            chat: chat.get("id")?.as_i64()?.to_string(),
            thread: is_true(message, "is_topic_message")
                .then(|| message.get("message_thread_id")?.as_i64())
                .flatten()
                .map(|thread| thread.to_string()),
        },
        kind,
        title: text(chat, "title"),
        sender: Sender {
            id: from.get("id")?.as_i64()?.to_string(),
            name: name_of(from),
            username: text(from, "username"),
        },
        text: words,
        files,
        quoted,
        addressed,
        revision,
        at: WallTime(
            written
                .and_then(Value::as_u64)
                .unwrap_or_default()
                .saturating_mul(1_000),
        ),
    })
}

/// What is marked in a text.
#[derive(Default)]
struct Marks {
    /// Whether somebody calls the bot.
    calls_bot: bool,
    /// Bytes of the text in which the bot's own name stands before what is meant for it: `@name` at the
    /// beginning, or behind a command.
    cut: Option<(usize, usize)>,
}

impl Marks {
    fn read(me: &Me, words: &str, entities: Option<&Value>) -> Self {
        let mut marks = Self::default();
        let entities = entities.and_then(Value::as_array);
        for entity in entities.into_iter().flatten() {
            let number = |key: &str| {
                let number = entity.get(key)?.as_u64()?;
                usize::try_from(number).ok()
            };
            let (Some(offset), Some(length)) = (number("offset"), number("length")) else {
                continue;
            };
            let Some((start, end)) = bytes_of(words, offset, length) else {
                continue;
            };
            let Some(marked) = words.get(start..end) else {
                continue;
            };
            match entity.get("type").and_then(Value::as_str) {
                Some("mention") if me.is_named(marked.trim_start_matches('@')) => {
                    marks.calls_bot = true;
                    let after = words.get(end..).unwrap_or_default();
                    let gap = after.len() - after.trim_start_matches([',', ':', ' ']).len();
                    // A name alone is still something that was said.
                    if start == 0 && after.len() > gap {
                        marks.cut = Some((0, end + gap));
                    }
                }
                Some("text_mention") if me.is(entity.get("user")) => marks.calls_bot = true,
                Some("bot_command") => match marked.split_once('@') {
                    None => marks.calls_bot = true,
                    Some((command, name)) if me.is_named(name) => {
                        marks.calls_bot = true;
                        if start == 0 {
                            marks.cut = Some((start + command.len(), end));
                        }
                    }
                    Some(_) => {}
                },
                _ => {}
            }
        }
        marks
    }
}

/// A range of UTF-16 units as one of bytes.
fn bytes_of(words: &str, offset: usize, length: usize) -> Option<(usize, usize)> {
    let last = offset.checked_add(length)?;
    let mut units = 0;
    let mut start = None;
    for (at, c) in words.char_indices() {
        if units == offset {
            start = Some(at);
        }
        if units == last {
            return Some((start?, at));
        }
        units += c.len_utf16();
    }
    (units == last).then_some((start?, words.len()))
}

fn read_files(message: &Value) -> Vec<FileRef> {
    if let Some(sizes) = message.get("photo").and_then(Value::as_array) {
        let area = |size: &&Value| {
            let side = |key: &str| size.get(key).and_then(Value::as_u64).unwrap_or_default();
            side("width").saturating_mul(side("height"))
        };
        return sizes
            .iter()
            .max_by_key(area)
            .and_then(|size| read_file(size, "image/jpeg"))
            .into_iter()
            .collect();
    }
    // An animation also stands under `document`.
    let kinds = [
        ("animation", "video/mp4"),
        ("video", "video/mp4"),
        ("video_note", "video/mp4"),
        ("voice", "audio/ogg"),
        ("audio", "audio/mpeg"),
        ("document", "application/octet-stream"),
    ];
    let known = kinds
        .iter()
        .find_map(|(key, mime_type)| read_file(message.get(key)?, mime_type));
    let sticker = || {
        let sticker = message.get("sticker")?;
        let mime_type = if is_true(sticker, "is_animated") {
            "application/x-tgsticker"
        } else if is_true(sticker, "is_video") {
            "video/webm"
        } else {
            "image/webp"
        };
        read_file(sticker, mime_type)
    };
    known.or_else(sticker).into_iter().collect()
}

fn read_file(file: &Value, mime_type: &str) -> Option<FileRef> {
    Some(FileRef {
        id: text(file, "file_id")?,
        name: text(file, "file_name"),
        mime_type: text(file, "mime_type").unwrap_or_else(|| mime_type.to_owned()),
        size: file.get("file_size").and_then(Value::as_u64),
    })
}

fn name_of(user: &Value) -> Option<String> {
    let parts = [text(user, "first_name"), text(user, "last_name")];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    (!name.trim().is_empty()).then_some(name)
}

fn is_true(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool) == Some(true)
}

fn text(value: &Value, key: &str) -> Option<String> {
    value
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

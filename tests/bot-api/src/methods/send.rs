//! Messages and files that bots send, and what they change in them.

use serde_json::Value;

use super::{Caller, Refusal};
use crate::entities::{Formatted, MAX_CAPTION, MAX_TEXT};
use crate::html::parse_html;
use crate::ids::{MessageId, TopicId};
use crate::image;
use crate::params::Upload;
use crate::state::{
    Attachment, Author, ChatKey, ChatType, Content, FileContent, FileKind, FileNumber, Message,
    Sending,
};

impl Caller<'_> {
    pub(super) fn send_text(&mut self) -> Result<Value, Refusal> {
        let text = self.message_text()?;
        self.send(Content { text, file: None })
    }

    pub(super) fn send_file(&mut self, kind: FileKind) -> Result<Value, Refusal> {
        let file = self.input_file(kind)?;
        let caption = self.formatted("caption")?;
        if caption.length() > MAX_CAPTION {
            return Err(Refusal::bad_request("message caption is too long"));
        }
        // Nothing is kept of what is refused.
        let place = self.place()?;
        let number = match file {
            InputFile::Known(number) => number,
            InputFile::New(file) => self.state.files.keep(file),
        };
        let file = Some((kind, number));
        self.put(
            place,
            Content {
                text: caption,
                file,
            },
        )
    }

    pub(super) fn edit_text(&mut self) -> Result<Value, Refusal> {
        let text = self.message_text()?;
        let key = self.writable_chat()?;
        let not_found = || Refusal::bad_request("message to edit not found");
        let id = MessageId(self.params.number("message_id").ok_or_else(not_found)?);
        let message = self
            .state
            .chats
            .get(&key)
            .and_then(|chat| chat.messages.get(&id))
            .ok_or_else(not_found)?;
        match message.author {
            Author::Bot(bot, _) if bot == self.bot => {}
            Author::Bot(..) | Author::User(_) => {
                return Err(Refusal::bad_request("message can't be edited"));
            }
        }
        if message.content.file.is_some() {
            return Err(Refusal::bad_request(
                "there is no text in the message to edit",
            ));
        }
        match self.state.edit(key, id, text, self.now) {
            Some(true) => self.state.message_json(key, id).ok_or_else(not_found),
            Some(false) => Err(Refusal::bad_request(
                "message is not modified: specified new message content and reply markup are exactly \
                 the same as a current content and reply markup of the message",
            )),
            None => Err(not_found()),
        }
    }

    fn send(&mut self, content: Content) -> Result<Value, Refusal> {
        let place = self.place()?;
        self.put(place, content)
    }

    fn put(&mut self, place: Place, content: Content) -> Result<Value, Refusal> {
        let sending = Sending {
            number: self.state.next_sent(),
            parse_mode: self.params.text("parse_mode").map(str::to_owned),
            silent: self.params.is_true("disable_notification"),
            edits: 0,
        };
        let message = Message {
            author: Author::Bot(self.bot, sending),
            at: self.now,
            edited: None,
            thread: place.thread,
            reply_to: place.reply_to,
            content,
        };
        let chat = self.state.chats.get_mut(&place.key);
        let id = chat.map(|chat| chat.add(message));
        id.and_then(|id| self.state.message_json(place.key, id))
            .ok_or_else(|| Refusal::bad_request("chat not found"))
    }

    fn message_text(&self) -> Result<Formatted, Refusal> {
        if self.params.text("text").is_none() {
            return Err(Refusal::bad_request("message text is empty"));
        }
        let text = self.formatted("text")?;
        if text.text.is_empty() {
            return Err(Refusal::bad_request("text must be non-empty"));
        }
        if text.length() > MAX_TEXT {
            return Err(Refusal::bad_request("message is too long"));
        }
        Ok(text)
    }

    fn formatted(&self, name: &str) -> Result<Formatted, Refusal> {
        let text = self.params.text(name).unwrap_or_default();
        let mode = self.params.text("parse_mode").map(str::to_ascii_lowercase);
        let formatted = match mode.as_deref() {
            None => Formatted::written(text),
            Some("html") => parse_html(text)
                .map_err(|why| Refusal::bad_request(format!("can't parse entities: {why}")))?,
            Some(_) => return Err(Refusal::bad_request("unsupported parse_mode")),
        };
        Ok(formatted.trimmed())
    }

    /// Where a message goes: its chat, its topic, what it answers.
    fn place(&self) -> Result<Place, Refusal> {
        let key = self.writable_chat()?;
        let Some(chat) = self.state.chats.get(&key) else {
            return Err(Refusal::bad_request("chat not found"));
        };
        let asked = self
            .params
            .number("message_thread_id")
            .filter(|id| *id != 0)
            .map(TopicId);
        let thread = match (&chat.kind, asked) {
            (_, None) => None,
            // Also for 1: the general topic of a forum cannot be named when something is sent.
            (ChatType::Forum(_) | ChatType::Direct, Some(topic)) => {
                if !chat.topics.contains_key(&topic) {
                    return Err(Refusal::bad_request("message thread not found"));
                }
                Some(topic)
            }
            (ChatType::Supergroup(_), Some(_)) => None,
        };
        let reply_to = self.reply_to()?;
        let reply_to = match reply_to {
            Some((id, _)) if chat.messages.contains_key(&id) => Some(id),
            Some((_, true)) | None => None,
            Some((_, false)) => {
                return Err(Refusal::bad_request("message to be replied not found"));
            }
        };
        Ok(Place {
            key,
            thread,
            reply_to,
        })
    }

    /// The message that the call answers, and whether it may be sent without it.
    fn reply_to(&self) -> Result<Option<(MessageId, bool)>, Refusal> {
        let unreadable = || Refusal::bad_request("can't parse reply parameters JSON object");
        let Some(parameters) = self
            .params
            .json("reply_parameters")
            .map_err(|_| unreadable())?
        else {
            let id = self
                .params
                .number("reply_to_message_id")
                .filter(|id| *id > 0);
            let without = self.params.is_true("allow_sending_without_reply");
            return Ok(id.map(|id| (MessageId(id), without)));
        };
        let Value::Object(parameters) = parameters else {
            return Err(Refusal::bad_request("object expected as reply parameters"));
        };
        if parameters.is_empty() {
            return Ok(None);
        }
        let id = parameters
            .get("message_id")
            .and_then(Value::as_i64)
            .ok_or_else(|| Refusal::bad_request("can't find field \"message_id\""))?;
        let without = parameters
            .get("allow_sending_without_reply")
            .and_then(Value::as_bool);
        Ok((id > 0).then_some((MessageId(id), without.unwrap_or_default())))
    }

    fn input_file(&self, kind: FileKind) -> Result<InputFile, Refusal> {
        let name = kind.name();
        let named = self.params.text(name);
        let attached = named.and_then(|named| named.strip_prefix("attach://"));
        if let (Some(id), None) = (named, attached) {
            if id.contains("://") {
                return Err(Refusal::bad_request("failed to get HTTP URL content"));
            }
            let (number, _) =
                self.state.files.by_id(id).ok_or_else(|| {
                    Refusal::bad_request("wrong file identifier/HTTP URL specified")
                })?;
            return Ok(InputFile::Known(number));
        }
        let upload = self
            .params
            .file(attached.unwrap_or(name))
            .ok_or_else(|| Refusal::bad_request(format!("there is no {name} in the request")))?;
        accepted(kind, upload).map(InputFile::New)
    }
}

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: ChatKey,
    thread: Option<TopicId>,
    reply_to: Option<MessageId>,
}

/// The file of a call.
#[derive(Debug)]
enum InputFile {
    Known(FileNumber),
    New(Attachment),
}

fn accepted(kind: FileKind, upload: &Upload) -> Result<Attachment, Refusal> {
    let size = upload.data.len() as u64;
    let most = kind.max_upload();
    if size == 0 {
        return Err(Refusal::bad_request("file must be non-empty"));
    }
    if size > most {
        let what = match kind {
            FileKind::Photo => " for a photo",
            FileKind::Document | FileKind::Video | FileKind::Audio | FileKind::Voice => {
                return Err(Refusal(413, "Request Entity Too Large".to_owned()));
            }
        };
        return Err(Refusal::bad_request(format!(
            "file of size {size} bytes is too big{what}; the maximum size is {most} bytes"
        )));
    }
    if kind == FileKind::Photo {
        let (width, height) = image::size(&upload.data)
            .ok_or_else(|| Refusal::bad_request("IMAGE_PROCESS_FAILED"))?;
        let (short, long) = (width.min(height), width.max(height));
        if short == 0 || width + height > 10_000 || long > short * 20 {
            return Err(Refusal::bad_request("PHOTO_INVALID_DIMENSIONS"));
        }
    }
    Ok(Attachment {
        kind,
        name: upload.name.clone(),
        mime_type: upload.mime_type.clone(),
        content: FileContent::Bytes(upload.data.clone()),
    })
}

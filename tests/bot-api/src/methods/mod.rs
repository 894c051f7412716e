//! The methods of the Bot API, each a decision on the state. Names count without case, as they do for
//! the service.

mod poll;
mod send;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::ids::{BotId, ChatId, TopicId};
use crate::moment::Moment;
use crate::params::Params;
use crate::state::{ChatAction, ChatKey, FileKind, MAX_DOWNLOAD, Membership, PollNumber, State};

/// How a call ends.
#[derive(Debug)]
pub(crate) enum Reply {
    /// With this.
    Now(Answer),
    /// Later: a long poll of this number.
    Waits(PollNumber),
}

/// An error of a method: the status and the description.
#[derive(Debug)]
pub(crate) struct Refusal(u16, String);

impl Refusal {
    fn bad_request(why: impl AsRef<str>) -> Self {
        Self(400, format!("Bad Request: {}", why.as_ref()))
    }

    fn forbidden(why: &str) -> Self {
        Self(403, format!("Forbidden: {why}"))
    }
}

impl From<Refusal> for Answer {
    fn from(Refusal(status, description): Refusal) -> Self {
        Self::error(status, &description)
    }
}

/// One call of one bot.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) bot: BotId,
    pub(crate) params: &'a Params,
    pub(crate) now: Moment,
}

/// Carries a call out.
pub(crate) fn call(mut caller: Caller<'_>, method: &str) -> Reply {
    let method = method.to_ascii_lowercase();
    if method == "getupdates" {
        return caller.get_updates();
    }
    if method == "deletewebhook" {
        return Reply::Now(caller.delete_webhook());
    }
    let result = match method.as_str() {
        "getme" => Ok(caller.get_me()),
        "getwebhookinfo" => Ok(caller.webhook_info()),
        "setmycommands" => caller.set_commands(),
        "sendmessage" => caller.send_text(),
        "sendphoto" => caller.send_file(FileKind::Photo),
        "senddocument" => caller.send_file(FileKind::Document),
        "sendvideo" => caller.send_file(FileKind::Video),
        "sendaudio" => caller.send_file(FileKind::Audio),
        "sendvoice" => caller.send_file(FileKind::Voice),
        "sendchataction" => caller.chat_action(),
        "editmessagetext" => caller.edit_text(),
        "getfile" => caller.get_file(),
        _ => Err(Refusal(404, "Not Found: method not found".to_owned())),
    };
    Reply::Now(match result {
        Ok(result) => Answer::result(&result),
        Err(refusal) => refusal.into(),
    })
}

/// Hands out a file by the path that `getFile` told.
pub(crate) fn download(state: &State, path: &str) -> Answer {
    match state.files.by_path(path) {
        Some(file) => Answer::file(file.body()),
        None => Answer::error(404, "Not Found"),
    }
}

impl Caller<'_> {
    fn get_me(&self) -> Value {
        let mut me = self
            .state
            .bots
            .get(&self.bot)
            .map_or(Value::Null, |bot| bot.to_json());
        if let Some(object) = me.as_object_mut() {
            object.insert("can_join_groups".to_owned(), true.into());
            object.insert("can_read_all_group_messages".to_owned(), true.into());
            object.insert("supports_inline_queries".to_owned(), false.into());
        }
        me
    }

    fn set_commands(&mut self) -> Result<Value, Refusal> {
        let Ok(Some(commands @ Value::Array(_))) = self.params.json("commands") else {
            return Err(Refusal::bad_request("expected an Array of BotCommand"));
        };
        if let Some(bot) = self.state.bots.get_mut(&self.bot) {
            bot.commands = commands;
        }
        Ok(true.into())
    }

    fn chat_action(&mut self) -> Result<Value, Refusal> {
        const ACTIONS: [&str; 11] = [
            "typing",
            "upload_photo",
            "record_video",
            "upload_video",
            "record_voice",
            "upload_voice",
            "upload_document",
            "choose_sticker",
            "find_location",
            "record_video_note",
            "upload_video_note",
        ];
        let action = self
            .params
            .text("action")
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !ACTIONS.contains(&action.as_str()) {
            return Err(Refusal::bad_request("wrong parameter action in request"));
        }
        let key = self.writable_chat()?;
        self.state.add_action(ChatAction {
            bot: self.bot,
            chat: key.chat(),
            thread: self.params.number("message_thread_id").map(TopicId),
            action,
            at: self.now,
        });
        Ok(true.into())
    }

    fn get_file(&self) -> Result<Value, Refusal> {
        let id = self
            .params
            .text("file_id")
            .ok_or_else(|| Refusal::bad_request("file_id not specified"))?;
        let (number, file) = self
            .state
            .files
            .by_id(id)
            .ok_or_else(|| Refusal::bad_request("invalid file_id"))?;
        if file.told_size().is_some_and(|size| size > MAX_DOWNLOAD) {
            return Err(Refusal::bad_request("file is too big"));
        }
        let mut object = self.state.files.describe(number);
        if let Some(path) = self.state.files.path(number) {
            object.insert("file_path".to_owned(), path.into());
        }
        Ok(object.into())
    }

    fn webhook_info(&self) -> Value {
        let bot = self.state.bots.get(&self.bot);
        json!({
            "url": bot.and_then(|bot| bot.webhook.as_deref()).unwrap_or_default(),
            "has_custom_certificate": false,
            "pending_update_count": bot.map_or(0, |bot| bot.updates.pending()),
        })
    }

    /// The chat of the call, if the bot may write there.
    fn writable_chat(&self) -> Result<ChatKey, Refusal> {
        let id = self
            .params
            .text("chat_id")
            .ok_or_else(|| Refusal::bad_request("chat_id is empty"))?;
        let not_found = || Refusal::bad_request("chat not found");
        let id = ChatId(id.trim().parse().map_err(|_| not_found())?);
        let key = self.state.chat_key(self.bot, id);
        let chat = self.state.chats.get(&key).ok_or_else(not_found)?;
        match (chat.membership(self.bot), key) {
            (Membership::Member, _) => Ok(key),
            (Membership::Blocked, ChatKey::Direct(..)) => {
                Err(Refusal::forbidden("bot was blocked by the user"))
            }
            (Membership::Blocked, ChatKey::Group(_)) => Err(Refusal::forbidden(
                "bot was kicked from the supergroup chat",
            )),
        }
    }
}

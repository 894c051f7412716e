//! `send`: something is said in a chat (spec protocol §6.6). It is answered when the service has it.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Gateway, Params, Step};
use crate::{
    channel::Place,
    frame::Request,
    gateway::{
        channels::{Asked, NewMessage, PartBody, Route, mime_of_format},
        sessions::MessageDraft,
    },
    ids::{ConnId, SessionId},
    protocol::RpcError,
    time::Now,
};

/// The most bytes of an idempotency key.
const MAX_KEY: usize = 256;

/// What callers are told to wait for when too much is to be sent.
const BUSY_MS: u64 = 5_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendParams {
    to: String,
    idempotency_key: String,
    message: Option<String>,
    buffer: Option<String>,
    filename: Option<String>,
    content_type: Option<String>,
    channel: Option<String>,
    account_id: Option<String>,
    agent_id: Option<String>,
    reply_to_id: Option<String>,
    thread_id: Option<String>,
    silent: Option<bool>,
    session_key: Option<String>,
    media_url: Option<Value>,
    media_urls: Option<Value>,
    as_voice: Option<bool>,
    gif_playback: Option<bool>,
    force_document: Option<bool>,
    parse_mode: Option<Value>,
}

/// A file that comes with a message, as base64.
struct File<'a> {
    name: Option<String>,
    mime_type: String,
    data: &'a str,
}

impl Gateway {
    /// The same key with the same content is the same message: the caller joins those who wait for it,
    /// or gets the answer again.
    pub(super) fn channel_send(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Result<Step, RpcError> {
        let asked: SendParams = params.parse()?;
        refuse_missing_features(params, &asked)?;
        let key = asked.idempotency_key.trim();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(params.error(&format!("idempotencyKey must have 1 to {MAX_KEY} bytes")));
        }
        let text = asked.message.clone().unwrap_or_default();
        if text.len() > self.setup.limits.max_reply {
            let max = self.setup.limits.max_reply;
            return Err(params.error(&format!("message has more than {max} bytes")));
        }
        let file = self.sent_file(params, &asked)?;
        if text.trim().is_empty() && file.is_none() {
            return Err(params.error("message or buffer is needed"));
        }
        let session = match asked.session_key.as_deref() {
            Some(session) => Some(self.session_key(params, session, asked.agent_id.as_deref())?),
            None => None,
        };
        let fingerprint = fingerprint(&asked, &text);
        if let Some(known) = self.channels.of_key(key) {
            let same = known
                .outbound()
                .and_then(|outbound| outbound.asked.as_ref())
                .is_some_and(|before| before.fingerprint == fingerprint);
            if !same {
                let message = "idempotencyKey was used for another message";
                return Err(RpcError::invalid_request(message));
            }
            let (id, over) = (known.id.clone(), known.state.is_over());
            if over {
                self.out.lean_on(self.channels.unsettled(&id));
                return Ok(Step::Answer(self.sent_answer(&id)));
            }
            let request = request.id.clone();
            self.accounts.senders.wait(now, id, conn, request);
            return Ok(Step::Later);
        }
        let place = self.find_place(&Route {
            channel: asked.channel.clone(),
            account: asked.account_id.clone(),
            to: Some(asked.to.clone()),
            thread: asked.thread_id.clone(),
        })?;
        self.check_outbox(&place)?;
        if let Some(session) = &session {
            self.open_session(now, session)?;
        }
        let mut message = NewMessage {
            reply_to: asked.reply_to_id.clone(),
            silent: asked.silent == Some(true),
            asked: Some(Asked {
                idempotency_key: key.to_owned(),
                fingerprint,
            }),
            ..NewMessage::text(&place, self.kind_of(&place), text.clone())
        };
        if let Some(file) = file {
            let kept_in = SessionId::new(format!("files:send:{}", self.rng.uuid()));
            let id = self.rng.uuid();
            let name = file.name.clone().unwrap_or_default();
            self.stage_file(now, kept_in.clone(), 1, id, name, file.data);
            message.kept_in = Some(kept_in);
            message.files = vec![PartBody::File {
                seq: 1,
                name: file.name,
                mime_type: file.mime_type,
            }];
        }
        let id = self.say(now, message);
        self.accounts
            .senders
            .wait(now, id, conn, request.id.clone());
        if let Some(session) = session.filter(|_| !text.trim().is_empty()) {
            // The agent of the session knows what was said in its name.
            let draft = MessageDraft::injected(self.rng.uuid(), &text, None);
            let journal = &mut self.out.journal;
            if let Some(said) = self.sessions.append(journal, now, &session, draft) {
                self.tell_injected(&session, &said);
                self.tell_session(now, &session, "message");
            }
        }
        self.drive_channels(now);
        Ok(Step::Later)
    }

    fn sent_file<'a>(
        &self,
        params: Params<'_>,
        asked: &'a SendParams,
    ) -> Result<Option<File<'a>>, RpcError> {
        let Some(buffer) = asked.buffer.as_deref() else {
            return Ok(None);
        };
        let data = match buffer.split_once(";base64,") {
            Some((head, data)) if head.starts_with("data:") => data,
            _ => buffer,
        };
        let data = data.trim();
        let bytes = STANDARD
            .decode(data)
            .map_err(|_| params.error("buffer is no base64"))?;
        let max = self.setup.limits.max_attachment_bytes;
        if bytes.is_empty() || bytes.len() > max {
            return Err(params.error(&format!("buffer must have 1 to {max} bytes")));
        }
        let name = asked.filename.as_deref().map(str::trim);
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let by_name = name
            .as_deref()
            .and_then(|name| mime_of_format(name.rsplit_once('.')?.1));
        let mime_type = asked.content_type.as_deref().or(by_name);
        Ok(Some(File {
            mime_type: mime_type.unwrap_or("application/octet-stream").to_owned(),
            name,
            data,
        }))
    }

    /// Callers cannot fill the memory with what no service takes.
    fn check_outbox(&self, place: &Place) -> Result<(), RpcError> {
        let limits = &self.setup.limits;
        let (here, everywhere) = self.channels.to_send(place);
        if here >= limits.max_waiting_per_chat {
            let message = format!("{here} messages wait to be sent in this chat already");
            return Err(RpcError::retry_later(message, BUSY_MS));
        }
        if everywhere >= limits.max_waiting_messages {
            let message = format!("{everywhere} messages wait to be sent already");
            return Err(RpcError::retry_later(message, BUSY_MS));
        }
        Ok(())
    }
}

/// Whoever relies on something that does not exist here is told so.
fn refuse_missing_features(params: Params<'_>, asked: &SendParams) -> Result<(), RpcError> {
    let missing = [
        ("mediaUrl", asked.media_url.is_some()),
        ("mediaUrls", asked.media_urls.is_some()),
        ("asVoice", asked.as_voice == Some(true)),
        ("gifPlayback", asked.gif_playback == Some(true)),
        ("forceDocument", asked.force_document == Some(true)),
        ("parseMode", asked.parse_mode.is_some()),
    ];
    match missing.into_iter().find(|(_, asked)| *asked) {
        Some((name @ ("mediaUrl" | "mediaUrls"), _)) => Err(params.error(&format!(
            "{name} is not implemented; give the file itself as buffer"
        ))),
        Some((name, _)) => Err(params.error(&format!("{name} is not implemented"))),
        None => Ok(()),
    }
}

/// A digest of everything that makes a message another one.
fn fingerprint(asked: &SendParams, text: &str) -> String {
    let silent = (asked.silent == Some(true)).then_some("silent");
    let parts = [
        asked.channel.as_deref(),
        asked.account_id.as_deref(),
        Some(asked.to.as_str()),
        asked.thread_id.as_deref(),
        asked.reply_to_id.as_deref(),
        silent,
        Some(text),
        asked.buffer.as_deref(),
        asked.filename.as_deref(),
        asked.content_type.as_deref(),
    ];
    let mut digest = Sha256::new();
    for part in parts {
        // Nothing is not the same as an empty text.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        digest.update(length.to_le_bytes());
        digest.update(part.unwrap_or_default());
    }
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

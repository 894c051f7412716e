//! Calls that need a transcript: they ask the host for it and are answered when it is there.

use serde_json::Value;

use super::{Answer, Gateway};
use crate::{
    gateway::{Effect, EffectOutcome, sessions::SessionKey, waiting::Waiter},
    ids::{ConnId, RequestId},
    protocol::{RpcCode, RpcError},
    server::Delivery,
    store::TranscriptQuery,
    time::Now,
};

use super::{
    chat_history::{HistoryCall, PlaceCall},
    chat_message::MessageCall,
    session_texts::{GetCall, PreviewCall, SearchCall},
};

/// What is to be made of a transcript.
#[derive(Debug)]
pub(in crate::gateway) enum TranscriptCall {
    Get(GetCall),
    History(HistoryCall),
    Message(MessageCall),
    /// The place of a message, before the history around it.
    Place(Box<PlaceCall>),
    Preview(PreviewCall),
    Search(SearchCall),
}

/// A call that waits for a transcript.
#[derive(Debug)]
pub(in crate::gateway) struct PendingTranscript {
    pub(in crate::gateway) conn: ConnId,
    pub(in crate::gateway) id: RequestId,
    pub(in crate::gateway) call: TranscriptCall,
}

impl Gateway {
    /// Asks for a transcript. What was said in these sessions and is not durable yet comes first.
    pub(super) fn ask_transcript<'a>(
        &mut self,
        now: Now,
        of: impl IntoIterator<Item = &'a SessionKey>,
        query: TranscriptQuery,
        pending: PendingTranscript,
    ) {
        for key in of {
            self.out.lean_on(self.sessions.unsettled(key));
        }
        self.wait_for(
            now,
            Effect::ReadTranscript(query),
            Waiter::Transcript(Box::new(pending)),
        );
    }

    /// The transcript is there.
    pub(in crate::gateway) fn transcript_ready(
        &mut self,
        now: Now,
        pending: PendingTranscript,
        outcome: EffectOutcome,
    ) {
        let PendingTranscript { conn, id, call } = pending;
        let page = match outcome {
            EffectOutcome::Transcript(page) => page,
            EffectOutcome::Failed(why) => {
                let error = RpcError::new(RpcCode::Unavailable, why);
                return self.deliver(
                    conn,
                    Delivery::Response {
                        id,
                        outcome: Err(error),
                    },
                );
            }
            EffectOutcome::Config(_)
            | EffectOutcome::Done
            | EffectOutcome::ExecApprovals(_)
            | EffectOutcome::Log(_)
            | EffectOutcome::Process(_)
            | EffectOutcome::Secrets(_)
            | EffectOutcome::Whois(_) => {
                let message = "the gateway's host gave an answer of the wrong kind";
                let error = RpcError::new(RpcCode::Unavailable, message);
                return self.deliver(
                    conn,
                    Delivery::Response {
                        id,
                        outcome: Err(error),
                    },
                );
            }
        };
        let outcome: Answer = match call {
            TranscriptCall::Get(call) => self.session_messages(&call, page),
            TranscriptCall::History(call) => self.history_page(now, &call, page),
            TranscriptCall::Message(call) => self.one_message(&call, page),
            TranscriptCall::Place(call) => {
                let PlaceCall { history, query } = *call;
                return self.history_around(now, conn, id, history, query, &page);
            }
            TranscriptCall::Preview(call) => self.previews(now, &call, page),
            TranscriptCall::Search(call) => self.search_hits(&call, page),
        };
        self.deliver(conn, Delivery::Response { id, outcome });
    }
}

/// Cuts every text of a message to a number of characters.
pub(super) fn cut_texts(message: &mut Value, max: usize) {
    let cut = |value: &mut Value| {
        let Some(text) = value.as_str().filter(|text| text.chars().count() > max) else {
            return;
        };
        let short: String = text.chars().take(max).collect();
        *value = Value::String(format!("{short}…"));
    };
    match message.get_mut("content") {
        Some(Value::Array(blocks)) => {
            for block in blocks {
                if let Some(text) = block.get_mut("text") {
                    cut(text);
                }
            }
        }
        Some(content) => cut(content),
        None => {}
    }
}

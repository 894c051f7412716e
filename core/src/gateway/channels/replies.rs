//! From the end of a run to a reply, with the files that nodes gave on the way.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{MessageId, MessageState, PartBody, outbound::NewMessage, words};
use crate::{
    agent::ToolError,
    channel::{ChatKind, Place},
    frame::RawJson,
    gateway::{
        Gateway,
        runs::{RunOutcome, RunState},
    },
    ids::{RunId, SessionId},
    store::{Author, Message, Write},
    time::Now,
};

/// Files of one reply.
const MAX_FILES: usize = 10;

/// How deep files are looked for in a node's answer.
const DEPTH: usize = 4;

/// Where the answer of a run goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct DeliverTo {
    pub(in crate::gateway) place: Place,
    pub(in crate::gateway) kind: ChatKind,
    /// The message there that it answers, by the service's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) reply_to: Option<String>,
    /// The same, by our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) answers: Option<MessageId>,
}

/// A file in a node's answer.
#[derive(Debug, PartialEq, Eq)]
struct Found<'a> {
    name: Option<String>,
    mime_type: String,
    data: &'a str,
}

impl Gateway {
    fn goes_to(&self, run: &RunId) -> Option<DeliverTo> {
        self.runs.get(run)?.options.deliver.clone()
    }

    /// A run begins: people see that somebody works.
    pub(in crate::gateway) fn show_work(&mut self, now: Now, run: &RunId) {
        if let Some(to) = self.goes_to(run)
            && let Some(machine) = self.touch_machine(&to.place.account)
        {
            machine.working(now, &to.place, true);
        }
    }

    /// A run that answers somebody calls a node.
    pub(in crate::gateway) fn note_node_call(
        &mut self,
        now: Now,
        run: &RunId,
        node: &str,
        command: &str,
    ) {
        let Some(id) = self.channels.of_run(run).cloned() else {
            return;
        };
        let node = self.node_name(node).unwrap_or_else(|| node.to_owned());
        self.channels.change(&mut self.out.journal, &id, |record| {
            record.state = MessageState::CallingNode;
            record.hop(now.wall, format!("calls {command} of {node}"));
        });
    }

    /// The node has answered. Its files go with the reply.
    pub(in crate::gateway) fn note_node_answer(
        &mut self,
        now: Now,
        run: &RunId,
        (node, command): (&str, &str),
        outcome: &Result<RawJson, ToolError>,
    ) {
        let node = self.node_name(node).unwrap_or_else(|| node.to_owned());
        if let Some(id) = self.channels.of_run(run).cloned() {
            self.channels.change(&mut self.out.journal, &id, |record| {
                record.state = MessageState::Running;
                let what = match outcome {
                    Ok(_) => format!("{node} answered {command}"),
                    Err(error) => format!("{command} of {node} failed: {}", error.code),
                };
                record.hop(now.wall, what);
            });
        }
        if let (Ok(result), Some(_)) = (outcome, self.goes_to(run)) {
            let result = result.parse::<Value>().unwrap_or_default();
            let mut found = Vec::new();
            find_files(&result, DEPTH, &mut found);
            for file in found {
                self.keep_file(now, run, &file);
            }
        }
    }

    fn keep_file(&mut self, now: Now, run: &RunId, file: &Found<'_>) {
        let kept = self.accounts.files.entry(run.clone()).or_default();
        if kept.len() >= MAX_FILES {
            return;
        }
        let seq = kept.len() as u64 + 1;
        kept.push(PartBody::File {
            seq,
            name: file.name.clone(),
            mime_type: file.mime_type.clone(),
        });
        let id = self.rng.uuid();
        let session = files_of(run);
        let name = file.name.clone().unwrap_or_default();
        self.stage_file(now, session, seq, id, name, file.data);
    }

    /// Puts a file on disk, as base64, to be sent with a message.
    pub(in crate::gateway) fn stage_file(
        &mut self,
        now: Now,
        session: SessionId,
        seq: u64,
        id: String,
        name: String,
        data: &str,
    ) {
        let document = RawJson::encode(&json!({ "data": data }));
        self.out.journal.stage(Write::Append(Message {
            session,
            seq,
            id,
            author: Author::Tool,
            at: now.wall,
            text: name,
            document: document.unwrap_or_else(|_| RawJson::empty_object()),
        }));
    }

    /// A run has ended: what it has to say to somebody outside is on disk together with its end.
    pub(in crate::gateway) fn deliver_end(
        &mut self,
        now: Now,
        run: &RunId,
        state: RunState,
        outcome: &RunOutcome,
    ) {
        let files = self.accounts.files.remove(run).unwrap_or_default();
        let Some(to) = self.goes_to(run) else {
            return;
        };
        let calls: Vec<String> = self
            .runs
            .get(run)
            .map(|record| {
                let named = |call: &crate::gateway::runs::CallRecord| {
                    let node = self.node_name(&call.node);
                    let node = node.unwrap_or_else(|| call.node.clone());
                    format!("{} on {node}", call.command)
                };
                record.calls.iter().map(named).collect()
            })
            .unwrap_or_default();
        let for_words = to
            .answers
            .clone()
            .unwrap_or_else(|| MessageId::new(run.as_str()));
        let words = words::no_reply(state, &for_words, &calls);
        let ended_well = words.is_none();
        let text = words.unwrap_or_else(|| outcome.text.clone());
        let kept_in = (!files.is_empty()).then(|| files_of(run));
        let answer = NewMessage {
            files,
            kept_in,
            reply_to: to.reply_to.clone(),
            ..NewMessage::text(&to.place, to.kind, text)
        };
        let is_empty = answer.text.trim().is_empty() && answer.files.is_empty();
        let Some(id) = to.answers else {
            if !is_empty && ended_well {
                self.say(now, answer);
            }
            return self.drive_channels(now);
        };
        let error = outcome.error.clone();
        let doubtful = state == RunState::Cut && !calls.is_empty();
        self.channels.change(&mut self.out.journal, &id, |record| {
            if let Some(error) = &error {
                record.hop(now.wall, format!("the run ended without a reply: {error}"));
            }
            if doubtful && let Some(inbound) = record.inbound_mut() {
                inbound.doubt = error;
            }
        });
        if is_empty {
            self.channels.change(&mut self.out.journal, &id, |record| {
                record.state = MessageState::Sent;
                record.hop(now.wall, "the agent had nothing to say");
            });
            if let Some(machine) = self.touch_machine(&to.place.account) {
                machine.working(now, &to.place, false);
            }
        } else {
            self.answer_message(now, &id, answer);
        }
        self.start_inbox(now, &to.place);
        self.drive_channels(now);
    }

    /// A run that a crash cut begins again, since it had done nothing yet.
    pub(in crate::gateway) fn note_new_attempt(&mut self, now: Now, run: &RunId) {
        if let Some(id) = self.channels.of_run(run).cloned() {
            self.channels.change(&mut self.out.journal, &id, |record| {
                record.hop(now.wall, "begun again after a restart");
            });
        }
    }
}

/// Where the files of a run's reply are kept until it is sent.
fn files_of(run: &RunId) -> SessionId {
    SessionId::new(format!("files:{run}"))
}

/// Files as nodes give them: `base64` with a `format`, a `mimeType` or a `fileName` beside it (spec
/// protocol §8, commands of nodes).
fn find_files<'a>(value: &'a Value, depth: usize, found: &mut Vec<Found<'a>>) {
    let Some(deeper) = depth.checked_sub(1) else {
        return;
    };
    match value {
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            let format = text("format").and_then(mime_of_format);
            let mime = text("mimeType").or_else(|| text("contentType")).or(format);
            let name = text("fileName").or_else(|| text("filename"));
            if let Some(data) = text("base64")
                && (mime.is_some() || name.is_some())
                && STANDARD.decode(data).is_ok_and(|data| !data.is_empty())
            {
                let by_name = name
                    .and_then(|name| name.rsplit_once('.'))
                    .and_then(|(_, end)| mime_of_format(end));
                found.push(Found {
                    name: name.map(str::to_owned),
                    mime_type: mime
                        .or(by_name)
                        .unwrap_or("application/octet-stream")
                        .to_owned(),
                    data,
                });
                return;
            }
            for value in fields.values() {
                find_files(value, deeper, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                find_files(item, deeper, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(in crate::gateway) fn mime_of_format(format: &str) -> Option<&'static str> {
    Some(match format.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_where_nodes_put_them() {
        let result = json!({
            "format": "jpg", "base64": "aGVsbG8=", "width": 1,
        });
        let mut found = Vec::new();
        find_files(&result, DEPTH, &mut found);
        assert_eq!(
            found,
            [Found {
                name: None,
                mime_type: "image/jpeg".into(),
                data: "aGVsbG8=",
            }]
        );
        let nested = json!({ "payload": { "files": [
            { "fileName": "a.pdf", "base64": "aGVsbG8=" },
            { "base64": "aGVsbG8=" },
            { "mimeType": "image/png", "base64": "not base64" },
        ] } });
        found.clear();
        find_files(&nested, DEPTH, &mut found);
        let names: Vec<_> = found
            .iter()
            .map(|file| (file.name.as_deref(), file.mime_type.as_str()))
            .collect();
        assert_eq!(names, [(Some("a.pdf"), "application/pdf")]);
    }
}

//! What the lines between an agent program and the gateway say.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::agent::{RunRequest, ToolError, Usage};
use crate::frame::RawJson;
use crate::ids::{RunId, ToolCallId};
use crate::time::millis;

/// A line that a program has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Text(String),
    Replace(String),
    Call {
        id: String,
        node: String,
        command: String,
        params: RawJson,
    },
    Done {
        text: Option<String>,
        usage: Option<Usage>,
        model: Option<String>,
        stop_reason: Option<String>,
    },
    Error(String),
}

/// One flat shape for all lines: unknown keys are let be.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    id: Option<String>,
    node: Option<String>,
    command: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    usage: Option<Usage>,
    model: Option<String>,
    stop_reason: Option<String>,
    message: Option<String>,
}

impl Said {
    /// Reads a line; `None` for a blank one.
    pub(super) fn parse(line: &[u8]) -> Result<Option<Self>, String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| {
            let what = if error.is_data() {
                "it is JSON of another shape"
            } else {
                "it is no JSON"
            };
            format!("{what} (column {})", error.column())
        })?;
        let needed = |value: Option<String>, key: &str| {
            value.ok_or_else(|| format!("a line of type {:?} needs {key:?}", line.kind))
        };
        Ok(Some(match line.kind.as_str() {
            "text" => Self::Text(needed(line.text, "text")?),
            "replace" => Self::Replace(needed(line.text, "text")?),
            "tool_call" => Self::Call {
                id: needed(line.id, "id")?,
                node: needed(line.node, "node")?,
                command: needed(line.command, "command")?,
                params: params(line.params)?,
            },
            "done" => Self::Done {
                text: line.text,
                usage: line.usage,
                model: line.model,
                stop_reason: line.stop_reason,
            },
            "error" => Self::Error(needed(line.message, "message")?),
            _ => {
                return Err(
                    "its type is none of text, replace, tool_call, done and error".to_owned(),
                );
            }
        }))
    }
}

fn params(params: Option<&RawValue>) -> Result<RawJson, String> {
    let Some(params) = params.map(RawValue::get).filter(|text| *text != "null") else {
        return Ok(RawJson::empty_object());
    };
    if !params.starts_with('{') {
        return Err("its params are no object".to_owned());
    }
    RawJson::checked(params.to_owned()).map_err(|_| "its params are no object".to_owned())
}

/// The first line that a program reads.
pub(super) fn start(run: &RunId, request: &RunRequest) -> Bytes {
    let attachments: Vec<Value> = request
        .attachments
        .iter()
        .map(|file| {
            json!({
                "mimeType": file.mime_type,
                "fileName": file.file_name,
                "content": STANDARD.encode(&file.content),
            })
        })
        .collect();
    let history: Vec<Value> = request
        .history
        .iter()
        .map(|message| json!({ "role": message.speaker, "text": message.text }))
        .collect();
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            json!({
                "node": tool.node_id,
                "nodeName": tool.node_name,
                "platform": tool.platform,
                "command": tool.command,
                "description": tool.description,
                "parameters": tool.parameters.as_ref().and_then(|it| it.parse::<Value>().ok()),
            })
        })
        .collect();
    let mut start = json!({
        "type": "start",
        "runId": run.as_str(),
        "agentId": request.agent_id,
        "sessionKey": request.session_key,
        "message": request.message,
        "attachments": attachments,
        "history": history,
        "tools": tools,
        "model": request.model,
        "prompt": request.extra_prompt,
        "timeoutMs": millis(request.timeout),
    });
    // A program of this machine is no stranger.
    if let (Some(trace), Some(fields)) = (request.trace, start.as_object_mut()) {
        fields.insert("traceparent".into(), trace.to_string().into());
    }
    line(&start)
}

/// What came of a call.
pub(super) fn result(id: &ToolCallId, outcome: Result<RawJson, ToolError>) -> Bytes {
    let id = id.as_str();
    match outcome {
        Ok(result) => {
            // Its numbers stay as they are written.
            let head = json!({ "type": "tool_result", "id": id, "ok": true }).to_string();
            let head = head.strip_suffix('}').unwrap_or(&head);
            let result = one_line(result.as_str());
            Bytes::from(format!("{head},\"result\":{result}}}\n"))
        }
        Err(ToolError { code, message }) => line(&json!({
            "type": "tool_result",
            "id": id,
            "ok": false,
            "error": { "code": code, "message": message },
        })),
    }
}

/// JSON may have line breaks between its parts, and nowhere else.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_by_their_type() {
        let read = |line: &str| Said::parse(line.as_bytes());
        assert_eq!(read(" "), Ok(None));
        assert_eq!(
            read(r#"{"type":"text","text":"a","x":1}"#),
            Ok(Some(Said::Text("a".into())))
        );
        assert_eq!(
            read(r#"{"type":"tool_call","id":"1","node":"n","command":"c","params":null}"#),
            Ok(Some(Said::Call {
                id: "1".into(),
                node: "n".into(),
                command: "c".into(),
                params: RawJson::empty_object(),
            }))
        );
        assert_eq!(
            read(r#"{"type":"done","usage":{"input":1,"output":2},"stopReason":"stop"}"#),
            Ok(Some(Said::Done {
                text: None,
                usage: Some(Usage {
                    input: 1,
                    output: 2
                }),
                model: None,
                stop_reason: Some("stop".into()),
            }))
        );
        for (line, part) in [
            ("{", "no JSON (column 1)"),
            ("[]", "another shape"),
            (r#"{"type":"text"}"#, "needs \"text\""),
            (
                r#"{"type":"tool_call","id":"1","node":"n"}"#,
                "needs \"command\"",
            ),
            (
                r#"{"type":"tool_call","id":"1","node":"n","command":"c","params":[]}"#,
                "no object",
            ),
            (r#"{"type":"dance"}"#, "none of text"),
        ] {
            let why = read(line).unwrap_err();
            assert!(why.contains(part), "{line}: {why}");
        }
        assert!(Said::parse(b"\xff").is_err());
    }

    #[test]
    fn results_keep_their_numbers_and_stay_on_one_line() {
        let id = ToolCallId::new("1");
        let json = RawJson::checked("{\n \"n\": 1.00 }").unwrap();
        assert_eq!(
            result(&id, Ok(json)),
            "{\"id\":\"1\",\"ok\":true,\"type\":\"tool_result\",\"result\":{  \"n\": 1.00 }}\n"
        );
    }
}

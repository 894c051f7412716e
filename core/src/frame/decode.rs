//! Text to envelope. Strict for requests, whose objects are closed; tolerant of unknown fields in
//! what a newer gateway sends (spec protocol §2).

use std::borrow::Cow;

use bytestring::ByteString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use thiserror::Error;

use super::{RawJson, StateVersion};
use crate::{
    ids::RequestId,
    limits::MAX_DEPTH,
    protocol::RpcError,
    trace::{MAX_TRACEPARENT, TraceParent},
};

/// Why a text is not a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not JSON at all.
    #[error("not JSON (column {column})")]
    NotJson {
        /// Where parsing stopped, counted from 1.
        column: usize,
    },
    /// JSON, but not an envelope of the expected kind.
    #[error("{0}")]
    Shape(String),
}

/// A request frame: `{type:"req", id, method, params?}`.
#[derive(Clone, Debug)]
pub struct Request {
    /// Chosen by the client.
    pub id: RequestId,
    /// The method's name.
    pub method: ByteString,
    /// The parameters; an empty object where the frame had none.
    pub params: RawJson,
    /// The caller's place in a trace. One that is not well-formed counts as none (spec protocol §2).
    pub trace: Option<TraceParent>,
}

impl Request {
    /// Parses a text that must be a request frame.
    ///
    /// ```
    /// use clawgate_core::frame::Request;
    ///
    /// let request = Request::parse(&r#"{"type":"req","id":"1","method":"health"}"#.into())?;
    /// assert_eq!(&*request.method, "health");
    /// assert_eq!(request.params.as_str(), "{}");
    /// # Ok::<(), clawgate_core::frame::FrameError>(())
    /// ```
    ///
    /// # Errors
    /// When the text nests too deep, is not JSON, has a field twice, lacks one, or has one that a
    /// request does not have.
    pub fn parse(text: &ByteString) -> Result<Self, FrameError> {
        let envelope: RequestEnvelope<'_> = parse_envelope(text)?;
        if envelope.kind != "req" {
            return Err(FrameError::Shape("type must be \"req\"".into()));
        }
        if envelope.id.is_empty() {
            return Err(FrameError::Shape("id must not be empty".into()));
        }
        if envelope.method.is_empty() {
            return Err(FrameError::Shape("method must not be empty".into()));
        }
        let trace = envelope.traceparent.as_deref();
        if trace.is_some_and(|value| value.len() > MAX_TRACEPARENT) {
            return Err(FrameError::Shape(format!(
                "traceparent is over {MAX_TRACEPARENT} bytes"
            )));
        }
        if envelope
            .expected_profile_id
            .is_some_and(|value| value.is_empty() || value.len() > 128)
        {
            return Err(FrameError::Shape(
                "expectedProfileId must have 1 to 128 bytes".into(),
            ));
        }
        Ok(Self {
            id: RequestId::new(envelope.id.as_ref()),
            method: slice(text, envelope.method),
            params: raw(text, envelope.params).unwrap_or_else(RawJson::empty_object),
            trace: trace.and_then(TraceParent::parse),
        })
    }
}

/// A response frame as a client sees it.
#[derive(Clone, Debug)]
pub struct IncomingResponse {
    /// The id of the request.
    pub id: RequestId,
    /// `payload` where `ok` is true (`null` when absent), `error` where it is false.
    pub outcome: Result<RawJson, RpcError>,
}

/// An event frame as a client sees it.
#[derive(Clone, Debug)]
pub struct IncomingEvent {
    /// The event's name.
    pub event: ByteString,
    /// What it carries; `null` when absent.
    pub payload: RawJson,
    /// Its number on this connection; events outside the sequence have none.
    pub seq: Option<u64>,
    /// Versions of the state that it belongs to.
    pub state_version: Option<StateVersion>,
    /// Its number in the gateway's own count, for clients that resume.
    pub resume_seq: Option<u64>,
}

/// What a client receives.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// An event.
    Event(IncomingEvent),
    /// The answer to a request.
    Response(IncomingResponse),
}

impl Incoming {
    /// Parses a text that a gateway sent.
    ///
    /// # Errors
    /// When it is neither an event nor a response. Clients ignore such frames (spec protocol §2).
    pub fn parse(text: &ByteString) -> Result<Self, FrameError> {
        let envelope: GatewayEnvelope<'_> = parse_envelope(text)?;
        let payload = || raw(text, envelope.payload).unwrap_or_else(null);
        match envelope.kind.as_ref() {
            "event" => {
                let Some(event) = envelope.event.filter(|event| !event.is_empty()) else {
                    return Err(FrameError::Shape("an event frame needs event".into()));
                };
                Ok(Self::Event(IncomingEvent {
                    event: slice(text, event),
                    payload: payload(),
                    seq: envelope.seq,
                    state_version: envelope.state_version,
                    resume_seq: envelope.resume_seq,
                }))
            }
            "res" => {
                let (Some(id), Some(ok)) = (envelope.id, envelope.ok) else {
                    return Err(FrameError::Shape("a response frame needs id and ok".into()));
                };
                let outcome = if ok {
                    Ok(payload())
                } else {
                    Err(envelope.error.unwrap_or_else(RpcError::missing))
                };
                Ok(Self::Response(IncomingResponse {
                    id: RequestId::new(id.as_ref()),
                    outcome,
                }))
            }
            _ => Err(FrameError::Shape(
                "type must be \"event\" or \"res\"".into(),
            )),
        }
    }
}

/// The id of a frame that could not be taken as a request, or `"invalid"` (spec protocol §2).
pub(crate) fn id_of_broken_request(text: &str) -> RequestId {
    #[derive(Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    serde_json::from_str::<OnlyId<'_>>(text)
        .ok()
        .filter(|frame| !frame.id.is_empty())
        .map_or_else(
            || RequestId::new("invalid"),
            |frame| RequestId::new(frame.id.as_ref()),
        )
}

/// Parses a JSON value into a shape, or says which part of it does not fit. No value is repeated:
/// it may be secret.
pub(crate) fn parse_shape<T: DeserializeOwned>(value: &RawJson) -> Result<T, String> {
    value.parse().map_err(|_: serde_json::Error| {
        // Only now is the way to the wrong part worth its price.
        let mut parser = serde_json::Deserializer::from_str(value.as_str());
        match serde_path_to_error::deserialize::<_, T>(&mut parser) {
            Ok(_) => "more than one value".into(),
            Err(error) => {
                let place: String = error
                    .path()
                    .iter()
                    .map(|segment| match segment {
                        Segment::Seq { index } => format!("/{index}"),
                        Segment::Map { key } | Segment::Enum { variant: key } => {
                            format!("/{}", key.chars().take(64).collect::<String>())
                        }
                        Segment::Unknown => "/?".into(),
                    })
                    .collect();
                let problem = describe_json_error(error.inner());
                if place.is_empty() {
                    problem
                } else {
                    format!("at {place}: {problem}")
                }
            }
        }
    })
}

/// Says what is wrong with a JSON value without repeating any of its values.
fn describe_json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_a_field = [
        "missing field",
        "unknown field",
        "duplicate field",
        "unknown variant",
        "must ",
    ];
    if names_a_field.iter().any(|start| text.starts_with(start)) {
        let text = text.split(" at line ").next().unwrap_or_default();
        if let Some(field) = text.strip_prefix("missing field ") {
            return format!("must have required property {}", field.replace('`', "'"));
        }
        if text.starts_with("unknown variant") {
            let expected = text.split_once(", ").map_or("", |(_, expected)| expected);
            return format!("unknown value at column {}: {expected}", error.column());
        }
        return text.chars().take(200).collect::<String>().replace('`', "'");
    }
    format!("wrong type or value at column {}", error.column())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestEnvelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(rename = "expectedProfileId", borrow, default)]
    expected_profile_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct GatewayEnvelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    ok: Option<bool>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<RpcError>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(rename = "stateVersion", default)]
    state_version: Option<StateVersion>,
    #[serde(rename = "resumeSeq", default)]
    resume_seq: Option<u64>,
}

fn parse_envelope<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FrameError> {
    if too_deep(text.as_bytes()) {
        return Err(FrameError::TooDeep);
    }
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => FrameError::Shape(describe_json_error(&error)),
        serde_json::error::Category::Eof
        | serde_json::error::Category::Io
        | serde_json::error::Category::Syntax => FrameError::NotJson {
            column: error.column(),
        },
    })
}

fn slice(text: &ByteString, part: Cow<'_, str>) -> ByteString {
    match part {
        Cow::Borrowed(part) => text.slice_ref(part),
        Cow::Owned(part) => part.into(),
    }
}

fn raw(text: &ByteString, part: Option<&RawValue>) -> Option<RawJson> {
    part.map(|part| RawJson::of_parsed(text.slice_ref(part.get())))
}

fn null() -> RawJson {
    RawJson::of_parsed(ByteString::from_static("null"))
}

/// Raw values are skipped without recursion, so depth has to be counted before a handler recurses.
pub(super) fn too_deep(text: &[u8]) -> bool {
    // Counting is many times as fast as telling strings apart, and settles nearly every frame.
    let opening = |byte: &u8| u8::from(matches!(byte, b'[' | b'{'));
    let openings = text
        .chunks(usize::from(u8::MAX))
        .map(|part| usize::from(part.iter().map(opening).sum::<u8>()));
    if openings.sum::<usize>() <= MAX_DEPTH {
        return false;
    }
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, FrameError> {
        Request::parse(&text.into())
    }

    #[test]
    fn params_keep_their_text() {
        let request =
            request(r#"{"type":"req","id":"a\"b","method":"x.y","params":{"n": 1.50}}"#).unwrap();
        assert_eq!(request.id.as_str(), "a\"b");
        assert_eq!(request.params.as_str(), r#"{"n": 1.50}"#);
    }

    #[test]
    fn closed_envelopes_refuse_what_they_do_not_know() {
        for (text, part) in [
            (
                r#"{"type":"req","id":"1","method":"m","extra":1}"#,
                "unknown field 'extra'",
            ),
            (
                r#"{"type":"req","id":"1","method":"m","id":"2"}"#,
                "duplicate field 'id'",
            ),
            (
                r#"{"type":"req","id":"1"}"#,
                "must have required property 'method'",
            ),
            (r#"{"type":"res","id":"1","method":"m"}"#, "type must be"),
            (
                r#"{"type":"req","id":"","method":"m"}"#,
                "id must not be empty",
            ),
            (r#"{"type":"req","id":7,"method":"m"}"#, "wrong type"),
            ("[]", "wrong type"),
        ] {
            let FrameError::Shape(message) = request(text).unwrap_err() else {
                panic!("{text}: not a shape error");
            };
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn text_that_is_not_json_says_where() {
        assert_eq!(
            request("{\"type\":").unwrap_err(),
            FrameError::NotJson { column: 8 }
        );
        assert!(matches!(
            request("").unwrap_err(),
            FrameError::NotJson { .. }
        ));
        assert!(matches!(
            request("{} {}").unwrap_err(),
            FrameError::Shape(_)
        ));
    }

    #[test]
    fn depth_is_refused_one_level_past_the_limit() {
        let nested = |levels: usize| {
            let open = "[".repeat(levels - 1);
            let close = "]".repeat(levels - 1);
            format!(r#"{{"type":"req","id":"1","method":"m","params":{open}{close}}}"#)
        };
        assert!(request(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            request(&nested(MAX_DEPTH + 1)).unwrap_err(),
            FrameError::TooDeep
        );
        let quoted = format!(
            r#"{{"type":"req","id":"1","method":"{}"}}"#,
            "[".repeat(500)
        );
        assert!(request(&quoted).is_ok());
    }

    #[test]
    fn messages_never_repeat_values() {
        let error = request(r#"{"type":"req","id":"1","method":"m","params":1,"seq":"hunter2"}"#);
        assert!(!error.unwrap_err().to_string().contains("hunter2"));
        let error = request(r#"{"type":"req","id":{"hunter2":1},"method":"m"}"#);
        assert!(!error.unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_client_ignores_fields_that_it_does_not_know() {
        let text = r#"{"type":"event","event":"tick","payload":{"ts":1},"seq":4,"later":true}"#;
        let Incoming::Event(event) = Incoming::parse(&text.into()).unwrap() else {
            panic!("not an event");
        };
        assert_eq!((&*event.event, event.seq), ("tick", Some(4)));
    }
}

//! Checks frames against the published JSON schema of the protocol (`tests/data/protocol.schema.json`).
//!
//! The schema names one definition per kind of frame, and by a naming rule one for the parameters and
//! one for the result of many methods: `channels.status` has `ChannelsStatusParams` and
//! `ChannelsStatusResult`. [`Conversation`] applies all of that to the frames of one connection.
//!
//! ```
//! use clawgate_tests::schema::{self, Verdict};
//! use serde_json::json;
//!
//! let tick = json!({"type": "event", "event": "tick", "payload": {"ts": 1}, "seq": 1});
//! assert_eq!(schema::check_frame(&tick)?, Verdict::Conforms);
//!
//! let broken = json!({"type": "event", "event": "tick", "payload": {"ts": -1}});
//! assert!(schema::check_event(&broken).is_err());
//! # Ok::<(), schema::Violation>(())
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::{Value, json};

/// What the schema says about a value that does not break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A definition exists, and the value satisfies it.
    Conforms,
    /// The schema has no definition for this kind of value.
    Unspecified,
}

/// A value that breaks its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the broken definition.
    pub definition: String,
    /// Each problem, with the JSON pointer of its place. Never empty.
    pub problems: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a valid {}: {}",
            self.definition,
            self.problems.join("; ")
        )
    }
}

impl std::error::Error for Violation {}

/// Checks a value against a definition of the schema by its name.
///
/// # Errors
///
/// The [`Violation`], when the value breaks the definition. A name that the schema does not define is
/// [`Verdict::Unspecified`].
pub fn check_definition(name: &str, value: &Value) -> Result<Verdict, Violation> {
    check(Shape::Definition(name), value)
}

/// Checks the envelope of a request, response or event.
///
/// # Errors
///
/// The [`Violation`], when it is none of the three, or breaks the definition of its kind.
pub fn check_frame(frame: &Value) -> Result<Verdict, Violation> {
    let definition = match frame.get("type").and_then(Value::as_str) {
        Some("req") => "RequestFrame",
        Some("res") => "ResponseFrame",
        Some("event") => "EventFrame",
        Some(_) | None => "GatewayFrame",
    };
    check_definition(definition, frame)
}

/// Checks an event frame, its envelope and its payload.
///
/// # Errors
///
/// The [`Violation`] of the envelope, or of the payload.
pub fn check_event(frame: &Value) -> Result<Verdict, Violation> {
    check_frame(frame)?;
    let event = frame
        .get("event")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match event_shape(event) {
        Some(shape) => check(shape, frame.get("payload").unwrap_or(&Value::Null)),
        None => Ok(Verdict::Unspecified),
    }
}

/// Checks the parameters of a call; absent parameters count as an empty object.
///
/// # Errors
///
/// The [`Violation`], when the method has a definition for them and they break it.
pub fn check_params(method: &str, params: Option<&Value>) -> Result<Verdict, Violation> {
    let empty = json!({});
    check_definition(&named(method, "Params"), params.unwrap_or(&empty))
}

/// Checks the payload of a successful answer.
///
/// # Errors
///
/// The [`Violation`], when the method has a definition for its result and the payload breaks it.
pub fn check_result(method: &str, payload: &Value) -> Result<Verdict, Violation> {
    match method {
        "connect" => check_definition("HelloOk", payload),
        "health" => check(Shape::Health, payload),
        "system-presence" => check(Shape::PresenceList, payload),
        "chat.history" | "chat.startup" => check_history(payload),
        "sessions.list" => check_rows(payload.get("sessions")),
        "sessions.describe" => check_rows(payload.get("session")),
        _ => match check_definition(&named(method, "Result"), payload)? {
            Verdict::Conforms => Ok(Verdict::Conforms),
            Verdict::Unspecified => check_definition(&named(method, "Response"), payload),
        },
    }
}

/// A page has no definition of its own, only what came since a cursor has; both show sessions as rows.
fn check_history(payload: &Value) -> Result<Verdict, Violation> {
    if payload.get("kind").is_some() {
        check_definition("ChatHistoryCursorResult", payload)?;
    }
    check_rows(payload.get("sessionInfo"))
}

/// Checks a row of a session, or a list of them; nothing conforms too.
fn check_rows(rows: Option<&Value>) -> Result<Verdict, Violation> {
    match rows {
        None | Some(Value::Null) => Ok(Verdict::Unspecified),
        Some(Value::Array(rows)) => rows.iter().try_fold(Verdict::Unspecified, |_, row| {
            check_definition("SessionRow", row)
        }),
        Some(row) => check_definition("SessionRow", row),
    }
}

/// Checks the error of a refused call, and its details where the schema defines them.
///
/// # Errors
///
/// The [`Violation`] of the error or of its details.
pub fn check_error(error: &Value) -> Result<Verdict, Violation> {
    check_definition("ErrorShape", error)?;
    let details = error.get("details").unwrap_or(&Value::Null);
    match details.get("code").and_then(Value::as_str) {
        Some("MISSING_SCOPE") => check_definition("MissingScopeErrorDetails", details),
        Some(_) | None => Ok(Verdict::Unspecified),
    }
}

/// The frames of one connection, checked one after another.
///
/// It remembers which method each request called, so that the answer is checked as the result of that
/// method.
#[derive(Debug, Default)]
pub struct Conversation {
    methods: HashMap<String, String>,
}

impl Conversation {
    /// A connection on which nothing has been said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a request was sent, without checking it: tests send broken ones on purpose.
    pub fn expect_answer(&mut self, id: &str, method: &str) {
        self.methods.insert(id.to_owned(), method.to_owned());
    }

    /// Checks a frame, whichever side sent it.
    ///
    /// # Errors
    ///
    /// The first [`Violation`] found in the frame. An answer to a call that was never made is one.
    pub fn check(&mut self, frame: &Value) -> Result<Verdict, Violation> {
        check_frame(frame)?;
        match frame.get("type").and_then(Value::as_str) {
            Some("req") => self.check_request(frame),
            Some("res") => self.check_response(frame),
            Some(_) | None => check_event(frame),
        }
    }

    fn check_request(&mut self, frame: &Value) -> Result<Verdict, Violation> {
        let method = text(frame, "method");
        self.expect_answer(text(frame, "id"), method);
        check_params(method, frame.get("params"))
    }

    fn check_response(&self, frame: &Value) -> Result<Verdict, Violation> {
        let id = text(frame, "id");
        let Some(method) = self.methods.get(id) else {
            return Err(violation(
                "ResponseFrame",
                format!("/id: nobody asked {id:?}"),
            ));
        };
        if frame.get("ok") == Some(&Value::Bool(true)) {
            return check_result(method, frame.get("payload").unwrap_or(&Value::Null));
        }
        match frame.get("error") {
            Some(error) => check_error(error),
            None => Err(violation(
                "ResponseFrame",
                "/error: a refusal says why".to_owned(),
            )),
        }
    }
}

/// A place in the schema that describes a value.
#[derive(Clone, Copy)]
enum Shape<'a> {
    /// `definitions.<name>`.
    Definition(&'a str),
    /// The snapshot's `health`, which is also the result and the event of that name.
    Health,
    /// The snapshot's `presence`.
    PresenceList,
    /// An object that holds only `presence`.
    PresenceEvent,
}

impl Shape<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Definition(name) => name,
            Self::Health => "health snapshot",
            Self::PresenceList => "presence list",
            Self::PresenceEvent => "presence event",
        }
    }

    fn schema(&self) -> Option<Value> {
        let snapshot = |member: &str| {
            document().pointer(&format!("/definitions/Snapshot/properties/{member}"))
        };
        match self {
            // The one definition that refers to others.
            Self::Definition("GatewayFrame") => Some(document().clone()),
            Self::Definition(name) => document().get("definitions")?.get(name).cloned(),
            Self::Health => snapshot("health").cloned(),
            Self::PresenceList => snapshot("presence").cloned(),
            Self::PresenceEvent => Some(json!({
                "type": "object",
                "required": ["presence"],
                "properties": {"presence": snapshot("presence")?},
                "additionalProperties": false,
            })),
        }
    }
}

fn event_shape(event: &str) -> Option<Shape<'static>> {
    Some(match event {
        "agent" => Shape::Definition("AgentEvent"),
        "chat" => Shape::Definition("ChatEvent"),
        "device.pair.requested" => Shape::Definition("DevicePairRequestedEvent"),
        "device.pair.resolved" => Shape::Definition("DevicePairResolvedEvent"),
        "health" => Shape::Health,
        "node.invoke.input" => Shape::Definition("NodeInvokeInputEvent"),
        "node.invoke.request" => Shape::Definition("NodeInvokeRequestEvent"),
        "presence" => Shape::PresenceEvent,
        "session.approval" => Shape::Definition("SessionApprovalEvent"),
        "session.operation" => Shape::Definition("SessionOperationEvent"),
        "shutdown" => Shape::Definition("ShutdownEvent"),
        "tick" => Shape::Definition("TickEvent"),
        _ => return None,
    })
}

/// The name that the schema's rule gives to a definition of `method`.
fn named(method: &str, suffix: &str) -> String {
    // The definitions of this method leave its last word out.
    let method = if method == "agent.identity.get" {
        "agent.identity"
    } else {
        method
    };
    let mut name = String::with_capacity(method.len() + suffix.len());
    for word in method.split(['.', '-']) {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name.push_str(suffix);
    name
}

fn check(shape: Shape<'_>, value: &Value) -> Result<Verdict, Violation> {
    let Some(validator) = validator(shape)? else {
        return Ok(Verdict::Unspecified);
    };
    let problems: Vec<String> = validator
        .iter_errors(value)
        .filter(|error| !is_later_addition(shape, error))
        .map(|error| match error.instance_path().as_str() {
            "" => error.to_string(),
            path => format!("{path}: {error}"),
        })
        .collect();
    if problems.is_empty() {
        return Ok(Verdict::Conforms);
    }
    Err(Violation {
        definition: shape.name().to_owned(),
        problems,
    })
}

/// Whether all that an error complains about are members which the gateway got after the schema was
/// published.
fn is_later_addition(shape: Shape<'_>, error: &ValidationError<'_>) -> bool {
    let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() else {
        return false;
    };
    let steps = error.instance_path().as_str().split('/').map(|step| {
        let is_index = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
        if is_index { "*" } else { step }
    });
    let place = steps.collect::<Vec<_>>().join("/");
    unexpected
        .iter()
        .all(|member| LATER_MEMBERS.contains(&(shape.name(), &place, member)))
}

/// The compiled validator of a shape, compiled at its first use.
fn validator(shape: Shape<'_>) -> Result<Option<Arc<Validator>>, Violation> {
    static COMPILED: OnceLock<Mutex<HashMap<String, Arc<Validator>>>> = OnceLock::new();
    let mut compiled = COMPILED
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(validator) = compiled.get(shape.name()) {
        return Ok(Some(Arc::clone(validator)));
    }
    let Some(schema) = shape.schema() else {
        return Ok(None);
    };
    let validator = jsonschema::options()
        .with_draft(Draft::Draft7)
        .build(&schema)
        .map_err(|error| violation(shape.name(), format!("the definition itself: {error}")))?;
    let validator = Arc::new(validator);
    compiled.insert(shape.name().to_owned(), Arc::clone(&validator));
    Ok(Some(validator))
}

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        serde_json::from_str(include_str!("../data/protocol.schema.json")).unwrap_or_default()
    })
}

fn text<'a>(frame: &'a Value, member: &str) -> &'a str {
    frame
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn violation(definition: &str, problem: String) -> Violation {
    Violation {
        definition: definition.to_owned(),
        problems: vec![problem],
    }
}

/// Members that the released gateway sends although the schema, which is some releases older, closes
/// the object: the shape, the place in it with `*` for an index, the member.
const LATER_MEMBERS: [(&str, &str, &str); 12] = [
    ("AgentEvent", "", "agentId"),
    ("AgentEvent", "", "sessionKey"),
    ("ChannelsStatusResult", "", "statusIssues"),
    ("ChannelsStatusResult", "/eventLoop", "cpuBreakdown"),
    ("HelloOk", "", "controlUiLinkReaders"),
    ("HelloOk", "/auth", "method"),
    ("HelloOk", "/snapshot/health/eventLoop", "cpuBreakdown"),
    ("HelloOk", "/snapshot/presence/*", "clientId"),
    ("health snapshot", "", "modelRuntime"),
    ("health snapshot", "/eventLoop", "cpuBreakdown"),
    ("presence event", "/presence/*", "clientId"),
    ("presence list", "/*", "clientId"),
];

#[cfg(test)]
mod tests;

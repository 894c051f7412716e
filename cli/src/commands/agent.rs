//! `agent`: one message, and the reply. The run goes on at the gateway whatever becomes of the
//! connection: after a loss the same message with the same key leads back to it.

use std::time::{Duration, Instant};

use clawgate_core::credentials::Surface;
use clawgate_core::frame::{IncomingEvent, RawJson};
use clawgate_std::CallError;
use serde_json::{Value, json};

use crate::context::Context;
use crate::conversation::line::{Ended, Input, Line, is_lost};
use crate::conversation::reply::Reply;
use crate::conversation::screen::Screen;
use crate::conversation::wire::{News, What};
use crate::conversation::{fresh_key, message};
use crate::conversation_args::AgentArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, TargetFlags};
use crate::text;

const METHODS: [&str; 4] = ["agent", "agent.wait", "chat.history", "sessions.abort"];

/// What the gateway gets beyond the time of the run, to say how it ended.
const MARGIN: Duration = Duration::from_secs(15);

/// Time of one `agent.wait`.
const WAIT: Duration = Duration::from_secs(30);

/// Time for the gateway to stop a run.
const STOP: Duration = Duration::from_secs(10);

/// Time for the last events of a run to come, after its answer.
const TAIL: Duration = Duration::from_secs(1);

/// The calls of this command.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Abort,
    Agent,
    Wait,
}

/// The run, as far as this command knows.
struct Run<'a> {
    line: Line<Asked>,
    params: Value,
    key: String,
    session: String,
    stream: bool,
    context: &'a Context,
    screen: Screen,
    reply: Reply,
    stopping: bool,
    /// Whether events may have been missed.
    has_gaps: bool,
    /// Whether the event of its end came.
    has_ended: bool,
    /// The final answer, when the last events are still to come.
    answer: Option<Value>,
    end: Instant,
}

pub(super) fn run(args: AgentArgs, context: &Context) -> Result<Exit, Failure> {
    let key = match args.idempotency_key {
        Some(key) => key,
        None => fresh_key()?,
    };
    let message = message(args.message)?;
    let reach = args.gateway;
    let flags = TargetFlags::of_place(reach.place, reach.connect_timeout)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let line = Line::open(resolved, &METHODS, reach.connect_timeout)?;
    line.take_signals()?;
    let mut params = json!({
        "message": message,
        "sessionKey": args.session_key,
        "idempotencyKey": key,
        "timeout": args.timeout.as_secs(),
    });
    for (name, value) in [("agentId", args.agent), ("model", args.model)] {
        if let (Some(value), Some(fields)) = (value, params.as_object_mut()) {
            fields.insert(name.to_owned(), value.into());
        }
    }
    let mut run = Run {
        line,
        params,
        key,
        session: args.session_key,
        stream: args.stream,
        context,
        screen: Screen::new(),
        reply: Reply::default(),
        stopping: false,
        has_gaps: false,
        has_ended: false,
        answer: None,
        end: Instant::now() + args.timeout + MARGIN,
    };
    let outcome = run.follow();
    let closed = run.screen.close_line();
    run.line.close();
    outcome.and_then(|exit| closed.map(|()| exit))
}

impl Run<'_> {
    fn follow(&mut self) -> Result<Exit, Failure> {
        self.ask();
        loop {
            let input = match self.line.next(Some(self.end)) {
                Ok(input) => input,
                Err(Ended::Gone(failure)) => return Err(failure),
                Err(Ended::Late) if self.answer.is_some() => return self.done(),
                Err(Ended::Late) if self.stopping => return Err(interrupted()),
                Err(Ended::Late) => return Err(self.goes_on("No reply before the deadline.")),
            };
            match input {
                Input::Answer(asked, outcome) => {
                    if let Some(exit) = self.on_answer(asked, outcome)? {
                        return Ok(exit);
                    }
                }
                Input::Connected(_) if self.stopping => self.abort(),
                Input::Connected(_) => self.ask(),
                Input::Event(event) => {
                    self.on_event(&event)?;
                    if self.has_ended && self.answer.is_some() {
                        return self.done();
                    }
                }
                Input::Interrupt if self.stopping => return Err(interrupted()),
                Input::Interrupt => {
                    self.stopping = true;
                    self.end = Instant::now() + STOP;
                    self.abort();
                }
                Input::Lost(why) => {
                    self.has_gaps = true;
                    self.note(&format!(
                        "connection lost ({why}); the run goes on, reconnecting"
                    ));
                }
                Input::Over(failure) => {
                    let again = self.again();
                    return Err(failure.note(again));
                }
                Input::EndOfLines | Input::Line(_) | Input::Missed => {}
            }
        }
    }

    /// Says it, or asks again for what was said already.
    fn ask(&self) {
        self.line
            .call_until_final(Asked::Agent, "agent", &self.params);
    }

    fn abort(&self) {
        let params = json!({ "key": self.session, "runId": self.key });
        self.line.call(Asked::Abort, "sessions.abort", &params);
    }

    fn on_answer(
        &mut self,
        asked: Asked,
        outcome: Result<RawJson, CallError>,
    ) -> Result<Option<Exit>, Failure> {
        let payload = match outcome {
            Ok(payload) => payload.parse::<Value>().unwrap_or_default(),
            // It is asked again when there is a connection.
            Err(error) if is_lost(&error) => return Ok(None),
            Err(error) => {
                if self.stopping {
                    return Err(interrupted());
                }
                let method = match asked {
                    Asked::Abort => "sessions.abort",
                    Asked::Agent => "agent",
                    Asked::Wait => "agent.wait",
                };
                return Err(self
                    .line
                    .explain(method, &error)
                    .fact("runId", json!(self.key)));
            }
        };
        let status = payload.get("status").and_then(Value::as_str);
        match (asked, status) {
            // What was under way is stopped; what was over already has its answer on the way.
            (Asked::Abort, _) => Err(interrupted()),
            (Asked::Agent, Some("in_flight")) => {
                self.wait();
                Ok(None)
            }
            (Asked::Agent, Some("timeout")) if self.stopping => Err(interrupted()),
            (Asked::Agent, Some("timeout")) => Err(self.stopped(&payload)),
            (Asked::Agent, _) => {
                self.answer = Some(payload);
                if self.stream && !self.has_ended && !self.has_gaps {
                    self.end = self.end.min(Instant::now() + TAIL);
                    return Ok(None);
                }
                self.done().map(Some)
            }
            (Asked::Wait, status) => {
                let is_over =
                    payload.get("endedAt").is_some() || matches!(status, Some("ok" | "error"));
                if is_over {
                    self.ask();
                } else {
                    self.wait();
                }
                Ok(None)
            }
        }
    }

    fn wait(&self) {
        let params = json!({ "runId": self.key, "timeoutMs": 30_000 });
        self.line
            .call_for(Asked::Wait, "agent.wait", &params, WAIT + MARGIN);
    }

    fn on_event(&mut self, event: &IncomingEvent) -> Result<(), Failure> {
        if !self.stream {
            return Ok(());
        }
        let Some(news) = News::of(event).filter(|news| news.run == self.key) else {
            return Ok(());
        };
        self.has_ended |= matches!(news.what, What::End(_));
        if self.context.format == Format::Json {
            let payload = event.payload.parse::<Value>().unwrap_or_default();
            return output::json_line(&json!({ "event": &*event.event, "payload": payload }));
        }
        self.show(&news.what)
    }

    fn show(&mut self, what: &What) -> Result<(), Failure> {
        match what {
            What::Text(text) => match self.reply.come_to(text) {
                Some(piece) => self.screen.piece(&piece),
                None => Ok(()),
            },
            tool @ (What::ToolCalled { .. } | What::ToolDone { .. }) => {
                self.screen.tool(tool);
                Ok(())
            }
            What::End(_) | What::Kept(_) => Ok(()),
        }
    }

    fn done(&mut self) -> Result<Exit, Failure> {
        let payload = &self.answer.take().unwrap_or_default();
        match (self.context.format, self.stream) {
            (Format::Json, true) => output::json_line(payload)?,
            (Format::Json, false) => output::json(payload)?,
            (Format::Text, _) => {
                if let Some(piece) = self.reply.end_with(&reply(payload)) {
                    self.screen.piece(&piece)?;
                }
            }
        }
        Ok(Exit::Ok)
    }

    /// Somebody else stopped it, or its time was over.
    fn stopped(&self, payload: &Value) -> Failure {
        let late = payload.get("stopReason").and_then(Value::as_str) == Some("timeout");
        let (exit, code, message) = if late {
            (
                Exit::TimedOut,
                "run_timeout",
                "The time of the run was over before its end.",
            )
        } else {
            (Exit::Refused, "run_aborted", "The run was stopped.")
        };
        Failure::new(
            exit,
            code,
            message,
            "`clawgate sessions history` shows how far it came.",
        )
        .fact("runId", json!(self.key))
        .fact("sessionKey", json!(self.session))
    }

    fn goes_on(&self, message: &str) -> Failure {
        Failure::new(Exit::TimedOut, "timeout", message, self.again())
            .fact("runId", json!(self.key))
            .fact("sessionKey", json!(self.session))
    }

    fn again(&self) -> String {
        format!(
            "The run may go on. The same command with --idempotency-key {} leads back to it.",
            text::plain(&self.key)
        )
    }

    fn note(&mut self, words: &str) {
        if self.context.format == Format::Text {
            self.screen.note(words);
        }
    }
}

/// The reply in the final answer.
pub(super) fn reply(payload: &Value) -> String {
    let payloads = payload
        .get("result")
        .and_then(|result| result.get("payloads"))
        .and_then(Value::as_array);
    let texts: Vec<&str> = payloads
        .into_iter()
        .flatten()
        .filter_map(|payload| payload.get("text")?.as_str())
        .collect();
    let mut text = texts.join("\n\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "interrupted",
        "Interrupted; the run was stopped.",
        "",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_reply_is_read() {
        let payload = json!({ "result": { "payloads": [{ "text": "a" }, {}, { "text": "b" }] } });
        assert_eq!(reply(&payload), "a\n\nb\n");
        assert_eq!(reply(&json!({})), "\n");
    }
}

//! What the gateway answered, and what follows from it.

use clawgate_core::frame::RawJson;
use clawgate_std::CallError;
use serde_json::{Value, json};

use super::run::Outcome;
use super::{Asked, Chat};
use crate::commands::sessions;
use crate::conversation::line::is_lost;
use crate::conversation::wire::{History, RunEnd};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::Sheet;

impl Chat<'_> {
    pub(super) fn on_answer(
        &mut self,
        asked: Asked,
        outcome: Result<RawJson, CallError>,
    ) -> Result<Option<Exit>, Failure> {
        let answer = match outcome {
            Ok(payload) => payload.parse::<Value>().unwrap_or_default(),
            Err(error) => return self.on_failure(&asked, &error),
        };
        match asked {
            Asked::Abort(false) | Asked::Unsubscribe => {}
            Asked::Abort(true) => {
                if answer.get("aborted") != Some(&json!(true)) {
                    self.screen.note("nothing is under way");
                }
                self.ready()?;
            }
            Asked::CatchUp => return self.caught_up(&History::of(&answer)),
            Asked::Describe => {
                self.status(answer.get("session"))?;
                self.ready()?;
            }
            Asked::History(limit) => {
                let history = History::of(&answer);
                self.cursor = history.cursor.clone().or_else(|| self.cursor.take());
                self.note_reply(&history);
                for entry in &history.entries {
                    self.kept(entry, true)?;
                    if limit > 0 && self.context.format == Format::Text {
                        self.screen.entry(entry)?;
                    }
                }
                self.ready()?;
            }
            Asked::Send(key) => return self.sent(&key, &answer),
            Asked::Sessions => {
                output::text(&sessions::table(&answer))?;
                self.ready()?;
            }
            Asked::Subscribe(key) => {
                let is_first = self.session.is_empty();
                self.session = text(&answer, "key").unwrap_or(key);
                if is_first {
                    self.show_history(self.shown_first);
                } else {
                    self.catch_up();
                }
            }
            Asked::Wait(key) => return self.waited(&key, &answer),
        }
        Ok(None)
    }

    fn on_failure(&mut self, asked: &Asked, error: &CallError) -> Result<Option<Exit>, Failure> {
        if is_lost(error) {
            // It is asked again with the next connection; what was typed has to be typed again.
            if matches!(asked, Asked::Describe | Asked::History(_) | Asked::Sessions)
                && !self.session.is_empty()
            {
                self.ready()?;
            }
            return Ok(None);
        }
        let method = match asked {
            Asked::Abort(_) => "chat.abort",
            Asked::CatchUp | Asked::History(_) => "chat.history",
            Asked::Describe => "sessions.describe",
            Asked::Send(_) => "chat.send",
            Asked::Sessions => "sessions.list",
            Asked::Subscribe(_) => "sessions.messages.subscribe",
            Asked::Unsubscribe => "sessions.messages.unsubscribe",
            Asked::Wait(_) => "agent.wait",
        };
        let failure = self.line.explain(method, error);
        match asked {
            // Nothing can be said in a session that cannot be followed.
            Asked::Subscribe(_) if !self.screen.is_interactive => Err(failure),
            Asked::Send(key) if self.is_current(key) => {
                let exit = failure.exit;
                self.over(&Outcome::refused(failure.message, exit))
            }
            Asked::Abort(_)
            | Asked::CatchUp
            | Asked::Describe
            | Asked::History(_)
            | Asked::Send(_)
            | Asked::Sessions
            | Asked::Subscribe(_)
            | Asked::Unsubscribe
            | Asked::Wait(_) => {
                self.screen.note(&failure.message);
                self.ready()?;
                Ok(None)
            }
        }
    }

    fn is_current(&self, key: &str) -> bool {
        self.run.as_ref().is_some_and(|run| run.key == key)
    }

    /// The gateway has the message.
    fn sent(&mut self, key: &str, answer: &Value) -> Result<Option<Exit>, Failure> {
        let Some(run) = self.run.as_mut().filter(|run| run.key == key) else {
            return Ok(None);
        };
        run.is_taken = true;
        match text(answer, "status").as_deref() {
            Some("started" | "in_flight") => self.wait(),
            // It was over before, or it was a word for the gateway itself.
            _ => {
                run.end = Some(answer.clone());
                self.catch_up();
            }
        }
        Ok(None)
    }

    fn waited(&mut self, key: &str, answer: &Value) -> Result<Option<Exit>, Failure> {
        let Some(run) = self.run.as_mut().filter(|run| run.key == key) else {
            return Ok(None);
        };
        let status = text(answer, "status");
        let is_over =
            answer.get("endedAt").is_some() || matches!(status.as_deref(), Some("ok" | "error"));
        if is_over {
            // Its end was told already, unless it was missed.
            run.end = Some(answer.clone());
            self.catch_up();
        } else {
            self.wait();
        }
        Ok(None)
    }

    fn caught_up(&mut self, history: &History) -> Result<Option<Exit>, Failure> {
        if history.is_reset {
            self.cursor = None;
            self.catch_up();
            return Ok(None);
        }
        if history.cursor.is_some() {
            self.cursor.clone_from(&history.cursor);
        }
        for entry in &history.entries {
            let is_own = entry.run.as_ref().is_some_and(|run| self.own.contains(run));
            self.kept(entry, is_own || entry.role == "toolResult")?;
        }
        self.note_reply(history);
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        if let Some(end) = run.end_by_answer() {
            return self.finish(end);
        }
        if let Some((key, text)) = &history.in_flight
            && *key == run.key
            && self.context.format == Format::Text
            && let Some(piece) = run.reply.come_to(text)
        {
            self.screen.piece(&piece)?;
        }
        Ok(None)
    }

    /// The reply may be over and kept already.
    fn note_reply(&mut self, history: &History) {
        if let Some(run) = &mut self.run
            && let Some(text) = history.reply_of(&run.key)
        {
            run.kept = Some(text.to_owned());
        }
    }

    pub(super) fn finish(&mut self, end: RunEnd) -> Result<Option<Exit>, Failure> {
        self.over(&Outcome::of(end))
    }

    /// The run is over: shows what was not shown yet, and goes on.
    fn over(&mut self, outcome: &Outcome) -> Result<Option<Exit>, Failure> {
        let Some(mut run) = self.run.take() else {
            return Ok(None);
        };
        self.last = outcome.exit;
        match self.context.format {
            Format::Json => output::json_line(&outcome.to_json(&run.key, &self.session))?,
            Format::Text => {
                let piece = if outcome.exit == Exit::Ok {
                    run.reply.end_with(&outcome.text)
                } else {
                    run.reply.come_to(&outcome.text)
                };
                if let Some(piece) = piece {
                    self.screen.piece(&piece)?;
                }
                self.screen.close_line()?;
                if let Some(words) = &outcome.words {
                    self.screen.note(words);
                }
            }
        }
        if self.leave_at.is_some() {
            return Ok(Some(Exit::Interrupted));
        }
        self.ready()?;
        Ok(None)
    }

    fn status(&self, session: Option<&Value>) -> Result<(), Failure> {
        let mut sheet = Sheet::default();
        sheet.line("Gateway", &self.place);
        if let Some(version) = &self.line.hello().server_version {
            sheet.line("Version", version);
        }
        match session.filter(|session| session.is_object()) {
            Some(session) => sessions::describe(&mut sheet, session),
            None => sheet.line(
                "Session",
                format!("{} (nothing was said yet)", self.asked_key),
            ),
        }
        output::text(&sheet.to_text())
    }
}

fn text(answer: &Value, field: &str) -> Option<String> {
    answer.get(field)?.as_str().map(str::to_owned)
}

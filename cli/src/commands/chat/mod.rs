//! `chat`: a conversation in the terminal, or over a pipe, where each line is a message and the next
//! one is read when the reply is there.
//!
//! A run that was asked for belongs to the gateway. When the connection is lost, the conversation
//! reads what it missed from where its knowledge ended, and goes on with the same run.

mod answers;
mod run;
mod typed;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use clawgate_core::credentials::Surface;
use clawgate_core::frame::IncomingEvent;
use serde_json::json;

use self::run::Run;
use self::typed::{HELP, Typed};
use crate::context::Context;
use crate::conversation::fresh_key;
use crate::conversation::line::{Ended, Input, Line};
use crate::conversation::screen::Screen;
use crate::conversation::wire::{Entry, News, What};
use crate::conversation_args::ChatArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, TargetFlags, target_text};

const METHODS: [&str; 8] = [
    "agent.wait",
    "chat.abort",
    "chat.history",
    "chat.send",
    "sessions.describe",
    "sessions.list",
    "sessions.messages.subscribe",
    "sessions.messages.unsubscribe",
];

/// Messages that `/history` shows.
const HISTORY: u16 = 10;

/// Time of one `agent.wait`.
const WAIT: Duration = Duration::from_secs(30);

/// Time for the gateway to stop a run.
const STOP: Duration = Duration::from_secs(10);

/// Messages whose ids are known, so that none is shown twice.
const MAX_SEEN: usize = 10_000;

/// The calls of a conversation.
#[derive(Clone, Debug)]
enum Asked {
    /// Whether it was asked for when nothing of this conversation was under way.
    Abort(bool),
    /// What was missed since the cursor.
    CatchUp,
    Describe,
    /// So many earlier messages, to show them.
    History(u16),
    Send(String),
    Sessions,
    /// With the key as it was typed.
    Subscribe(String),
    Unsubscribe,
    Wait(String),
}

/// One conversation.
struct Chat<'a> {
    line: Line<Asked>,
    context: &'a Context,
    /// Which gateway, in words.
    place: String,
    screen: Screen,
    /// The session's key as it was typed, and whole.
    asked_key: String,
    session: String,
    /// Earlier messages that are shown when a session is entered.
    shown_first: u16,
    /// Where the knowledge of the transcript ends.
    cursor: Option<String>,
    seen: BTreeSet<String>,
    run: Option<Run>,
    /// Runs of this conversation.
    own: BTreeSet<String>,
    /// Lines that were typed while a run was under way.
    queue: VecDeque<String>,
    /// How the last run ended.
    last: Exit,
    /// Ctrl-C at the prompt: once more leaves.
    warned: bool,
    /// When to leave, whether or not the run was stopped.
    leave_at: Option<Instant>,
}

pub(super) fn run(args: ChatArgs, context: &Context) -> Result<Exit, Failure> {
    let reach = args.gateway;
    let flags = TargetFlags::of_place(reach.place, reach.connect_timeout)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let place = target_text(&resolved.why);
    let mut line = Line::open(resolved, &METHODS, reach.connect_timeout)?;
    line.take_signals()?;
    line.take_lines()?;
    let screen = Screen::new();
    let default = if screen.is_interactive { HISTORY } else { 0 };
    let mut chat = Chat {
        line,
        context,
        place,
        shown_first: args.history.unwrap_or(default),
        screen,
        asked_key: args.session_key,
        session: String::new(),
        cursor: None,
        seen: BTreeSet::new(),
        run: None,
        own: BTreeSet::new(),
        queue: VecDeque::new(),
        last: Exit::Ok,
        warned: false,
        leave_at: None,
    };
    let outcome = chat.converse();
    let closed = chat.screen.close_line();
    chat.line.close();
    outcome.and_then(|exit| closed.map(|()| exit))
}

impl Chat<'_> {
    fn converse(&mut self) -> Result<Exit, Failure> {
        if self.screen.is_interactive {
            let version = self.line.hello().server_version.clone().unwrap_or_default();
            let hello = format!("{} {version} · /help shows what can be typed", self.place);
            self.screen.note(hello.trim());
        }
        self.enter(self.asked_key.clone());
        loop {
            let input = match self.line.next(self.leave_at) {
                Ok(input) => input,
                Err(Ended::Gone(failure)) => return Err(failure),
                Err(Ended::Late) => return Ok(Exit::Interrupted),
            };
            let leave = match input {
                Input::Answer(asked, outcome) => self.on_answer(asked, outcome)?,
                Input::Connected(_) => {
                    self.screen.note("connected again");
                    self.come_back();
                    None
                }
                Input::EndOfLines => Some(self.exit()),
                Input::Event(event) => self.on_event(&event)?,
                Input::Interrupt => self.on_interrupt(),
                Input::Line(line) => self.on_line(&line)?,
                Input::Lost(why) => {
                    self.screen
                        .note(&format!("connection lost ({why}), reconnecting"));
                    None
                }
                Input::Missed => {
                    self.catch_up();
                    None
                }
                Input::Over(failure) => return Err(*failure),
            };
            if let Some(exit) = leave {
                return Ok(exit);
            }
        }
    }

    /// People are not told how the last run ended when they leave: they saw it.
    fn exit(&self) -> Exit {
        if self.screen.is_interactive {
            Exit::Ok
        } else {
            self.last
        }
    }

    fn enter(&self, key: String) {
        let params = json!({ "key": key });
        self.line.call(
            Asked::Subscribe(key),
            "sessions.messages.subscribe",
            &params,
        );
    }

    /// There is another connection: what the old one knew of is gone.
    fn come_back(&self) {
        self.enter(self.asked_key.clone());
        let Some(run) = &self.run else { return };
        if run.is_taken {
            self.wait();
        } else {
            self.send();
        }
    }

    fn catch_up(&self) {
        let mut params = json!({ "sessionKey": self.asked_key });
        if let Some(fields) = params.as_object_mut() {
            match &self.cursor {
                Some(cursor) => fields.insert("cursor".into(), cursor.as_str().into()),
                None => fields.insert("limit".into(), 50.into()),
            };
        }
        self.line.call(Asked::CatchUp, "chat.history", &params);
    }

    fn show_history(&self, limit: u16) {
        let params = json!({ "sessionKey": self.asked_key, "limit": limit.max(1) });
        self.line
            .call(Asked::History(limit), "chat.history", &params);
    }

    /// Ready for what is typed next.
    fn ready(&mut self) -> Result<(), Failure> {
        if self.run.is_some() {
            return Ok(());
        }
        if let Some(next) = self.queue.pop_front() {
            return self.say(next);
        }
        self.screen.prompt();
        self.line.ask_for_line();
        Ok(())
    }

    fn on_line(&mut self, line: &str) -> Result<Option<Exit>, Failure> {
        self.warned = false;
        if self.screen.is_interactive {
            // A person may type while a run is under way.
            self.line.ask_for_line();
        }
        match Typed::parse(line) {
            Typed::Nothing => self.ready()?,
            Typed::Say(text) if self.run.is_some() => {
                self.screen.note("it is said when this run is over");
                self.queue.push_back(text);
            }
            Typed::Say(text) => self.say(text)?,
            Typed::Quit => return Ok(Some(self.exit())),
            Typed::Abort => self.abort(),
            Typed::Help => {
                output::text(&format!("{HELP}\n"))?;
                self.ready()?;
            }
            Typed::History(limit) => self.show_history(limit.unwrap_or(HISTORY)),
            Typed::Sessions => {
                let params = json!({ "limit": 20, "includeDerivedTitles": true });
                self.line.call(Asked::Sessions, "sessions.list", &params);
            }
            Typed::Session(key) => {
                if self.run.take().is_some() {
                    self.screen.note("the run goes on in its session");
                }
                self.queue.clear();
                let old = json!({ "key": self.asked_key });
                let method = "sessions.messages.unsubscribe";
                self.line.call(Asked::Unsubscribe, method, &old);
                self.asked_key.clone_from(&key);
                self.session.clear();
                self.cursor = None;
                self.enter(key);
            }
            Typed::Status => {
                let params = json!({ "key": self.asked_key, "includeDerivedTitles": true });
                self.line
                    .call(Asked::Describe, "sessions.describe", &params);
            }
            Typed::Wrong(usage) => {
                self.screen.note(&format!("usage: {usage}"));
                self.ready()?;
            }
        }
        Ok(None)
    }

    fn say(&mut self, text: String) -> Result<(), Failure> {
        let key = fresh_key()?;
        self.own.insert(key.clone());
        self.run = Some(Run::new(key, text));
        self.send();
        Ok(())
    }

    fn send(&self) {
        if let Some(run) = &self.run {
            let params = json!({
                "sessionKey": self.asked_key,
                "message": run.message,
                "idempotencyKey": run.key,
            });
            self.line
                .call(Asked::Send(run.key.clone()), "chat.send", &params);
        }
    }

    fn wait(&self) {
        if let Some(run) = &self.run {
            let params = json!({ "runId": run.key, "timeoutMs": 30_000 });
            let asked = Asked::Wait(run.key.clone());
            self.line
                .call_for(asked, "agent.wait", &params, WAIT + STOP);
        }
    }

    fn abort(&self) {
        let mut params = json!({ "sessionKey": self.asked_key });
        if let (Some(run), Some(fields)) = (&self.run, params.as_object_mut()) {
            fields.insert("runId".into(), run.key.as_str().into());
        }
        let is_idle = self.run.is_none();
        self.line.call(Asked::Abort(is_idle), "chat.abort", &params);
    }

    fn on_interrupt(&mut self) -> Option<Exit> {
        let interactive = self.screen.is_interactive;
        if self.leave_at.is_some() || (self.run.is_none() && (self.warned || !interactive)) {
            return Some(Exit::Interrupted);
        }
        if self.run.is_some() {
            self.abort();
            if !interactive {
                self.leave_at = Some(Instant::now() + STOP);
            }
        } else {
            self.warned = true;
            self.screen.note("Ctrl-C once more leaves, or Ctrl-D");
            self.screen.prompt();
        }
        None
    }

    fn on_event(&mut self, event: &IncomingEvent) -> Result<Option<Exit>, Failure> {
        let Some(news) = News::of(event).filter(|news| news.session == self.session) else {
            return Ok(None);
        };
        let is_current = self.run.as_ref().is_some_and(|run| run.key == news.run);
        match news.what {
            What::Kept(entry) => {
                let is_own = self.own.contains(&news.run);
                self.kept(&entry, is_own || entry.role == "toolResult")?;
            }
            What::Text(text) if is_current => {
                if let (Some(run), Format::Text) = (&mut self.run, self.context.format)
                    && let Some(piece) = run.reply.come_to(&text)
                {
                    self.screen.piece(&piece)?;
                }
            }
            What::End(end) if is_current => return self.finish(end),
            tool @ (What::ToolCalled { .. } | What::ToolDone { .. })
                if is_current && self.context.format == Format::Text =>
            {
                self.screen.tool(&tool);
            }
            What::End(_) | What::Text(_) | What::ToolCalled { .. } | What::ToolDone { .. } => {}
        }
        Ok(None)
    }

    /// A message has its place in the transcript. What others say is shown to people.
    fn kept(&mut self, entry: &Entry, is_shown: bool) -> Result<(), Failure> {
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        let is_new = entry
            .id
            .as_ref()
            .is_none_or(|id| self.seen.insert(id.clone()));
        if is_new && !is_shown && self.screen.is_interactive {
            self.screen.entry(entry)?;
            if self.run.is_none() {
                self.screen.prompt();
            }
        }
        Ok(())
    }
}

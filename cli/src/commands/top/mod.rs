//! `gateway top`: what a gateway does at this moment, by the same connection as every other command.

mod numbers;
mod page;
mod screen;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use clawgate_core::client::{Call, Disconnected, Next};
use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_std::{Client, ClientEvent};
use serde::Deserialize;

use crate::context::Context;
use crate::dial::{self, Link};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Reader};
use crate::target::{self, Resolved, TargetFlags, target_text};
use crate::text::duration;
use crate::top_args::TopArgs;
use numbers::{Client as ClientRow, Page, Sample};
use screen::{Screen, Typed};

const METRICS: &str = "clawgate.metrics";
const CONNECTIONS: &str = "clawgate.connections";

/// How long a lost connection may go unnoticed.
const LOOK: Duration = Duration::from_secs(1);

/// How long a key may go unnoticed.
const KEY_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(args: TopArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let methods: &[&str] = if args.connections {
        &[METRICS, CONNECTIONS]
    } else {
        &[METRICS]
    };
    let is_terminal = io::stdout().is_terminal();
    if args.once || (context.format == Format::Text && !is_terminal) {
        return once(&resolved, methods, flags.timeout, context.format);
    }
    let (client, events) = dial::stay(&resolved, methods, &[], flags.timeout)?;
    let live = Live {
        client,
        events,
        methods,
        interval: Duration::from_secs(args.interval.into()),
        place: target_text(&resolved.why),
        earlier: None,
        lost: None,
    };
    match context.format {
        Format::Json => live.stream(),
        Format::Text => live.show(),
    }
}

fn once(
    resolved: &Resolved,
    methods: &[&str],
    timeout: Duration,
    format: Format,
) -> Result<Exit, Failure> {
    let mut link = Link::open_or_explain(resolved, methods, timeout)?;
    let mut answers = Vec::new();
    for method in methods {
        answers.push(link.call(method, RawJson::empty_object())?);
    }
    link.connection.close();
    let (sample, clients) = read(&answers)?;
    let page = Page::between(None, &sample, clients);
    match format {
        Format::Json => output::json(&page)?,
        Format::Text => {
            let lines = page::lines(&page, None);
            output::text(&format!("{}\n", lines.join("\n")))?;
        }
    }
    Ok(Exit::Ok)
}

/// The answers to [`METRICS`] and, where that was asked, [`CONNECTIONS`].
fn read(answers: &[RawJson]) -> Result<(Sample, Option<Vec<ClientRow>>), Failure> {
    #[derive(Deserialize)]
    struct Rows {
        connections: Vec<ClientRow>,
    }
    let unreadable = |error: serde_json::Error| {
        Failure::new(
            Exit::Failed,
            "answer",
            format!("The gateway's answer cannot be read: {error}."),
            "Update clawgate or the gateway.",
        )
    };
    let mut answers = answers.iter();
    let sample = answers.next().map(RawJson::parse).transpose();
    let rows = answers.next().map(RawJson::parse::<Rows>).transpose();
    let rows = rows.map_err(unreadable)?;
    Ok((
        sample.map_err(unreadable)?.unwrap_or_default(),
        rows.map(|rows| rows.connections),
    ))
}

/// A page that is made anew again and again.
struct Live<'a> {
    client: Client,
    events: Receiver<ClientEvent>,
    methods: &'a [&'a str],
    interval: Duration,
    place: String,
    earlier: Option<Sample>,
    /// Why there is no connection.
    lost: Option<String>,
}

impl Live<'_> {
    /// One JSON document in each interval, until nobody reads them any more.
    fn stream(mut self) -> Result<Exit, Failure> {
        loop {
            let next = Instant::now() + self.interval;
            if let Some(page) = self.page(|| Ok(Typed::Nothing))?.0 {
                let document = serde_json::to_value(&page).unwrap_or_default();
                if output::stream(Format::Json, &document, "")? == Reader::Gone {
                    return Ok(Exit::Ok);
                }
            }
            loop {
                let left = next.saturating_duration_since(Instant::now());
                match self.events.recv_timeout(left) {
                    Ok(event) => self.hear(event)?,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Ok),
                }
            }
        }
    }

    /// A page on the terminal, until somebody wants no more of it.
    fn show(mut self) -> Result<Exit, Failure> {
        let broken = |error: io::Error| {
            Failure::new(
                Exit::Failed,
                "terminal",
                format!("The terminal cannot be used: {error}."),
                "Use --once for a page without keys.",
            )
        };
        let screen = Screen::open().map_err(broken)?;
        let mut shown = None;
        loop {
            let next = Instant::now() + self.interval;
            let typed = || screen.typed(Duration::ZERO).map_err(broken);
            let (page, typed) = self.page(typed)?;
            if typed == Typed::Quit {
                return Ok(Exit::Ok);
            }
            shown = page.or(shown);
            loop {
                loop {
                    match self.events.try_recv() {
                        Ok(event) => self.hear(event)?,
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => return Ok(Exit::Ok),
                    }
                }
                self.draw(&screen, shown.as_ref()).map_err(broken)?;
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                match screen.typed(left.min(LOOK)).map_err(broken)? {
                    Typed::Quit => return Ok(Exit::Ok),
                    Typed::Nothing | Typed::Resized => {}
                }
            }
        }
    }

    fn draw(&self, screen: &Screen, page: Option<&Page>) -> io::Result<()> {
        let (columns, _) = Screen::size();
        let lines = page.map(|page| page::lines(page, Some(columns)));
        let last = match &self.lost {
            Some(why) => format!("{}: {why}; q ends", self.place),
            None => format!("{}; q ends", self.place),
        };
        screen.show(&lines.unwrap_or_default(), &last)
    }

    /// Asks the gateway; nothing comes of it while there is no connection.
    fn page(
        &mut self,
        typed: impl Fn() -> Result<Typed, Failure>,
    ) -> Result<(Option<Page>, Typed), Failure> {
        let mut answers = Vec::new();
        for method in self.methods {
            let call = Call::new(*method, RawJson::empty_object());
            let Ok(mut pending) = self.client.start_call(call) else {
                return Ok((None, Typed::Nothing));
            };
            let answer = loop {
                match pending.wait_timeout(KEY_PAUSE) {
                    Ok(answer) => break answer,
                    Err(still) => pending = still,
                }
                if typed()? == Typed::Quit {
                    return Ok((None, Typed::Quit));
                }
            };
            match answer {
                Ok(answer) => answers.push(answer),
                // A connection that was lost comes back by itself, and is told as an event.
                Err(error) => {
                    let Some(refused) = error.rpc() else {
                        return Ok((None, Typed::Nothing));
                    };
                    return Err(Failure::new(
                        Exit::Refused,
                        "refused",
                        format!("The gateway refused {method}: {}.", refused.message),
                        "Ask for less: --connections takes operator.admin.",
                    ));
                }
            }
        }
        let (sample, clients) = read(&answers)?;
        let page = Page::between(self.earlier.as_ref(), &sample, clients);
        self.earlier = Some(sample);
        Ok((Some(page), Typed::Nothing))
    }

    fn hear(&mut self, event: ClientEvent) -> Result<(), Failure> {
        match event {
            ClientEvent::Connected(_) => self.lost = None,
            ClientEvent::Disconnected { why, next } => match next {
                Next::Retry(after) => {
                    let why = why_lost(&why);
                    let again = duration(after);
                    self.lost = Some(format!("no connection ({why}), trying again in {again}"));
                }
                Next::Paused(reason) => {
                    return Err(Failure::new(
                        Exit::Refused,
                        "refused",
                        format!("The gateway refuses the connection: {}.", reason.message),
                        "Put that right, and start again.",
                    ));
                }
                Next::Stop => {}
            },
            ClientEvent::Event(_)
            | ClientEvent::ForgetDeviceToken
            | ClientEvent::Gap(_)
            | ClientEvent::HistoryLost(_)
            | ClientEvent::Missed(_)
            | ClientEvent::Resumed { .. } => {}
        }
        Ok(())
    }
}

fn why_lost(why: &Disconnected) -> String {
    match why {
        Disconnected::Conn(ending) => ending.to_string(),
        Disconnected::Dial(words) => words.clone(),
        Disconnected::DialTimeout => "no answer in time".to_owned(),
    }
}

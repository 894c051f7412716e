//! One connection: calls one after another, and what faults do to them.

use std::io::{self, BufReader, Read};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;

use super::request::{self, BadBody, Request, Route};
use super::server::Shared;
use super::write;
use crate::answer::{Answer, Body};
use crate::fault::{Act, DOWNLOAD, Taken};
use crate::ids::{BotId, ChatId};
use crate::methods::{self, Caller, Reply};
use crate::moment::Moment;
use crate::params::Params;
use crate::state::{Call, CallNumber, PollNumber, Polled};

/// Serves a connection until it ends.
pub(crate) fn serve(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = request::read(&mut reader, stream) {
        match answer(stream, shared, &request) {
            Ok(Ended::Whole) if request.keep_alive => {}
            Ok(Ended::Whole | Ended::Closed) => return write::close(stream),
            Ok(Ended::Reset) => return write::reset(stream),
            Err(_) => return,
        }
    }
}

/// How an exchange ended.
enum Ended {
    Whole,
    Closed,
    Reset,
}

/// A call, or a download, that waits for its answer.
struct Exchange<'a> {
    stream: &'a TcpStream,
    shared: &'a Shared,
    keep_alive: bool,
    number: CallNumber,
    at: Moment,
}

fn answer(stream: &TcpStream, shared: &Shared, request: &Request) -> io::Result<Ended> {
    let route = request::route(&request.path);
    let (token, name) = match &route {
        Route::Call { token, method } => (token, method.as_str()),
        Route::Download { token, .. } => (token, DOWNLOAD),
        Route::Nothing => {
            write::whole(stream, &Answer::error(404, "Not Found"), request.keep_alive)?;
            return Ok(Ended::Whole);
        }
    };
    let at = Moment::now();
    let params = request.params.as_ref();
    let chat = params
        .ok()
        .and_then(|params| params.number("chat_id"))
        .map(ChatId);
    let (number, bot, fault) = shared.change(|state| {
        let bot = state.tokens.get(token).copied();
        let fault = bot.and_then(|_| state.fault(name, chat));
        let number = state.begin_call(Call {
            number: CallNumber(0),
            method: name.to_owned(),
            bot,
            chat,
            params: params
                .map(|params| params.values().clone())
                .unwrap_or_default(),
            at,
            faulty: fault.is_some(),
            taken: false,
            status: None,
            answered: None,
        });
        (number, bot, fault)
    });
    let exchange = Exchange {
        stream,
        shared,
        keep_alive: request.keep_alive,
        number,
        at,
    };
    let (updates, taken) = match fault {
        Some(Act::Answer(answer)) => return exchange.send(&answer),
        Some(Act::LostReset) => return Ok(exchange.ends(Ended::Reset)),
        Some(Act::LostSilence) => return Ok(exchange.silence()),
        Some(Act::Taken(taken)) => (OtherUpdates::None, Some(taken)),
        Some(Act::UpdatesAgain(count)) => (OtherUpdates::Again(count), None),
        Some(Act::UpdatesTwice) => (OtherUpdates::Twice, None),
        None => (OtherUpdates::None, None),
    };
    let answer = match (bot, params) {
        (None, _) => unknown(token),
        (Some(_), Err(bad)) => refused(bad),
        (Some(bot), Ok(params)) => match exchange.carry_out(bot, &route, params) {
            Some(answer) => exchange.with_other_updates(bot, answer, updates),
            // The server stops.
            None => return Ok(exchange.ends(Ended::Closed)),
        },
    };
    match taken {
        None => exchange.send(&answer),
        Some(taken) => exchange.spoil(&answer, taken),
    }
}

/// What a fault puts into the answer to a poll.
#[derive(Clone, Copy)]
enum OtherUpdates {
    None,
    Again(usize),
    Twice,
}

impl Exchange<'_> {
    /// Lets the service do its work. Gives nothing when the server stops meanwhile.
    fn carry_out(&self, bot: BotId, route: &Route, params: &Params) -> Option<Answer> {
        let reply = self.shared.change(|state| {
            let reply = match route {
                Route::Download { path, .. } => Reply::Now(methods::download(state, path)),
                Route::Call { method, .. } => {
                    let now = self.at;
                    let caller = Caller {
                        state: &mut *state,
                        bot,
                        params,
                        now,
                    };
                    methods::call(caller, method)
                }
                Route::Nothing => Reply::Now(Answer::error(404, "Not Found")),
            };
            if matches!(&reply, Reply::Now(answer) if answer.is_ok()) {
                state.take_call(self.number);
            }
            reply
        });
        match reply {
            Reply::Now(answer) => Some(answer),
            Reply::Waits(poll) => self.long_poll(bot, poll),
        }
    }

    fn long_poll(&self, bot: BotId, poll: PollNumber) -> Option<Answer> {
        let mut inner = self.shared.lock();
        while !inner.stopping {
            let updates = &mut inner.state.bots.get_mut(&bot)?.updates;
            match updates.check(poll, Instant::now()) {
                Polled::Wait(until) => inner = self.shared.wait(inner, until),
                Polled::Conflict => return Some(Answer::conflict()),
                Polled::Updates(updates) => {
                    inner.state.take_call(self.number);
                    return Some(Answer::result(&updates.into()));
                }
            }
        }
        None
    }

    fn with_other_updates(&self, bot: BotId, answer: Answer, other: OtherUpdates) -> Answer {
        let body: Value = match (&answer.body, other) {
            (_, OtherUpdates::None) | (Body::Filled(_), _) => return answer,
            (Body::Bytes(bytes), _) => serde_json::from_slice(bytes).unwrap_or_default(),
        };
        let Some(own) = body.get("result").and_then(Value::as_array) else {
            return answer;
        };
        let updates = match other {
            OtherUpdates::None => own.clone(),
            OtherUpdates::Again(count) => {
                let inner = self.shared.lock();
                let bot = inner.state.bots.get(&bot);
                let mut again = bot
                    .map(|bot| bot.updates.confirmed(count))
                    .unwrap_or_default();
                again.extend(own.iter().cloned());
                again
            }
            OtherUpdates::Twice => own
                .iter()
                .flat_map(|one| [one.clone(), one.clone()])
                .collect(),
        };
        Answer::result(&updates.into())
    }

    /// Sends a whole answer.
    fn send(&self, answer: &Answer) -> io::Result<Ended> {
        // It is on record before anybody can have read it.
        self.record(Some(answer.status));
        write::whole(self.stream, answer, self.keep_alive).inspect_err(|_| self.record(None))?;
        Ok(Ended::Whole)
    }

    /// Does to an answer what a fault says.
    fn spoil(&self, answer: &Answer, taken: Taken) -> io::Result<Ended> {
        let ended = match taken {
            Taken::Answer(other) => return self.send(&other),
            Taken::Silence => return Ok(self.silence()),
            Taken::Trickle { piece, pause } => {
                self.record(Some(answer.status));
                let pause = || self.shared.pause(pause);
                write::trickle(self.stream, answer, self.keep_alive, piece, pause)
                    .inspect_err(|_| self.record(None))?;
                return Ok(Ended::Whole);
            }
            Taken::Reset => return Ok(self.ends(Ended::Reset)),
            Taken::ResetAfterHead | Taken::ResetInBody => Ended::Reset,
            Taken::CloseInBody => Ended::Closed,
        };
        self.record(None);
        write::head(self.stream, answer, self.keep_alive)?;
        if !matches!(taken, Taken::ResetAfterHead) {
            write::body(self.stream, answer, answer.body.length() / 2)?;
        }
        Ok(ended)
    }

    /// Keeps the connection open and says nothing, until the other side or the server ends it.
    fn silence(&self) -> Ended {
        self.record(None);
        let mut stream = self.stream;
        let mut ignored = [0; 1024];
        while matches!(stream.read(&mut ignored), Ok(1..)) {}
        Ended::Closed
    }

    fn ends(&self, ended: Ended) -> Ended {
        self.record(None);
        ended
    }

    fn record(&self, status: Option<u16>) {
        self.shared
            .change(|state| state.end_call(self.number, status, Moment::now()));
    }
}

fn refused(bad: &BadBody) -> Answer {
    match bad {
        BadBody::TooLarge(size) => Answer::error(
            413,
            &format!("Request Entity Too Large: content length is {size}"),
        ),
        BadBody::Unreadable => Answer::error(400, "Bad Request: can't parse the request's body"),
    }
}

fn unknown(token: &str) -> Answer {
    match token.split_once(':') {
        Some((id, _)) if id.parse().is_ok_and(|id: u64| id > 0) => {
            Answer::error(401, "Unauthorized")
        }
        _ => Answer::error(401, "Unauthorized: invalid token specified"),
    }
}

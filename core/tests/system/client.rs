//! A client and what it is told: every hello, answer, event and loss is checked when it comes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use clawgate_core::{
    client::{
        AttemptId, CallError, ClientConn, Disconnected, Ending, Gap, Hello, Next, Phase, Session,
        SessionEvent,
    },
    frame::{IncomingEvent, RawJson},
    ids::{ConnId, RequestId},
    time::Now,
};
use serde_json::Value;

use crate::{
    cast::{Card, Fate, Manner},
    ledger::CallBook,
    network::Link,
    world::{Setting, assert_no_secret},
};

/// What a client dials for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialling {
    Attempt(AttemptId),
    /// For a machine that does not dial by itself.
    Plain,
}

pub enum Machine {
    Lasting(Box<Session>),
    Once(Option<Box<ClientConn>>),
    Raw { outbox: VecDeque<ByteString> },
}

pub struct Client {
    pub card: Card,
    pub machine: Machine,
    pub calls: CallBook,
    /// The link that it is connected by.
    pub link: Option<ConnId>,
    pub dialling: Option<Dialling>,
    pub hellos: usize,
    pub losses: usize,
    pub last_presence: Option<Value>,
    pub seed: [u8; 32],
    /// When it has to dial again.
    pub redial: Option<Instant>,
    /// A gap that was told and whose event has not come yet.
    pub gap: Option<Gap>,
    last_seq: Option<u64>,
}

impl Client {
    pub fn new(card: Card, setting: &Setting, seed: [u8; 32], now: Now) -> Self {
        let (target, profile) = (card.target(), card.profile.clone());
        let machine = match card.manner {
            Manner::Lasting => {
                let session = Session::new(target, profile, setting.client.clone(), seed, now);
                Machine::Lasting(session.into())
            }
            Manner::Once => Machine::Once(None),
            Manner::Raw => Machine::Raw {
                outbox: VecDeque::new(),
            },
        };
        Self {
            card,
            machine,
            calls: CallBook::default(),
            link: None,
            dialling: None,
            hellos: 0,
            losses: 0,
            last_presence: None,
            seed,
            redial: None,
            last_seq: None,
            gap: None,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Lasting(session) => session.poll_timeout().map(|(at, _)| at),
            Machine::Once(conn) => conn.as_ref()?.poll_timeout().map(|(at, _)| at),
            Machine::Raw { .. } => None,
        }
    }

    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.machine {
            Machine::Lasting(session) => Some(session),
            Machine::Once(_) | Machine::Raw { .. } => None,
        }
    }

    pub fn phase(&self) -> Option<Phase> {
        match &self.machine {
            Machine::Lasting(session) => Some(session.phase()),
            Machine::Once(_) | Machine::Raw { .. } => None,
        }
    }

    pub fn on_hello(&mut self, hello: &Hello) {
        let rights = &self.card.rights;
        assert!(self.card.fate == Fate::In, "{} was let in", self.card.name);
        assert_eq!(hello.role.as_deref(), Some(rights.role.as_str()));
        let granted = hello.scopes.clone().unwrap_or_default();
        assert_eq!(granted, rights.scopes);
        assert_eq!(hello.protocol, Some(4));
        self.hellos += 1;
        self.last_seq = None;
        self.gap = None;
    }

    pub fn on_answer(&mut self, id: &RequestId, outcome: &Result<RawJson, CallError>) {
        if let Ok(payload) = outcome {
            assert_no_secret(payload.as_str());
            let value: Value = payload.parse().unwrap();
            if value.is_array() {
                self.last_presence = Some(value);
            }
        }
        self.calls.ended(id, outcome, &self.card.rights);
    }

    pub fn on_event(&mut self, event: &IncomingEvent, link: Option<&Link>) {
        assert_no_secret(event.payload.as_str());
        let rights = &self.card.rights;
        assert!(&*event.event != "presence" || rights.allow("operator.read"));
        let Some(seq) = event.seq else {
            return;
        };
        if let Some(link) = link {
            assert_eq!(self.gap.take(), link.book.gap(self.last_seq, seq));
        }
        assert!(self.last_seq.is_none_or(|last| last < seq));
        self.last_seq = Some(seq);
    }

    pub fn on_disconnected(&mut self, now: Now, why: &Disconnected, next: &Next) {
        assert_eq!(
            self.calls.open(),
            0,
            "calls that outlive their connection: {why:?}"
        );
        self.losses += 1;
        self.redial = None;
        match next {
            Next::Retry(delay) => {
                let bounds = Duration::from_millis(100)..=Duration::from_secs(30);
                assert!(bounds.contains(delay), "{delay:?}");
                self.redial = Some(now.mono + *delay);
            }
            Next::Paused(reason) => {
                let limited = reason.code == "AUTH_RATE_LIMITED";
                assert!(
                    matches!(self.card.fate, Fate::Paused(code) if limited || code == reason.code),
                    "{} is paused: {reason:?}",
                    self.card.name
                );
            }
            Next::Stop => {
                assert_eq!(*why, Disconnected::Conn(Ending::Stopped));
            }
        }
    }
}

/// A name for what a client was told, where that is worth one.
pub fn sight(event: &SessionEvent) -> Option<String> {
    match event {
        SessionEvent::Answer { outcome, .. } => match outcome {
            Ok(_) => None,
            Err(CallError::Ended(_)) => Some("call lost".into()),
            Err(CallError::Rpc(error)) => Some(format!("answer: {}", error.message)),
            Err(CallError::Timeout) => Some("call timed out".into()),
        },
        SessionEvent::Disconnected { why, .. } => Some(match why {
            Disconnected::Conn(ending) => format!("client: {ending}"),
            Disconnected::DialTimeout => "dial timed out".into(),
            Disconnected::Dial(_) => "dial failed".into(),
        }),
        SessionEvent::Gap(_) => Some("gap".into()),
        SessionEvent::Accepted { .. }
        | SessionEvent::Connected(_)
        | SessionEvent::Event(_)
        | SessionEvent::ForgetDeviceToken
        | SessionEvent::HistoryLost(_)
        | SessionEvent::Resumed { .. } => None,
    }
}

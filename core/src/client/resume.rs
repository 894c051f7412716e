//! What a lasting client knows of the gateway's own count of events, and how it gets back those that
//! it missed.
//!
//! While it asks, it holds back what arrives: the answer tells every event up to its own number, so
//! those that came by themselves meanwhile are told once and in their place.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{CallError, Profile, SessionEvent};
use crate::{
    frame::{Incoming, IncomingEvent, RawJson},
    ids::RequestId,
    protocol::RESUME_CAP,
};

/// Why events are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryLoss {
    /// The gateway was started anew.
    NewRun,
    /// The gateway did not say.
    Refused,
    /// They are too old, or there were too many.
    TooOld,
}

/// A place in the count of one run of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    epoch: String,
    seq: u64,
}

#[derive(Debug)]
struct Asking {
    call: RequestId,
    /// Nothing once too much came to hold it back.
    held: Option<VecDeque<IncomingEvent>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    None,
    /// The profile has the capability.
    Resume,
}

#[derive(Debug)]
pub(super) struct Resumption {
    wish: Wish,
    /// Everything up to here was told.
    place: Option<Place>,
    /// Whether the present gateway knows the capability.
    offered: bool,
    asking: Option<Asking>,
}

impl Resumption {
    pub(super) fn of(profile: &Profile) -> Self {
        let wants = profile.caps.iter().any(|cap| cap == RESUME_CAP);
        Self {
            wish: if wants { Wish::Resume } else { Wish::None },
            place: None,
            offered: false,
            asking: None,
        }
    }

    /// A gateway has said hello, and whether it gives events again. Gives what is to be told.
    pub(super) fn connected(&mut self, offered: bool) -> Option<SessionEvent> {
        self.offered = offered && self.wish == Wish::Resume;
        if self.offered {
            return None;
        }
        self.place
            .take()
            .map(|_| SessionEvent::HistoryLost(HistoryLoss::Refused))
    }

    /// Whether to ask for events now.
    pub(super) fn is_offered(&self) -> bool {
        self.offered
    }

    /// Whether missing events can be asked for.
    pub(super) fn covers(&self) -> bool {
        self.offered && (self.place.is_some() || self.asking.is_some())
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    pub(super) fn is_its(&self, call: &RequestId) -> bool {
        self.asking
            .as_ref()
            .is_some_and(|asking| asking.call == *call)
    }

    /// The parameters of `events.resume`.
    pub(super) fn question(&self) -> RawJson {
        self.place
            .as_ref()
            .and_then(|Place { epoch, seq }| {
                RawJson::encode(&json!({ "epoch": epoch, "seq": seq })).ok()
            })
            .unwrap_or_else(RawJson::empty_object)
    }

    pub(super) fn asked(&mut self, call: RequestId) {
        self.asking = Some(Asking {
            call,
            held: Some(VecDeque::new()),
        });
    }

    /// The connection is gone. What was held back was not told, so it is asked for again.
    pub(super) fn cut(&mut self) {
        self.asking = None;
        self.offered = false;
    }

    /// An event has come. Gives what is to be told now.
    pub(super) fn arrived(&mut self, event: IncomingEvent, most: usize) -> Vec<SessionEvent> {
        let Some(seq) = event.resume_seq.filter(|_| self.offered) else {
            return vec![SessionEvent::Event(event)];
        };
        if let Some(held) = self.asking.as_mut().and_then(|asking| asking.held.as_mut()) {
            held.push_back(event);
            if held.len() <= most {
                return Vec::new();
            }
            return self.give_up(HistoryLoss::TooOld);
        }
        match &mut self.place {
            Some(place) if seq <= place.seq => Vec::new(),
            Some(place) => {
                place.seq = seq;
                vec![SessionEvent::Event(event)]
            }
            None => vec![SessionEvent::Event(event)],
        }
    }

    /// The gateway has answered. Gives what is to be told now.
    pub(super) fn answered(&mut self, outcome: Result<RawJson, CallError>) -> Vec<SessionEvent> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            resumed: bool,
            epoch: String,
            seq: u64,
            #[serde(default)]
            reason: Option<String>,
            #[serde(default, borrow)]
            events: Vec<&'a RawValue>,
        }
        let answer = outcome.as_ref().ok();
        let answer = answer.and_then(|text| serde_json::from_str::<Answer<'_>>(text.as_str()).ok());
        let Some(answer) = answer else {
            let told = self.give_up(HistoryLoss::Refused);
            self.asking = None;
            return told;
        };
        let Some(held) = self.asking.take().and_then(|asking| asking.held) else {
            // It was given up. What comes from now on is counted from what has come.
            let come = self.place.as_ref().map_or(0, |place| place.seq);
            self.place = Some(Place {
                epoch: answer.epoch,
                seq: answer.seq.max(come),
            });
            return Vec::new();
        };
        let known = self.place.replace(Place {
            epoch: answer.epoch,
            seq: answer.seq,
        });
        let newer = |event: &IncomingEvent| event.resume_seq > Some(answer.seq);
        if !answer.resumed {
            // Nobody else tells what came meanwhile.
            let lost = match (&known, answer.reason.as_deref()) {
                (None, _) => None,
                (Some(_), Some("epoch")) => Some(HistoryLoss::NewRun),
                (Some(_), _) => Some(HistoryLoss::TooOld),
            };
            let lost = lost.map(SessionEvent::HistoryLost).into_iter();
            return lost.chain(self.told(held)).collect();
        }
        let from = known.map_or(0, |place| place.seq);
        let missed: Vec<IncomingEvent> = answer
            .events
            .into_iter()
            .filter_map(
                |event| match Incoming::parse(&event.get().to_owned().into()) {
                    Ok(Incoming::Event(event)) if event.resume_seq > Some(from) => Some(event),
                    Ok(Incoming::Event(_) | Incoming::Response(_)) | Err(_) => None,
                },
            )
            .collect();
        let resumed = SessionEvent::Resumed {
            events: missed.len(),
        };
        let live: VecDeque<IncomingEvent> = held.into_iter().filter(newer).collect();
        [resumed]
            .into_iter()
            .chain(missed.into_iter().map(SessionEvent::Event))
            .chain(self.told(live))
            .collect()
    }

    /// What was missed stays unknown. What came meanwhile is told, and counting goes on from there.
    fn give_up(&mut self, loss: HistoryLoss) -> Vec<SessionEvent> {
        let held = self.asking.as_mut().and_then(|asking| asking.held.take());
        let lost = (self.place.is_some() && held.is_some())
            .then_some(SessionEvent::HistoryLost(loss))
            .into_iter();
        let told: Vec<SessionEvent> = held.into_iter().flat_map(|held| self.told(held)).collect();
        lost.chain(told).collect()
    }

    fn told(&mut self, events: VecDeque<IncomingEvent>) -> Vec<SessionEvent> {
        let last = events.iter().filter_map(|event| event.resume_seq).max();
        if let (Some(place), Some(last)) = (&mut self.place, last) {
            place.seq = place.seq.max(last);
        }
        events.into_iter().map(SessionEvent::Event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ClientId, ClientInfo, ClientMode};

    fn resumption() -> Resumption {
        let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        let mut profile = Profile::operator(info, Vec::new());
        profile.caps = vec![RESUME_CAP.into()];
        Resumption::of(&profile)
    }

    fn event(seq: u64) -> IncomingEvent {
        let text = format!(r#"{{"type":"event","event":"e","payload":{seq},"resumeSeq":{seq}}}"#);
        match Incoming::parse(&text.into()) {
            Ok(Incoming::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    fn answer(text: &str) -> Result<RawJson, CallError> {
        Ok(RawJson::checked(text.to_owned()).unwrap())
    }

    fn ask(resumption: &mut Resumption) -> String {
        assert!(resumption.connected(true).is_none());
        resumption.asked(RequestId::new("r"));
        assert!(resumption.is_its(&RequestId::new("r")));
        resumption.question().as_str().to_owned()
    }

    fn words(events: Vec<SessionEvent>) -> Vec<String> {
        events
            .into_iter()
            .map(|event| match event {
                SessionEvent::Event(event) => event.payload.as_str().to_owned(),
                SessionEvent::HistoryLost(loss) => format!("{loss:?}"),
                SessionEvent::Resumed { events } => format!("resumed {events}"),
                other @ (SessionEvent::Accepted { .. }
                | SessionEvent::Answer { .. }
                | SessionEvent::Connected(_)
                | SessionEvent::Disconnected { .. }
                | SessionEvent::ForgetDeviceToken
                | SessionEvent::Gap(_)) => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_came_meanwhile_is_told_once_and_in_its_place() {
        let mut resumption = resumption();
        assert_eq!(ask(&mut resumption), "{}");
        let start = answer(r#"{"resumed":false,"reason":"start","epoch":"e","seq":3}"#);
        assert!(words(resumption.answered(start)).is_empty());
        assert_eq!(words(resumption.arrived(event(4), 9)), ["4"]);
        resumption.cut();
        assert_eq!(ask(&mut resumption), r#"{"epoch":"e","seq":4}"#);
        for seq in [6, 7, 8] {
            assert!(resumption.arrived(event(seq), 9).is_empty());
        }
        let events = [5, 6, 7].map(|seq| {
            format!(r#"{{"type":"event","event":"e","payload":{seq},"resumeSeq":{seq}}}"#)
        });
        let text = format!(
            r#"{{"resumed":true,"epoch":"e","seq":7,"events":[{}]}}"#,
            events.join(",")
        );
        assert_eq!(
            words(resumption.answered(answer(&text))),
            ["resumed 3", "5", "6", "7", "8"]
        );
    }

    #[test]
    fn a_loss_is_told_and_counting_goes_on() {
        let mut resumption = resumption();
        ask(&mut resumption);
        let start = answer(r#"{"resumed":false,"reason":"start","epoch":"e","seq":3}"#);
        resumption.answered(start);
        for (text, loss) in [
            (
                r#"{"resumed":false,"reason":"epoch","epoch":"f","seq":1}"#,
                "NewRun",
            ),
            (
                r#"{"resumed":false,"reason":"window","epoch":"f","seq":9}"#,
                "TooOld",
            ),
            (r#"{"odd":true}"#, "Refused"),
        ] {
            resumption.cut();
            ask(&mut resumption);
            resumption.arrived(event(10), 9);
            assert_eq!(words(resumption.answered(answer(text))), [loss, "10"]);
        }
    }

    #[test]
    fn too_much_to_hold_back_is_a_loss() {
        let mut resumption = resumption();
        ask(&mut resumption);
        resumption.answered(answer(r#"{"resumed":false,"epoch":"e","seq":0}"#));
        ask(&mut resumption);
        assert!(resumption.arrived(event(1), 1).is_empty());
        assert_eq!(words(resumption.arrived(event(2), 1)), ["TooOld", "1", "2"]);
        assert_eq!(words(resumption.arrived(event(3), 1)), ["3"]);
        let late = answer(r#"{"resumed":true,"epoch":"e","seq":2,"events":[]}"#);
        assert!(words(resumption.answered(late)).is_empty());
        assert_eq!(resumption.question().as_str(), r#"{"epoch":"e","seq":3}"#);
    }

    #[test]
    fn a_gateway_that_does_not_know_it_loses_history() {
        let mut resumption = resumption();
        ask(&mut resumption);
        resumption.answered(answer(r#"{"resumed":false,"epoch":"e","seq":3}"#));
        resumption.cut();
        let told: Vec<_> = resumption.connected(false).into_iter().collect();
        assert_eq!(words(told), ["Refused"]);
        assert!(resumption.connected(false).is_none());
    }
}

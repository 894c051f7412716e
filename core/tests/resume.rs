//! Clients that come back get the events that they missed, or are told that those are lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::{collections::VecDeque, time::Duration};

use clawgate_core::{
    client::{Action, HistoryLoss, Limits, Profile, Route, Session, SessionEvent, Target},
    ids::ConnId,
    policy::{Endpoint, Scheme},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode, RESUME_CAP},
    secret::Secret,
    store::StoreFailure,
    transmit::Transmit,
};
use common::{Host, connect_params, token_rule};
use proptest::prelude::*;
use serde_json::{Value, json};

const TOKEN: &str = "hunter2";

/// A client that resumes, as raw frames.
fn join(host: &mut Host, scopes: &[&str], caps: &[&str]) -> (ConnId, Value) {
    let conn = host.open();
    host.recv(conn);
    let mut params = connect_params(TOKEN, scopes);
    params["caps"] = json!(caps);
    host.call(conn, "1", "connect", params);
    let hello = host.recv(conn);
    assert_eq!(hello["ok"], true);
    (conn, hello["payload"].clone())
}

fn say(host: &mut Host, admin: ConnId, word: &str) {
    host.get(admin, "voicewake.set", json!({ "triggers": [word] }));
}

fn words(events: &Value) -> Vec<String> {
    events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["event"] == "voicewake.changed")
        .map(|event| event["payload"]["triggers"][0].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn missed_events_come_again_to_those_who_may_see_them() {
    let mut host = Host::new(token_rule(TOKEN));
    let (admin, hello) = join(&mut host, &["operator.admin"], &[]);
    assert_eq!(hello["features"]["capabilities"], json!([]));
    let (first, hello) = join(&mut host, &["operator.read"], &[RESUME_CAP]);
    assert_eq!(hello["features"]["capabilities"], json!([RESUME_CAP]));
    let start = host.get(first, "events.resume", json!({}));
    assert_eq!(start["reason"], "start");
    assert_eq!(start["epoch"], hello["server"]["bootId"]);
    host.drop_connection(first);
    say(&mut host, admin, "one");
    say(&mut host, admin, "two");

    let place = json!({ "epoch": start["epoch"], "seq": start["seq"] });
    let (second, _) = join(&mut host, &["operator.read"], &[RESUME_CAP]);
    let missed = host.get(second, "events.resume", place.clone());
    assert_eq!(missed["resumed"], true);
    assert_eq!(words(&missed["events"]), ["one", "two"]);
    // Live events carry the same count, for those who asked and for nobody else.
    let (plain, _) = join(&mut host, &["operator.read"], &[]);
    say(&mut host, admin, "three");
    let live = next_word(&mut host, second);
    assert_eq!(live["resumeSeq"], missed["seq"].as_u64().unwrap() + 1);
    let own = next_word(&mut host, plain);
    assert!(own.get("resumeSeq").is_none());

    let (other, _) = join(&mut host, &["operator.pairing"], &[RESUME_CAP]);
    let missed = host.get(other, "events.resume", place.clone());
    assert_eq!(
        (&missed["resumed"], &missed["events"]),
        (&json!(true), &json!([]))
    );
    let refused = host.ask(admin, "events.resume", place.clone());
    assert_eq!(refused["ok"], false);
    for odd in [
        json!({"epoch": "x"}),
        json!({"seq": 1}),
        json!({"since": 1}),
    ] {
        assert_eq!(host.ask(second, "events.resume", odd)["ok"], false);
    }
    // A number that was never given is no place.
    let future = json!({ "epoch": start["epoch"], "seq": 1_000_000 });
    let future = host.get(second, "events.resume", future);
    assert_eq!(future["reason"], "window");
    host.restart();
    let (third, _) = join(&mut host, &["operator.read"], &[RESUME_CAP]);
    let lost = host.get(third, "events.resume", place);
    assert_eq!(
        (&lost["resumed"], &lost["reason"]),
        (&json!(false), &json!("epoch"))
    );
}

fn next_word(host: &mut Host, conn: ConnId) -> Value {
    loop {
        let frame = host.recv(conn);
        if frame["event"] == "voicewake.changed" {
            return frame;
        }
    }
}

#[test]
fn the_window_has_an_end_in_number_bytes_and_age() {
    type Bound = (fn(&mut clawgate_core::limits::Limits), u64);
    let cases: [Bound; 3] = [
        (|limits| limits.resume_events = 2, 0),
        (|limits| limits.resume_bytes = 300, 0),
        (|limits| limits.resume_age = Duration::from_secs(60), 200),
    ];
    for (limit, pause) in cases {
        let mut host = Host::new(token_rule(TOKEN)).with_limits(limit);
        let (admin, _) = join(&mut host, &["operator.admin"], &[]);
        let (first, _) = join(&mut host, &["operator.read"], &[RESUME_CAP]);
        let start = host.get(first, "events.resume", json!({}));
        for number in 0..3 {
            say(&mut host, admin, &format!("word {number}"));
        }
        host.advance(Duration::from_secs(pause));
        let place = json!({ "epoch": start["epoch"], "seq": start["seq"] });
        let lost = host.get(first, "events.resume", place);
        assert_eq!(
            (&lost["resumed"], &lost["reason"]),
            (&json!(false), &json!("window"))
        );
        let place = json!({ "epoch": lost["epoch"], "seq": lost["seq"] });
        assert_eq!(host.get(first, "events.resume", place)["resumed"], true);
    }
}

/// A session and the connection that it has.
struct Peer {
    session: Session,
    conn: Option<ConnId>,
    seen: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Lost(HistoryLoss),
    Word(usize),
}

impl Peer {
    fn new(host: &Host) -> Self {
        let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        let mut profile = Profile::operator(info, vec!["operator.read".into()]);
        profile.caps = vec![RESUME_CAP.into()];
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 1));
        let auth = AuthParams {
            token: Some(Secret::new(TOKEN)),
            ..AuthParams::default()
        };
        let target = Target::new(route, auth, None);
        Self {
            session: Session::new(target, profile, Limits::default(), [5; 32], host.now),
            conn: None,
            seen: Vec::new(),
        }
    }

    /// Carries out what the session wants, and up to `frames` frames from the gateway.
    fn turn(&mut self, host: &mut Host, frames: usize) {
        for _ in 0..frames.saturating_add(8) {
            while let Some(action) = self.session.poll_action() {
                if let Action::Dial(attempt) = action {
                    self.conn = Some(host.open());
                    self.session.dialled(host.now, attempt);
                }
            }
            while let Some(transmit) = self.session.poll_transmit() {
                if let (Transmit::Text(text), Some(conn)) = (transmit, self.conn) {
                    host.send_text(conn, &text);
                }
            }
            self.note();
        }
        for _ in 0..frames {
            let Some(frame) = self.conn.and_then(|conn| host.try_recv(conn)) else {
                break;
            };
            let text = frame.to_string();
            self.session.handle_text(host.now, text.into()).unwrap();
            self.note();
            while let Some(transmit) = self.session.poll_transmit() {
                if let (Transmit::Text(text), Some(conn)) = (transmit, self.conn) {
                    host.send_text(conn, &text);
                }
            }
        }
    }

    fn note(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Event(event) if &*event.event == "voicewake.changed" => {
                    let payload: Value = event.payload.parse().unwrap();
                    let word = payload["triggers"][0].as_str().unwrap();
                    self.seen.push(Seen::Word(word.parse().unwrap()));
                }
                SessionEvent::HistoryLost(loss) => self.seen.push(Seen::Lost(loss)),
                SessionEvent::Answer { .. } => panic!("nobody asked"),
                SessionEvent::Accepted { .. }
                | SessionEvent::Connected(_)
                | SessionEvent::Disconnected { .. }
                | SessionEvent::Event(_)
                | SessionEvent::ForgetDeviceToken
                | SessionEvent::Gap(_)
                | SessionEvent::Resumed { .. } => {}
            }
        }
    }

    /// The connection breaks; what was on its way is lost.
    fn cut(&mut self, host: &mut Host) {
        if let Some(conn) = self.conn.take() {
            host.drop_connection(conn);
            self.session.handle_disconnect(host.now);
            self.note();
        }
    }

    fn wait(&mut self, host: &mut Host, by: Duration) {
        host.advance(by);
        self.session.handle_timeout(host.now);
        self.turn(host, 0);
    }

    /// Reconnects, and takes everything.
    fn catch_up(&mut self, host: &mut Host) {
        for _ in 0..5 {
            self.turn(host, 10_000);
            while host.write() {}
            self.session.resume(host.now);
        }
        self.turn(host, 10_000);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody says a word, which all readers are told.
    Say,
    /// Something happens that readers are not told.
    Ask,
    /// The disk is through with a commit, or loses it.
    Write(bool),
    Frames(usize),
    Cut,
    Wait(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Say),
        2 => Just(Step::Ask),
        8 => prop::bool::weighted(0.95).prop_map(Step::Write),
        6 => (1..6_usize).prop_map(Step::Frames),
        3 => Just(Step::Cut),
        3 => (1..40_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

/// The connections of those who make something happen.
fn actors(host: &mut Host) -> (ConnId, ConnId) {
    let admin = join(host, &["operator.admin"], &[]).0;
    let reviewer = join(host, &["operator.approvals"], &["exec-approvals"]).0;
    (admin, reviewer)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is cut, lost, slow or started anew: between two words that a client is told, none is
    /// missing and none is told twice, unless it was told that history is lost.
    #[test]
    fn a_client_sees_everything_or_is_told(steps in steps()) {
        let mut host = Host::new(token_rule(TOKEN)).with_limits(|limits| limits.resume_events = 6);
        let (mut admin, _) = actors(&mut host);
        let mut peer = Peer::new(&host);
        peer.turn(&mut host, 100);
        host.disk.waiting = Some(VecDeque::new());
        let mut said = 0;
        let mut kept: Vec<usize> = Vec::new();
        let collect = |host: &mut Host, admin: ConnId, kept: &mut Vec<usize>| {
            while let Some(frame) = host.try_recv(admin) {
                let number = frame["id"].as_str().and_then(|id| id.parse().ok());
                if let (Some(number), true) = (number, frame["ok"] == true) {
                    kept.push(number);
                }
            }
        };
        for step in steps {
            match step {
                Step::Say => {
                    let word = json!({ "triggers": [said.to_string()] });
                    host.call(admin, &said.to_string(), "voicewake.set", word);
                    said += 1;
                }
                Step::Ask => {
                    let question = json!({ "command": "ls", "requireDeliveryRoute": false });
                    host.call(admin, "ask", "exec.approval.request", question);
                }
                Step::Write(good) => {
                    host.disk.failure = (!good).then_some(StoreFailure::Full);
                    host.write();
                    host.disk.failure = None;
                }
                Step::Frames(count) => peer.turn(&mut host, count),
                Step::Cut => peer.cut(&mut host),
                Step::Wait(seconds) => peer.wait(&mut host, Duration::from_secs(seconds)),
                Step::Restart => {
                    collect(&mut host, admin, &mut kept);
                    peer.cut(&mut host);
                    host.restart();
                    host.disk.waiting = None;
                    admin = actors(&mut host).0;
                    host.disk.waiting = Some(VecDeque::new());
                }
            }
            collect(&mut host, admin, &mut kept);
        }
        while host.write() {}
        peer.catch_up(&mut host);
        collect(&mut host, admin, &mut kept);
        let at = |word: usize| kept.iter().position(|known| *known == word);
        let mut next: Option<usize> = None;
        let mut lost = true;
        for seen in &peer.seen {
            match seen {
                Seen::Lost(_) => lost = true,
                Seen::Word(word) => {
                    let place = at(*word);
                    prop_assert!(place.is_some(), "word {word} was never kept: {kept:?}");
                    let place = place.unwrap();
                    match next {
                        Some(expected) if !lost => prop_assert_eq!(place, expected, "{:?} of {:?}", &peer.seen, &kept),
                        Some(expected) => prop_assert!(place >= expected, "told twice: {:?}", &peer.seen),
                        None => {}
                    }
                    next = Some(place + 1);
                    lost = false;
                }
            }
        }
        if let Some(next) = next {
            prop_assert!(lost || next == kept.len(), "{:?} of {kept:?}", peer.seen);
        }
    }
}

//! Whoever follows the cursors of `chat.history` ends with exactly the transcript, or is told to read
//! anew, however slow the host reads and whatever happens meanwhile.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use clawgate_core::{
    gateway::{Effect, EffectOutcome},
    ids::{ConnId, EffectId},
    store::{StoreFailure, TranscriptPage, Write},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use common::{Host, token_rule};

const TOKEN: &str = "hunter2";
const KEY: &str = "side";
const SCOPES: [&str; 3] = ["operator.read", "operator.write", "operator.admin"];

/// A gateway, one who says things, and one who reads along.
struct Scene {
    host: Host,
    writer: ConnId,
    reader: ConnId,
    numbers: u32,
    /// What the host has read, and not told yet.
    read: VecDeque<(EffectId, TranscriptPage)>,
    /// What the reader knows.
    known: Vec<String>,
    cursor: Option<Value>,
    asks: bool,
    /// The reader's last answer.
    last: Value,
}

impl Scene {
    fn new() -> Self {
        let mut host = Host::new(token_rule(TOKEN));
        let [writer, reader] = [(); 2].map(|()| host.connect(TOKEN, &SCOPES));
        host.advance(Duration::from_millis(200));
        host.held_reads = Some(VecDeque::new());
        host.disk.log = Some(VecDeque::new());
        Self {
            host,
            writer,
            reader,
            numbers: 0,
            read: VecDeque::new(),
            known: Vec::new(),
            cursor: None,
            asks: false,
            last: Value::Null,
        }
    }

    fn call(&mut self, method: &str, params: Value) {
        let conn = self.writer;
        self.host.call(conn, "w", method, params);
        while self.host.try_recv(conn).is_some() {}
    }

    fn say(&mut self) {
        self.numbers += 1;
        // A few of them fill a small page.
        let message = format!("{:0>300}", self.numbers);
        let params = json!({ "sessionKey": KEY, "message": message });
        self.call("chat.inject", params);
    }

    fn compact(&mut self, keep: u64) {
        self.call("sessions.compact", json!({ "key": KEY, "maxLines": keep }));
    }

    fn reset(&mut self) {
        self.call("sessions.reset", json!({ "key": KEY }));
    }

    fn delete(&mut self, with_transcript: bool) {
        let params = json!({ "key": KEY, "deleteTranscript": with_transcript });
        self.call("sessions.delete", params);
    }

    /// The reader asks for what is new, unless it waits already.
    fn ask(&mut self) {
        if self.asks {
            return;
        }
        self.asks = true;
        let params = match &self.cursor {
            None => json!({ "sessionKey": KEY }),
            Some(cursor) => json!({ "sessionKey": KEY, "cursor": cursor, "maxBytes": 1_024 }),
        };
        self.host.call(self.reader, "h", "chat.history", params);
        self.hear();
    }

    /// The host looks into a transcript.
    fn look(&mut self) -> bool {
        let Some(request) = self.host.held_reads.as_mut().unwrap().pop_front() else {
            return false;
        };
        let Effect::ReadTranscript(query) = &request.effect else {
            panic!("{request:?} is no question about a transcript");
        };
        let page = self.host.disk.store.query(query);
        self.read.push_back((request.id, page));
        true
    }

    /// The host tells what it saw.
    fn tell(&mut self) -> bool {
        let Some((id, page)) = self.read.pop_front() else {
            return false;
        };
        self.host.complete(id, EffectOutcome::Transcript(page));
        self.hear();
        true
    }

    fn write(&mut self) -> bool {
        let wrote = self.host.write();
        self.hear();
        wrote
    }

    /// Nothing that waits reaches the disk.
    fn lose(&mut self) {
        self.host.disk.failure = Some(StoreFailure::Full);
        while self.write() {}
        self.host.disk.failure = None;
    }

    fn hear(&mut self) {
        while let Some(frame) = self.host.try_recv(self.reader) {
            if frame["id"] == "h" {
                self.asks = false;
                if frame["ok"] == true {
                    self.learn(&frame["payload"]);
                }
            }
        }
    }

    fn learn(&mut self, answer: &Value) {
        self.last = answer.clone();
        self.cursor = answer.get("deltaCursor").cloned();
        // Without a cursor, it is no transcript that goes on.
        if self.cursor.is_none() || answer["kind"] != "delta" {
            self.known.clear();
        }
        if self.cursor.is_some() {
            let said = answer["messages"].as_array().unwrap();
            self.known.extend(said.iter().map(text_of));
        }
    }

    /// Everything comes to rest, and the reader reads to the end.
    fn settle(&mut self) {
        while self.write() || self.look() || self.tell() {}
        // What was learnt last may be old.
        self.last = Value::Null;
        for _ in 0..100 {
            while self.write() || self.look() || self.tell() {}
            let told = self.last["messages"].as_array().map_or(0, Vec::len);
            let at_end = match &self.cursor {
                None => self.last.get("messages").is_some(),
                Some(_) => self.last["kind"] == "delta" && told == 0,
            };
            if at_end {
                return;
            }
            self.ask();
        }
        panic!("the reader comes to no end: {}", self.last);
    }

    /// What was ever said in each life of the session.
    fn said(&self) -> BTreeMap<String, Vec<String>> {
        let mut said = BTreeMap::<String, Vec<String>>::new();
        let log = self.host.disk.log.as_ref().unwrap().iter();
        for write in log.flat_map(|commit| &commit.writes) {
            if let Write::Append(message) = write {
                let life = said.entry(message.session.as_str().into()).or_default();
                life.push(message.text.trim_start_matches('0').into());
            }
        }
        said
    }

    /// The present life of the session, and what its transcript holds.
    fn truth(&mut self) -> (Option<String>, Vec<String>) {
        let params = json!({ "sessionKey": KEY });
        self.host.call(self.writer, "truth", "chat.history", params);
        while self.host.read() {}
        loop {
            let frame = self.host.recv(self.writer);
            if frame["id"] == "truth" {
                let page = &frame["payload"];
                let said = page["messages"].as_array().unwrap();
                let life = page["sessionId"].as_str().map(str::to_owned);
                return (life, said.iter().map(text_of).collect());
            }
        }
    }
}

fn text_of(message: &Value) -> String {
    let content = &message["content"];
    let text = content.as_str().or_else(|| content[0]["text"].as_str());
    text.unwrap().trim_start_matches('0').to_owned()
}

/// A reader that is up to date and has asked what is new, which nobody has looked for yet.
fn asking() -> Scene {
    let mut scene = Scene::new();
    scene.say();
    scene.say();
    scene.ask();
    scene.settle();
    assert_eq!(scene.known, ["1", "2"]);
    scene.ask();
    scene
}

#[test]
fn what_is_said_while_the_host_reads_is_for_the_next_answer() {
    let mut scene = asking();
    scene.look();
    scene.say();
    scene.tell();
    assert_eq!(scene.last["messages"], json!([]));
    scene.settle();
    assert_eq!(scene.known, ["1", "2", "3"]);
}

#[test]
fn what_is_said_while_the_host_reads_an_empty_session_comes_next() {
    let mut scene = Scene::new();
    scene.say();
    scene.reset();
    scene.ask();
    scene.look();
    scene.say();
    scene.tell();
    assert!(scene.known.is_empty());
    scene.settle();
    assert_eq!(scene.known, ["2"]);
}

#[test]
fn a_page_beyond_the_first_message_has_no_cursor_that_leaps() {
    let mut scene = asking();
    scene.look();
    scene.tell();
    let params = json!({ "sessionKey": KEY, "offset": 2 });
    scene.host.call(scene.reader, "h", "chat.history", params);
    scene.look();
    scene.tell();
    assert!(scene.known.is_empty());
    scene.settle();
    assert_eq!(scene.known, ["1", "2"]);
}

#[test]
fn a_session_that_begins_anew_while_the_host_reads_has_to_be_read_anew() {
    let ends: [fn(&mut Scene); 3] = [
        Scene::reset,
        |scene| scene.delete(true),
        |scene| {
            scene.delete(true);
            scene.say();
        },
    ];
    for end in ends {
        let mut scene = asking();
        scene.look();
        end(&mut scene);
        scene.tell();
        assert_eq!(scene.last, json!({ "kind": "reset" }));
    }
}

#[test]
fn what_a_compaction_took_before_it_was_read_is_not_passed_over_in_silence() {
    let mut scene = asking();
    for _ in 0..3 {
        scene.say();
    }
    scene.compact(2);
    scene.look();
    scene.tell();
    assert_eq!(scene.last, json!({ "kind": "reset" }));
    scene.settle();
    assert_eq!(scene.known, ["4", "5"]);
    // What is known already may be forgotten.
    scene.ask();
    scene.say();
    scene.compact(1);
    scene.settle();
    assert_eq!(scene.known, ["4", "5", "6"]);
}

#[test]
fn a_cursor_of_one_life_is_not_for_another() {
    let mut scene = asking();
    scene.look();
    scene.tell();
    let (life, _) = scene.truth();
    scene.reset();
    scene.say();
    scene.settle();
    assert_eq!(scene.known, ["3"]);
    let params = json!({ "sessionKey": KEY, "sessionId": life, "cursor": scene.cursor });
    scene.host.call(scene.reader, "h", "chat.history", params);
    scene.hear();
    assert_eq!(scene.last, json!({ "kind": "reset" }));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Compact(u64),
    Delete(bool),
    Look,
    Lose,
    Reset,
    Say,
    Tell,
    Write,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Say),
        5 => Just(Step::Ask),
        5 => Just(Step::Look),
        5 => Just(Step::Tell),
        8 => Just(Step::Write),
        2 => (1_u64..5).prop_map(Step::Compact),
        1 => Just(Step::Reset),
        1 => any::<bool>().prop_map(Step::Delete),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn who_follows_cursors_knows_the_transcript(
        slow_disk: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut scene = Scene::new();
        scene.host.disk.waiting = slow_disk.then(VecDeque::new);
        for step in steps {
            match step {
                Step::Ask => scene.ask(),
                Step::Compact(keep) => scene.compact(keep),
                Step::Delete(with_transcript) => scene.delete(with_transcript),
                Step::Look => { scene.look(); }
                Step::Lose => scene.lose(),
                Step::Reset => scene.reset(),
                Step::Say => scene.say(),
                Step::Tell => { scene.tell(); }
                Step::Write => { scene.write(); }
            }
        }
        scene.settle();
        let (life, truth) = scene.truth();
        let Some(life) = life else {
            prop_assert!(scene.known.is_empty());
            return Ok(());
        };
        let said = scene.said().remove(&life).unwrap_or_default();
        // What was forgotten since may still be known, without a gap.
        prop_assert!(scene.known.ends_with(&truth), "{:?} and not {truth:?}", scene.known);
        prop_assert!(said.ends_with(&scene.known), "{:?} of {said:?}", scene.known);
    }
}

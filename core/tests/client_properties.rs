//! Whatever a gateway sends and whenever: the client never panics, keeps its limits, and ends each
//! call exactly once.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use clawgate_core::{
    client::{Call, ClientConn, Event, Hello, Limits, Profile, Route, Stage, Target},
    frame::RawJson,
    ids::RequestId,
    policy::{Endpoint, Scheme},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
    time::{Now, WallTime},
    transmit::Transmit,
};
use proptest::prelude::*;

/// One thing that happens to a client.
#[derive(Clone, Debug)]
enum Happening {
    Answer { known: usize, payload: &'static str },
    Call { until_final: bool },
    Cancel(usize),
    Close,
    Disconnect,
    Frame(String),
    PeerClose(u16),
    Time(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let payloads = [
        "{}",
        r#"{"status":"accepted"}"#,
        r#"{"policy":{"tickIntervalMs":1,"maxPayload":200}}"#,
        r#"{"auth":{"deviceToken":"t","scopes":[1]}}"#,
        "[]",
    ];
    prop_oneof![
        8 => (any::<usize>(), prop::sample::select(payloads.to_vec()))
            .prop_map(|(known, payload)| Happening::Answer { known, payload }),
        6 => any::<bool>().prop_map(|until_final| Happening::Call { until_final }),
        2 => any::<usize>().prop_map(Happening::Cancel),
        1 => Just(Happening::Close),
        1 => Just(Happening::Disconnect),
        6 => prop_oneof![
            Just(r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n"}}"#.into()),
            any::<u64>().prop_map(|seq| format!(r#"{{"type":"event","event":"e","seq":{seq}}}"#)),
            "[\\[{\"a:,}\\]0-9]{0,40}",
            any::<String>(),
        ]
        .prop_map(Happening::Frame),
        1 => any::<u16>().prop_map(Happening::PeerClose),
        3 => (0..40_000_u64).prop_map(Happening::Time),
    ]
}

/// The ids of requests that went out.
fn sent(conn: &mut ClientConn, seen: &mut Vec<String>) {
    while let Some(transmit) = conn.poll_transmit() {
        if let Transmit::Text(text) = transmit {
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            seen.push(frame["id"].as_str().unwrap().into());
        }
    }
}

proptest! {
    #[test]
    fn each_call_ends_once_whatever_happens(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut now = Now { mono: Instant::now(), wall: WallTime(1) };
        let limits = Limits { max_pending: 4, max_events: 8, ..Limits::default() };
        let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        let target = Target::new(
            Route::unpinned(Endpoint::local(Scheme::Ws, 1)),
            AuthParams::default(),
            None,
        );
        let profile = Profile::operator(info, vec![]);
        let mut conn = ClientConn::new(&target, profile, limits, [1; 32], now);
        let mut seen: Vec<String> = Vec::new();
        let mut open: BTreeSet<RequestId> = BTreeSet::new();
        let mut ends = 0;
        let text = |text: String, conn: &mut ClientConn, now| drop(conn.handle_text(now, text.into()));
        for happening in happenings {
            match happening {
                Happening::Answer { known, payload } => {
                    if let Some(id) = seen.get(known % seen.len().max(1)) {
                        let id = serde_json::Value::from(id.as_str());
                        let frame =
                            format!(r#"{{"type":"res","id":{id},"ok":true,"payload":{payload}}}"#);
                        text(frame, &mut conn, now);
                    }
                }
                Happening::Call { until_final } => {
                    let call = Call::new("m", RawJson::empty_object());
                    let call = if until_final { call.until_final() } else { call };
                    if let Ok(id) = conn.request(now, call) {
                        prop_assert!(open.insert(id));
                    }
                }
                Happening::Cancel(which) => {
                    if let Some(id) = open.iter().nth(which % open.len().max(1)).cloned() {
                        open.remove(&id);
                        prop_assert!(conn.cancel(&id));
                    }
                }
                Happening::Close => conn.close(now),
                Happening::Disconnect => conn.handle_disconnect(),
                Happening::Frame(frame) => text(frame, &mut conn, now),
                Happening::PeerClose(code) => conn.handle_close(Some(code), "reason"),
                Happening::Time(ms) => {
                    now = now.after(Duration::from_millis(ms));
                    conn.handle_timeout(now);
                }
            }
            while let Some(event) = conn.poll_event() {
                match event {
                    Event::Answer { id, .. } => prop_assert!(open.remove(&id)),
                    Event::Accepted { id, .. } => prop_assert!(open.contains(&id)),
                    Event::Ended(_) => {
                        prop_assert!(open.is_empty());
                        ends += 1;
                    }
                    Event::Event(_) | Event::Gap(_) | Event::Hello(_) => prop_assert_eq!(ends, 0),
                }
            }
            sent(&mut conn, &mut seen);
            prop_assert!(open.len() <= 4);
            prop_assert_eq!(conn.pending(), open.len());
        }
        let over = matches!(conn.stage(), Stage::Closing | Stage::Closed);
        prop_assert_eq!(ends, usize::from(over));
    }

    #[test]
    fn any_json_is_read_as_a_hello(text in "[\\[{\"a-z:,}\\]0-9]{0,60}") {
        if let Ok(payload) = RawJson::checked(text) {
            let hello = Hello::read(&payload);
            prop_assert!(hello.max_payload > 0);
            prop_assert!(!hello.tick_interval.is_zero());
        }
    }
}

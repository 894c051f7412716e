//! `ClientConn` against a gateway of hand-made frames, in virtual time.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clawgate_core::{
    client::{
        Call, CallError, ClientConn, Ending, Event, Gap, Hello, Limits, Profile, RequestError,
        Route, Stage, Target, Timer,
    },
    device::{self, DeviceIdentity},
    error::Error,
    frame::{RawJson, Request},
    ids::RequestId,
    policy::{Endpoint, Scheme},
    protocol::{
        AuthParams, ClientId, ClientInfo, ClientMode, CloseCode, ConnectParams, Role, RpcError,
    },
    secret::Secret,
    time::{Now, WallTime},
    transmit::Transmit,
};

const WALL: u64 = 1_737_264_000_000;

struct Rig {
    conn: ClientConn,
    now: Now,
}

fn profile() -> Profile {
    let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
    Profile::operator(info, vec!["operator.read".into()])
}

fn json(text: &str) -> RawJson {
    RawJson::checked(text.to_owned()).unwrap()
}

impl Rig {
    fn with(profile: Profile, limits: Limits) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: WallTime(WALL),
        };
        let auth = AuthParams {
            token: Some(Secret::new("hunter2")),
            ..AuthParams::default()
        };
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 1));
        let target = Target::new(route, auth, None);
        let conn = ClientConn::new(&target, profile, limits, [5; 32], now);
        Self { conn, now }
    }

    fn new() -> Self {
        Self::with(profile(), Limits::default())
    }

    /// With the handshake done.
    fn established(limits: Limits, hello: &str) -> Self {
        let mut rig = Self::with(profile(), limits);
        rig.hello(hello);
        rig
    }

    fn feed(&mut self, text: &str) -> Result<(), Error> {
        self.conn.handle_text(self.now, text.to_owned().into())
    }

    fn challenge(&mut self) -> Request {
        let payload = format!(r#"{{"nonce":"n-1","ts":{WALL}}}"#);
        self.event("connect.challenge", &payload, None);
        self.sent()
    }

    fn hello(&mut self, payload: &str) -> Hello {
        let connect = self.challenge();
        assert_eq!(&*connect.method, "connect");
        self.answer(&connect.id, payload);
        let Some(Event::Hello(hello)) = self.conn.poll_event() else {
            panic!("no hello");
        };
        *hello
    }

    fn answer(&mut self, id: &RequestId, payload: &str) {
        self.feed(&format!(
            r#"{{"type":"res","id":"{id}","ok":true,"payload":{payload}}}"#
        ))
        .unwrap();
    }

    fn event(&mut self, name: &str, payload: &str, seq: Option<u64>) {
        let seq = seq
            .map(|seq| format!(r#","seq":{seq}"#))
            .unwrap_or_default();
        self.feed(&format!(
            r#"{{"type":"event","event":"{name}","payload":{payload}{seq}}}"#
        ))
        .unwrap();
    }

    fn call(&mut self, method: &str) -> RequestId {
        self.request(Call::new(method, json("{}")))
    }

    fn request(&mut self, call: Call) -> RequestId {
        let id = self.conn.request(self.now, call).unwrap();
        assert_eq!(self.sent().id, id);
        id
    }

    fn sent(&mut self) -> Request {
        let Some(Transmit::Text(text)) = self.conn.poll_transmit() else {
            panic!("nothing was sent");
        };
        Request::parse(&text).unwrap()
    }

    fn closed_with(&mut self) -> (CloseCode, String) {
        let Some(Transmit::Close { code, reason }) = self.conn.poll_transmit() else {
            panic!("no close was sent");
        };
        assert_eq!(self.conn.poll_transmit(), None);
        (code, reason.to_string())
    }

    fn ended(&mut self) -> Ending {
        let Some(Event::Ended(ending)) = self.conn.poll_event() else {
            panic!("the end was not reported");
        };
        assert!(self.conn.poll_event().is_none(), "nothing follows the end");
        ending
    }

    fn outcome(&mut self, call: &RequestId) -> Result<RawJson, CallError> {
        let Some(Event::Answer { id, outcome }) = self.conn.poll_event() else {
            panic!("no answer");
        };
        assert_eq!(id, *call);
        outcome
    }

    /// Jumps to the next deadline and says which it was.
    fn wait(&mut self) -> (Duration, Timer) {
        let (at, timer) = self.conn.poll_timeout().expect("a deadline");
        let waited = at - self.now.mono;
        self.now = self.now.after(waited);
        self.conn.handle_timeout(self.now);
        (waited, timer)
    }
}

#[test]
fn connect_says_who_the_client_is() {
    let mut rig = Rig::new();
    assert_eq!(rig.conn.stage(), Stage::AwaitChallenge);
    let connect = rig.challenge();
    assert_eq!(rig.conn.stage(), Stage::AwaitHello);
    let params = ConnectParams::parse(&connect.params).unwrap();
    assert_eq!((params.versions.min, params.versions.max), (4, 4));
    assert_eq!(params.role, Some(Role::Operator));
    assert_eq!(params.scopes, ["operator.read"]);
    assert_eq!(params.auth.token, Some(Secret::new("hunter2")));
    assert_eq!(params.device, None);
    assert!(connect.id.as_str().starts_with("1:"), "{}", connect.id);
}

#[test]
fn a_device_signs_the_challenge() {
    let mut profile = profile();
    profile.device = Some(Arc::new(DeviceIdentity::from_seed(&[9; 32])));
    let mut rig = Rig::with(profile, Limits::default());
    let params = ConnectParams::parse(&rig.challenge().params).unwrap();
    let proof = params.device.clone().unwrap();
    let device = device::verify(&params, &proof, Role::Operator, "n-1", WallTime(WALL)).unwrap();
    assert_eq!(device.id, *DeviceIdentity::from_seed(&[9; 32]).id());
}

#[test]
fn a_challenge_without_its_parts_ends_the_connection() {
    let mut with_device = profile();
    with_device.device = Some(Arc::new(DeviceIdentity::from_seed(&[9; 32])));
    let missing = "connect challenge missing nonce";
    for (profile, payload, reason) in [
        (profile(), "{}", missing),
        (profile(), r#"{"nonce":" "}"#, missing),
        (profile(), r#"{"nonce":7}"#, missing),
        (profile(), "null", missing),
        (
            with_device,
            r#"{"nonce":"n"}"#,
            "connect challenge missing timestamp",
        ),
    ] {
        let mut rig = Rig::with(profile, Limits::default());
        let frame =
            format!(r#"{{"type":"event","event":"connect.challenge","payload":{payload}}}"#);
        let error = rig.feed(&frame).unwrap_err();
        assert_eq!(rig.closed_with(), (CloseCode::Policy, reason.into()));
        assert_eq!(rig.ended(), Ending::Failed(error.clone()));
        assert_eq!(rig.feed(&frame), Err(error), "the failure stays");
    }
}

#[test]
fn without_a_device_the_time_may_be_missing() {
    let mut rig = Rig::new();
    rig.event("connect.challenge", r#"{"nonce":"n"}"#, None);
    assert_eq!(&*rig.sent().method, "connect");
}

#[test]
fn a_silent_gateway_is_given_up_in_each_stage() {
    let mut rig = Rig::new();
    assert_eq!(rig.wait(), (Duration::from_secs(15), Timer::Challenge));
    assert_eq!(
        rig.closed_with(),
        (CloseCode::Policy, "connect challenge timeout".into())
    );
    rig.ended();

    let mut rig = Rig::new();
    rig.challenge();
    assert_eq!(rig.wait(), (Duration::from_secs(15), Timer::Connect));
    assert_eq!(
        rig.closed_with(),
        (CloseCode::ClientTimeout, "connect timeout".into())
    );
    rig.ended();
    assert_eq!(rig.wait(), (Duration::from_millis(250), Timer::CloseGrace));
    assert_eq!(rig.conn.poll_transmit(), Some(Transmit::Terminate));
    assert_eq!(rig.conn.stage(), Stage::Closed);
    assert_eq!(rig.conn.poll_timeout(), None);
}

#[test]
fn one_deadline_can_cover_everything() {
    let limits = Limits {
        total: Some(Duration::from_secs(3)),
        ..Limits::default()
    };
    let mut rig = Rig::with(profile(), limits.clone());
    rig.challenge();
    assert_eq!(rig.wait().1, Timer::Total);
    let (_, reason) = rig.closed_with();
    assert_eq!(reason, "deadline passed before the answer to connect");

    let mut rig = Rig::established(limits, "{}");
    let call = rig.call("health");
    assert_eq!(rig.wait().1, Timer::Total);
    assert!(matches!(
        rig.outcome(&call),
        Err(CallError::Ended(Ending::Failed(_)))
    ));
    rig.ended();
}

#[test]
fn a_refusal_is_reported_with_all_its_details() {
    let mut rig = Rig::new();
    let connect = rig.challenge();
    let frame = format!(
        r#"{{"type":"res","id":"{}","ok":false,"error":{{"code":"INVALID_REQUEST",
        "message":"unauthorized","details":{{"code":"AUTH_TOKEN_MISMATCH"}}}}}}"#,
        connect.id
    );
    rig.feed(&frame).unwrap_err();
    assert_eq!(rig.closed_with().0, CloseCode::Policy);
    let Ending::Refused(error) = rig.ended() else {
        panic!("not refused");
    };
    assert_eq!(error.detail_code(), Some("AUTH_TOKEN_MISMATCH"));
    rig.conn.handle_close(Some(1008), "unauthorized");
    assert!(rig.conn.poll_event().is_none());
    assert_eq!(rig.conn.stage(), Stage::Closed);
}

#[test]
fn answers_find_their_calls_in_any_order() {
    let mut rig = Rig::established(Limits::default(), "{}");
    let first = rig.call("health");
    let second = rig.call("status");
    rig.answer(&second, "2");
    rig.answer(&RequestId::new("nobody"), "0");
    assert_eq!(rig.outcome(&second).unwrap().as_str(), "2");
    rig.answer(&second, "3");
    let frame = format!(
        r#"{{"type":"res","id":"{first}","ok":false,"error":{{"code":"FORBIDDEN","message":"no"}}}}"#
    );
    rig.feed(&frame).unwrap();
    let Err(CallError::Rpc(RpcError { code, .. })) = rig.outcome(&first) else {
        panic!("not refused");
    };
    assert_eq!(code, "FORBIDDEN");
    assert!(rig.conn.poll_event().is_none());
    assert_eq!(rig.conn.ignored(), 2);
    assert_eq!(rig.conn.pending(), 0);
}

#[test]
fn a_call_may_wait_for_the_final_answer() {
    let mut rig = Rig::established(Limits::default(), "{}");
    let patient = rig.request(Call::new("agent", json("{}")).until_final());
    let hasty = rig.call("agent");
    let accepted = r#"{"runId":"r","status":"accepted"}"#;
    rig.answer(&patient, accepted);
    assert!(matches!(rig.conn.poll_event(), Some(Event::Accepted { id, .. }) if id == patient));
    rig.answer(&hasty, accepted);
    assert_eq!(rig.outcome(&hasty).unwrap().as_str(), accepted);
    rig.answer(&patient, r#"{"status":"ok"}"#);
    assert_eq!(
        rig.outcome(&patient).unwrap().as_str(),
        r#"{"status":"ok"}"#
    );
    rig.answer(&hasty, r#"{"status":"ok"}"#);
    assert!(rig.conn.poll_event().is_none(), "nobody waits for it");
}

#[test]
fn calls_have_deadlines_of_their_own() {
    let mut rig = Rig::established(Limits::default(), "{}");
    let slow = rig.call("status");
    let fast = rig.request(Call::new("health", json("{}")).timeout(Duration::from_secs(1)));
    assert_eq!(rig.wait(), (Duration::from_secs(1), Timer::Request));
    assert_eq!(rig.outcome(&fast), Err(CallError::Timeout));
    rig.answer(&fast, "{}");
    assert!(rig.conn.poll_event().is_none(), "too late");
    rig.event("tick", "{}", None);
    rig.conn.poll_event();
    assert_eq!(rig.wait().0, Duration::from_secs(29));
    assert_eq!(rig.outcome(&slow), Err(CallError::Timeout));
    assert_eq!(rig.conn.stage(), Stage::Established);
}

#[test]
fn a_cancelled_call_is_never_spoken_of() {
    let mut rig = Rig::established(Limits::default(), "{}");
    let call = rig.call("status");
    assert!(rig.conn.cancel(&call));
    assert!(!rig.conn.cancel(&call));
    rig.answer(&call, "{}");
    rig.conn.handle_disconnect();
    assert_eq!(rig.ended(), Ending::Lost);
}

#[test]
fn the_end_fails_every_call_once() {
    type End = fn(&mut Rig);
    let ends: [(End, &str); 4] = [
        (
            |rig| rig.conn.handle_disconnect(),
            "the connection was lost",
        ),
        (
            |rig| rig.conn.handle_close(Some(1012), "service restart"),
            "the gateway closed the connection (1012): service restart",
        ),
        (
            |rig| rig.conn.close(rig.now),
            "the connection was closed by this side",
        ),
        (
            |rig| rig.conn.handle_oversized(rig.now),
            "peer: message over the receive limit",
        ),
    ];
    for (end, words) in ends {
        let mut rig = Rig::established(Limits::default(), "{}");
        let calls = [rig.call("a"), rig.call("b")];
        end(&mut rig);
        end(&mut rig);
        let mut failed = Vec::new();
        for _ in &calls {
            let Some(Event::Answer { id, outcome }) = rig.conn.poll_event() else {
                panic!("a call is missing");
            };
            assert_eq!(
                outcome.unwrap_err().to_string(),
                format!("no answer: {words}")
            );
            failed.push(id);
        }
        failed.sort();
        assert_eq!(failed, calls);
        assert_eq!(rig.ended().to_string(), words);
        let again = rig.conn.request(rig.now, Call::new("c", json("{}")));
        assert_eq!(again, Err(RequestError::NotConnected));
    }
}

#[test]
fn no_call_is_sent_before_the_hello() {
    let mut rig = Rig::new();
    let call = || Call::new("health", json("{}"));
    assert_eq!(
        rig.conn.request(rig.now, call()),
        Err(RequestError::NotConnected)
    );
    rig.challenge();
    assert_eq!(
        rig.conn.request(rig.now, call()),
        Err(RequestError::NotConnected)
    );
}

#[test]
fn limits_are_kept_without_the_gateway() {
    let limits = Limits {
        max_pending: 2,
        max_buffered_bytes: 400,
        ..Limits::default()
    };
    let hello = r#"{"policy":{"maxPayload":300}}"#;
    let mut rig = Rig::established(limits, hello);
    let big = || Call::new("x", json(&format!("\"{}\"", "a".repeat(300))));
    let fits = || Call::new("x", json(&format!("\"{}\"", "a".repeat(150))));
    assert_eq!(
        rig.conn.request(rig.now, Call::new("", json("{}"))),
        Err(RequestError::NoMethod)
    );
    assert!(matches!(
        rig.conn.request(rig.now, big()),
        Err(RequestError::TooBig { limit: 300, .. })
    ));
    rig.conn.request(rig.now, fits()).unwrap();
    assert_eq!(
        rig.conn.request(rig.now, fits()),
        Err(RequestError::BufferFull)
    );
    rig.sent();
    rig.conn.request(rig.now, fits()).unwrap();
    assert_eq!(
        rig.conn.request(rig.now, fits()),
        Err(RequestError::TooManyPending { limit: 2 })
    );
    assert_eq!(rig.conn.stage(), Stage::Established);
}

#[test]
fn a_gap_is_reported_before_the_event() {
    let mut rig = Rig::established(Limits::default(), "{}");
    for seq in [1, 2, 5] {
        rig.event("presence", "{}", Some(seq));
        if seq == 5 {
            let Some(Event::Gap(gap)) = rig.conn.poll_event() else {
                panic!("no gap");
            };
            let (expected, received) = (3, 5);
            assert_eq!(gap, Gap { expected, received });
        }
        assert!(
            matches!(rig.conn.poll_event(), Some(Event::Event(event)) if event.seq == Some(seq))
        );
    }
    rig.event("node.invoke.request", "{}", None);
    assert!(matches!(rig.conn.poll_event(), Some(Event::Event(_))));
}

#[test]
fn events_nobody_reads_are_dropped() {
    let limits = Limits {
        max_events: 3,
        ..Limits::default()
    };
    let mut rig = Rig::established(limits, "{}");
    for seq in 0..10 {
        rig.event("presence", "{}", Some(seq));
    }
    assert_eq!(rig.conn.dropped_events(), 7);
}

#[test]
fn silence_of_two_ticks_ends_the_connection() {
    let hello = r#"{"policy":{"tickIntervalMs":5000}}"#;
    let mut rig = Rig::established(Limits::default(), hello);
    for _ in 0..4 {
        assert_eq!(rig.wait(), (Duration::from_secs(5), Timer::Tick));
        rig.event("tick", "{}", None);
        assert!(matches!(rig.conn.poll_event(), Some(Event::Event(_))));
    }
    for _ in 0..2 {
        rig.wait();
        assert_eq!(rig.conn.stage(), Stage::Established);
    }
    rig.wait();
    assert_eq!(
        rig.closed_with(),
        (CloseCode::ClientTimeout, "tick timeout".into())
    );
    rig.ended();
}

#[test]
fn what_is_no_frame_is_ignored() {
    let mut rig = Rig::established(Limits::default(), "{}");
    for text in ["", "hi", "[]", r#"{"type":"pong"}"#, r#"{"type":"res"}"#] {
        rig.feed(text).unwrap();
    }
    rig.conn
        .handle_binary(rig.now, vec![0xff, 0xfe].into())
        .unwrap();
    rig.event("connect.challenge", r#"{"nonce":"again","ts":1}"#, None);
    assert_eq!(rig.conn.ignored(), 7);
    assert!(rig.conn.poll_event().is_none());
    assert_eq!(rig.conn.poll_transmit(), None);
}

#[test]
fn nothing_shows_the_secret() {
    let mut rig = Rig::new();
    assert!(!format!("{:?}", rig.conn).contains("hunter2"));
    rig.hello(r#"{"auth":{"deviceToken":"hunter2"}}"#);
    assert!(!format!("{:?}", rig.conn).contains("hunter2"));
}

//! `Session` through refusals, losses and restarts, in virtual time.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

use std::time::{Duration, Instant};

use clawgate_core::{
    client::{
        Action, AttemptId, Call, CallError, DialFailure, Disconnected, Ending, Limits, Next, Phase,
        Profile, RequestError, Route, Session, SessionEvent, SessionTimer, Target,
    },
    frame::{RawJson, Request},
    policy::{Endpoint, UrlPolicy},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode, CloseCode, ConnectParams},
    secret::Secret,
    time::{Now, WallTime},
    transmit::Transmit,
};

struct Rig {
    session: Session,
    now: Now,
}

fn token() -> AuthParams {
    AuthParams {
        token: Some(Secret::new("shared")),
        ..AuthParams::default()
    }
}

impl Rig {
    fn with(url: &str, auth: AuthParams, stored: Option<&str>, limits: Limits) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: WallTime(1_737_264_000_000),
        };
        let endpoint = Endpoint::parse(url, UrlPolicy::Strict).unwrap();
        let target = Target::new(Route::unpinned(endpoint), auth, stored.map(Secret::new));
        let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        let profile = Profile::operator(info, vec![]);
        Self {
            session: Session::new(target, profile, limits, [5; 32], now),
            now,
        }
    }

    fn new() -> Self {
        Self::with("ws://127.0.0.1:1", token(), None, Limits::default())
    }

    fn dial(&mut self) -> AttemptId {
        match self.session.poll_action() {
            Some(Action::Dial(attempt)) => attempt,
            other => panic!("not a dial: {other:?}"),
        }
    }

    /// Up to the `connect` that is sent.
    fn connect(&mut self) -> (Request, ConnectParams) {
        let attempt = self.dial();
        self.session.dialled(self.now, attempt);
        let challenge =
            r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
        self.session
            .handle_text(self.now, challenge.into())
            .unwrap();
        let Some(Transmit::Text(text)) = self.session.poll_transmit() else {
            panic!("no connect");
        };
        let connect = Request::parse(&text).unwrap();
        let params = ConnectParams::parse(&connect.params).unwrap();
        (connect, params)
    }

    fn establish(&mut self) {
        let (connect, _) = self.connect();
        let hello = format!(r#"{{"type":"res","id":"{}","ok":true}}"#, connect.id);
        self.session.handle_text(self.now, hello.into()).unwrap();
        assert!(matches!(
            self.session.poll_event(),
            Some(SessionEvent::Connected(_))
        ));
        assert_eq!(self.session.phase(), Phase::Connected);
    }

    fn refuse(&mut self, connect: &Request, details: &str) {
        let frame = format!(
            r#"{{"type":"res","id":"{}","ok":false,"error":{{"code":"INVALID_REQUEST",
            "message":"no","details":{details}}}}}"#,
            connect.id
        );
        let _ = self.session.handle_text(self.now, frame.into());
        assert!(matches!(
            self.session.poll_action(),
            Some(Action::Close {
                code: CloseCode::Policy,
                ..
            })
        ));
    }

    fn disconnected(&mut self) -> (Disconnected, Next) {
        match self.session.poll_event() {
            Some(SessionEvent::Disconnected { why, next }) => (why, next),
            other => panic!("not disconnected: {other:?}"),
        }
    }

    fn wait(&mut self) -> (Duration, SessionTimer) {
        let (at, timer) = self.session.poll_timeout().expect("a deadline");
        let waited = at - self.now.mono;
        self.now = self.now.after(waited);
        self.session.handle_timeout(self.now);
        (waited, timer)
    }
}

#[test]
fn delays_grow_until_a_hello() {
    let mut rig = Rig::new();
    let mut last = Duration::ZERO;
    for _ in 0..4 {
        let attempt = rig.dial();
        let refused = DialFailure::Transient("connection refused".into());
        rig.session.dial_failed(rig.now, attempt, refused);
        rig.disconnected();
        let (waited, timer) = rig.wait();
        assert_eq!(timer, SessionTimer::Retry);
        assert!(waited > last);
        last = waited;
    }
    // A socket that opens is no success yet.
    let attempt = rig.dial();
    rig.session.dialled(rig.now, attempt);
    rig.session.handle_disconnect(rig.now);
    rig.session.poll_action();
    rig.disconnected();
    assert!(rig.wait().0 > last);

    rig.establish();
    rig.session
        .handle_close(rig.now, Some(1012), "service restart");
    rig.session.poll_action();
    let (why, next) = rig.disconnected();
    assert!(matches!(
        why,
        Disconnected::Conn(Ending::Closed {
            code: Some(1012),
            ..
        })
    ));
    assert!(matches!(next, Next::Retry(delay) if delay <= Duration::from_secs(1)));
}

#[test]
fn calls_of_a_lost_connection_fail_and_are_not_sent_again() {
    let mut rig = Rig::new();
    rig.establish();
    let call = || Call::new("health", RawJson::empty_object());
    let id = rig.session.request(rig.now, call()).unwrap();
    rig.session.handle_disconnect(rig.now);
    rig.session.poll_action();
    assert!(matches!(
        rig.session.poll_event(),
        Some(SessionEvent::Answer { id: failed, outcome: Err(CallError::Ended(Ending::Lost)) })
            if failed == id
    ));
    rig.disconnected();
    assert_eq!(
        rig.session.request(rig.now, call()),
        Err(RequestError::NotConnected)
    );
    rig.wait();
    rig.establish();
    assert_eq!(rig.session.poll_transmit(), None);
}

#[test]
fn a_hopeless_refusal_pauses_until_resumed() {
    let mut rig = Rig::new();
    let (connect, _) = rig.connect();
    rig.refuse(&connect, r#"{"code":"AUTH_TOKEN_MISMATCH"}"#);
    let (why, next) = rig.disconnected();
    assert!(matches!(why, Disconnected::Conn(Ending::Refused(_))));
    assert!(matches!(next, Next::Paused(reason) if reason.code == "AUTH_TOKEN_MISMATCH"));
    assert_eq!(rig.session.phase(), Phase::Paused);
    assert_eq!(rig.session.poll_timeout(), None);
    rig.session.resume(rig.now);
    rig.establish();
}

#[test]
fn the_stored_token_is_offered_once_on_a_trusted_endpoint() {
    let details = r#"{"code":"AUTH_TOKEN_MISMATCH","canRetryWithDeviceToken":true}"#;
    let mut rig = Rig::with("ws://127.0.0.1:1", token(), Some("dev"), Limits::default());
    let (connect, params) = rig.connect();
    assert_eq!(params.auth.device_token, None);
    rig.refuse(&connect, details);
    rig.disconnected();
    assert_eq!(rig.wait().0, Duration::from_millis(250));
    let (connect, params) = rig.connect();
    assert_eq!(params.auth.token, Some(Secret::new("shared")));
    assert_eq!(params.auth.device_token, Some(Secret::new("dev")));
    rig.refuse(&connect, details);
    assert!(matches!(rig.disconnected().1, Next::Paused(_)));

    let mut rig = Rig::with(
        "wss://gw.example.com",
        token(),
        Some("dev"),
        Limits::default(),
    );
    let (connect, _) = rig.connect();
    rig.refuse(&connect, details);
    assert!(matches!(rig.disconnected().1, Next::Paused(_)));
}

#[test]
fn a_worthless_stored_token_is_forgotten() {
    let none = AuthParams::default();
    let mut rig = Rig::with("ws://127.0.0.1:1", none, Some("dev"), Limits::default());
    let (connect, params) = rig.connect();
    assert_eq!(params.auth.device_token, Some(Secret::new("dev")));
    rig.refuse(&connect, r#"{"code":"AUTH_DEVICE_TOKEN_MISMATCH"}"#);
    assert!(matches!(
        rig.session.poll_event(),
        Some(SessionEvent::ForgetDeviceToken)
    ));
    rig.disconnected();
    rig.session.resume(rig.now);
    assert_eq!(rig.connect().1.auth, AuthParams::default());
}

#[test]
fn an_issued_token_is_used_from_then_on() {
    let mut rig = Rig::with(
        "ws://127.0.0.1:1",
        AuthParams::default(),
        None,
        Limits::default(),
    );
    let (connect, _) = rig.connect();
    let hello = format!(
        r#"{{"type":"res","id":"{}","ok":true,"payload":{{"auth":{{"deviceToken":"new"}}}}}}"#,
        connect.id
    );
    rig.session.handle_text(rig.now, hello.into()).unwrap();
    rig.session.poll_event();
    rig.session.handle_disconnect(rig.now);
    rig.session.poll_action();
    rig.disconnected();
    rig.wait();
    let (_, params) = rig.connect();
    assert_eq!(params.auth.device_token, Some(Secret::new("new")));
}

#[test]
fn a_starting_gateway_names_the_delay() {
    let mut rig = Rig::new();
    let (connect, _) = rig.connect();
    let frame = format!(
        r#"{{"type":"res","id":"{}","ok":false,"error":{{"code":"UNAVAILABLE","message":"starting",
        "retryable":true,"retryAfterMs":500,"details":{{"reason":"startup-sidecars"}}}}}}"#,
        connect.id
    );
    let _ = rig.session.handle_text(rig.now, frame.into());
    rig.session.poll_action();
    rig.disconnected();
    assert_eq!(rig.wait().0, Duration::from_millis(500));
}

#[test]
fn dialling_has_a_deadline_and_late_answers_are_ignored() {
    let mut rig = Rig::new();
    let attempt = rig.dial();
    assert_eq!(rig.wait(), (Duration::from_secs(15), SessionTimer::Dial));
    assert_eq!(rig.session.poll_action(), Some(Action::Abort(attempt)));
    assert_eq!(rig.disconnected().0, Disconnected::DialTimeout);
    rig.session.dialled(rig.now, attempt);
    rig.session
        .dial_failed(rig.now, attempt, DialFailure::Final("late".into()));
    assert_eq!(rig.session.phase(), Phase::Waiting);
}

#[test]
fn a_final_dial_failure_pauses() {
    let mut rig = Rig::new();
    let attempt = rig.dial();
    let wrong = DialFailure::Final("wrong certificate".into());
    rig.session.dial_failed(rig.now, attempt, wrong);
    assert!(matches!(rig.disconnected().1, Next::Paused(_)));
}

#[test]
fn a_stop_closes_in_good_order() {
    let mut rig = Rig::new();
    rig.establish();
    rig.session.stop(rig.now);
    assert_eq!(rig.disconnected().1, Next::Stop);
    assert_eq!(rig.session.phase(), Phase::Stopping);
    assert!(matches!(
        rig.session.poll_transmit(),
        Some(Transmit::Close {
            code: CloseCode::Normal,
            ..
        })
    ));
    rig.session.handle_close(rig.now, Some(1000), "");
    assert_eq!(rig.session.phase(), Phase::Stopped);
    assert!(rig.session.poll_event().is_none());
    assert_eq!(rig.session.poll_timeout(), None);
}

#[test]
fn a_stop_while_dialling_aborts() {
    let mut rig = Rig::new();
    let attempt = rig.dial();
    rig.session.stop(rig.now);
    assert_eq!(rig.session.poll_action(), Some(Action::Abort(attempt)));
    assert_eq!(rig.disconnected().1, Next::Stop);
    assert_eq!(rig.session.phase(), Phase::Stopped);
    rig.session.resume(rig.now);
    assert_eq!(rig.session.poll_action(), None);
}

#[test]
fn a_total_deadline_ends_the_session() {
    let limits = Limits {
        total: Some(Duration::from_secs(2)),
        ..Limits::default()
    };
    let mut rig = Rig::with("ws://127.0.0.1:1", token(), None, limits);
    rig.dial();
    assert_eq!(rig.wait(), (Duration::from_secs(2), SessionTimer::Total));
    assert_eq!(rig.disconnected().1, Next::Stop);
    assert_eq!(rig.session.phase(), Phase::Stopped);
}

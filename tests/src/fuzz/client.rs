//! A body for the client's side of one connection.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clawgate_core::{
    client::{Call, ClientConn, Event, Limits, Profile, RequestError, Route, Stage, Target},
    device::DeviceIdentity,
    error::{ApiMisuse, Error},
    frame::{RawJson, Request},
    ids::RequestId,
    policy::{Endpoint, Scheme},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode, ConnectParams},
    secret::Secret,
    time::Now,
    transmit::Transmit,
};

use super::script::{self, TOKEN};

/// A script of what a gateway says, calls and times, for one connection. In what the gateway says,
/// `@` stands for the id of the newest request, and `~` for that of the oldest call that waits.
pub fn client_handshake(data: &[u8]) {
    if data
        .windows(TOKEN.len())
        .any(|part| part == TOKEN.as_bytes())
    {
        // What the script knows is no secret.
        return;
    }
    let mut rig = Rig::new(data.first() == Some(&b'D'));
    for (operation, argument) in script::lines(data) {
        rig.operate(operation, argument);
        rig.drain();
    }
    rig.finish();
}

/// How far the connection has come, as its events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Hello,
    Ended,
}

struct Rig {
    conn: ClientConn,
    limits: Limits,
    now: Now,
    told: Told,
    calls: BTreeMap<RequestId, u8>,
    newest: String,
    closed: bool,
    connects: usize,
}

impl Rig {
    fn new(with_device: bool) -> Self {
        let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        let mut profile = Profile::operator(info, vec!["operator.read".into()]);
        if with_device {
            profile.device = Some(Arc::new(DeviceIdentity::from_seed(&[3; 32])));
        }
        let auth = AuthParams {
            token: Some(Secret::new(TOKEN)),
            ..AuthParams::default()
        };
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 1));
        let target = Target::new(route, auth, None);
        let limits = Limits {
            max_pending: 5,
            max_buffered_bytes: 2_000,
            max_events: 10,
            ..Limits::default()
        };
        let now = script::start();
        Self {
            conn: ClientConn::new(&target, profile, limits.clone(), [7; 32], now),
            limits,
            now,
            told: Told::Nothing,
            calls: BTreeMap::new(),
            newest: String::new(),
            closed: false,
            connects: 0,
        }
    }

    fn operate(&mut self, operation: u8, argument: &[u8]) {
        match operation {
            b't' => {
                if let Some(text) = script::text(argument) {
                    let oldest = self.calls.keys().next().map_or("", RequestId::as_str);
                    let text = text.replace('@', &self.newest).replace('~', oldest);
                    self.hear(|conn, now| conn.handle_text(now, text.into()));
                }
            }
            b'b' => self.hear(|conn, now| conn.handle_binary(now, argument.to_vec().into())),
            b'c' | b'C' => self.call(operation, argument),
            b'k' => {
                let code = u16::try_from(script::number(argument)).ok();
                self.conn.handle_close(code, "a reason");
            }
            b'o' => self.conn.handle_oversized(self.now),
            b'q' => self.conn.close(self.now),
            b'r' => self.transmit(),
            b'u' => {
                if let Some((id, _)) = self.calls.pop_first() {
                    assert!(self.conn.cancel(&id), "{id} cannot be taken back");
                    assert!(!self.conn.cancel(&id));
                }
            }
            b'w' => self.wait(script::millis(argument)),
            b'z' => self.conn.handle_disconnect(),
            _ => {}
        }
    }

    /// A failed connection stays failed, and says so in the same words.
    fn hear(&mut self, input: impl FnOnce(&mut ClientConn, Now) -> Result<(), Error>) {
        let before = self.conn.failure().cloned();
        let stage = self.conn.stage();
        let result = input(&mut self.conn, self.now);
        let failure = self.conn.failure();
        assert!(before.is_none() || failure == before.as_ref());
        match (&result, failure) {
            (Ok(()), None) => {}
            (Err(Error::Local(ApiMisuse::InputAfterClose)), None) => {
                assert_eq!(stage, Stage::Closed);
            }
            (Err(error), Some(failure)) => assert_eq!(error, failure),
            _ => panic!("{result:?} with failure {failure:?}"),
        }
    }

    fn call(&mut self, kind: u8, argument: &[u8]) {
        let method = script::text(argument).filter(|method| !method.is_empty());
        let method = method.unwrap_or("health");
        let mut call = Call::new(method, RawJson::empty_object());
        if kind == b'C' {
            call = call.until_final();
        }
        match self.conn.request(self.now, call) {
            Ok(id) => {
                assert_eq!(self.conn.stage(), Stage::Established);
                assert!(self.conn.pending() <= self.limits.max_pending);
                self.newest = id.as_str().into();
                let before = self.calls.insert(id, kind);
                assert!(before.is_none(), "an id is used twice");
            }
            Err(RequestError::NotConnected) => {
                assert_ne!(self.conn.stage(), Stage::Established);
            }
            Err(RequestError::TooManyPending { limit }) => assert_eq!(limit, self.calls.len()),
            Err(RequestError::TooBig { size, limit }) => assert!(size > limit),
            Err(RequestError::BufferFull) => assert!(self.conn.wants_write()),
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            assert!(!format!("{event:?}").contains(TOKEN));
            assert_ne!(self.told, Told::Ended, "{event:?} comes after the end");
            match event {
                Event::Accepted { id, .. } => {
                    assert_eq!(
                        self.calls.get(&id),
                        Some(&b'C'),
                        "{id} is not accepted first"
                    );
                }
                Event::Answer { id, .. } => {
                    assert!(self.calls.remove(&id).is_some(), "{id} ends twice");
                }
                Event::Ended(_) => {
                    assert!(self.calls.is_empty(), "calls outlive the connection");
                    self.told = Told::Ended;
                }
                Event::Event(event) => assert!(!event.event.is_empty()),
                Event::Gap(gap) => assert!(gap.expected < gap.received),
                Event::Hello(_) => {
                    assert_eq!(self.told, Told::Nothing, "a second hello");
                    self.told = Told::Hello;
                }
            }
        }
        assert_eq!(self.conn.pending(), self.calls.len());
        let ended = matches!(self.conn.stage(), Stage::Closing | Stage::Closed);
        assert_eq!(ended, self.told == Told::Ended);
        assert!(!format!("{:?}", self.conn).contains(TOKEN));
    }

    fn transmit(&mut self) {
        match self.conn.poll_transmit() {
            None | Some(Transmit::Terminate) => {}
            Some(Transmit::Close { reason, .. }) => {
                assert!(!self.closed, "a second close");
                assert!(reason.as_str().len() <= 120);
                self.closed = true;
            }
            Some(Transmit::Ping) => panic!("clients do not ping"),
            Some(Transmit::Text(text)) => {
                assert!(!self.closed, "{text} comes after the close");
                let request = Request::parse(&text)
                    .unwrap_or_else(|error| panic!("a gateway would not read {text}: {error}"));
                if &*request.method == "connect" && self.connects == 0 {
                    self.connects += 1;
                    let params = ConnectParams::parse(&request.params)
                        .unwrap_or_else(|error| panic!("{text} is refused: {error}"));
                    assert_eq!(params.auth.signed_secret(), TOKEN);
                    self.newest = request.id.as_str().into();
                } else {
                    assert!(!text.contains(TOKEN));
                }
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        for _ in 0..10_000 {
            let next = self.conn.poll_timeout().filter(|(at, _)| *at <= end.mono);
            let Some((at, _)) = next else { break };
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            self.conn.handle_timeout(self.now);
            let next = self.conn.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > self.now.mono),
                "a stale timer"
            );
            self.drain();
        }
        self.now = end;
    }

    /// With a gateway that says nothing more, everything comes to an end.
    fn finish(&mut self) {
        self.wait(Duration::from_secs(4 * 24 * 3600));
        assert_eq!(self.told, Told::Ended, "{:?}", self.conn);
        assert_eq!(self.conn.stage(), Stage::Closed);
        assert_eq!(self.conn.poll_timeout(), None);
        for _ in 0..50 {
            self.transmit();
        }
        assert!(!self.conn.wants_write());
    }
}

//! What happens in a run: calls, trouble, and the way back to peace.

use std::time::Duration;

use clawgate_core::{client::CallDeadline, ids::ConnId, protocol::ClientMode, time::WallTime};
use serde_json::json;

use crate::{
    cast::{Manner, TOKEN},
    client::{Dialling, Machine},
    dice::Dice,
    work::Ask,
    world::{Task, World},
};

#[derive(Clone, Debug)]
pub enum Op {
    Call(usize, Ask, CallDeadline),
    /// Takes back one call that waits.
    Cancel(usize),
    /// For a client that does not dial by itself.
    Dial(usize),
    /// A client that came for a call goes.
    Leave(usize),
    Resume(usize),
    /// Goes out as it is.
    Say(usize, String),
    Trouble(Trouble),
}

/// Which links are hit.
#[derive(Clone, Copy, Debug)]
pub enum Hit {
    All,
    Client(usize),
    Conn(ConnId),
}

#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The gateway's process dies, and is back after this time.
    Crash(Duration),
    /// Nothing that dials gets an answer for this time.
    Deaf(Duration),
    /// One direction ends.
    HalfToClient(Hit),
    HalfToServer(Hit),
    /// Nothing passes any more, and nobody is told.
    Lose(Hit),
    /// The same, in one direction.
    LoseToClient(Hit),
    LoseToServer(Hit),
    /// The client's host sees a message over its limit.
    Oversized(usize),
    /// Both ends are told that the link is over.
    Reset(Hit),
    /// The gateway stops in good order, and is back after this time.
    Shutdown(Duration),
    /// The client reads nothing for this time.
    StallReader(Hit, Duration),
    StallWriter(Hit, Duration),
    /// Somebody sets the clock.
    WallClock(i64),
}

impl World {
    pub fn operate(&mut self, op: Op) {
        self.note(|| format!("  {op:?}"));
        let now = self.now;
        match op {
            Op::Call(client, ask, deadline) => self.call(client, ask, deadline),
            Op::Cancel(client) => {
                let peer = &mut self.clients[client];
                let Some(id) = peer.calls.any() else { return };
                let known = match &mut peer.machine {
                    Machine::Lasting(session) => session.cancel(&id),
                    Machine::Once(conn) => conn.as_mut().is_some_and(|conn| conn.cancel(&id)),
                    Machine::Raw { .. } => false,
                };
                assert!(known, "{id} waits and cannot be taken back");
                peer.calls.cancelled(id);
            }
            Op::Dial(client) => {
                let peer = &self.clients[client];
                let idle = peer.link.is_none() && peer.dialling.is_none();
                if idle && peer.card.manner != Manner::Lasting {
                    self.dial(client, Dialling::Plain);
                }
            }
            Op::Leave(client) => {
                let peer = &mut self.clients[client];
                match &mut peer.machine {
                    Machine::Lasting(_) => return,
                    Machine::Once(Some(conn)) => conn.close(now),
                    Machine::Once(None) | Machine::Raw { .. } => {
                        peer.dialling = None;
                        self.drop_socket(client);
                    }
                }
                self.after_client_input(client);
            }
            Op::Resume(client) => {
                if let Some(session) = self.clients[client].session() {
                    session.resume(now);
                }
                self.after_client_input(client);
            }
            Op::Say(client, text) => {
                if self.clients[client].link.is_some()
                    && let Machine::Raw { outbox } = &mut self.clients[client].machine
                {
                    outbox.push_back(text.into());
                }
            }
            Op::Trouble(trouble) => self.make(trouble),
        }
    }

    pub fn make(&mut self, trouble: Trouble) {
        self.note(|| format!("  {trouble:?}"));
        let now = self.now.mono;
        let each = |world: &mut Self, hit, act: &dyn Fn(&mut crate::network::Link)| {
            for link in world.links.values_mut() {
                let struck = match hit {
                    Hit::All => true,
                    Hit::Client(client) => link.client == client,
                    Hit::Conn(conn) => link.conn == conn,
                };
                if struck {
                    act(link);
                }
            }
        };
        match trouble {
            Trouble::Crash(time) => {
                self.crash();
                self.schedule(time, Task::Start);
            }
            Trouble::Deaf(time) => self.deaf_until = now + time,
            Trouble::HalfToClient(hit) => {
                each(self, hit, &|link| {
                    link.to_client.push(now, crate::network::Wire::Fin);
                });
            }
            Trouble::HalfToServer(hit) => {
                each(self, hit, &|link| {
                    link.to_server.push(now, crate::network::Wire::Fin);
                });
            }
            Trouble::Lose(hit) => each(self, hit, &|link| {
                link.to_client.lose();
                link.to_server.lose();
            }),
            Trouble::LoseToClient(hit) => each(self, hit, &|link| link.to_client.lose()),
            Trouble::LoseToServer(hit) => each(self, hit, &|link| link.to_server.lose()),
            Trouble::Oversized(client) => {
                let now = self.now;
                match &mut self.clients[client].machine {
                    Machine::Lasting(session) => session.handle_oversized(now),
                    Machine::Once(Some(conn)) => conn.handle_oversized(now),
                    Machine::Once(None) | Machine::Raw { .. } => {}
                }
                self.after_client_input(client);
            }
            Trouble::Reset(hit) => each(self, hit, &|link| {
                link.to_client.reset(now);
                link.to_server.reset(now);
            }),
            Trouble::Shutdown(time) => {
                let now = self.now;
                if let Some(gateway) = &mut self.gateway {
                    gateway.shutdown(now, "stopping for the test");
                }
                self.carry();
                // A process that does not come to its end is ended by then.
                let grace = self.setting.server.drain + self.setting.server.close_grace;
                self.schedule(
                    grace + Duration::from_millis(50),
                    Task::Op(Op::Trouble(Trouble::Crash(time))),
                );
            }
            Trouble::StallReader(hit, time) => {
                each(self, hit, &|link| link.to_client.stall(now + time));
            }
            Trouble::StallWriter(hit, time) => {
                each(self, hit, &|link| link.to_server.stall(now + time));
            }
            Trouble::WallClock(by) => {
                self.now.wall = WallTime(self.now.wall.0.saturating_add_signed(by));
            }
        }
        self.settle();
    }

    /// The script goes on at `at` milliseconds.
    pub fn at(&mut self, at: u64, op: Op) {
        self.schedule(Duration::from_millis(at), Task::Op(op));
    }
}

/// The `connect` of a client that is written by hand.
pub fn raw_connect(mode: ClientMode, version: u32) -> String {
    let params = json!({
        "minProtocol": version,
        "maxProtocol": version,
        "client": {"id": "cli", "mode": mode, "version": "1", "platform": "linux"},
        "auth": {"token": TOKEN},
        "scopes": ["operator.read"],
    });
    json!({"type": "req", "id": "hand", "method": "connect", "params": params}).to_string()
}

/// Something that the hand-written client says, well formed or not.
pub fn raw_line(dice: &mut Dice) -> String {
    if dice.one_in(20) {
        let params = json!({ "x": "y".repeat(3_500) });
        return json!({"type": "req", "id": "h8", "method": "health", "params": params})
            .to_string();
    }
    dice.pick(&[
        r#"{"type":"req","id":"h1","method":"health"}"#,
        r#"{"type":"req","id":"h1","method":"system-presence"}"#,
        r#"{"type":"req","id":"h2","method":"status","params":{}}"#,
        r#"{"type":"req","id":"h3","method":"connect","params":{}}"#,
        r#"{"type":"req","id":"h4","method":"set-heartbeats","params":{"enabled":true}}"#,
        r#"{"type":"req","id":"h5","method":"logs.tail","params":{"limit":0}}"#,
        r#"{"type":"req","id":"h6"}"#,
        r#"{"type":"req","id":"","method":"health"}"#,
        r#"{"type":"res","id":"h7","ok":true}"#,
        "[]",
        "not json",
        "",
    ])
    .into()
}

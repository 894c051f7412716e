//! The clients' hosts: they dial, read and write.

use std::time::Duration;

use clawgate_core::{
    client::{
        Action, AttemptId, Call, CallDeadline, ClientConn, DialFailure, Event, Phase, RequestError,
        Session, SessionEvent, Stage,
    },
    ids::ConnId,
    protocol::CloseCode,
    transmit::Transmit,
};

use crate::{
    cast::SECRET_MARK,
    client::{Dialling, Machine, sight},
    network::Wire,
    work::Ask,
    world::{Task, World, assert_no_secret, assert_shows_no_secret, show},
};

impl World {
    pub fn client_timeout(&mut self, client: usize) {
        let now = self.now;
        let peer = &mut self.clients[client];
        match &mut peer.machine {
            Machine::Lasting(session) => session.handle_timeout(now),
            Machine::Once(Some(conn)) => conn.handle_timeout(now),
            Machine::Once(None) | Machine::Raw { .. } => {}
        }
        let next = peer.deadline();
        assert!(next.is_none_or(|at| at > now.mono), "a timer stays due");
        self.after_client_input(client);
    }

    pub fn client_receives(&mut self, conn: ConnId, wire: Wire) {
        let client = self.links[&conn].client;
        self.note(|| format!("  client {client} on {conn} gets {}", show(&wire)));
        let now = self.now;
        let (peer, link) = (
            &mut self.clients[client],
            self.links.get_mut(&conn).unwrap(),
        );
        if peer.link != Some(conn) {
            // The upgrade was answered on a socket that is gone by now.
            return;
        }
        let mut over = false;
        match wire {
            Wire::Close { code, reason } => {
                match &mut peer.machine {
                    Machine::Lasting(session) => session.handle_close(now, code, &reason),
                    Machine::Once(Some(conn)) => conn.handle_close(code, &reason),
                    Machine::Once(None) | Machine::Raw { .. } => {}
                }
                let echo = Wire::Close { code, reason };
                link.to_server.push(now.mono, echo);
                over = true;
            }
            Wire::Fin => {
                match &mut peer.machine {
                    Machine::Lasting(session) => session.handle_disconnect(now),
                    Machine::Once(Some(conn)) => conn.handle_disconnect(),
                    Machine::Once(None) | Machine::Raw { .. } => {}
                }
                over = true;
            }
            Wire::Ping => link.to_server.push(now.mono, Wire::Pong),
            Wire::Pong => {}
            Wire::Text(text) => {
                let _ = match &mut peer.machine {
                    Machine::Lasting(session) => session.handle_text(now, text),
                    Machine::Once(Some(conn)) => conn.handle_text(now, text),
                    Machine::Once(None) => Ok(()),
                    Machine::Raw { .. } => Ok(()),
                };
            }
        }
        self.after_client_input(client);
        if over {
            self.drop_socket(client);
        }
    }

    /// Drains a client's events and actions.
    pub fn after_client_input(&mut self, client: usize) {
        let now = self.now;
        loop {
            let peer = &mut self.clients[client];
            let link = peer.link.and_then(|conn| self.links.get(&conn));
            let Machine::Lasting(session) = &mut peer.machine else {
                break;
            };
            let Some(event) = session.poll_event() else {
                break;
            };
            assert_shows_no_secret(&event);
            let sight = sight(&event);
            match event {
                SessionEvent::Accepted { .. } => panic!("no call is accepted first"),
                SessionEvent::Answer { id, outcome } => peer.on_answer(&id, &outcome),
                SessionEvent::Connected(hello) => peer.on_hello(&hello),
                SessionEvent::Disconnected { why, next } => peer.on_disconnected(now, &why, &next),
                SessionEvent::Event(event) => peer.on_event(&event, link),
                SessionEvent::ForgetDeviceToken => panic!("there is no device token"),
                SessionEvent::Gap(gap) => peer.gap = Some(gap),
                SessionEvent::HistoryLost(_) | SessionEvent::Resumed { .. } => {
                    panic!("nobody asked to resume")
                }
            }
            self.seen.extend(sight);
        }
        loop {
            let peer = &mut self.clients[client];
            let link = peer.link.and_then(|conn| self.links.get(&conn));
            let Machine::Once(Some(conn)) = &mut peer.machine else {
                break;
            };
            let Some(event) = conn.poll_event() else {
                break;
            };
            assert_shows_no_secret(&event);
            match event {
                Event::Accepted { .. } => panic!("no call is accepted first"),
                Event::Answer { id, outcome } => peer.on_answer(&id, &outcome),
                Event::Ended(_) => assert_eq!(peer.calls.open(), 0),
                Event::Event(event) => peer.on_event(&event, link),
                Event::Gap(gap) => peer.gap = Some(gap),
                Event::Hello(hello) => peer.on_hello(&hello),
            }
        }
        match &self.clients[client].machine {
            Machine::Lasting(session) => assert_shows_no_secret(session),
            Machine::Once(conn) => assert_shows_no_secret(conn),
            Machine::Raw { .. } => {}
        }
        while let Some(action) = self.clients[client]
            .session()
            .and_then(Session::poll_action)
        {
            assert_shows_no_secret(&action);
            self.act(client, action);
        }
        if let Machine::Once(Some(conn)) = &self.clients[client].machine
            && conn.stage() == Stage::Closed
            && !conn.wants_write()
        {
            self.clients[client].machine = Machine::Once(None);
            self.drop_socket(client);
        }
        if self.clients[client].phase() == Some(Phase::Stopped) {
            self.drop_socket(client);
        }
    }

    fn act(&mut self, client: usize, action: Action) {
        match action {
            Action::Abort(attempt) => self.give_up(client, attempt, None),
            Action::Close {
                attempt,
                code,
                reason,
            } => self.give_up(client, attempt, Some((code, reason.to_string()))),
            Action::Dial(attempt) => {
                let now = self.now.mono;
                if let Some(due) = self.clients[client].redial.take() {
                    assert!(due >= now, "a retry is late");
                }
                self.dial(client, Dialling::Attempt(attempt));
            }
        }
    }

    fn give_up(&mut self, client: usize, attempt: AttemptId, close: Option<(CloseCode, String)>) {
        let now = self.now.mono;
        let peer = &mut self.clients[client];
        if peer.dialling == Some(Dialling::Attempt(attempt)) {
            peer.dialling = None;
        }
        let link = peer.link.and_then(|conn| self.links.get_mut(&conn));
        let Some(link) = link.filter(|link| link.attempt == Some(attempt)) else {
            return;
        };
        if let Some((code, reason)) = close
            && link.to_server.is_free()
        {
            let code = Some(code.code());
            link.to_server.push(now, Wire::Close { code, reason });
        }
        self.drop_socket(client);
    }

    /// The client's end of its link is gone.
    pub fn drop_socket(&mut self, client: usize) {
        let Some(conn) = self.clients[client].link.take() else {
            return;
        };
        if let Some(link) = self.links.get_mut(&conn) {
            link.client_gone = true;
            link.to_server.flush(self.now.mono);
            link.to_server.push(self.now.mono, Wire::Fin);
        }
    }

    pub fn dial(&mut self, client: usize, dialling: Dialling) {
        self.clients[client].dialling = Some(dialling);
        let delay = self.delay();
        if self.now.mono >= self.deaf_until {
            self.schedule(delay, Task::Accept(client, dialling));
        } else if dialling == Dialling::Plain {
            self.schedule(Duration::from_secs(15), Task::DialFailed(client, dialling));
        }
    }

    pub fn dial_failed(&mut self, client: usize, dialling: Dialling) {
        let now = self.now;
        let peer = &mut self.clients[client];
        if peer.dialling == Some(dialling) {
            peer.dialling = None;
        }
        // An answer for an attempt that was given up is the machine's to ignore.
        if let (Dialling::Attempt(attempt), Some(session)) = (dialling, peer.session()) {
            session.dial_failed(now, attempt, DialFailure::Transient("refused".into()));
        }
        self.after_client_input(client);
    }

    pub fn dialled(&mut self, client: usize, dialling: Dialling, conn: ConnId) {
        let now = self.now;
        let limits = self.setting.client.clone();
        let peer = &mut self.clients[client];
        let wanted = peer.dialling == Some(dialling);
        let Some(link) = self.links.get_mut(&conn) else {
            panic!("a link is gone before its client saw it");
        };
        if wanted {
            peer.dialling = None;
            peer.link = Some(conn);
        } else {
            link.client_gone = true;
            link.to_server.push(now.mono, Wire::Fin);
        }
        match (&mut peer.machine, dialling) {
            (Machine::Lasting(session), Dialling::Attempt(attempt)) => {
                link.attempt = Some(attempt);
                session.dialled(now, attempt);
            }
            (Machine::Once(slot), Dialling::Plain) if wanted => {
                let (target, profile) = (peer.card.target(), peer.card.profile.clone());
                peer.seed[0] = peer.seed[0].wrapping_add(1);
                let machine = ClientConn::new(&target, profile, limits, peer.seed, now);
                *slot = Some(machine.into());
            }
            (Machine::Lasting(_) | Machine::Once(_) | Machine::Raw { .. }, _) => {}
        }
        self.after_client_input(client);
    }

    /// Makes a call, if the client can.
    pub fn call(&mut self, client: usize, ask: Ask, deadline: CallDeadline) {
        let now = self.now;
        let max_pending = self.setting.client.max_pending;
        let peer = &mut self.clients[client];
        let call = Call {
            deadline,
            ..Call::new(ask.method(), ask.params())
        };
        let (result, established, pending) = match &mut peer.machine {
            Machine::Lasting(session) => {
                let established = session.phase() == Phase::Connected;
                (session.request(now, call), established, peer.calls.open())
            }
            Machine::Once(Some(conn)) => {
                let established = conn.stage() == Stage::Established;
                let result = conn.request(now, call);
                assert!(conn.pending() <= max_pending);
                (result, established, peer.calls.open())
            }
            Machine::Once(None) | Machine::Raw { .. } => return,
        };
        match result {
            Ok(id) => {
                assert!(established && pending < max_pending);
                peer.calls.made(id, ask);
            }
            Err(error) => {
                match error {
                    RequestError::NotConnected => assert!(!established),
                    RequestError::TooManyPending { limit } => assert_eq!(pending, limit),
                    RequestError::BufferFull
                    | RequestError::NoMethod
                    | RequestError::TooBig { .. } => assert!(established),
                }
                let name = format!("{error:?}");
                self.saw(name.split(' ').next().unwrap_or_default());
            }
        }
        self.after_client_input(client);
    }

    /// Gives a client's link what it has to say, as far as it takes it.
    pub fn client_writes(&mut self, client: usize) {
        let now = self.now.mono;
        loop {
            let peer = &mut self.clients[client];
            let Some(link) = peer.link.and_then(|conn| self.links.get_mut(&conn)) else {
                return;
            };
            link.to_server.flush(now);
            if !link.to_server.is_free() {
                return;
            }
            let transmit = match &mut peer.machine {
                Machine::Lasting(session) => session.poll_transmit(),
                Machine::Once(conn) => conn.as_mut().and_then(|conn| conn.poll_transmit()),
                Machine::Raw { outbox } => outbox.pop_front().map(Transmit::Text),
            };
            match transmit {
                None => break,
                Some(Transmit::Close { code, reason }) => {
                    let (code, reason) = (Some(code.code()), reason.to_string());
                    link.to_server.push(now, Wire::Close { code, reason });
                }
                Some(Transmit::Ping) => link.to_server.push(now, Wire::Ping),
                Some(Transmit::Terminate) => {
                    self.drop_socket(client);
                    break;
                }
                Some(Transmit::Text(text)) => {
                    if !text.contains(r#""method":"connect""#) {
                        assert_no_secret(&text);
                    } else if text.contains(SECRET_MARK) {
                        assert!(text.contains(peer.card.secret()), "another client's secret");
                    }
                    link.to_server.write(text);
                }
            }
        }
        // A machine that has nothing more to write may be over.
        if let Machine::Once(Some(_)) = &self.clients[client].machine {
            self.after_client_input(client);
        }
    }

    /// Whether a client that belongs in is in.
    pub fn is_in(&self, client: usize) -> bool {
        self.clients[client].phase() == Some(Phase::Connected)
    }
}

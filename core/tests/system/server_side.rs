//! The gateway's host: it opens, hands over, delivers and writes, as a runtime does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use clawgate_core::{
    device::DeviceIdentity,
    gateway::{
        AdmissionPolicy, Effect, EffectOutcome, EffectRequest, Gateway, GatewaySetup, HostInfo,
        LogTail, Phase,
    },
    ids::ConnId,
    policy::{AuthRule, SecretKind, TailscaleLogin},
    secret::Secret,
    server::{Delivery, PeerFacts, ServerConn, TransportFault},
    transmit::Transmit,
};

use crate::{
    cast::TOKEN,
    client::Dialling,
    ledger::{Became, LineBook},
    network::{Link, Wire},
    work::{EFFECT_FAILURE, carry_out},
    world::{Effects, Line, Task, World, assert_no_secret, assert_shows_no_secret, show},
};

impl World {
    /// The gateway's process starts.
    pub fn start(&mut self) {
        if self.gateway.is_some() {
            return;
        }
        let rule = AuthRule::Shared {
            kind: SecretKind::Token,
            secret: Some(Secret::new(TOKEN)),
            tailscale: TailscaleLogin::Off,
        };
        let setup = GatewaySetup {
            limits: Arc::new(self.setting.server.clone()),
            admission: AdmissionPolicy::new(rule),
            host: HostInfo::new("0.0.0", "host"),
            identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
        };
        let rows = self.disk.rows();
        self.gateway = Some(Gateway::restore(setup, &rows, self.dice.seed(), self.now));
    }

    /// The gateway's process is gone, and its sockets with it.
    pub fn crash(&mut self) {
        self.gateway = None;
        self.disk.crash();
        self.lines.clear();
        self.forget_host_tasks();
        let now = self.now.mono;
        for link in self.links.values_mut().filter(|link| !link.server_gone) {
            link.server_gone = true;
            link.to_client.push(now, Wire::Fin);
        }
    }

    /// A process that is told to stop ends when its last connection is gone.
    pub fn end_of_shutdown(&mut self) {
        let phase = self.gateway.as_ref().map(Gateway::phase);
        if phase == Some(&Phase::Stopped) && self.lines.is_empty() {
            self.crash();
        }
    }

    /// Whether the gateway's process is on its way out.
    pub fn is_stopping(&self) -> bool {
        let phase = self.gateway.as_ref().map(Gateway::phase);
        phase.is_some_and(|phase| *phase != Phase::Running)
    }

    /// An upgrade comes in.
    pub fn accept(&mut self, client: usize, dialling: Dialling) {
        let now = self.now;
        let manner = self.link_manner();
        let card = &self.clients[client].card;
        let peer = PeerFacts::direct(card.ip);
        let conn = ConnId(self.next_conn);
        let opened = self
            .gateway
            .as_mut()
            .is_some_and(|gateway| gateway.open(conn, peer.ip).is_ok());
        if !opened {
            self.saw("upgrade refused");
            self.schedule(manner.delay, Task::DialFailed(client, dialling));
            return;
        }
        self.next_conn += 1;
        let limits = Arc::new(self.setting.server.clone());
        let book = LineBook::new(card.rights.clone());
        let mut link = Link::new(client, conn, now.mono, manner, book);
        // The answer to the upgrade comes first.
        let answered = now.mono + manner.delay + Duration::from_nanos(1);
        link.to_client.hold_until(answered);
        self.links.insert(conn, link);
        let line = Line {
            conn: ServerConn::new(limits, peer, self.dice.seed(), now),
            waiting: VecDeque::new(),
            dropped: 0,
        };
        self.lines.insert(conn, line);
        self.schedule(manner.delay, Task::Dialled(client, dialling, conn));
    }

    pub fn server_receives(&mut self, conn: ConnId, wire: Wire) {
        self.note(|| format!("  {conn} gets {}", show(&wire)));
        let now = self.now;
        let (Some(line), Some(link)) = (self.lines.get_mut(&conn), self.links.get_mut(&conn))
        else {
            return;
        };
        match wire {
            Wire::Close { .. } => {
                let echo = Wire::Close {
                    code: Some(1000),
                    reason: String::new(),
                };
                link.to_client.push(now.mono, echo);
                self.end_line(conn);
                return;
            }
            Wire::Fin => {
                self.end_line(conn);
                return;
            }
            Wire::Ping => link.to_client.push(now.mono, Wire::Pong),
            Wire::Pong => line.conn.handle_pong(),
            Wire::Text(text) if text.len() > line.conn.frame_limit() => {
                line.conn.handle_fault(now, TransportFault::Oversized);
            }
            Wire::Text(text) => {
                let (closing, before) = (line.conn.is_closing(), line.conn.failure().cloned());
                if !closing {
                    link.book.asked(&text);
                }
                let result = line.conn.handle_text(now, text);
                assert_eq!(
                    result.clone().err().is_some(),
                    closing || line.conn.failure().is_some()
                );
                if let (Err(error), Some(before)) = (result, before) {
                    assert_eq!(error, before, "a failed machine repeats its first error");
                }
            }
        }
        self.after_line_input(conn);
    }

    /// Drains a connection's events, and hands them over now or later.
    pub fn after_line_input(&mut self, conn: ConnId) {
        let late = self.setting.host_delay;
        let Some(line) = self.lines.get_mut(&conn) else {
            return;
        };
        let scheduled = !line.waiting.is_empty();
        while let Some(event) = line.conn.poll_event() {
            assert_shows_no_secret(&event);
            line.waiting.push_back(event);
        }
        assert_shows_no_secret(&line.conn);
        if line.waiting.is_empty() {
            return;
        }
        if late == 0 {
            self.hand(conn);
        } else if !scheduled {
            let after = self.dice.millis(0..=late);
            self.schedule(after, Task::Hand(conn));
        }
    }

    /// Hands a connection's events to the gateway.
    pub fn hand(&mut self, conn: ConnId) {
        let now = self.now;
        while let Some(line) = self.lines.get_mut(&conn) {
            let (Some(event), Some(gateway)) = (line.waiting.pop_front(), &mut self.gateway) else {
                return;
            };
            gateway.handle_event(now, conn, event);
            self.carry();
        }
    }

    /// Takes what the gateway has to say.
    pub fn carry(&mut self) {
        let Some(mut gateway) = self.gateway.take() else {
            return;
        };
        loop {
            while let Some((conn, delivery)) = gateway.poll_delivery() {
                self.deliver(conn, delivery);
            }
            while let Some(request) = gateway.poll_effect() {
                self.take_effect(request);
            }
            let Some(commit) = gateway.poll_commit() else {
                break;
            };
            if let Some((commit, outcome)) = self.take_commit(commit) {
                gateway.handle_committed(self.now, commit.id, outcome);
            }
        }
        assert_shows_no_secret(&gateway);
        self.gateway = Some(gateway);
        // Frames that came before an admission are requests now.
        let conns: Vec<ConnId> = self.lines.keys().copied().collect();
        for conn in conns {
            self.after_line_input(conn);
        }
    }

    fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        assert_shows_no_secret(&delivery);
        let now = self.now;
        let (Some(line), Some(link)) = (self.lines.get_mut(&conn), self.links.get_mut(&conn))
        else {
            panic!("a delivery for {conn}, which is gone");
        };
        let room = self.setting.server.max_buffered_bytes - line.conn.buffered();
        let event = match &delivery {
            Delivery::Event(event) if line.conn.is_established() => Some(event.clone()),
            Delivery::Response { id, .. } if line.conn.is_established() => {
                assert!(link.book.is_asked(id), "an answer for {id} on {conn}");
                None
            }
            Delivery::Admit(_)
            | Delivery::Close { .. }
            | Delivery::Event(_)
            | Delivery::Interim { .. }
            | Delivery::Refuse(_)
            | Delivery::Response { .. }
            | Delivery::Targeted(_) => None,
        };
        line.conn.deliver(now, delivery);
        if let Some(event) = event {
            let became = if line.conn.is_closing() {
                Became::TheEnd
            } else if line.conn.dropped_events() > line.dropped {
                Became::Dropped
            } else {
                Became::Queued
            };
            line.dropped = line.conn.dropped_events();
            link.book.numbered(&event, room, became);
            if became == Became::Dropped {
                self.saw("event dropped");
            }
        }
    }

    fn take_effect(&mut self, EffectRequest { id, effect }: EffectRequest) {
        let honest = carry_out(&effect);
        let limit = self.setting.server.effect;
        let (after, outcome) = match self.setting.effects {
            Effects::Honest => (Duration::from_millis(2), honest),
            Effects::Moody => match self.dice.below(7) {
                0 => return,
                1 => (
                    Duration::from_millis(3),
                    EffectOutcome::Failed(EFFECT_FAILURE.into()),
                ),
                2 => (limit + Duration::from_millis(1), honest),
                3 => {
                    let wrong = EffectOutcome::Log(LogTail {
                        file: String::new(),
                        cursor: u64::MAX,
                        size: 0,
                        lines: Vec::new(),
                        truncated: None,
                        reset: None,
                    });
                    match effect {
                        Effect::TailLog(_) => (Duration::ZERO, honest),
                        Effect::HoldLock(_)
                        | Effect::KeepExecApprovals { .. }
                        | Effect::KeepToken(_)
                        | Effect::ReadConfig
                        | Effect::ReadExecApprovals
                        | Effect::ReadProcess
                        | Effect::ReadSecrets
                        | Effect::ReleaseLock(_)
                        | Effect::SampleHost
                        | Effect::ReadTranscript(_)
                        | Effect::FeedJob(..)
                        | Effect::StartJob(_)
                        | Effect::StopJob(_)
                        | Effect::Whois(_) => (Duration::ZERO, wrong),
                    }
                }
                4 => {
                    self.schedule(
                        Duration::from_millis(1),
                        Task::Effect(id, carry_out(&effect)),
                    );
                    (Duration::from_millis(9), honest)
                }
                _ => (self.dice.millis(0..=500), honest),
            },
        };
        self.schedule(after, Task::Effect(id, outcome));
    }

    /// Gives a link what the connection has to say, as far as it takes it.
    pub fn line_writes(&mut self, conn: ConnId) {
        let now = self.now.mono;
        loop {
            let (Some(line), Some(link)) = (self.lines.get_mut(&conn), self.links.get_mut(&conn))
            else {
                return;
            };
            if line.conn.is_terminated() {
                self.end_line(conn);
                return;
            }
            let written = link.to_client.flush(now);
            if written > 0 {
                line.conn.handle_written(written);
            }
            if !link.to_client.is_free() {
                return;
            }
            match line.conn.poll_transmit() {
                None => return,
                Some(Transmit::Close { code, reason }) => {
                    let wire = Wire::Close {
                        code: Some(code.code()),
                        reason: reason.to_string(),
                    };
                    link.to_client.push(now, wire);
                }
                Some(Transmit::Ping) => link.to_client.push(now, Wire::Ping),
                Some(Transmit::Terminate) => panic!("the socket was to be dropped before"),
                Some(Transmit::Text(text)) => {
                    assert_no_secret(&text);
                    link.book.sent(&text);
                    self.disk.check_sent(&serde_json::from_str(&text).unwrap());
                    link.to_client.write(text);
                }
            }
        }
    }

    /// The gateway's end of a link is gone.
    fn end_line(&mut self, conn: ConnId) {
        let now = self.now;
        if let Some(mut line) = self.lines.remove(&conn) {
            line.conn.handle_closed();
            assert_eq!(line.conn.poll_timeout(), None);
            if let Some(failure) = line.conn.failure() {
                self.saw(format!("gateway: {failure}"));
            }
            if let Some(gateway) = &mut self.gateway {
                gateway.close(now, conn);
            }
            self.carry();
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.server_gone = true;
            link.to_client.push(now.mono, Wire::Fin);
        }
    }
}

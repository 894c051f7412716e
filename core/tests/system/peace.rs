//! The way back to peace, and what has to hold there.

use std::time::Duration;

use clawgate_core::client::{CallDeadline, Phase};

use crate::{
    cast::{Fate, Manner},
    script::Op,
    work::Ask,
    world::{Effects, Setting, World},
};

impl World {
    /// No more trouble comes; what was broken is found out, mended, and then stays whole.
    pub fn make_peace(&mut self) {
        self.note(|| "peace".into());
        self.deaf_until = self.now.mono;
        self.setting.effects = Effects::Honest;
        self.setting.host_delay = 0;
        self.forget_troubles();
        self.mend_disk();
        for link in self.links.values_mut() {
            link.to_client.wake();
            link.to_server.wake();
        }
        if self.is_stopping() {
            self.crash();
        }
        self.start();
        for client in 0..self.clients.len() {
            if self.clients[client].card.manner != Manner::Lasting {
                self.operate(Op::Leave(client));
            }
        }
        self.settle();
        self.run_for(recovery(&self.setting));
        for client in &self.clients {
            let phase = match (client.card.manner, client.card.fate) {
                (Manner::Lasting, Fate::In) => Some(Phase::Connected),
                (Manner::Lasting, Fate::Paused(_)) => Some(Phase::Paused),
                (Manner::Once | Manner::Raw, _) => None,
            };
            assert_eq!(
                client.phase(),
                phase,
                "{} has not recovered",
                client.card.name
            );
        }
        self.check_quiet();
        self.check_stop();
    }

    /// With nothing wrong, nothing happens but heartbeats.
    fn check_quiet(&mut self) {
        let losses = |world: &Self| -> Vec<usize> {
            world.clients.iter().map(|client| client.losses).collect()
        };
        let before = losses(self);
        self.run_for(self.setting.server.presence_ttl + Duration::from_secs(1));
        assert_eq!(losses(self), before, "a healthy connection was lost");
        let live = self
            .clients
            .iter()
            .filter(|client| client.link.is_some())
            .count();
        assert_eq!(self.lines.len(), live, "a dead connection is still open");
        for link in self.links.values() {
            assert!(
                !link.client_gone && !link.server_gone,
                "half a link of {} is left: {} to the client, {} to the server",
                self.clients[link.client].card.name,
                link.client_gone,
                link.server_gone
            );
        }
        for (conn, line) in &self.lines {
            assert_eq!(line.conn.in_flight(), 0);
            assert_eq!(line.conn.buffered(), 0);
            assert_eq!(self.links[conn].book.open(), 0, "an unanswered request");
        }
        self.check_presence();
    }

    /// One row for the gateway and one for each client that is there, and nothing else.
    fn check_presence(&mut self) {
        let Some(admin) = (0..self.clients.len())
            .find(|client| self.is_in(*client) && self.clients[*client].card.name == "admin")
        else {
            return;
        };
        self.call(admin, Ask::Presence, CallDeadline::Default);
        self.settle();
        self.run_for(Duration::from_secs(5));
        let rows = self.clients[admin].last_presence.take().unwrap();
        let mut devices: Vec<_> = self
            .clients
            .iter()
            .filter_map(|client| client.card.row.clone().filter(|_| client.link.is_some()))
            .collect();
        devices.sort();
        devices.dedup();
        let guests = self
            .clients
            .iter()
            .filter(|client| client.card.name == "guest" && client.link.is_some())
            .count();
        let expected = (1 + devices.len() + guests).min(1 + self.setting.server.max_presence);
        assert_eq!(rows.as_array().unwrap().len(), expected, "{rows}");
    }

    /// Everybody goes, and nothing is left.
    fn check_stop(&mut self) {
        let now = self.now;
        for client in 0..self.clients.len() {
            if let Some(session) = self.clients[client].session() {
                session.stop(now);
            }
            self.after_client_input(client);
        }
        self.settle();
        self.run_for(Duration::from_secs(2));
        for client in &self.clients {
            assert_eq!(client.calls.open(), 0);
            assert_eq!(
                client.calls.made,
                client.calls.answered + client.calls.failed + client.calls.taken_back()
            );
            if client.card.manner == Manner::Lasting {
                assert_eq!(client.phase(), Some(Phase::Stopped), "{}", client.card.name);
                assert_eq!(client.deadline(), None, "a stopped session has a timer");
            }
        }
        assert!(self.lines.is_empty() && self.links.is_empty());
        let mut gateway = self.gateway.take().unwrap();
        assert_eq!(gateway.connections(), 0);
        gateway.shutdown(self.now, "done");
        assert_eq!(*gateway.phase(), clawgate_core::gateway::Phase::Stopped);
        assert!(gateway.poll_delivery().is_none() && gateway.poll_effect().is_none());
    }
}

/// The time in which every broken connection is noticed and every client is back: a lost link is
/// found by the client's watchdog or the gateway's ping, then comes the longest wait between
/// attempts, and each of them has a dial, a challenge and an answer to wait for.
fn recovery(setting: &Setting) -> Duration {
    let (server, client) = (&setting.server, &setting.client);
    let noticed = (server.tick_interval.max(Duration::from_secs(1)) * 3 + client.close_grace)
        .max(server.ping_interval * 2 + server.close_grace);
    let wait = Duration::from_secs(30);
    let attempt = client.connect * 2 + client.challenge;
    noticed + wait + attempt + server.handshake + Duration::from_secs(5)
}

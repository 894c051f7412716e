//! Nodes: what they are asked, and whether they may be.

use std::collections::BTreeSet;

use clawgate_core::ids::ConnId;
use serde_json::{Value, json};

use crate::{
    common::{Device, Host},
    ledger::Ledger,
    world::TOKEN,
};

/// Where the connection of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Away,
    /// It waits for the answer to its `connect`.
    Coming(ConnId),
    Here(ConnId),
}

pub struct Node {
    pub device: Device,
    pub line: Line,
    /// Calls that it has not answered.
    pub asked: Vec<Value>,
    /// Calls that it has answered, or that were taken back.
    pub past: Vec<Value>,
}

impl Node {
    pub fn new(seed: u8, commands: &[&str]) -> Self {
        let mut device = Device::node(seed).local().with(json!({ "token": TOKEN }));
        device.client.display_name = Some(format!("node-{seed}"));
        device.client.device_family = Some("Linux".into());
        device.claims = json!({ "caps": ["system"], "commands": commands });
        Self {
            device,
            line: Line::Away,
            asked: Vec::new(),
            past: Vec::new(),
        }
    }

    pub fn come(&mut self, host: &mut Host) {
        let Ok(conn) = host.open_peer(self.device.peer.clone()) else {
            return;
        };
        let challenge = host.recv(conn);
        host.call(conn, "1", "connect", self.device.params(&challenge));
        self.line = Line::Coming(conn);
    }

    /// Its connection is gone.
    pub fn lose(&mut self) {
        self.line = Line::Away;
        self.asked.clear();
        self.past.clear();
    }

    pub fn go(&mut self, host: &mut Host) {
        if let Line::Coming(conn) | Line::Here(conn) = self.line {
            host.drop_connection(conn);
        }
        self.lose();
    }

    /// Takes what arrived. `keys` are those of all calls that any node ever got.
    pub fn look(&mut self, host: &mut Host, ledger: &Ledger, keys: &mut BTreeSet<String>) {
        let (Line::Coming(conn) | Line::Here(conn)) = self.line else {
            return;
        };
        while let Some(frame) = host.try_recv(conn) {
            let payload = &frame["payload"];
            match frame["event"].as_str() {
                Some("node.invoke.request") => {
                    self.check(payload, ledger, keys);
                    self.asked.push(payload.clone());
                }
                Some("node.invoke.cancel") => {
                    let is_it = |asked: &Value| asked["id"] == payload["invokeId"];
                    if let Some(at) = self.asked.iter().position(is_it) {
                        self.past.push(self.asked.remove(at));
                    }
                }
                _ if frame["id"] == "1" && frame["ok"] == true => self.line = Line::Here(conn),
                _ => {}
            }
        }
        if host.closed(conn).is_some() {
            self.go(host);
        }
    }

    fn check(&self, asked: &Value, ledger: &Ledger, keys: &mut BTreeSet<String>) {
        let key = asked["idempotencyKey"].as_str().unwrap();
        assert!(keys.insert(key.to_owned()), "sent twice: {asked}");
        let approved = &ledger.nodes[&self.device.id()]["approval"]["commands"];
        let approved = approved.as_array().expect("somebody approved it");
        assert!(
            approved.contains(&asked["command"]),
            "not approved: {asked}"
        );
        let Some((run, call)) = key.split_once(':') else {
            return;
        };
        let row = &ledger.runs[run];
        let calls = row["calls"].as_array().unwrap();
        let made = calls.iter().any(|made| made["id"] == call);
        assert!(made, "not on record: {asked}");
    }

    /// Answers a call, which may be an old one.
    pub fn answer(&self, host: &mut Host, asked: &Value, error: Option<&str>) {
        let Line::Here(conn) = self.line else {
            return;
        };
        let mut params = json!({
            "id": asked["id"],
            "nodeId": self.device.id(),
            "ok": error.is_none(),
        });
        match error {
            None => params["payload"] = json!({ "is": "well" }),
            Some(code) => params["error"] = json!({ "code": code, "message": code }),
        }
        host.call(conn, "result", "node.invoke.result", params);
    }
}

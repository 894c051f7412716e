//! Nodes: what they are asked, and whether they may be.

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

    /// Takes what arrived.
    pub fn look(&mut self, host: &mut Host, ledger: &mut Ledger) {
        let (Line::Coming(conn) | Line::Here(conn)) = self.line else {
            return;
        };
        while let Some(frame) = host.try_recv(conn) {
            let payload = &frame["payload"];
            match frame["event"].as_str() {
                Some("node.invoke.request") => {
                    ledger.check_asked(&self.device.id(), payload);
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
            None => {
                let plan = json!({ "argv": ["ls"], "commandText": "ls", "cwd": "/" });
                params["payload"] = json!({ "is": "well", "plan": plan });
            }
            Some(code) => params["error"] = json!({ "code": code, "message": code }),
        }
        host.call(conn, "result", "node.invoke.result", params);
    }
}

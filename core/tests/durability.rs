//! A disk that is slow, sometimes full, and loses what it has not written when the gateway dies:
//! whatever was acknowledged is there afterwards, and nothing that failed is.
//!
//! `CLAWGATE_SIM_SEED=7 cargo test -p clawgate-core --test durability` repeats one run;
//! `CLAWGATE_SIM_RUNS=10000` makes many.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test panics when a promise is broken"
)]

mod common;
#[path = "system/dice.rs"]
#[allow(dead_code, unreachable_pub, reason = "made for the whole system")]
mod dice;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clawgate_core::{
    ids::ConnId,
    protocol::Role,
    server::PeerFacts,
    store::{StoreFailure, Table},
};
use common::{Device, Host, connect_params, token_rule};
use dice::Dice;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const TOKEN: &str = "hunter2";
const STEPS: usize = 300;
const ROLES: [Role; 2] = [Role::Operator, Role::Node];

/// A device as its user knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    seed: u8,
    role: Role,
}

impl Who {
    fn device(self) -> Device {
        match self.role {
            Role::Node => Device::node(self.seed),
            Role::Operator => Device::remote(self.seed, &["operator.read"]),
        }
    }

    fn id(self) -> String {
        self.device().id()
    }
}

/// What somebody waits for.
#[derive(Clone, Debug)]
enum Asked {
    Approve { who: Who, request: String },
    Connect { who: Who, invite: Option<String> },
    Event { key: String },
    Invite,
    Remove(Who),
    Rename(Who, String),
    Revoke(Who),
    Rotate(Who),
    Uninvite(String),
}

impl Asked {
    fn who(&self) -> Option<Who> {
        match self {
            Self::Approve { who, .. }
            | Self::Connect { who, .. }
            | Self::Remove(who)
            | Self::Rename(who, _)
            | Self::Revoke(who)
            | Self::Rotate(who) => Some(*who),
            Self::Event { .. } | Self::Invite | Self::Uninvite(_) => None,
        }
    }
}

struct Waiting {
    conn: ConnId,
    id: String,
    asked: Asked,
    /// What was kept of the device when it was asked.
    before: Option<Value>,
}

struct Sim {
    seed: u64,
    host: Host,
    dice: Dice,
    owner: ConnId,
    waiting: Vec<Waiting>,
    next: usize,
    /// The newest token of each device that was acknowledged and not taken back.
    tokens: BTreeMap<Who, String>,
    /// Requests that were told of.
    requests: BTreeMap<Who, String>,
    /// Join tokens that were handed out: their role and secret.
    invites: BTreeMap<String, (Role, String)>,
    seen: BTreeSet<&'static str>,
}

impl Drop for Sim {
    #[allow(clippy::print_stderr, reason = "for whoever reads a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with CLAWGATE_SIM_SEED={}", self.seed);
        }
    }
}

fn owner(host: &mut Host) -> ConnId {
    let conn = host.open_peer(PeerFacts::owner()).unwrap();
    host.recv(conn);
    host.call(
        conn,
        "1",
        "connect",
        connect_params("", &["operator.admin"]),
    );
    assert_eq!(host.recv_response(conn)["ok"], true);
    conn
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut host = Host::new(token_rule(TOKEN));
        host.disk.waiting = Some(VecDeque::new());
        let owner = owner(&mut host);
        Self {
            seed,
            host,
            dice: Dice::new(seed),
            owner,
            waiting: Vec::new(),
            next: 0,
            tokens: BTreeMap::new(),
            requests: BTreeMap::new(),
            invites: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    fn row(&self, table: Table, key: &str) -> Option<Value> {
        let document = self.host.disk.rows.get(&(table, key.to_owned()))?;
        Some(document.parse().unwrap())
    }

    fn device_row(&self, who: Who) -> Option<Value> {
        self.row(Table::Device, &who.id())
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=8 => self.ask(),
            9..=15 => self.write(),
            16 => self.lose(),
            17 => {
                let time = self.dice.millis(1..=3_000);
                self.host.advance(time);
            }
            18 if self.dice.one_in(3) => self.crash(),
            _ => self.host.advance(Duration::from_millis(1)),
        }
        self.listen();
    }

    fn write(&mut self) {
        for _ in 0..=self.dice.below(3) {
            self.host.disk.failure = None;
            self.host.write();
            self.listen();
        }
    }

    /// The oldest commit fails, and what builds on it.
    fn lose(&mut self) {
        self.host.disk.failure = Some(StoreFailure::Full);
        if self.host.write() {
            self.seen.insert("a commit was lost");
        }
        self.host.disk.failure = None;
    }

    /// The process dies. A commit may just have become durable, and nobody was told.
    fn crash(&mut self) {
        if self.dice.one_in(2)
            && let Some(commit) = self
                .host
                .disk
                .waiting
                .as_mut()
                .and_then(VecDeque::pop_front)
            && self.host.disk.take(&commit).is_ok()
        {
            self.seen
                .insert("a commit was durable and not acknowledged");
            // Whatever was under way may have happened.
            let touched: Vec<Who> = self
                .waiting
                .iter()
                .filter_map(|waiting| waiting.asked.who())
                .collect();
            for who in touched {
                self.forget(who);
            }
            self.invites.clear();
        }
        self.waiting.clear();
        self.host.restart();
        self.owner = owner(&mut self.host);
        self.seen.insert("crash");
        self.compare();
        self.use_tokens();
    }

    /// Tokens that were acknowledged still let their devices in.
    fn use_tokens(&mut self) {
        let tokens: Vec<(Who, String)> = self
            .tokens
            .iter()
            .map(|(who, token)| (*who, token.clone()))
            .collect();
        for (who, token) in tokens {
            let device = who.device().with(json!({ "deviceToken": token }));
            let conn = self.host.open_peer(device.peer.clone()).unwrap();
            let challenge = self.host.recv(conn);
            self.host
                .call(conn, "t", "connect", device.params(&challenge));
            while self.host.write() {}
            let answer = self.host.recv_response(conn);
            assert_eq!(answer["ok"], true, "{who:?} lost its token: {answer}");
            let token = answer["payload"]["auth"]["deviceToken"].as_str().unwrap();
            self.tokens.insert(who, token.to_owned());
            self.host.drop_connection(conn);
            self.seen.insert("a token was used after a crash");
        }
    }

    fn ask(&mut self) {
        let who = Who {
            seed: 10 + u8::try_from(self.dice.below(12)).unwrap(),
            role: self.dice.pick(&ROLES),
        };
        // One question for each key at a time, so that it is clear what an answer speaks of.
        let busy = |waiting: &Waiting| waiting.asked.who().is_some_and(|w| w.seed == who.seed);
        if self.waiting.iter().any(busy) {
            return;
        }
        let id = who.id();
        let role = who.role;
        match self.dice.below(11) {
            0..=2 => self.connect(who),
            3 | 4 => {
                if let Some(request) = self.requests.get(&who).cloned() {
                    let params = json!({ "requestId": request });
                    let asked = Asked::Approve { who, request };
                    self.by_owner("device.pair.approve", params, asked);
                }
            }
            5 => self.join(who),
            6 => {
                let terms = json!({ "role": role, "scopes": match role {
                    Role::Node => json!([]),
                    Role::Operator => json!(["operator.read"]),
                }});
                self.by_owner("device.invite.create", terms, Asked::Invite);
            }
            7 => {
                let token = json!({ "deviceId": id, "role": role });
                let (method, asked, params) = self.dice.pick(&[
                    (
                        "device.pair.remove",
                        Asked::Remove(who),
                        json!({ "deviceId": id }),
                    ),
                    ("device.token.revoke", Asked::Revoke(who), token.clone()),
                    ("device.token.rotate", Asked::Rotate(who), token),
                ]);
                self.by_owner(method, params, asked);
            }
            8 => {
                let label = format!("label {}", self.dice.below(1_000));
                let params = json!({ "deviceId": id, "label": label });
                self.by_owner("device.pair.rename", params, Asked::Rename(who, label));
            }
            9 => {
                let key = format!("key-{}", self.next);
                let params = json!({ "text": "something", "idempotencyKey": key });
                self.by_owner("system-event", params, Asked::Event { key });
            }
            _ => {
                if let Some(id) = self.invites.keys().next().cloned() {
                    let params = json!({ "inviteId": id });
                    self.by_owner("device.invite.revoke", params, Asked::Uninvite(id));
                }
            }
        }
    }

    fn by_owner(&mut self, method: &str, params: Value, asked: Asked) {
        self.next += 1;
        let id = format!("q{}", self.next);
        let before = asked.who().and_then(|who| self.device_row(who));
        self.host.call(self.owner, &id, method, params);
        let conn = self.owner;
        self.waiting.push(Waiting {
            conn,
            id,
            asked,
            before,
        });
    }

    fn connect(&mut self, who: Who) {
        let auth = match self.tokens.get(&who) {
            Some(token) if self.dice.one_in(2) => json!({ "deviceToken": token }),
            Some(_) | None => json!({ "token": TOKEN }),
        };
        self.connect_with(who, auth, None);
    }

    fn join(&mut self, who: Who) {
        let fitting = self.invites.iter().find(|(_, (role, _))| *role == who.role);
        if let Some((id, (_, token))) = fitting {
            let (id, auth) = (id.clone(), json!({ "bootstrapToken": token }));
            self.connect_with(who, auth, Some(id));
        }
    }

    fn connect_with(&mut self, who: Who, auth: Value, invite: Option<String>) {
        let device = who.device().with(auth);
        let conn = self.host.open_peer(device.peer.clone()).unwrap();
        let challenge = self.host.recv(conn);
        let before = self.device_row(who);
        self.host
            .call(conn, "c", "connect", device.params(&challenge));
        let asked = Asked::Connect { who, invite };
        let id = "c".into();
        self.waiting.push(Waiting {
            conn,
            id,
            asked,
            before,
        });
    }

    /// Takes the answers that came, and looks whether the disk agrees.
    fn listen(&mut self) {
        let mut answers: BTreeMap<(ConnId, String), Value> = BTreeMap::new();
        let conns: BTreeSet<ConnId> = self.waiting.iter().map(|waiting| waiting.conn).collect();
        for conn in conns {
            while let Some(frame) = self.host.try_recv(conn) {
                if let Some(id) = frame["id"].as_str() {
                    answers.insert((conn, id.to_owned()), frame.clone());
                }
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match answers.remove(&(waiting.conn, waiting.id.clone())) {
                Some(answer) => self.check(waiting, &answer),
                None => self.waiting.push(waiting),
            }
        }
    }

    fn check(&mut self, waiting: Waiting, answer: &Value) {
        let Waiting {
            conn,
            asked,
            before,
            ..
        } = waiting;
        let lost = answer["error"]["message"]
            .as_str()
            .is_some_and(|message| message.starts_with("nothing was changed"));
        if lost {
            self.seen.insert("a lost change was told");
            self.check_lost(&asked, before);
        } else if answer["ok"] == true {
            self.check_done(&asked, &answer["payload"]);
        } else if let (Asked::Connect { who, .. }, Some(request)) =
            (&asked, answer["error"]["details"]["requestId"].as_str())
        {
            let kept = self.row(Table::PairRequest, request);
            assert!(
                kept.is_some(),
                "{who:?} waits for a request that is not kept"
            );
            self.requests.insert(*who, request.to_owned());
            self.seen.insert("a request was told");
        }
        if conn != self.owner {
            self.host.drop_connection(conn);
        }
    }

    fn check_done(&mut self, asked: &Asked, payload: &Value) {
        let token_is_kept = |sim: &Self, who: Who, token: &str| {
            let kept = &sim.device_row(who).expect("a device that is kept")["tokens"];
            let kept = &kept[who.role.as_str()];
            let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
            assert!(
                kept["digest"] == digest || kept["previous"] == digest,
                "{who:?} has a token that is not kept"
            );
            assert!(kept["revokedAtMs"].is_null(), "{who:?}");
        };
        match asked {
            Asked::Approve { who, request } => {
                let kept = self.device_row(*who).expect("an approved device");
                let roles = kept["roles"].as_array().unwrap();
                assert!(roles.contains(&json!(who.role)), "{who:?}: {kept}");
                assert!(self.row(Table::PairRequest, request).is_none());
                self.requests.remove(who);
                self.seen.insert("approved");
            }
            Asked::Connect { who, invite } => {
                let token = payload["auth"]["deviceToken"].as_str().unwrap();
                token_is_kept(self, *who, token);
                self.tokens.insert(*who, token.to_owned());
                if let Some(invite) = invite {
                    // It may have been taken back, or ended, since.
                    if let Some(kept) = self.row(Table::Invite, invite) {
                        let devices = kept["devices"].as_array().unwrap();
                        assert!(devices.contains(&json!(who.id())), "{kept}");
                        assert_eq!(kept["usesLeft"], 0, "it was for one device");
                    }
                    self.invites.remove(invite);
                    self.seen.insert("joined");
                }
                self.seen.insert("connected");
            }
            Asked::Event { key } => {
                assert!(
                    self.row(Table::Dedupe, &format!("system-event:{key}"))
                        .is_some()
                );
                self.seen.insert("remembered");
            }
            Asked::Invite => {
                let (id, token) = (&payload["inviteId"], &payload["token"]);
                let (id, token) = (id.as_str().unwrap(), token.as_str().unwrap());
                let kept = self.row(Table::Invite, id).expect("a kept join token");
                let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
                assert_eq!(kept["digest"], digest);
                let role = match kept["role"].as_str() {
                    Some("node") => Role::Node,
                    _ => Role::Operator,
                };
                self.invites.insert(id.to_owned(), (role, token.to_owned()));
            }
            Asked::Remove(who) => {
                assert_eq!(self.device_row(*who), None);
                self.forget(*who);
                self.seen.insert("removed");
            }
            Asked::Rename(who, label) => {
                let kept = self.device_row(*who).expect("a renamed device");
                assert_eq!(&kept["operatorLabel"], label);
            }
            Asked::Revoke(who) => {
                let kept = self.device_row(*who).expect("a device without its token");
                let token = &kept["tokens"][who.role.as_str()];
                assert!(token["revokedAtMs"].is_number(), "{kept}");
                self.tokens.remove(who);
                self.seen.insert("revoked");
            }
            Asked::Rotate(who) => {
                let token = payload["token"].as_str().unwrap();
                token_is_kept(self, *who, token);
                self.tokens.insert(*who, token.to_owned());
            }
            Asked::Uninvite(id) => {
                assert_eq!(self.row(Table::Invite, id), None);
                self.invites.remove(id);
            }
        }
    }

    fn check_lost(&self, asked: &Asked, before: Option<Value>) {
        if let Some(who) = asked.who() {
            // The time of the last visit may have been written meanwhile, and nothing else.
            let plain = |row: Option<Value>| {
                row.map(|mut row| {
                    row["lastSeenAtMs"] = Value::Null;
                    row
                })
            };
            assert_eq!(plain(self.device_row(who)), plain(before), "{asked:?}");
        }
        match asked {
            Asked::Approve { request, .. } => {
                assert!(self.row(Table::PairRequest, request).is_some(), "{asked:?}");
            }
            Asked::Connect {
                who,
                invite: Some(invite),
            } => {
                if let Some(kept) = self.row(Table::Invite, invite) {
                    let devices = kept["devices"].as_array().unwrap();
                    assert!(!devices.contains(&json!(who.id())), "{kept}");
                }
            }
            Asked::Event { key } => {
                assert!(
                    self.row(Table::Dedupe, &format!("system-event:{key}"))
                        .is_none()
                );
            }
            Asked::Uninvite(id) => assert!(self.row(Table::Invite, id).is_some()),
            Asked::Connect { .. }
            | Asked::Invite
            | Asked::Remove(_)
            | Asked::Rename(..)
            | Asked::Revoke(_)
            | Asked::Rotate(_) => {}
        }
    }

    fn forget(&mut self, who: Who) {
        for role in ROLES {
            let who = Who { role, ..who };
            self.tokens.remove(&who);
            self.requests.remove(&who);
        }
    }

    /// With nothing under way, the gateway shows what is on disk and nothing else.
    fn compare(&mut self) {
        let keys = |sim: &Self, table| -> BTreeSet<String> {
            let rows = sim.host.disk.rows.keys();
            rows.filter(|(of, _)| *of == table)
                .map(|(_, key)| key.clone())
                .collect()
        };
        let names = |list: &Value, name: &str| -> BTreeSet<String> {
            let list = list.as_array().unwrap();
            list.iter()
                .map(|item| item[name].as_str().unwrap().to_owned())
                .collect()
        };
        let devices = self.host.get(self.owner, "device.pair.list", json!({}));
        let invites = self.host.get(self.owner, "device.invite.list", json!({}));
        assert_eq!(
            names(&devices["paired"], "deviceId"),
            keys(self, Table::Device)
        );
        assert_eq!(
            names(&devices["pending"], "requestId"),
            keys(self, Table::PairRequest)
        );
        assert_eq!(
            names(&invites["invites"], "inviteId"),
            keys(self, Table::Invite)
        );
        for device in devices["paired"].as_array().unwrap() {
            let id = device["deviceId"].as_str().unwrap();
            let kept = self.row(Table::Device, id).unwrap();
            for field in ["roles", "scopes", "operatorLabel", "publicKey"] {
                assert_eq!(device[field], kept[field], "{field} of {id}");
            }
            let tokens = device["tokens"].as_array().unwrap();
            for token in tokens {
                let kept = &kept["tokens"][token["role"].as_str().unwrap()];
                for field in ["scopes", "revokedAtMs", "createdAtMs", "rotatedAtMs"] {
                    assert_eq!(token[field], kept[field], "{field} of {id}");
                }
            }
        }
    }

    fn run(mut self) -> BTreeSet<&'static str> {
        for _ in 0..STEPS {
            self.step();
        }
        while self.host.write() {
            self.listen();
        }
        self.host.advance(Duration::from_secs(6));
        while self.host.write() {}
        self.listen();
        assert!(self.waiting.is_empty(), "somebody was never answered");
        self.compare();
        self.host.restart();
        self.owner = owner(&mut self.host);
        self.compare();
        self.use_tokens();
        std::mem::take(&mut self.seen)
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_was_acknowledged_outlives_the_gateway_and_what_failed_does_not() {
    if let Some(seed) = number("CLAWGATE_SIM_SEED") {
        Sim::new(seed).run();
        return;
    }
    let runs = number("CLAWGATE_SIM_RUNS").unwrap_or(60);
    let seen: BTreeSet<&str> = (0..runs).flat_map(|seed| Sim::new(seed).run()).collect();
    for sight in [
        "a commit was durable and not acknowledged",
        "a commit was lost",
        "a lost change was told",
        "a request was told",
        "a token was used after a crash",
        "approved",
        "connected",
        "crash",
        "joined",
        "remembered",
        "removed",
        "revoked",
    ] {
        assert!(runs < 60 || seen.contains(sight), "no run shows '{sight}'");
    }
}

#[test]
fn nothing_is_said_that_builds_on_a_change_which_is_not_durable_yet() {
    let mut host = Host::new(token_rule(TOKEN));
    let chiefs = [owner(&mut host), owner(&mut host)];
    host.disk.waiting = Some(VecDeque::new());
    // A device is approved on the spot, and comes by two connections.
    let node = Device::node(7).local().with(json!({ "token": TOKEN }));
    let conns: Vec<ConnId> = (0..2)
        .map(|_| {
            let conn = host.open_peer(node.peer.clone()).unwrap();
            let challenge = host.recv(conn);
            host.call(conn, "1", "connect", node.params(&challenge));
            conn
        })
        .collect();
    // Two callers report the same thing.
    let report = json!({ "text": "something", "idempotencyKey": "k" });
    for chief in chiefs {
        while host.try_recv(chief).is_some() {}
        host.call(chief, "2", "system-event", report.clone());
    }
    let told = |host: &mut Host, conn| {
        std::iter::from_fn(|| host.try_recv(conn)).find(|frame| frame["type"] == "res")
    };
    for conn in conns.iter().chain(&chiefs) {
        assert_eq!(told(&mut host, *conn), None);
    }
    host.disk.failure = Some(StoreFailure::Full);
    while host.write() {}
    for conn in conns.iter().chain(&chiefs) {
        let answer = told(&mut host, *conn).expect("an answer");
        let message = answer["error"]["message"].as_str().unwrap_or("no error");
        assert!(message.starts_with("nothing was changed"), "{answer}");
    }
}

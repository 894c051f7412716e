//! Whatever happens in whatever order: a node never gets a command that it does not claim, that nobody
//! approved, or that the policy forbids.

use std::collections::{BTreeMap, BTreeSet};

use clawgate_core::gateway::{CustomCommands, NodeCommandPolicy};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    common::Host,
    scene::{ADMIN, Node, events, host, invoke_params, linux, operator},
};

const COMMANDS: [&str; 6] = [
    "system.which",
    "system.run",
    "weather.get",
    "camera.snap",
    "location.get",
    "denied.one",
];

#[derive(Clone, Debug)]
enum Step {
    Connect { node: u8, claims: u8 },
    Approve { pick: usize },
    Reject { pick: usize },
    Remove { node: u8 },
    RemoveDevice { node: u8 },
    Rename { node: u8 },
    Disconnect { node: u8 },
    Invoke { node: u8, command: usize },
    Answer { node: u8 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1_u8..4;
    prop_oneof![
        3 => (node.clone(), any::<u8>())
            .prop_map(|(node, claims)| Step::Connect { node, claims }),
        3 => any::<usize>().prop_map(|pick| Step::Approve { pick }),
        1 => any::<usize>().prop_map(|pick| Step::Reject { pick }),
        1 => node.clone().prop_map(|node| Step::Remove { node }),
        1 => node.clone().prop_map(|node| Step::RemoveDevice { node }),
        1 => node.clone().prop_map(|node| Step::Rename { node }),
        1 => node.clone().prop_map(|node| Step::Disconnect { node }),
        6 => (node.clone(), 0..COMMANDS.len())
            .prop_map(|(node, command)| Step::Invoke { node, command }),
        2 => node.prop_map(|node| Step::Answer { node }),
        1 => Just(Step::Restart),
    ]
}

fn claims(bits: u8) -> Vec<&'static str> {
    let bit = |index: &usize| bits & (1 << index) != 0;
    (0..COMMANDS.len())
        .filter(bit)
        .map(|index| COMMANDS[index])
        .collect()
}

/// What the test knows: the rule, said a second time and simply.
#[derive(Default)]
struct Model {
    live: BTreeMap<u8, (Node, BTreeSet<&'static str>)>,
    /// By node, what was approved last.
    approved: BTreeMap<u8, BTreeSet<String>>,
    asked: BTreeMap<u8, Vec<Value>>,
}

/// On Linux, with `denied.one` in the list of what is denied.
const ADMITTED: [&str; 3] = ["system.which", "system.run", "weather.get"];

struct World {
    host: Host,
    model: Model,
}

impl World {
    fn new() -> Self {
        let host = host().with_policy(|policy| {
            policy.node_commands =
                NodeCommandPolicy::new(&[], &["denied.one"], CustomCommands::WhenApproved);
        });
        Self {
            host,
            model: Model::default(),
        }
    }

    fn as_admin(&mut self, method: &str, params: Value) -> Value {
        let admin = operator(&mut self.host, ADMIN);
        let answer = self.host.ask(admin, method, params);
        self.host.drop_connection(admin);
        answer
    }

    fn id(node: u8) -> String {
        linux(node, &[]).id()
    }

    fn forget(&mut self, node: u8) {
        self.model.approved.remove(&node);
        if let Some((live, _)) = self.model.live.remove(&node) {
            self.host.drop_connection(live.conn);
        }
    }

    fn pending(&mut self, pick: usize) -> Option<Value> {
        let list = self.as_admin("node.pair.list", json!({}));
        let pending = list["payload"]["pending"].as_array().unwrap().clone();
        (!pending.is_empty()).then(|| pending[pick % pending.len()].clone())
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Connect { node, claims: bits } => {
                let claims = claims(bits);
                let device = linux(node, &claims);
                let (conn, _) = self.host.welcome(&device);
                let live = Node {
                    conn,
                    id: device.id(),
                };
                let claims = claims.into_iter().collect();
                if let Some((old, _)) = self.model.live.insert(node, (live, claims)) {
                    assert!(self.host.closed(old.conn).is_some(), "replaced");
                    self.host.drop_connection(old.conn);
                }
            }
            Step::Approve { pick } => {
                if let Some(request) = self.pending(pick) {
                    let params = json!({ "requestId": request["requestId"] });
                    let answer = self.as_admin("node.pair.approve", params);
                    assert_eq!(answer["ok"], true, "{answer}");
                    let node = (1..4).find(|node| Self::id(*node) == request["nodeId"]);
                    let shown = request["commands"].as_array().unwrap().iter();
                    let shown = shown.map(|name| name.as_str().unwrap().to_owned());
                    self.model.approved.insert(node.unwrap(), shown.collect());
                }
            }
            Step::Reject { pick } => {
                if let Some(request) = self.pending(pick) {
                    let params = json!({ "requestId": request["requestId"] });
                    self.as_admin("node.pair.reject", params);
                }
            }
            Step::Remove { node } => {
                self.as_admin("node.pair.remove", json!({ "nodeId": Self::id(node) }));
                self.forget(node);
            }
            Step::RemoveDevice { node } => {
                self.as_admin("device.pair.remove", json!({ "deviceId": Self::id(node) }));
                self.forget(node);
            }
            Step::Rename { node } => {
                let params = json!({ "nodeId": Self::id(node), "displayName": "n" });
                self.as_admin("node.rename", params);
            }
            Step::Disconnect { node } => {
                if let Some((live, _)) = self.model.live.remove(&node) {
                    self.host.drop_connection(live.conn);
                }
            }
            Step::Invoke { node, command } => self.invoke(node, COMMANDS[command]),
            Step::Answer { node } => {
                let asked = self.model.asked.remove(&node).unwrap_or_default();
                if let Some((live, _)) = self.model.live.get(&node).cloned() {
                    for asked in asked {
                        let params = json!({ "id": asked["id"], "nodeId": live.id, "ok": true });
                        let said = self.host.ask(live.conn, "node.invoke.result", params);
                        assert_eq!(said["ok"], true);
                    }
                }
            }
            Step::Restart => {
                self.host.restart();
                self.model.live.clear();
            }
        }
        self.check();
    }

    fn invoke(&mut self, node: u8, command: &'static str) {
        let caller = operator(&mut self.host, &["operator.admin"]);
        let params = invoke_params(&Self::id(node), command);
        self.host.call(caller, "i", "node.invoke", params);
        let frames = std::iter::from_fn(|| self.host.try_recv(caller));
        let refused = frames.into_iter().any(|frame| frame["id"] == "i");
        let approved = self.model.approved.get(&node);
        let expected = self
            .model
            .live
            .get(&node)
            .is_some_and(|(_, claims)| claims.contains(command))
            && approved.is_some_and(|approved| approved.contains(command))
            && ADMITTED.contains(&command);
        assert_eq!(!refused, expected, "{command} of node {node}");
    }

    /// Looks at everything that nodes were sent.
    fn check(&mut self) {
        for (node, (live, claims)) in &self.model.live {
            for asked in events(&mut self.host, live.conn, "node.invoke.request") {
                let command = asked["command"].as_str().unwrap().to_owned();
                assert_eq!(asked["nodeId"], live.id);
                assert!(claims.contains(command.as_str()), "{command}: not claimed");
                let approved = self.model.approved.get(node);
                assert!(
                    approved.is_some_and(|approved| approved.contains(&command)),
                    "{command}: not approved"
                );
                assert!(ADMITTED.contains(&command.as_str()), "{command}: forbidden");
                self.model.asked.entry(*node).or_default().push(asked);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_node_never_gets_a_command_that_it_was_not_approved_for(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
    }
}

//! Voice Wake: the words that wake, and where what follows goes (spec protocol §6.6). Readers and
//! nodes are told of each change, and a node of both when it comes.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Gateway,
    settings::{Kept, Settings, VOICE_ROUTING, VOICE_TRIGGERS},
};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson},
    ids::ConnId,
    protocol::Role,
    scope::Scope,
    server::Delivery,
    store::Journal,
    time::WallTime,
    wake::normalized,
};

/// The words of a gateway on which nobody has set any, as the real one has them.
const DEFAULT_TRIGGERS: [&str; 3] = ["openclaw", "claude", "computer"];

/// Words that are kept, and the characters of each.
const MAX_TRIGGERS: usize = 32;
const MAX_TRIGGER: usize = 64;

/// Routes that are kept.
const MAX_ROUTES: usize = 32;

/// Where a spoken message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum RouteTarget {
    Agent { agent_id: String },
    Current { mode: CurrentMode },
    Session { session_key: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CurrentMode {
    #[serde(rename = "current")]
    Current,
}

const CURRENT: RouteTarget = RouteTarget::Current {
    mode: CurrentMode::Current,
};

/// What one word routes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    trigger: String,
    target: RouteTarget,
}

/// All routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Routing {
    version: u32,
    default_target: RouteTarget,
    routes: Vec<Route>,
    updated_at_ms: WallTime,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            version: 1,
            default_target: CURRENT,
            routes: Vec::new(),
            updated_at_ms: WallTime(0),
        }
    }
}

impl Routing {
    /// Reads what a caller sent. Parts that mean nothing are left out, as the real gateway does.
    pub(super) fn read(value: &Value, wall: WallTime) -> Self {
        let routes = value.get("routes").and_then(Value::as_array);
        let route = |value: &Value| {
            let trigger = normalized(value.get("trigger")?.as_str()?);
            let target = read_target(value.get("target")?)?;
            (!trigger.is_empty()).then_some(Route { trigger, target })
        };
        Self {
            version: 1,
            default_target: value
                .get("defaultTarget")
                .and_then(read_target)
                .unwrap_or(CURRENT),
            routes: routes
                .into_iter()
                .flatten()
                .filter_map(route)
                .take(MAX_ROUTES)
                .collect(),
            updated_at_ms: wall,
        }
    }
}

fn read_target(value: &Value) -> Option<RouteTarget> {
    let text = |name: &str| {
        let text = value.get(name)?.as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    if text("mode").as_deref() == Some("current") {
        return Some(CURRENT);
    }
    match (text("agentId"), text("sessionKey")) {
        (Some(agent_id), None) => Some(RouteTarget::Agent { agent_id }),
        (None, Some(session_key)) => Some(RouteTarget::Session { session_key }),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// The words as they are kept; none at all means the default.
pub(super) fn read_triggers(words: &[Value]) -> Vec<String> {
    let words: Vec<String> = words
        .iter()
        .filter_map(Value::as_str)
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .take(MAX_TRIGGERS)
        .map(|word| word.chars().take(MAX_TRIGGER).collect())
        .collect();
    if words.is_empty() {
        return default_triggers();
    }
    words
}

fn default_triggers() -> Vec<String> {
    DEFAULT_TRIGGERS.map(str::to_owned).to_vec()
}

pub(super) fn triggers(settings: &Settings) -> Vec<String> {
    match settings.get(VOICE_TRIGGERS) {
        Some(Kept::VoiceTriggers(words)) => words.clone(),
        Some(Kept::Agent(_) | Kept::AgentFile(_) | Kept::ExecGrant(_) | Kept::VoiceRouting(_))
        | None => default_triggers(),
    }
}

pub(super) fn routing(settings: &Settings) -> Routing {
    match settings.get(VOICE_ROUTING) {
        Some(Kept::VoiceRouting(routing)) => routing.clone(),
        Some(Kept::Agent(_) | Kept::AgentFile(_) | Kept::ExecGrant(_) | Kept::VoiceTriggers(_))
        | None => Routing::default(),
    }
}

fn changed(name: &str, payload: &Value) -> Option<OutboundEvent> {
    let payload = RawJson::encode(payload).ok()?;
    Some(OutboundEvent::new(name, &payload, None, Droppable::IfSlow))
}

fn triggers_changed(settings: &Settings) -> Option<OutboundEvent> {
    let payload = json!({ "triggers": triggers(settings) });
    changed("voicewake.changed", &payload)
}

fn routing_changed(settings: &Settings) -> Option<OutboundEvent> {
    let payload = json!({ "config": routing(settings) });
    changed("voicewake.routing.changed", &payload)
}

pub(super) fn keep_triggers(settings: &mut Settings, journal: &mut Journal, words: Vec<String>) {
    settings.put(journal, Kept::VoiceTriggers(words));
}

pub(super) fn keep_routing(settings: &mut Settings, journal: &mut Journal, routing: Routing) {
    settings.put(journal, Kept::VoiceRouting(routing));
}

impl Gateway {
    pub(super) fn tell_triggers(&mut self) {
        if let Some(event) = triggers_changed(&self.settings) {
            self.tell_readers_and_nodes(&event);
        }
    }

    pub(super) fn tell_routing(&mut self) {
        if let Some(event) = routing_changed(&self.settings) {
            self.tell_readers_and_nodes(&event);
        }
    }

    /// A node has come: it learns both.
    pub(super) fn greet_node(&mut self, conn: ConnId) {
        let events = [
            triggers_changed(&self.settings),
            routing_changed(&self.settings),
        ];
        for event in events.into_iter().flatten() {
            self.deliver(conn, Delivery::Targeted(event));
        }
    }

    fn tell_readers_and_nodes(&mut self, event: &OutboundEvent) {
        self.broadcast(event, Some(Scope::Read));
        let nodes: Vec<ConnId> = self
            .clients_with_ids()
            .filter(|(_, client)| client.role == Role::Node)
            .map(|(conn, _)| conn)
            .collect();
        for conn in nodes {
            self.deliver(conn, Delivery::Targeted(event.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_trimmed_counted_and_never_none() {
        assert_eq!(read_triggers(&[]), DEFAULT_TRIGGERS);
        assert_eq!(read_triggers(&[json!(" "), json!(7)]), DEFAULT_TRIGGERS);
        assert_eq!(read_triggers(&[json!(" hey you ")]), ["hey you"]);
        let many = vec![json!("x".repeat(100)); 40];
        let kept = read_triggers(&many);
        assert!(kept.len() == 32 && kept.iter().all(|word| word.len() == 64));
    }

    #[test]
    fn routes_that_mean_nothing_are_left_out() {
        let read = Routing::read(
            &json!({
                "defaultTarget": {"agentId": "work"},
                "routes": [
                    {"trigger": " Hey,  Claude! ", "target": {"sessionKey": "agent:main:main"}},
                    {"trigger": "!?", "target": {"mode": "current"}},
                    {"trigger": "x", "target": {"agentId": "a", "sessionKey": "b"}},
                ],
            }),
            WallTime(7),
        );
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            json!({
                "version": 1,
                "defaultTarget": {"agentId": "work"},
                "routes": [
                    {"trigger": "hey claude", "target": {"sessionKey": "agent:main:main"}},
                ],
                "updatedAtMs": 7,
            })
        );
        assert_eq!(Routing::read(&json!(null), WallTime(0)), Routing::default());
    }
}

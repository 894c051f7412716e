//! `node.event`: what nodes report and ask for (spec protocol §8.5).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};

use super::{Answer, Gateway, Params, encode};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson},
    gateway::nodes::{
        Activity, AskKind, HostStats, NodeAsk, Report, ReportedStats, WatchedRun, pairing_changed,
    },
    ids::ConnId,
    scope::Scope,
    time::{Now, WallTime},
};

/// Bytes of the parameters of one event.
const MAX_EVENT: usize = 256 * 1024;

/// Characters of a message for an agent.
const MAX_MESSAGE: usize = 20_000;

/// Bytes of a session key.
const MAX_SESSION_KEY: usize = 512;

/// Characters of a notification, and of a program's output, that an agent is told.
const MAX_NOTICE: usize = 120;
const MAX_OUTPUT: usize = 180;

/// How long a machine may have been idle.
const MAX_IDLE_SECONDS: u64 = 2_592_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventParams {
    event: String,
    payload: Option<Box<RawValue>>,
    #[serde(rename = "payloadJSON")]
    payload_json: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AliveTrigger {
    Background,
    BgAppRefresh,
    Connect,
    Manual,
    SignificantLocation,
    SilentPush,
}

impl AliveTrigger {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::BgAppRefresh => "bg_app_refresh",
            Self::Connect => "connect",
            Self::Manual => "manual",
            Self::SignificantLocation => "significant_location",
            Self::SilentPush => "silent_push",
        }
    }
}

#[derive(Deserialize)]
struct Alive {
    trigger: AliveTrigger,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum IdleSource {
    App,
    System,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClearAction {
    Clear,
}

#[derive(Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase", deny_unknown_fields)]
enum ActivityReport {
    Idle {
        idle_seconds: u64,
        source: Option<IdleSource>,
        #[serde(rename = "saturated")]
        _saturated: Option<bool>,
    },
    Clear {
        #[serde(rename = "action")]
        _action: ClearAction,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionRef {
    session_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transcript {
    text: String,
    session_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentRequest {
    message: String,
    session_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Posted,
    Removed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    change: Change,
    key: String,
    package_name: Option<String>,
    title: Option<String>,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecReport {
    run_id: String,
    session_key: Option<String>,
    command: Option<String>,
    exit_code: Option<f64>,
    #[serde(default)]
    timed_out: bool,
    output: Option<String>,
    #[serde(default)]
    suppress_notify_on_exit: bool,
}

/// What became of an event.
enum Handled {
    /// Yes, and nothing is to be said about it.
    Quietly,
    Yes(&'static str),
    No(&'static str),
}

impl Gateway {
    pub(super) fn node_event(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        params.at_most(MAX_EVENT)?;
        let asked: EventParams = params.parse()?;
        let node = self.calling_node(conn)?;
        // A node that was not approved has nothing to say yet.
        if self.nodes.book.approval(&node).is_none() {
            return Err(pairing_changed());
        }
        let payload = match (&asked.payload_json, &asked.payload) {
            (Some(text), _) => text.as_str(),
            (None, Some(payload)) => payload.get(),
            (None, None) => "",
        };
        let handled = match asked.event.as_str() {
            "agent.request" => self.agent_request(now, &node, payload),
            "chat.subscribe" => self.follow(&node, payload),
            "chat.unsubscribe" => self.unfollow(&node, payload),
            "exec.denied" => self.exec_report(&node, payload, ExecEvent::Denied),
            "exec.finished" => self.exec_report(&node, payload, ExecEvent::Finished),
            "exec.started" => self.exec_report(&node, payload, ExecEvent::Started),
            "node.host.stats" => self.host_stats(now, &node, payload),
            "node.presence.activity" => self.node_activity(now, &node, payload),
            "node.presence.alive" => self.node_alive(now, &node, payload),
            "notifications.changed" => self.notification(&node, payload),
            "voice.transcript" => self.voice_transcript(now, &node, payload),
            _ => Handled::No("unsupported_event"),
        };
        let (done, reason) = match handled {
            Handled::Quietly => return encode(&json!({ "ok": true })),
            Handled::Yes(reason) => (true, reason),
            Handled::No(reason) => (false, reason),
        };
        encode(&json!({
            "ok": true,
            "event": asked.event.chars().take(64).collect::<String>(),
            "handled": done,
            "reason": reason,
        }))
    }

    fn node_alive(&mut self, now: Now, node: &str, payload: &str) -> Handled {
        let Some(Alive { trigger }) = parse(payload) else {
            return INVALID;
        };
        let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
        book.seen(journal, now.wall, node, trigger.as_str().into());
        Handled::Yes("persisted")
    }

    fn node_activity(&mut self, now: Now, node: &str, payload: &str) -> Handled {
        let may = |gateway: &Self| {
            let permissions = gateway.effective_surface(node).permissions;
            permissions.get("accessibility").copied().unwrap_or(false)
        };
        let activity = match parse(payload) {
            None => return INVALID,
            Some(ActivityReport::Idle { idle_seconds, .. }) if idle_seconds > MAX_IDLE_SECONDS => {
                return INVALID;
            }
            Some(ActivityReport::Idle {
                idle_seconds,
                source,
                ..
            }) => {
                if !matches!(source, Some(IdleSource::App)) && !may(self) {
                    return Handled::No("permission_required");
                }
                let idle_ms = idle_seconds.saturating_mul(1_000);
                Some(Activity {
                    last_active_at_ms: WallTime(now.wall.0.saturating_sub(idle_ms)),
                    presence_updated_at_ms: now.wall,
                })
            }
            Some(ActivityReport::Clear { .. }) => None,
        };
        let Some(live) = self.nodes.live.get_mut(node) else {
            return Handled::No("stale_connection");
        };
        let before = std::mem::replace(&mut live.activity, activity);
        let reason = match (before, activity) {
            (_, Some(_)) => "updated",
            (Some(_), None) => "cleared",
            (None, None) => return Handled::Yes("already_clear"),
        };
        self.tell_readers(
            "node.presence",
            &json!({
                "nodeId": node,
                "lastActiveAtMs": activity.map(|at| at.last_active_at_ms),
                "presenceUpdatedAtMs": activity.map(|at| at.presence_updated_at_ms),
            }),
        );
        Handled::Yes(reason)
    }

    fn host_stats(&mut self, now: Now, node: &str, payload: &str) -> Handled {
        let Some(stats) = parse::<HostStats>(payload).filter(HostStats::is_plausible) else {
            return INVALID;
        };
        let Some(live) = self.nodes.live.get_mut(node) else {
            return Handled::No("stale_connection");
        };
        let stats = live.stats.insert(ReportedStats {
            stats,
            updated_at_ms: now.wall,
        });
        let payload = json!({ "nodeId": node, "hostStats": stats });
        self.tell_readers("node.hostStats", &payload);
        Handled::Yes("updated")
    }

    fn follow(&mut self, node: &str, payload: &str) -> Handled {
        if let Some(key) = session_key(payload)
            && let Some(live) = self.nodes.live.get_mut(node)
        {
            live.follow(key);
        }
        Handled::Quietly
    }

    fn unfollow(&mut self, node: &str, payload: &str) -> Handled {
        if let Some(key) = session_key(payload)
            && let Some(live) = self.nodes.live.get_mut(node)
        {
            live.unfollow(&key);
        }
        Handled::Quietly
    }

    fn voice_transcript(&mut self, now: Now, node: &str, payload: &str) -> Handled {
        let said: Option<Transcript> = parse(payload);
        let ask = said.and_then(|said| ask(AskKind::Voice, &said.text, said.session_key));
        self.ask_agent(now, node, ask)
    }

    fn agent_request(&mut self, now: Now, node: &str, payload: &str) -> Handled {
        let asked: Option<AgentRequest> = parse(payload);
        let ask = asked.and_then(|asked| ask(AskKind::Request, &asked.message, asked.session_key));
        self.ask_agent(now, node, ask)
    }

    fn ask_agent(&mut self, now: Now, node: &str, ask: Option<NodeAsk>) -> Handled {
        if let Some(ask) = ask {
            self.node_asks(now, node, ask);
        }
        Handled::Quietly
    }

    fn notification(&mut self, node: &str, payload: &str) -> Handled {
        let Some(Notification {
            change,
            key,
            package_name,
            title,
            text,
        }) = parse(payload)
        else {
            return Handled::Quietly;
        };
        let key = compact(&key, MAX_NOTICE);
        if key.is_empty() {
            return Handled::Quietly;
        }
        let what = match change {
            Change::Posted => "posted",
            Change::Removed => "removed",
        };
        let package = package_name.map_or_else(String::new, |name| {
            format!(" package={}", compact(&name, MAX_NOTICE))
        });
        let mut summary = format!("Notification {what} (node={node} key={key}{package})");
        if let Change::Posted = change {
            let parts = [title, text].map(|part| compact(&part.unwrap_or_default(), MAX_NOTICE));
            let parts: Vec<&str> = parts
                .iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            if !parts.is_empty() {
                summary = format!("{summary}: {}", parts.join(" - "));
            }
        }
        let session = self.main_session(None);
        self.queue_system_event(&session, summary);
        Handled::Quietly
    }

    /// A node tells how a program fares that it was asked to run by `system.run`.
    fn exec_report(&mut self, node: &str, payload: &str, event: ExecEvent) -> Handled {
        let Some(report) = parse::<ExecReport>(payload) else {
            return Handled::Quietly;
        };
        let run = WatchedRun {
            run_id: report.run_id.clone(),
            session_key: report.session_key.clone(),
        };
        let which = match event {
            ExecEvent::Started => Report::Any,
            ExecEvent::Denied | ExecEvent::Finished => Report::Last,
        };
        let live = self.nodes.live.get_mut(node);
        if !live.is_some_and(|live| live.may_report(&run, which)) {
            return Handled::No("unmatched_exec_event");
        }
        if !report.suppress_notify_on_exit
            && let Some(text) = exec_text(node, &report, event)
        {
            let session = self.main_session(None);
            self.queue_system_event(&session, text);
        }
        Handled::Quietly
    }

    /// An event for operators that may read. It may be dropped.
    pub(super) fn tell_readers<T: Serialize>(&mut self, name: &'static str, payload: &T) {
        if let Ok(payload) = RawJson::encode(payload) {
            let event = OutboundEvent::new(name, &payload, None, Droppable::IfSlow);
            self.broadcast(&event, Some(Scope::Read));
        }
    }
}

const INVALID: Handled = Handled::No("invalid_payload");

#[derive(Clone, Copy)]
enum ExecEvent {
    Denied,
    Finished,
    Started,
}

/// What an agent is told. A run that ended well and said nothing is not worth a word.
fn exec_text(node: &str, report: &ExecReport, event: ExecEvent) -> Option<String> {
    let run = compact(&report.run_id, MAX_NOTICE);
    match event {
        ExecEvent::Denied => None,
        ExecEvent::Started => {
            let command = compact(report.command.as_deref().unwrap_or_default(), MAX_OUTPUT);
            let command = if command.is_empty() {
                command
            } else {
                format!(": {command}")
            };
            Some(format!("Exec started (node={node} id={run}){command}"))
        }
        ExecEvent::Finished => {
            let output = compact(report.output.as_deref().unwrap_or_default(), MAX_OUTPUT);
            let code = report.exit_code;
            let ended = match (report.timed_out, code) {
                (true, _) => "timeout".into(),
                (false, Some(code)) => format!("code {code}"),
                (false, None) => "code ?".into(),
            };
            let well = !report.timed_out && code == Some(0.0);
            if well && output.is_empty() {
                return None;
            }
            let output = if output.is_empty() {
                output
            } else {
                format!("\n{output}")
            };
            Some(format!(
                "Exec finished (node={node} id={run}, {ended}){output}"
            ))
        }
    }
}

fn parse<T: DeserializeOwned>(payload: &str) -> Option<T> {
    serde_json::from_str(payload).ok()
}

fn session_key(payload: &str) -> Option<String> {
    let SessionRef { session_key } = parse(payload)?;
    let key = session_key.trim();
    (!key.is_empty() && key.len() <= MAX_SESSION_KEY).then(|| key.into())
}

fn ask(kind: AskKind, message: &str, session_key: Option<String>) -> Option<NodeAsk> {
    let message = message.trim();
    if message.is_empty() || message.chars().count() > MAX_MESSAGE {
        return None;
    }
    let key = session_key.map(|key| key.trim().to_owned());
    Some(NodeAsk {
        kind,
        message: message.into(),
        session_key: key.filter(|key| !key.is_empty() && key.len() <= MAX_SESSION_KEY),
    })
}

/// One line, and not too long.
fn compact(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let mut short: String = line.chars().take(max - 1).collect();
    short.push('…');
    short
}

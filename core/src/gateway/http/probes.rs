//! Probes: whether the gateway lives, is ready, has started. Anybody may ask; how it is in detail is
//! for callers on this machine and for those who authorise.

use serde_json::{Value, json};

use super::{HttpAnswer, HttpRequest, auth};
use crate::{
    gateway::{Gateway, Phase},
    time::{Now, millis},
};

/// Fields that everybody sees.
const PLAIN: [&str; 3] = ["ok", "ready", "status"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Live,
    Ready,
    Started,
}

impl Probe {
    pub(super) fn of_path(path: &str) -> Option<Self> {
        match path {
            "/health" | "/healthz" => Some(Self::Live),
            "/ready" | "/readyz" => Some(Self::Ready),
            "/startup" | "/startupz" => Some(Self::Started),
            _ => None,
        }
    }
}

impl Gateway {
    pub(super) fn probe(
        &mut self,
        now: Now,
        probe: Probe,
        request: &HttpRequest<'_>,
    ) -> HttpAnswer {
        if !matches!(request.method, "GET" | "HEAD") {
            return HttpAnswer::method_not_allowed("GET, HEAD");
        }
        let ready = self.phase == Phase::Running;
        let (status, mut body) = match probe {
            Probe::Live => (200, json!({ "ok": true, "status": "live" })),
            Probe::Ready => {
                let failing = if ready {
                    json!([])
                } else {
                    json!(["stopping"])
                };
                let status = if ready { 200 } else { 503 };
                (status, json!({ "ready": ready, "failing": failing }))
            }
            Probe::Started => {
                let version = &self.setup.host.version;
                let body = json!({ "ok": true, "status": "started", "version": version });
                (200, body)
            }
        };
        let detailed = match self.wants_details(now, probe, request) {
            Ok(detailed) => detailed,
            Err(answer) => return answer,
        };
        if let Value::Object(fields) = &mut body {
            if detailed {
                let uptime = millis(now.mono.saturating_duration_since(self.started));
                fields.insert("uptimeMs".into(), uptime.into());
            } else {
                fields.retain(|name, _| PLAIN.contains(&name.as_str()));
            }
        }
        HttpAnswer::json(status, &body)
    }

    /// Whether the caller is shown everything. Who sends a secret wants to be: when it is wrong, it
    /// is told, so that a monitor with an old secret is noticed. Whether the gateway lives depends on
    /// nobody's secret.
    fn wants_details(
        &mut self,
        now: Now,
        probe: Probe,
        request: &HttpRequest<'_>,
    ) -> Result<bool, HttpAnswer> {
        let peer = request.peer;
        if self.is_local_caller(peer) {
            return Ok(true);
        }
        if probe == Probe::Live || auth::bearer(&peer.headers).is_none() {
            return Ok(false);
        }
        match self.authorize_caller(now, peer) {
            Ok(_) => Ok(true),
            Err(refusal) => Err(refusal.answer()),
        }
    }
}

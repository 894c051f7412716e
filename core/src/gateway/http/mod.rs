//! What is answered over HTTP: probes, refusals, and the way to the WebSocket (spec protocol §9).
//!
//! The host reads the request head, gives it to [`Gateway::handle_http`], and writes the answer. No
//! answer ever has an `Access-Control-*` header, and no request may be asked about beforehand
//! (`OPTIONS`): pages of other sites have no business here.

mod answer;
mod auth;
mod metrics;
mod posts;
mod probes;

use std::time::Duration;

pub use answer::HttpAnswer;
pub use auth::{HttpAccess, HttpRefusal};
pub(super) use posts::Posts;

use super::{
    Gateway,
    audit::{AuditEntry, Verdict},
};
use crate::{
    channel::PostId,
    metrics::{Form, HttpRoute},
    policy::Ingress,
    server::PeerFacts,
    time::Now,
};

/// What a peer is told whose proxy headers are not believed.
const UNATTRIBUTABLE: &str =
    "proxy headers from a peer that is not in gateway.trustedProxies, or that names no client";

/// Lines for the operator about refused proxies that may come at once.
pub(super) const WARNINGS: u32 = 10;

/// The time after which one more may come.
pub(super) const WARNING_PAUSE: Duration = Duration::from_secs(6);

/// A request head.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method, as written.
    pub method: &'a str,
    /// The request target: path and query.
    pub target: &'a str,
    /// Who sent it, with the header fields.
    pub peer: &'a PeerFacts,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum HttpVerdict {
    /// It is answered, and the socket is done.
    Answer(HttpAnswer),
    /// Its body is wanted. Read so many bytes within the time of the head, and give them to
    /// [`Gateway::handle_post`]; where they do not come, call [`Gateway::forget_post`].
    Body {
        /// The request's number.
        post: PostId,
        /// Bytes of the body.
        length: usize,
    },
    /// The caller may see the metrics: sample the host and give the sample to
    /// [`Gateway::metrics_page`], whose answer is to be written.
    Metrics(Form),
    /// It may become a WebSocket, if it is a sound upgrade.
    Upgrade,
}

impl Gateway {
    /// Decides on a request. Paths that are not known are not found, whoever asks.
    pub fn handle_http(&mut self, now: Now, request: &HttpRequest<'_>) -> HttpVerdict {
        self.assert_drained();
        self.advance(now.mono);
        let (route, verdict) = match request.peer.headers.get("upgrade") {
            Some(protocol) => (HttpRoute::Upgrade, self.upgrade(now, request, &protocol)),
            None => self.answer(now, request),
        };
        self.count_http(route, &verdict);
        self.out.seal();
        verdict
    }

    fn upgrade(&mut self, now: Now, request: &HttpRequest<'_>, protocol: &str) -> HttpVerdict {
        if !protocol.eq_ignore_ascii_case("websocket") || request.method != "GET" {
            return HttpVerdict::Answer(HttpAnswer::text(400, "Bad Request"));
        }
        if request.peer.ingress != Ingress::Unattributable {
            return HttpVerdict::Upgrade;
        }
        let warning = self.note_spoofed(now, "upgrade", request.peer);
        HttpVerdict::Answer(HttpRefusal::Unattributable { warning }.answer())
    }

    fn answer(&mut self, now: Now, request: &HttpRequest<'_>) -> (HttpRoute, HttpVerdict) {
        let path = posts::path_of(request.target);
        if let Some(probe) = probes::Probe::of_path(path) {
            let answer = self.probe(now, probe, request);
            return (HttpRoute::Probe, HttpVerdict::Answer(answer));
        }
        if path == metrics::PATH {
            return (HttpRoute::Metrics, self.metrics_head(now, request));
        }
        match self.post_head(now, path, request) {
            Some(verdict) => (HttpRoute::Channel, verdict),
            None => {
                let answer = HttpAnswer::text(404, "Not Found");
                (HttpRoute::Other, HttpVerdict::Answer(answer))
            }
        }
    }

    /// Somebody who is not trusted sent the headers of a proxy: it is written down, and said to the
    /// operator, as often as is useful. Names only: what the headers say is a stranger's text.
    fn note_spoofed(&mut self, now: Now, action: &'static str, peer: &PeerFacts) -> Option<String> {
        let names = peer.headers.proxy_names().join(", ");
        let mut entry = AuditEntry::new(now, action, Verdict::Denied);
        entry.reason = Some("proxy_attribution_required".into());
        entry.from = Some(peer.ip.to_string());
        entry.subject = Some(names.clone());
        self.audit.record(&mut self.out.journal, now, entry);
        let left_out = self.warnings.take(now.mono)?;
        let more = match left_out {
            0 => String::new(),
            count => format!(" ({count} more before this one)"),
        };
        Some(format!(
            "refused proxy headers from {}, which is not in gateway.trustedProxies or did not name \
             its client: {names:.200}{more}",
            peer.ip
        ))
    }
}

//! `/metrics`: who may read the numbers, and in which form. Callers on this machine may, and those who
//! authorise and hold `operator.read`. Pages of other sites may not, wherever their browser runs.

use super::{HttpAnswer, HttpRequest, HttpVerdict};
use crate::{gateway::Gateway, metrics::Form, scope::Scope, time::Now};

/// The path, as Prometheus has it.
pub(super) const PATH: &str = "/metrics";

impl Gateway {
    pub(super) fn metrics_head(&mut self, now: Now, request: &HttpRequest<'_>) -> HttpVerdict {
        if !matches!(request.method, "GET" | "HEAD") {
            return HttpVerdict::Answer(HttpAnswer::method_not_allowed("GET, HEAD"));
        }
        let peer = request.peer;
        if !self.is_local_caller(peer) {
            let allowed = self.authorize_caller(now, peer);
            if let Err(refusal) = allowed.and_then(|access| access.require(Scope::Read)) {
                return HttpVerdict::Answer(refusal.answer());
            }
        }
        let accept = peer.headers.get("accept");
        HttpVerdict::Metrics(Form::accepted(accept.as_deref()))
    }
}

//! What leaves for the gateway: answers, events, and what a node tells of itself.

use serde_json::{Value, json};

use super::{NodeHost, Stats, invocation::Waiter};
use crate::{
    frame::RawJson,
    node::{
        repeat::Reply,
        work::{JobId, NodeCall, NodeCallId, NodeWork},
    },
    time::Now,
};

/// Bytes of a frame around a result.
const FRAME: usize = 4096;

impl NodeHost {
    pub(super) fn answer(&mut self, waiters: &[Waiter], reply: &Reply) {
        let Some(link) = self.link else { return };
        let limit = self
            .options
            .limits
            .max_result
            .min(link.max_payload.saturating_sub(FRAME));
        for waiter in waiters.iter().filter(|waiter| waiter.link == link.number) {
            let id = waiter.id.as_str();
            let mut params = self.result(id, reply);
            if params.as_str().len() > limit {
                let words = format!("the result is longer than {limit} bytes");
                params = self.result(id, &Reply::Failed("RESULT_TOO_LARGE", words));
            }
            self.call("node.invoke.result", params);
        }
    }

    fn result(&self, id: &str, reply: &Reply) -> RawJson {
        let node = &self.options.node_id;
        encode(&match reply {
            Reply::Done(payload) => {
                json!({ "id": id, "nodeId": node, "ok": true, "payloadJSON": payload })
            }
            Reply::Failed(code, message) => json!({
                "id": id, "nodeId": node, "ok": false,
                "error": { "code": code, "message": message },
            }),
        })
    }

    /// Sends an event, if there is a connection.
    pub(super) fn tell(&mut self, event: &str, payload: &Value) {
        if self.link.is_some() {
            let params = json!({ "event": event, "payloadJSON": payload.to_string() });
            self.call("node.event", encode(&params));
        }
    }

    fn call(&mut self, method: &'static str, params: RawJson) {
        let id = self.next_call();
        self.calls.push_back(NodeCall { id, method, params });
    }

    const fn next_call(&mut self) -> NodeCallId {
        self.last_call += 1;
        NodeCallId(self.last_call)
    }

    pub(super) const fn next_job(&mut self) -> JobId {
        self.last_job += 1;
        JobId(self.last_job)
    }

    /// Sends what is due.
    pub(super) fn keep_telling(&mut self, now: Now) {
        if self.link.is_none() {
            return;
        }
        for at in 0..self.publications.len() {
            let id = self.next_call();
            if let Some(publication) = self.publications.get_mut(at)
                && let Some(params) = publication.send(now.mono, id)
            {
                let params = encode(params);
                let method = publication.method;
                self.calls.push_back(NodeCall { id, method, params });
            }
        }
        if let Stats::Due(at) = self.stats
            && at <= now.mono
        {
            let job = self.next_job();
            self.stats = Stats::Sampling(job);
            self.work.push_back(NodeWork::Sample(job));
        }
    }
}

/// Values that are made here always have a JSON form.
fn encode(value: &Value) -> RawJson {
    RawJson::checked(value.to_string()).unwrap_or_else(|_| RawJson::empty_object())
}

//! `events.resume`, an addition of this gateway: a client that came back gets the events that it
//! missed, or is told that nobody knows them any more.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Gateway, Params, encode};
use crate::{
    frame::RawJson,
    gateway::past_events::Since,
    ids::ConnId,
    protocol::{RESUME_CAP, RpcCode, RpcError},
    time::Now,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeParams {
    epoch: Option<String>,
    seq: Option<u64>,
}

impl Gateway {
    /// Gives every event after `seq` that the caller may see, whether it has come by this connection
    /// or not, up to this moment; its number is the answer's `seq`.
    pub(super) fn events_resume(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: ResumeParams = params.parse()?;
        self.events.age(now.mono, self.setup.limits.resume_age);
        let Some(client) = self.client(conn).filter(|client| client.resumes()) else {
            return Err(params.error(&format!(
                "connect with the capability {RESUME_CAP} to resume"
            )));
        };
        let (epoch, last) = (&self.boot_id, self.events.last());
        let fresh = |reason: &str| {
            encode(&json!({ "resumed": false, "reason": reason, "epoch": epoch, "seq": last }))
        };
        let (known, seq) = match (asked.epoch, asked.seq) {
            (Some(known), Some(seq)) => (known, seq),
            (None, None) => return fresh("start"),
            (Some(_), None) | (None, Some(_)) => {
                return Err(params.error("epoch and seq go together"));
            }
        };
        if known != *epoch {
            return fresh("epoch");
        }
        let Since::All { events, unsettled } =
            self.events.since(seq, |scope| client.may_see(scope))
        else {
            return fresh("window");
        };
        let events: Vec<_> = events.iter().map(|event| event.encode(None)).collect();
        let mut text = format!(r#"{{"resumed":true,"epoch":"{epoch}","seq":{last},"events":["#);
        text.push_str(&events.join(","));
        text.push_str("]}");
        self.out.lean_on(unsettled);
        RawJson::checked(text)
            .map_err(|_| RpcError::new(RpcCode::Unavailable, "the events could not be written"))
    }
}

//! `voicewake.*` (spec protocol §6.6). `voicewake.routing.set` is an addition of this gateway: the
//! published methods only read the routes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    gateway::voice::{self, Routing},
    ids::ConnId,
    protocol::RpcError,
    time::Now,
};

/// Bytes that the words or the routes may take.
const MAX_PARAMS: usize = 16 * 1024;

#[derive(Deserialize)]
struct SetParams {
    triggers: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRoutingParams {
    config: Value,
}

impl Gateway {
    pub(super) fn voicewake_get(&self) -> Answer {
        encode(&json!({ "triggers": voice::triggers(&self.settings) }))
    }

    pub(super) fn voicewake_set(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        params.at_most(MAX_PARAMS)?;
        let asked: SetParams = params.parse()?;
        let Some(Value::Array(words)) = asked.triggers else {
            let message = "voicewake.set requires triggers: string[]";
            return Err(RpcError::invalid_request(message));
        };
        let words = voice::read_triggers(&words);
        let journal = &mut self.out.journal;
        voice::keep_triggers(&mut self.settings, journal, words.clone());
        self.note(now, conn, "voicewake.set", None, "triggers");
        self.tell_triggers();
        encode(&json!({ "triggers": words }))
    }

    pub(super) fn voicewake_routing_get(&self) -> Answer {
        encode(&json!({ "config": voice::routing(&self.settings) }))
    }

    pub(super) fn voicewake_routing_set(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        params.at_most(MAX_PARAMS)?;
        let SetRoutingParams { config } = params.parse()?;
        if !config.is_object() {
            let message = "voicewake.routing.set requires config: object";
            return Err(RpcError::invalid_request(message));
        }
        let routing = Routing::read(&config, now.wall);
        let answer = encode(&json!({ "config": routing }));
        let journal = &mut self.out.journal;
        voice::keep_routing(&mut self.settings, journal, routing);
        self.note(now, conn, "voicewake.set", None, "routing");
        self.tell_routing();
        answer
    }
}

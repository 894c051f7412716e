//! `device.scopes.*`: a connected device asks for more and waits for the answer (spec protocol
//! §6.9).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, Step, encode};
use crate::{
    gateway::{
        clients::Client,
        devices::{DeviceFacts, PairRequest, Resolution},
    },
    ids::{ConnId, RequestId},
    protocol::{ConnectCode, Role, RpcError},
    scope::{Scope, ScopeSet},
    server::Delivery,
    time::Now,
};

/// Scopes that one request may name.
const MAX_SCOPES: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpgradeParams {
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WaitParams {
    request_id: String,
}

/// A call that waits for the answer to a pairing request.
#[derive(Clone, Debug)]
pub(super) struct UpgradeWait {
    conn: ConnId,
    call: RequestId,
    request: String,
}

impl UpgradeWait {
    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }
}

impl Gateway {
    pub(super) fn scopes_request(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let UpgradeParams { scopes } = params.parse()?;
        if scopes.is_empty() || scopes.len() > MAX_SCOPES {
            return Err(params.error(&format!("scopes must name 1 to {MAX_SCOPES} scopes")));
        }
        if scopes.iter().any(|name| Scope::parse(name).is_none()) {
            let message = "requested scopes contain an unknown operator scope";
            return Err(RpcError::invalid_request(message));
        }
        let scopes = ScopeSet::parse(&scopes);
        let client = self.upgrader(conn)?;
        if !scopes.covers(&client.scopes) {
            let message = "requested scopes must include the connection's current scopes";
            return Err(RpcError::invalid_request(message));
        }
        let facts = DeviceFacts::of_client(&client.info, client.ip);
        let id = client.device_id.as_deref();
        let Some(device) = id.and_then(|id| self.devices.get(id)) else {
            return Err(device_required());
        };
        let new = PairRequest {
            request_id: String::new(),
            device_id: device.device_id.clone(),
            public_key: device.public_key.clone(),
            facts,
            role: Role::Operator,
            roles: vec![Role::Operator],
            scopes,
            is_repair: true,
            ts: now.wall,
        };
        let Some(asked) = self.file_request(now, new) else {
            return Err(RpcError::retry_later(
                "too many pairing requests wait for an answer",
                60_000,
            ));
        };
        self.note(
            now,
            conn,
            "device.scopes.requestUpgrade",
            None,
            &asked.request_id,
        );
        encode(&json!({ "requestId": asked.request_id }))
    }

    pub(super) fn scopes_wait(
        &mut self,
        conn: ConnId,
        call: &RequestId,
        params: Params<'_>,
    ) -> Step {
        let request = params.parse::<WaitParams>().and_then(|wait| {
            let own = self.upgrader(conn)?.device_id.clone();
            let asked = self.devices.request(wait.request_id.trim());
            asked
                .filter(|asked| own.as_deref() == Some(&asked.device_id))
                .map(|asked| asked.request_id.clone())
                .ok_or_else(|| RpcError::invalid_request("scope upgrade expired or not found"))
        });
        match request {
            Ok(request) => {
                self.calls.upgrades.push(UpgradeWait {
                    conn,
                    call: call.clone(),
                    request,
                });
                Step::Later
            }
            Err(error) => Step::Answer(Err(error)),
        }
    }

    /// Answers the calls that wait for a request.
    pub(in crate::gateway) fn answer_upgrades(
        &mut self,
        now: Now,
        request: &PairRequest,
        resolution: Resolution,
    ) {
        let waits: Vec<UpgradeWait> = self
            .calls
            .upgrades
            .extract_if(.., |wait| wait.request == request.request_id)
            .collect();
        if waits.is_empty() {
            return;
        }
        let mut answer = json!({ "status": resolution.as_str(), "requestId": request.request_id });
        if resolution == Resolution::Approved {
            let issued = self.devices.token_for(
                &mut self.out.journal,
                &mut self.rng,
                now.wall,
                (&request.device_id, request.role),
                &request.scopes,
                None,
            );
            if let (Some(issued), Value::Object(fields)) = (issued, &mut answer) {
                fields.insert("deviceToken".into(), issued.token.expose().into());
                fields.insert("scopes".into(), json!(request.scopes));
            }
        }
        for wait in waits {
            let outcome = encode(&answer);
            let id = wait.call;
            self.deliver(wait.conn, Delivery::Response { id, outcome });
        }
    }

    /// The caller, if it is an operator with a device.
    fn upgrader(&self, conn: ConnId) -> Result<&Client, RpcError> {
        self.client(conn)
            .filter(|client| client.role == Role::Operator && client.device_id.is_some())
            .ok_or_else(device_required)
    }
}

fn device_required() -> RpcError {
    RpcError::invalid_request(
        "a scope upgrade takes a paired device; connect with a device identity, then retry",
    )
    .with_details(json!({ "code": ConnectCode::DeviceIdentityRequired.as_str() }))
}

//! `device.token.*`: rotation and revocation (spec protocol §6.9).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, Parting, devices::unknown_device, encode};
use crate::{
    ids::ConnId,
    protocol::{Role, RpcError},
    scope::ScopeSet,
    time::Now,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RotateParams {
    device_id: String,
    role: Role,
    scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RevokeParams {
    device_id: String,
    role: Role,
}

impl Gateway {
    pub(super) fn device_token_rotate(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let RotateParams {
            device_id,
            role,
            scopes,
        } = params.parse()?;
        let device_id = device_id.trim();
        let manager = self.manager(conn)?;
        let deny = |gateway: &mut Self, why: &str| {
            gateway.note(now, conn, "device.token.rotate", Some(why), device_id);
            Err(RpcError::invalid_request("device token rotation denied"))
        };
        if !manager.may(device_id, role) {
            return deny(self, "not-allowed");
        }
        let Some(device) = self.devices.get(device_id) else {
            return Err(unknown_device());
        };
        if !device.holds(role) {
            return deny(self, "role-not-approved");
        }
        let current = device.tokens.get(&role).map(|token| token.scopes.clone());
        let scopes = match (role, scopes) {
            (Role::Node, _) => ScopeSet::NONE,
            (Role::Operator, Some(asked)) => ScopeSet::parse(&asked),
            (Role::Operator, None) => current.unwrap_or_else(|| device.scopes.clone()),
        };
        // Neither more than was approved, nor more than the caller has to give.
        if !device.scopes.covers(&scopes) {
            return deny(self, "scope-not-approved");
        }
        if !manager.holds(&scopes) {
            return deny(self, "missing-scope");
        }
        let rotated = self.devices.rotate(
            &mut self.out.journal,
            &mut self.rng,
            now.wall,
            (device_id, role),
            scopes.clone(),
        );
        let Some(token) = rotated else {
            return Err(unknown_device());
        };
        self.note(now, conn, "device.token.rotate", None, device_id);
        self.calls.part(Parting {
            device_id: device_id.into(),
            role: Some(role),
            reason: "client invalidated: device-token-rotated",
        });
        // A token is shown to the device itself, and to the owner of the gateway's files, who can
        // recover a device that way.
        let shown = manager.owns(device_id) || manager.is_owner;
        let mut answer = json!({
            "deviceId": device_id,
            "role": role,
            "scopes": scopes,
            "rotatedAtMs": now.wall,
            "tokenDelivery": if shown { "in-band" } else { "withheld-cross-device" },
        });
        if let (true, Value::Object(fields)) = (shown, &mut answer) {
            fields.insert("token".into(), token.expose().into());
        }
        encode(&answer)
    }

    pub(super) fn device_token_revoke(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let RevokeParams { device_id, role } = params.parse()?;
        let device_id = device_id.trim();
        if !self.manager(conn)?.may(device_id, role) {
            self.note(
                now,
                conn,
                "device.token.revoke",
                Some("not-allowed"),
                device_id,
            );
            return Err(RpcError::invalid_request("device token revocation denied"));
        }
        let journal = &mut self.out.journal;
        if !self.devices.revoke(journal, now.wall, (device_id, role)) {
            return Err(unknown_device());
        }
        self.note(now, conn, "device.token.revoke", None, device_id);
        self.calls.part(Parting {
            device_id: device_id.into(),
            role: Some(role),
            reason: "client invalidated: device-token-revoked",
        });
        encode(&json!({ "deviceId": device_id, "role": role, "revokedAtMs": now.wall }))
    }
}

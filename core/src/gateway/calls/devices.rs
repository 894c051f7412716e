//! `device.pair.*`: who is paired, who asks, and the answers (spec protocol §6.9).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, Parting, encode};
use crate::{
    gateway::{
        admission::Proof,
        audit::{AuditEntry, Verdict},
        clients::Client,
        devices::{ApprovedVia, Grant, PairRequest, PairedDevice, Resolution},
    },
    ids::ConnId,
    protocol::{Role, RpcCode, RpcError},
    scope::{Scope, ScopeSet},
    time::Now,
};

/// Characters that a label may have.
const MAX_LABEL: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestParams {
    request_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeviceParams {
    device_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RenameParams {
    device_id: String,
    label: String,
}

/// Whose devices a caller may manage.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    /// The device that it came in by, if it came by its own token: it manages only itself.
    own: Option<String>,
    scopes: ScopeSet,
    /// Whether it owns the gateway's files.
    pub(super) is_owner: bool,
}

impl Manager {
    pub(super) fn of(client: &Client) -> Self {
        let own = (client.proof == Proof::DeviceToken).then(|| client.device_id.clone());
        Self {
            own: own.flatten(),
            scopes: client.scopes.clone(),
            is_owner: client.proof == Proof::Owner,
        }
    }

    pub(super) fn is_admin(&self) -> bool {
        self.scopes.allows(Scope::Admin)
    }

    /// Whether it is a device itself.
    pub(super) fn is_device(&self) -> bool {
        self.own.is_some()
    }

    /// Whether a device is none of its business: it is a device itself, and another one.
    pub(super) fn is_barred_from(&self, device_id: &str) -> bool {
        self.is_device() && !self.owns(device_id) && !self.is_admin()
    }

    /// Whether a device is its own.
    pub(super) fn owns(&self, device_id: &str) -> bool {
        self.own.as_deref() == Some(device_id)
    }

    /// Whether it may act on a device in a role (spec protocol §6.9): everybody on the operator
    /// role, devices on themselves only, and administrators on all.
    pub(super) fn may(&self, device_id: &str, role: Role) -> bool {
        let is_other = self.own.is_some() && !self.owns(device_id);
        self.is_admin() || (!is_other && role == Role::Operator)
    }

    /// Whether it holds everything that it would give away.
    pub(super) fn holds(&self, scopes: &ScopeSet) -> bool {
        self.scopes.covers(scopes)
    }
}

impl Gateway {
    pub(super) fn manager(&self, conn: ConnId) -> Result<Manager, RpcError> {
        self.client(conn)
            .map(Manager::of)
            .ok_or_else(|| RpcError::new(RpcCode::Unavailable, "the connection is gone"))
    }

    pub(super) fn device_pair_list(&self, conn: ConnId, params: Params<'_>) -> Answer {
        params.none()?;
        let manager = self.manager(conn)?;
        let visible = |id: &str| manager.is_admin() || manager.own.is_none() || manager.owns(id);
        let pending: Vec<&PairRequest> = self
            .devices
            .requests()
            .filter(|request| visible(&request.device_id))
            .collect();
        let paired: Vec<Value> = self
            .devices
            .all()
            .filter(|device| visible(&device.device_id))
            .map(|device| self.describe(device))
            .collect();
        encode(&json!({ "pending": pending, "paired": paired }))
    }

    pub(super) fn device_pair_approve(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let RequestParams { request_id } = params.parse()?;
        let manager = self.manager(conn)?;
        let Some(request) = self.devices.request(request_id.trim()).cloned() else {
            return Err(unknown_request(&manager, "device pairing approval denied"));
        };
        let deny = |gateway: &mut Self, why: &str, message: String| {
            gateway.note(
                now,
                conn,
                "device.pair.approve",
                Some(why),
                &request.request_id,
            );
            Err(RpcError::invalid_request(message))
        };
        if !manager.may(&request.device_id, request.role) {
            let message = "device pairing approval denied (a device may approve only itself, and \
                           only administrators approve nodes)";
            return deny(self, "not-allowed", message.into());
        }
        if request.role == Role::Operator && !manager.holds(&request.scopes) {
            let message = format!(
                "device pairing approval denied: the approver does not hold {}; ask somebody who \
                 does, or run `clawgate devices approve {}` on the gateway's host",
                request.scopes.names().join(", "),
                request.request_id,
            );
            return deny(self, "missing-scope", message);
        }
        let is_new = self.devices.get(&request.device_id).is_none();
        let limit = self.setup.limits.max_devices;
        if is_new && self.devices.len() >= limit {
            let message = format!("there are {limit} paired devices already; remove some first");
            return deny(self, "too-many-devices", message);
        }
        let grant = Grant {
            role: request.role,
            scopes: request.scopes.clone(),
            commands: Vec::new(),
            via: ApprovedVia::Operator,
        };
        // It covers the request itself, which is answered with all others that it covers.
        let device = self.approve(
            now,
            (&request.device_id, &request.public_key),
            request.facts.clone(),
            grant,
        );
        self.note(now, conn, "device.pair.approve", None, &request.request_id);
        if request.is_repair && request.role == Role::Node {
            let device_id = request.device_id.clone();
            self.calls.part(Parting {
                device_id,
                role: Some(Role::Node),
                reason: "client invalidated: device-pairing-reapproved",
            });
        }
        encode(&json!({
            "requestId": request.request_id,
            "device": self.describe(&device),
        }))
    }

    pub(super) fn device_pair_reject(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let RequestParams { request_id } = params.parse()?;
        let manager = self.manager(conn)?;
        let Some(request) = self.devices.request(request_id.trim()).cloned() else {
            return Err(unknown_request(&manager, "device pairing rejection denied"));
        };
        if !manager.is_admin() && manager.own.is_some() && !manager.owns(&request.device_id) {
            self.note(
                now,
                conn,
                "device.pair.reject",
                Some("not-allowed"),
                &request.request_id,
            );
            return Err(RpcError::invalid_request("device pairing rejection denied"));
        }
        self.devices
            .drop_request(&mut self.out.journal, &request.request_id);
        self.note(now, conn, "device.pair.reject", None, &request.request_id);
        self.resolve(now, &request, Resolution::Rejected);
        encode(&json!({ "requestId": request.request_id, "deviceId": request.device_id }))
    }

    pub(super) fn device_pair_remove(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let DeviceParams { device_id } = params.parse()?;
        let device_id = device_id.trim();
        self.may_manage(now, conn, device_id, "device.pair.remove", "removal")?;
        let asked = self
            .devices
            .remove(&mut self.out.journal, device_id)
            .ok_or_else(unknown_device)?;
        for request in asked {
            self.resolve(now, &request, Resolution::Rejected);
        }
        self.forget_node(now, device_id);
        self.note(now, conn, "device.pair.remove", None, device_id);
        self.tell_pairing("device.pair.changed", &json!({}));
        self.calls.part(Parting {
            device_id: device_id.into(),
            role: None,
            reason: "client invalidated: device-pair-removed",
        });
        encode(&json!({ "deviceId": device_id }))
    }

    pub(super) fn device_pair_rename(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let RenameParams { device_id, label } = params.parse()?;
        let (device_id, label) = (device_id.trim(), label.trim());
        if label.is_empty() || label.chars().count() > MAX_LABEL {
            return Err(params.error(&format!("label must have 1 to {MAX_LABEL} characters")));
        }
        self.may_manage(now, conn, device_id, "device.pair.rename", "rename")?;
        let journal = &mut self.out.journal;
        if !self.devices.change(journal, device_id, |device| {
            device.operator_label = Some(label.into());
        }) {
            return Err(unknown_device());
        }
        self.note(now, conn, "device.pair.rename", None, device_id);
        self.tell_pairing("device.pair.changed", &json!({}));
        encode(&json!({ "deviceId": device_id, "label": label }))
    }

    /// Writes a decision of an operator down; with a reason, it was denied.
    pub(super) fn note(
        &mut self,
        now: Now,
        conn: ConnId,
        action: &'static str,
        denied: Option<&str>,
        subject: &str,
    ) {
        let verdict = if denied.is_some() {
            Verdict::Denied
        } else {
            Verdict::Allowed
        };
        let mut entry = AuditEntry::new(now, action, verdict);
        entry.reason = denied.map(Into::into);
        entry.subject = Some(subject.into());
        if let Some(client) = self.client(conn) {
            entry.via = Some(client.proof.name());
            entry.client = Some(client.info.id.as_str());
            entry.device = client.device_id.clone();
            entry.user = client.proof.user().map(Into::into);
            entry.from = (!client.ip.is_loopback()).then(|| client.ip.to_string());
        }
        self.audit.record(&mut self.out.journal, now, entry);
    }

    fn describe(&self, device: &PairedDevice) -> Value {
        let connected = self
            .clients()
            .any(|client| client.device_id.as_deref() == Some(&device.device_id));
        device.summary(connected)
    }

    /// Removal and renaming concern every role of a device. Only callers that are devices themselves
    /// are kept to their own (spec protocol §6.9): the official command line removes nodes with
    /// `operator.pairing` alone.
    fn may_manage(
        &mut self,
        now: Now,
        conn: ConnId,
        device_id: &str,
        action: &'static str,
        what: &str,
    ) -> Result<(), RpcError> {
        let manager = self.manager(conn)?;
        let is_node = self
            .devices
            .get(device_id)
            .is_some_and(|device| device.roles.contains(&Role::Node));
        let role = if is_node { Role::Node } else { Role::Operator };
        if manager.own.is_none() || manager.may(device_id, role) {
            return Ok(());
        }
        self.note(now, conn, action, Some("not-allowed"), device_id);
        Err(RpcError::invalid_request(format!(
            "device pairing {what} denied"
        )))
    }
}

/// Devices learn nothing about requests that are not theirs.
fn unknown_request(manager: &Manager, denied: &str) -> RpcError {
    RpcError::invalid_request(if manager.own.is_some() && !manager.is_admin() {
        denied
    } else {
        "unknown requestId"
    })
}

pub(super) fn unknown_device() -> RpcError {
    RpcError::invalid_request("unknown deviceId")
}

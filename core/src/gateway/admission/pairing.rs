//! What a device that proved its key gets: what it has, what is approved on the spot, or a request
//! for somebody to answer (spec protocol §3.6).

use serde_json::json;

use super::{
    decide::{Place, asked_scopes},
    proof::Proof,
    refusals,
};
use crate::{
    device::VerifiedDevice,
    frame::{Droppable, OutboundEvent, RawJson},
    gateway::{
        Gateway,
        audit::{AuditEntry, Verdict},
        devices::{
            ApprovedVia, Asked, DeviceFacts, Filed, Grant, PairRequest, PairedDevice,
            PairingReason, Plan, Program, Resolution, plan,
        },
    },
    protocol::{ClientId, ClientMode},
    scope::{Scope, ScopeSet},
    server::{ConnectRequest, Refusal},
    time::Now,
};

impl Gateway {
    /// The scopes of a device, or why it may not stay.
    pub(super) fn admit_device(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        device: &VerifiedDevice,
        proof: &Proof,
        place: &Place,
    ) -> Result<ScopeSet, Box<Refusal>> {
        let scopes = asked_scopes(request);
        let id = device.id.as_str();
        if let Proof::Invite(invite) = proof {
            return self.admit_invited(now, request, device, invite);
        }
        let client = &request.params.client;
        let asked = Asked {
            role: request.role,
            scopes: &scopes,
            platform: &client.platform,
            device_family: client.device_family.as_deref(),
            program: program_of(request),
            locality: place.locality,
            ingress: request.peer.ingress,
            has_origin: request.peer.has_origin(),
            method: proof.method(),
        };
        let policy = &self.setup.admission.pairing;
        match plan(self.devices.get(id), &asked, policy) {
            Plan::Known => {}
            Plan::Approve(via) => {
                let grant = Grant {
                    role: request.role,
                    scopes: scopes.clone(),
                    commands: Vec::new(),
                    via,
                };
                self.approve_on_the_spot(now, request, device, grant)?;
            }
            Plan::Ask(reason) => {
                return Err(self.ask_for(now, request, device, reason, &scopes).into());
            }
        }
        Ok(scopes)
    }

    fn admit_invited(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        device: &VerifiedDevice,
        invite: &str,
    ) -> Result<ScopeSet, Box<Refusal>> {
        let Some(terms) = self.invites.all().find(|open| open.invite_id == *invite) else {
            return Err(refusals::join_token_invalid().into());
        };
        let grant = Grant {
            role: terms.role,
            scopes: terms.scopes.clone(),
            commands: terms.commands.clone(),
            via: ApprovedVia::Invite,
        };
        // A join token never gives more than it was made for, whatever the client asks.
        let scopes = asked_scopes(request).capped(&grant.scopes);
        let id = device.id.as_str();
        let known = self.devices.get(id).filter(|known| known.holds(grant.role));
        let again = known.is_some() && terms.has_let_in(id);
        let complete = known.is_some_and(|known| {
            known.scopes.covers(&grant.scopes)
                && grant
                    .commands
                    .iter()
                    .all(|command| known.invited_commands.contains(command))
        });
        if !complete {
            self.approve_on_the_spot(now, request, device, grant)?;
        }
        if !again {
            self.invites
                .spend(&mut self.out.journal, now.wall, invite, id);
        }
        Ok(scopes)
    }

    fn approve_on_the_spot(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        device: &VerifiedDevice,
        grant: Grant,
    ) -> Result<(), Box<Refusal>> {
        let id = device.id.as_str();
        let limit = self.setup.limits.max_devices;
        if self.devices.get(id).is_none() && self.devices.len() >= limit {
            return Err(refusals::too_many_devices(limit).into());
        }
        let mut entry = AuditEntry::new(now, "device.pair.auto", Verdict::Allowed);
        entry.device = Some(id.into());
        entry.subject = Some(format!("{} via {:?}", grant.role.as_str(), grant.via));
        entry.from = DeviceFacts::of(request).remote_ip;
        self.audit.record(&mut self.out.journal, now, entry);
        let key = device.wire_key();
        self.approve(now, (id, &key), DeviceFacts::of(request), grant);
        self.tell_pairing("device.pair.changed", &json!({}));
        Ok(())
    }

    /// Approves a device, and answers whatever it had asked for and has now.
    pub(in crate::gateway) fn approve(
        &mut self,
        now: Now,
        device: (&str, &str),
        facts: DeviceFacts,
        grant: Grant,
    ) -> PairedDevice {
        let journal = &mut self.out.journal;
        let (device, answered) = self
            .devices
            .approve(journal, now.wall, device, facts, grant);
        for request in answered {
            self.resolve(now, &request, Resolution::Approved);
        }
        device
    }

    /// Writes the request down, tells those who can answer, and gives the refusal that names it.
    fn ask_for(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        device: &VerifiedDevice,
        reason: PairingReason,
        scopes: &ScopeSet,
    ) -> Refusal {
        let id = device.id.as_str();
        let known = self.devices.get(id);
        let new = PairRequest {
            request_id: String::new(),
            device_id: id.into(),
            public_key: device.wire_key(),
            facts: DeviceFacts::of(request),
            role: request.role,
            roles: vec![request.role],
            scopes: scopes.clone(),
            is_repair: known.is_some(),
            ts: now.wall,
        };
        match self.file_request(now, new) {
            Some(asked) => {
                let known = self.devices.get(id);
                refusals::pairing_required(reason, &asked, known, program_of(request))
            }
            None => refusals::too_many_requests(self.setup.limits.max_pair_requests),
        }
    }

    /// Has a device wait for an answer, and tells those who can give it. What is said of it waits
    /// until it is durable. Gives nothing when too many wait.
    pub(in crate::gateway) fn file_request(
        &mut self,
        now: Now,
        new: PairRequest,
    ) -> Option<PairRequest> {
        let limit = self.setup.limits.max_pair_requests;
        let journal = &mut self.out.journal;
        let request = match self.devices.file(journal, &mut self.rng, now, new, limit) {
            Filed::Full => return None,
            Filed::New(request, replaced) => {
                for old in replaced {
                    self.resolve(now, &old, Resolution::Rejected);
                }
                self.tell_pairing("device.pair.requested", &request);
                request
            }
            Filed::Same(request) => request,
        };
        self.out
            .lean_on(self.devices.unsettled(&request.request_id));
        Some(request)
    }

    /// Tells operators that may pair what became of a request, and the device if it waits for it.
    pub(in crate::gateway) fn resolve(
        &mut self,
        now: Now,
        request: &PairRequest,
        resolution: Resolution,
    ) {
        self.answer_upgrades(now, request, resolution);
        self.tell_pairing(
            "device.pair.resolved",
            &json!({
                "requestId": request.request_id,
                "deviceId": request.device_id,
                "decision": resolution.as_str(),
                "ts": now.wall,
            }),
        );
    }

    /// An event for operators that may pair.
    pub(in crate::gateway) fn tell_pairing<T: serde::Serialize>(
        &mut self,
        name: &'static str,
        payload: &T,
    ) {
        if let Ok(payload) = RawJson::encode(payload) {
            let event = OutboundEvent::new(name, &payload, None, Droppable::IfSlow);
            self.broadcast(&event, Some(Scope::Pairing));
        }
    }
}

fn program_of(request: &ConnectRequest) -> Program {
    let client = &request.params.client;
    let native = matches!(
        client.id,
        ClientId::OpenclawAndroid
            | ClientId::OpenclawIos
            | ClientId::OpenclawLinux
            | ClientId::OpenclawMacos
    );
    if client.id.is_browser() || client.mode == ClientMode::Webchat {
        Program::Browser
    } else if native && client.mode == ClientMode::Ui {
        Program::NativeUi
    } else {
        Program::Other
    }
}

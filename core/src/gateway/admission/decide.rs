//! The decision on a `connect`.

use super::{
    proof::{Denied, Proof, presented_device_token},
    refusals,
};
use crate::{
    gateway::{
        Effect, Gateway, Phase,
        audit::{AuditEntry, Verdict},
        clients::Client,
        devices::{DeviceFacts, IssuedToken},
    },
    ids::ConnId,
    policy::{ClientKind, PairingLocality, SharedSecretProof, Whois},
    protocol::{ClientId, ClientMode, CloseCode, ConnectCode, Role, RpcError},
    scope::ScopeSet,
    server::{Admission, ConnectRequest, Delivery, Refusal},
    time::Now,
};

/// A header of the upgrade that narrows what the client may ask for.
const SCOPES_HEADER: &str = "x-openclaw-scopes";

/// How near a client is, and which of the programs that may come without a device it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) locality: PairingLocality,
    pub(super) deviceless: Deviceless,
}

/// Programs that keep their scopes without a device (spec protocol §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deviceless {
    /// `gateway-client` as `backend`, on this machine.
    Backend,
    /// `cli` as `cli`, on this machine.
    Cli,
    /// None of them.
    No,
}

/// The scopes that a client asks for, within the cap that its proxy sets.
pub(super) fn asked_scopes(request: &ConnectRequest) -> ScopeSet {
    let asked = ScopeSet::parse(&request.params.scopes);
    match (request.role, request.peer.headers.get(SCOPES_HEADER)) {
        (Role::Node, _) => ScopeSet::NONE,
        (Role::Operator, None) => asked,
        (Role::Operator, Some(cap)) => {
            let cap: Vec<&str> = cap.split(',').map(str::trim).collect();
            asked.capped(&ScopeSet::parse(&cap))
        }
    }
}

impl Gateway {
    /// Begins the decision. It may have to wait for what Tailscale says.
    pub(in crate::gateway) fn connect(
        &mut self,
        now: Now,
        conn: ConnId,
        request: Box<ConnectRequest>,
    ) {
        let Some(ip) = self.whois_wanted(&request) else {
            return self.conclude(now, conn, &request, &Whois::Unknown);
        };
        if let Some(known) = self.whois.known(now.mono, ip) {
            return self.conclude(now, conn, &request, &known);
        }
        let (out, deadline) = (&mut self.out, now.mono + self.setup.limits.effect);
        self.whois.wait(ip, (conn, request), || {
            (out.effect(Effect::Whois(ip)), deadline)
        });
    }

    /// Decides, and tells the client.
    pub(in crate::gateway) fn conclude(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &ConnectRequest,
        whois: &Whois,
    ) {
        match self.decide(now, conn, request, whois) {
            Ok((client, admission)) => {
                let device = client.device_id.clone();
                let is_node = client.role == Role::Node;
                self.admitted(now, conn, client);
                // What it is let in for was perhaps approved a moment ago.
                let changed = device.and_then(|id| self.devices.unsettled(&id));
                self.out.lean_on(changed);
                self.out.deliver(conn, Delivery::Admit(Box::new(admission)));
                if is_node {
                    self.node_connected(now, conn, request);
                    self.greet_node(conn);
                }
            }
            Err(Denied { refusal, delay }) => {
                self.note_denied(now, request, &refusal);
                if delay.is_zero() {
                    self.out.deliver(conn, Delivery::Refuse(refusal));
                } else {
                    self.late.insert((now.mono + delay, conn), refusal);
                }
            }
        }
    }

    fn decide(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &ConnectRequest,
        whois: &Whois,
    ) -> Result<(Client, Admission), Denied> {
        if self.phase != Phase::Running {
            return Err(refusals::stopping().into());
        }
        let proof = self.authenticate(now, request, whois)?;
        let scopes = self
            .grant(now, request, &proof)
            .map_err(|refusal| Denied::from(*refusal))?;
        let token = self.issue(now, request, &proof, &scopes);
        self.note_allowed(now, request, &proof);
        let params = &request.params;
        let device_id = request
            .device
            .as_ref()
            .map(|device| device.id.as_str().to_owned());
        let client = Client {
            role: request.role,
            scopes: scopes.clone(),
            presence_key: (!params.client.mode.is_ephemeral())
                .then(|| device_id.clone().unwrap_or_else(|| conn.to_string())),
            info: params.client.clone(),
            ip: request.peer.client_ip(),
            proof,
            device_id,
            caps: params.caps.clone(),
            since: now.wall,
            calls: Vec::new(),
        };
        let hello = self.hello(now, request, &client, token);
        let hello = hello.encode().map_err(|_| {
            let error = RpcError::retry_later("the gateway could not describe itself", 1_000);
            Denied::from(Refusal::new(error, CloseCode::Internal))
        })?;
        Ok((
            client,
            Admission {
                role: request.role,
                scopes,
                hello,
            },
        ))
    }

    /// The scopes of an authenticated client, or why it may not stay.
    fn grant(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        proof: &Proof,
    ) -> Result<ScopeSet, Box<Refusal>> {
        let place = place_of(request, proof);
        let skips = skips_pairing(request, proof);
        match &request.device {
            Some(_) if skips || place.deviceless == Deviceless::Backend => {
                Ok(asked_scopes(request))
            }
            Some(device) => self.admit_device(now, request, device, proof, &place),
            None => without_device(request, proof, place),
        }
    }

    /// The device token that goes out with `hello-ok` (spec protocol §3.6).
    fn issue(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        proof: &Proof,
        scopes: &ScopeSet,
    ) -> Option<IssuedToken> {
        let device = request.device.as_ref()?;
        let paired = self.devices.get(device.id.as_str())?;
        let approved = paired.holds(request.role)
            && (request.role == Role::Node || paired.scopes.covers(scopes));
        // A proxy's users come by the proxy, and not around it with a token.
        if !approved || matches!(proof, Proof::Proxy(_)) {
            return None;
        }
        self.devices.token_for(
            &mut self.out.journal,
            &mut self.rng,
            now.wall,
            (device.id.as_str(), request.role),
            scopes,
            presented_device_token(request).as_ref(),
        )
    }

    fn note_allowed(&mut self, now: Now, request: &ConnectRequest, proof: &Proof) {
        let mut entry = entry_for(now, request, Verdict::Allowed);
        entry.via = Some(proof.name());
        entry.user = proof.user().map(Into::into);
        self.audit.record(&mut self.out.journal, now, entry);
    }

    fn note_denied(&mut self, now: Now, request: &ConnectRequest, refusal: &Refusal) {
        let mut entry = entry_for(now, request, Verdict::Denied);
        let detail = |name: &str| refusal.error.details.as_ref()?.get(name)?.as_str();
        entry.reason = Some(
            detail("authReason")
                .or_else(|| detail("reason"))
                .or_else(|| detail("code"))
                .unwrap_or("unavailable")
                .into(),
        );
        entry.subject = detail("requestId").map(Into::into);
        self.audit.record(&mut self.out.journal, now, entry);
    }
}

fn entry_for(now: Now, request: &ConnectRequest, verdict: Verdict) -> AuditEntry {
    let mut entry = AuditEntry::new(now, "connect", verdict);
    entry.client = Some(request.params.client.id.as_str());
    entry.device = request
        .device
        .as_ref()
        .map(|device| device.id.as_str().into());
    entry.from = DeviceFacts::of(request)
        .remote_ip
        .or_else(|| Some(request.peer.ingress.as_str().into()));
    entry
}

fn place_of(request: &ConnectRequest, proof: &Proof) -> Place {
    let client = &request.params.client;
    let kind = match (client.id, client.mode) {
        (ClientId::Cli, ClientMode::Cli) => ClientKind::Cli,
        (id, mode) if id.is_browser() || mode == ClientMode::Webchat => ClientKind::Browser,
        (_, _) => ClientKind::Other,
    };
    let shared = match proof {
        Proof::Shared(..) => SharedSecretProof::Proven,
        Proof::DeviceToken
        | Proof::Invite(_)
        | Proof::Open
        | Proof::Owner
        | Proof::Proxy(_)
        | Proof::Tailscale(_) => SharedSecretProof::Missing,
    };
    let peer = &request.peer;
    let locality = PairingLocality::classify(peer.ingress, peer.ip, &peer.headers, kind, shared);
    let is_shared = matches!(proof, Proof::Shared(..) | Proof::Owner);
    let backend = matches!(
        proof,
        Proof::Shared(..) | Proof::Open | Proof::DeviceToken | Proof::Owner
    );
    let deviceless = match (client.id, client.mode, locality) {
        _ if peer.has_origin() || request.role != Role::Operator => Deviceless::No,
        (
            ClientId::GatewayClient,
            ClientMode::Backend,
            PairingLocality::DirectLocal | PairingLocality::SharedSecretLoopbackLocal,
        ) if backend => Deviceless::Backend,
        (
            ClientId::Cli,
            ClientMode::Cli,
            PairingLocality::DirectLocal | PairingLocality::CliContainerLocal,
        ) if is_shared => Deviceless::Cli,
        (_, _, _) => Deviceless::No,
    };
    Place {
        locality,
        deviceless,
    }
}

/// The Control UI is vouched for by whoever named its user, or by nobody where nothing is asked
/// for.
fn skips_pairing(request: &ConnectRequest, proof: &Proof) -> bool {
    request.role == Role::Operator
        && request.params.client.id == ClientId::OpenclawControlUi
        && matches!(proof, Proof::Proxy(_) | Proof::Tailscale(_) | Proof::Open)
}

/// A client without a device (spec protocol §3.5).
fn without_device(
    request: &ConnectRequest,
    proof: &Proof,
    place: Place,
) -> Result<ScopeSet, Box<Refusal>> {
    let control_ui = request.params.client.id == ClientId::OpenclawControlUi;
    if request.role == Role::Node {
        return Err(refusals::device_required().into());
    }
    if control_ui && matches!(proof, Proof::Proxy(_)) {
        // What the proxy's user may do is the proxy's to say, by its header.
        return Ok(ScopeSet::NONE);
    }
    if control_ui {
        return Err(Refusal::invalid(
            ConnectCode::ControlUiDeviceIdentityRequired,
            "control ui requires device identity (use HTTPS or localhost secure context)",
        )
        .into());
    }
    match (proof, place.deviceless) {
        (Proof::Owner, _) | (_, Deviceless::Backend | Deviceless::Cli) => Ok(asked_scopes(request)),
        (Proof::Shared(..) | Proof::Proxy(_), Deviceless::No) => Ok(ScopeSet::NONE),
        (Proof::DeviceToken | Proof::Invite(_) | Proof::Open | Proof::Tailscale(_), _) => {
            Err(refusals::device_required().into())
        }
    }
}

//! The verdicts, written down from the spec and not from the code.

use std::collections::BTreeSet;

use clawgate_core::protocol::Role;

use crate::cells::{Cell, Credential as C, Identity as I, Mode, Peer, Surface};

/// What becomes of a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    In {
        method: String,
        /// Everything that it may do.
        scopes: BTreeSet<String>,
        /// Whether it gets a device token.
        token: bool,
    },
    /// The detail code, and the reason where there is one.
    Out(String),
}

const READ: &str = "operator.read";
const ADMIN: &str = "operator.admin";
const ORIGIN: &str = "CONTROL_UI_ORIGIN_NOT_ALLOWED: origin ";
const NO_DEVICE: &str = "DEVICE_IDENTITY_REQUIRED";

/// All that scopes allow (spec protocol §4).
pub fn widen(scopes: &[&str]) -> BTreeSet<String> {
    let more = |scope: &str| -> &[&str] {
        match scope {
            ADMIN => &[
                "operator.approvals",
                "operator.pairing",
                "operator.questions",
                READ,
                "operator.sessions.read",
                "operator.sessions.write",
                "operator.talk",
                "operator.talk.secrets",
                "operator.write",
            ],
            READ => &["operator.sessions.read"],
            _ => &[],
        }
    };
    scopes
        .iter()
        .flat_map(|scope| more(scope).iter().chain([scope]))
        .map(|scope| (*scope).to_owned())
        .collect()
}

/// Where a request comes from (spec protocol §1.3; spec hostpolicy §5, attribution).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Loopback, and nothing says that it was forwarded.
    Here,
    There,
    /// A trusted proxy names the client.
    Behind,
    Tailnet,
    Internet,
    Owner,
    /// It looks forwarded, and nobody who may say so names the client.
    Nowhere,
}

fn place(cell: Cell) -> Place {
    match cell.peer {
        Peer::Owner => Place::Owner,
        Peer::Serve => Place::Tailnet,
        Peer::Funnel => Place::Internet,
        Peer::Proxy | Peer::ProxyWithoutRequired | Peer::OwnAddressProxy | Peer::LoopbackProxy => {
            Place::Behind
        }
        Peer::ProxyWithoutClient | Peer::SpoofedRemote | Peer::SpoofedLocal | Peer::ServeMarked => {
            Place::Nowhere
        }
        // Tailscale's headers count on Serve's own port alone; elsewhere they are a pretence.
        _ if cell.credential.is_login() => Place::Nowhere,
        Peer::Local
        | Peer::LocalOther
        | Peer::LocalV6
        | Peer::LocalMapped
        | Peer::LoopbackProxySilent => Place::Here,
        Peer::Lan | Peer::Remote | Peer::RemoteMapped => Place::There,
    }
}

/// How a client proved itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Open,
    Owner,
    /// `token` or `password`.
    Shared(&'static str),
    User,
    Login,
    Join,
    Own,
}

impl Proof {
    fn method(self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::Owner => "owner",
            Self::Shared(kind) => kind,
            Self::User => "trusted-proxy",
            Self::Login => "tailscale",
            Self::Join => "bootstrap-token",
            Self::Own => "device-token",
        }
    }
}

pub fn verdict(cell: Cell) -> Verdict {
    let place = place(cell);
    let proof = match place {
        // Whoever owns the files owns the gateway (issue, *No deadlocks*).
        Place::Owner => Ok(Proof::Owner),
        _ => page(cell, place).and_then(|()| proof(cell, place)),
    };
    match proof.and_then(|proof| grant(cell, place, proof)) {
        Ok(verdict) => verdict,
        Err(refusal) => Verdict::Out(refusal),
    }
}

/// Spec hostpolicy §4, and spec protocol §1.2 for the clients that it concerns.
fn page(cell: Cell, place: Place) -> Result<(), String> {
    match cell.surface {
        // No `Origin`, and not of a browser.
        Surface::Cli | Surface::Backend | Surface::Native | Surface::Node | Surface::Probe => {
            Ok(())
        }
        // Listed.
        Surface::Page | Surface::ContainerPage | Surface::PosingCli => Ok(()),
        // A page of loopback, for a client of loopback.
        Surface::LoopbackPage if place == Place::Here => Ok(()),
        Surface::LoopbackPage | Surface::ForeignPage => Err(format!("{ORIGIN}not allowed")),
        Surface::NoOrigin => Err(format!("{ORIGIN}missing or invalid")),
    }
}

/// Spec hostpolicy §5 and spec protocol §3.5.
fn proof(cell: Cell, place: Place) -> Result<Proof, String> {
    if place == Place::Nowhere {
        return Err("AUTH_UNAUTHORIZED: proxy_attribution_required".into());
    }
    let refusal = match cell.mode {
        Mode::None => return Ok(Proof::Open),
        Mode::Token { tailscale } => shared(cell, place, "token", tailscale),
        Mode::Password { tailscale } => shared(cell, place, "password", tailscale),
        Mode::Proxy { loopback, password } => by_proxy(cell, place, loopback, password),
    };
    let refusal = match refusal {
        Ok(proof) => return Ok(proof),
        Err(refusal) => refusal,
    };
    if !cell.identity.has_device() {
        // With nothing shown, a device is asked for.
        let nothing = refusal.ends_with("_missing") && !refusal.contains("trusted_proxy");
        return Err(if nothing { NO_DEVICE.into() } else { refusal });
    }
    let has_token = matches!(cell.identity, I::Paired | I::Narrow | I::OtherKind);
    match cell.credential {
        C::Join => Ok(Proof::Join),
        C::JoinWrong | C::JoinUsed | C::JoinOtherRole | C::JoinEnded => {
            Err("AUTH_BOOTSTRAP_TOKEN_INVALID: bootstrap_token_invalid".into())
        }
        // A device token is for its device, its role, and no more scopes than it was made for.
        C::Own | C::OwnInTokenField | C::WrongAndOwn if has_token => {
            if cell.identity == I::Narrow {
                Err("AUTH_SCOPE_MISMATCH: scope_mismatch".into())
            } else {
                Ok(Proof::Own)
            }
        }
        C::Own | C::WrongAndOwn | C::OwnWrong | C::Stolen => {
            Err("AUTH_DEVICE_TOKEN_MISMATCH: device_token_mismatch".into())
        }
        _ => Err(refusal),
    }
}

/// The modes `token` and `password`: the value counts in either field (spec decisions), and the one
/// before as long as its grace lasts.
fn shared(cell: Cell, place: Place, kind: &'static str, tailscale: bool) -> Result<Proof, String> {
    let refusal = |problem: &str| {
        let code = format!("AUTH_{}_{}", kind, problem).to_uppercase();
        Err(format!("{code}: {kind}_{problem}"))
    };
    match cell.credential {
        C::Shared | C::SharedOtherField | C::Previous => Ok(Proof::Shared(kind)),
        C::SharedWrong | C::PreviousEnded | C::OwnInTokenField | C::WrongAndOwn => {
            refusal("mismatch")
        }
        // Serve only, never Funnel, and only what Tailscale confirms.
        C::Login if tailscale && place == Place::Tailnet => Ok(Proof::Login),
        _ => refusal("missing"),
    }
}

/// The mode `trusted-proxy`: the checks in the order of the spec; a password is for this machine.
fn by_proxy(cell: Cell, place: Place, loopback: bool, password: bool) -> Result<Proof, String> {
    let refusal = match cell.peer {
        Peer::LoopbackProxy | Peer::LoopbackProxySilent if !loopback => "loopback_source",
        // It names a user, and no client (spec decisions, trusted-proxy).
        Peer::LoopbackProxySilent if cell.credential == C::User => {
            return Err("AUTH_UNAUTHORIZED: proxy_attribution_required".into());
        }
        Peer::OwnAddressProxy => "local_interface_source",
        Peer::ProxyWithoutRequired => "missing_header_x-edge",
        Peer::Proxy | Peer::LoopbackProxy | Peer::LoopbackProxySilent => match cell.credential {
            C::User => return Ok(Proof::User),
            C::Stranger => "user_not_allowed",
            _ => "user_missing",
        },
        _ => "untrusted_source",
    };
    if password && place == Place::Here {
        match cell.credential {
            C::Shared | C::Previous => return Ok(Proof::Shared("password")),
            C::SharedWrong | C::PreviousEnded | C::WrongAndOwn => {
                return Err("AUTH_PASSWORD_MISMATCH: password_mismatch".into());
            }
            _ => {}
        }
    }
    Err(format!("AUTH_UNAUTHORIZED: trusted_proxy_{refusal}"))
}

/// What a client that proved itself gets (spec protocol §3.5 and §3.6).
fn grant(cell: Cell, place: Place, proof: Proof) -> Result<Verdict, String> {
    let local = matches!(place, Place::Here | Place::Owner);
    let has_origin = cell.surface.page().is_some();
    let node = cell.surface.role() == Role::Node;
    let is_shared = matches!(proof, Proof::Shared(_) | Proof::Owner);
    // The two programs that keep their scopes without a device.
    let backend = cell.surface == Surface::Backend
        && local
        && (is_shared || matches!(proof, Proof::Open | Proof::Own));
    let cli = cell.surface == Surface::Cli && local && is_shared;
    let asked = match (node, cell.identity) {
        (true, _) => vec![],
        (false, I::Narrow) => vec![ADMIN],
        (false, _) => vec![READ],
    };
    let enter = |scopes: &[&str], token: bool| {
        Ok(Verdict::In {
            method: proof.method().into(),
            scopes: widen(scopes),
            token,
        })
    };
    if !cell.identity.has_device() {
        return match proof {
            _ if node => Err(NO_DEVICE.into()),
            Proof::User if cell.surface.is_control_ui() => enter(&[], false),
            _ if cell.surface.is_control_ui() => Err("CONTROL_UI_DEVICE_IDENTITY_REQUIRED".into()),
            Proof::Owner => enter(&asked, false),
            _ if backend || cli => enter(&asked, false),
            Proof::Shared(_) | Proof::User => enter(&[], false),
            Proof::Open | Proof::Login | Proof::Join | Proof::Own => Err(NO_DEVICE.into()),
        };
    }
    let approved = matches!(cell.identity, I::Paired | I::OtherKind);
    // Whose user is named by somebody else needs no approval for a page of the operator's own.
    let vouched =
        cell.surface.is_control_ui() && matches!(proof, Proof::User | Proof::Login | Proof::Open);
    // A proxy's users get no way around the proxy.
    let with_token = proof != Proof::User;
    if vouched || backend {
        return enter(&asked, approved && with_token);
    }
    if proof == Proof::Join {
        // Never more than it was made for.
        return enter(if node { &[] } else { &[READ] }, true);
    }
    let lacks = match cell.identity {
        I::None | I::Paired => return enter(&asked, with_token),
        I::Fresh => "not-paired",
        I::Narrow => "scope-upgrade",
        I::OtherRole | I::Revoked => "role-upgrade",
        I::OtherKind => "metadata-upgrade",
    };
    // A page of a container counts as near, with the secret, from a private network.
    let container = cell.surface == Surface::ContainerPage
        && cell.peer == Peer::Lan
        && matches!(proof, Proof::Shared(_));
    let near = local || container;
    let program = !has_origin || cell.surface.is_control_ui();
    let known_node = node && cell.identity != I::Fresh;
    let silent = match lacks {
        "scope-upgrade" => is_shared || proof == Proof::Open,
        "metadata-upgrade" => cell.surface == Surface::Native,
        _ => true,
    };
    if near && program && !known_node && silent {
        enter(&asked, with_token)
    } else {
        Err(format!("PAIRING_REQUIRED: {lacks}"))
    }
}

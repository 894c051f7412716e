//! Who takes part, and what each may expect.

use std::{net::IpAddr, sync::Arc};

use clawgate_core::{
    client::{Profile, Route, Target},
    device::DeviceIdentity,
    policy::{Endpoint, Scheme},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode, Role},
    secret::Secret,
};

/// What the gateway asks for.
pub const TOKEN: &str = "right-5ecret-token";
const WRONG_TOKEN: &str = "wrong-5ecret-token";
/// Stands in the gateway's configuration file.
pub const CONFIG_SECRET: &str = "config-5ecret-password";
/// Part of every secret, and of nothing else.
pub const SECRET_MARK: &str = "5ecret";

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A `Session`, for the whole run.
    Lasting,
    /// A `ClientConn`, dialled when the script says so.
    Once,
    /// No machine of ours: what the script says goes out as it is.
    Raw,
}

/// What becomes of a client's `connect`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    In,
    /// Refused for good, with this detail code.
    Paused(&'static str),
}

/// What a client may see and do, once it is in.
#[derive(Clone)]
pub struct Rights {
    pub role: Role,
    pub scopes: Vec<&'static str>,
}

impl Rights {
    /// Whether an operator's scopes are enough. Written out again, apart from the core's table.
    pub fn allow(&self, scope: &str) -> bool {
        let has = |held: &str| self.scopes.contains(&held);
        self.role == Role::Operator
            && (has("operator.admin")
                || has(scope)
                || scope == "operator.read" && has("operator.write"))
    }
}

/// One member of the cast.
#[derive(Clone)]
pub struct Card {
    pub name: &'static str,
    pub manner: Manner,
    pub ip: IpAddr,
    pub profile: Profile,
    pub auth: AuthParams,
    pub fate: Fate,
    pub rights: Rights,
    /// Whether it has a row in the presence table, and under which name.
    pub row: Option<String>,
}

impl Card {
    fn operator(
        name: &'static str,
        (id, mode): (ClientId, ClientMode),
        scopes: &[&'static str],
    ) -> Self {
        let info = ClientInfo::new(id, mode, "1.0.0", "linux");
        let asked = scopes.iter().map(|scope| (*scope).into()).collect();
        Self {
            name,
            manner: Manner::Lasting,
            ip: [127, 0, 0, 1].into(),
            profile: Profile::operator(info, asked),
            auth: token(TOKEN),
            fate: Fate::In,
            rights: Rights {
                role: Role::Operator,
                scopes: scopes.to_vec(),
            },
            row: None,
        }
    }

    fn with_device(mut self, seed: u8) -> Self {
        let identity = DeviceIdentity::from_seed(&[seed; 32]);
        self.row = Some(identity.id().as_str().into());
        self.profile.device = Some(Arc::new(identity));
        self
    }

    fn from(mut self, ip: [u8; 4]) -> Self {
        self.ip = ip.into();
        self
    }

    fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    pub fn target(&self) -> Target {
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
        Target::new(route, self.auth.clone(), None)
    }

    /// The one secret that this client may send.
    pub fn secret(&self) -> &str {
        self.auth.signed_secret()
    }
}

fn token(token: &str) -> AuthParams {
    AuthParams {
        token: Some(Secret::new(token)),
        ..AuthParams::default()
    }
}

const CLI: (ClientId, ClientMode) = (ClientId::Cli, ClientMode::Cli);
const UI: (ClientId, ClientMode) = (ClientId::OpenclawMacos, ClientMode::Ui);

pub fn admin() -> Card {
    Card::operator("admin", CLI, &["operator.admin"])
}

pub fn reader() -> Card {
    Card::operator("reader", UI, &["operator.read"]).with_device(11)
}

/// Another connection of the reader's device.
pub fn twin() -> Card {
    Card::operator("twin", UI, &["operator.read"]).with_device(11)
}

pub fn pairer() -> Card {
    Card::operator("pairer", CLI, &["operator.pairing"])
}

/// Comes for a call and goes.
pub fn caller() -> Card {
    let backend = (ClientId::GatewayClient, ClientMode::Backend);
    Card::operator("caller", backend, &["operator.write"]).manner(Manner::Once)
}

pub fn node() -> Card {
    let info = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1.0.0", "linux");
    let card = Card::operator("node", CLI, &[]).with_device(12);
    let device = card.profile.device.clone().unwrap();
    Card {
        profile: Profile::node(info, device),
        rights: Rights {
            role: Role::Node,
            scopes: Vec::new(),
        },
        ..card
    }
}

/// Speaks by hand, also what no client would say.
pub fn raw() -> Card {
    Card::operator("raw", CLI, &["operator.read"]).manner(Manner::Raw)
}

/// The same as a probe, which gets no scopes without a device.
pub fn raw_probe() -> Card {
    let probe = (ClientId::Cli, ClientMode::Probe);
    let mut card = Card::operator("raw", probe, &["operator.read"]).manner(Manner::Raw);
    card.rights.scopes = Vec::new();
    card
}

/// Has the token and comes from elsewhere without a device: it is in, and may do nothing.
pub fn guest() -> Card {
    let mut card = Card::operator("guest", UI, &["operator.admin"]).from([10, 0, 0, 5]);
    card.rights.scopes = Vec::new();
    card
}

pub fn stranger() -> Card {
    let mut card = Card::operator("stranger", CLI, &["operator.admin"]).from([10, 0, 0, 6]);
    card.auth = token(WRONG_TOKEN);
    card.fate = Fate::Paused("AUTH_TOKEN_MISMATCH");
    card
}

/// A device that nobody paired.
pub fn unpaired() -> Card {
    let mut card = Card::operator("unpaired", UI, &["operator.read"])
        .with_device(13)
        .from([10, 0, 0, 7]);
    card.fate = Fate::Paused("PAIRING_REQUIRED");
    card
}

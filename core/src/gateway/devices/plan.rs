//! Whether a device that proved its key may come in, may be let in without asking, or has to be
//! asked for (spec protocol §3.6).

use core::net::IpAddr;

use super::record::{ApprovedVia, PairedDevice};
use crate::{
    policy::{Ingress, PairingLocality, TrustedProxies},
    protocol::{AuthMethod, Role},
    scope::ScopeSet,
};

/// Whether devices on this machine are let in without asking
/// (`gateway.nodes.pairing.autoApproveLocal`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalApproval {
    /// They are asked for as all others.
    Ask,
    /// They come in, as the spec allows.
    #[default]
    Silent,
}

/// What is approved without asking.
#[derive(Clone, Debug, Default)]
pub struct PairingPolicy {
    /// Devices on this machine.
    pub local: LocalApproval,
    /// Networks from which new nodes are let in (`gateway.nodes.pairing.autoApproveCidrs`).
    pub node_networks: TrustedProxies,
}

/// Why a device needs an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairingReason {
    /// It says that it is another kind of machine than before.
    MetadataUpgrade,
    /// It is unknown.
    NotPaired,
    /// It asks for a role that it does not have.
    RoleUpgrade,
    /// It asks for scopes that it does not have.
    ScopeUpgrade,
}

impl PairingReason {
    /// `details.reason`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::MetadataUpgrade => "metadata-upgrade",
            Self::NotPaired => "not-paired",
            Self::RoleUpgrade => "role-upgrade",
            Self::ScopeUpgrade => "scope-upgrade",
        }
    }

    /// The end of the message.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::MetadataUpgrade => "device identity changed and must be approved again",
            Self::NotPaired => "device is not approved yet",
            Self::RoleUpgrade => "device is asking for a higher role than it has",
            Self::ScopeUpgrade => "device is asking for more scopes than it has",
        }
    }
}

/// The kind of program, as far as approval without asking cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The Control UI or web chat.
    Browser,
    /// The window of a native app.
    NativeUi,
    /// Anything else.
    Other,
}

/// Everything that the plan depends on.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) role: Role,
    pub(crate) scopes: &'a ScopeSet,
    pub(crate) platform: &'a str,
    pub(crate) device_family: Option<&'a str>,
    pub(crate) program: Program,
    pub(crate) locality: PairingLocality,
    pub(crate) ingress: Ingress,
    pub(crate) has_origin: bool,
    pub(crate) method: Option<AuthMethod>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Approve it on the spot.
    Approve(ApprovedVia),
    /// An operator has to decide.
    Ask(PairingReason),
    /// It has everything that it asks for.
    Known,
}

/// Decides. `known` is the record of the same key.
pub(crate) fn plan(
    known: Option<&PairedDevice>,
    asked: &Asked<'_>,
    policy: &PairingPolicy,
) -> Plan {
    let Some(reason) = missing(known, asked) else {
        return Plan::Known;
    };
    if is_silent(known, asked, reason, policy) {
        Plan::Approve(ApprovedVia::Silent)
    } else if reason == PairingReason::NotPaired && from_node_network(asked, policy) {
        Plan::Approve(ApprovedVia::Cidr)
    } else {
        Plan::Ask(reason)
    }
}

/// What the device lacks, if anything.
fn missing(known: Option<&PairedDevice>, asked: &Asked<'_>) -> Option<PairingReason> {
    let Some(known) = known else {
        return Some(PairingReason::NotPaired);
    };
    let pinned = |old: &Option<String>, new: Option<&str>| {
        old.as_deref()
            .is_none_or(|old| kind_of(old) == kind_of(new.unwrap_or_default()))
    };
    if !known.holds(asked.role) {
        Some(PairingReason::RoleUpgrade)
    } else if asked.role == Role::Operator && !known.scopes.covers(asked.scopes) {
        Some(PairingReason::ScopeUpgrade)
    } else if !pinned(&known.facts.platform, Some(asked.platform))
        || !pinned(&known.facts.device_family, asked.device_family)
    {
        Some(PairingReason::MetadataUpgrade)
    } else {
        None
    }
}

/// The kind of machine without its version: an update of the system is no new device.
fn kind_of(text: &str) -> String {
    text.trim()
        .chars()
        .take_while(|c| !c.is_ascii_digit())
        .collect::<String>()
        .trim()
        .to_ascii_lowercase()
}

fn is_silent(
    known: Option<&PairedDevice>,
    asked: &Asked<'_>,
    reason: PairingReason,
    policy: &PairingPolicy,
) -> bool {
    if policy.local == LocalApproval::Ask
        || asked.locality == PairingLocality::Remote
        || (asked.has_origin && asked.program != Program::Browser)
        || (known.is_some() && asked.role != Role::Operator)
    {
        return false;
    }
    match reason {
        PairingReason::NotPaired | PairingReason::RoleUpgrade => true,
        PairingReason::ScopeUpgrade => matches!(
            asked.method,
            None | Some(AuthMethod::None | AuthMethod::Password | AuthMethod::Token)
        ),
        PairingReason::MetadataUpgrade => asked.program == Program::NativeUi,
    }
}

/// A new node without scopes, straight from a network that the operator named.
fn from_node_network(asked: &Asked<'_>, policy: &PairingPolicy) -> bool {
    let address: Option<IpAddr> = match asked.ingress {
        Ingress::DirectRemote(ip) => Some(ip),
        Ingress::DirectLocal(_)
        | Ingress::Owner
        | Ingress::TailscaleFunnel(_)
        | Ingress::TailscaleServe(_)
        | Ingress::TrustedProxy(_)
        | Ingress::Unattributable => None,
    };
    asked.role == Role::Node
        && asked.scopes.is_empty()
        && !asked.has_origin
        && address.is_some_and(|ip| policy.node_networks.contains(ip))
}

//! The dimensions of the table.

use clawgate_core::protocol::{ClientId, ClientMode, Role};

/// `gateway.auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    None,
    Token { tailscale: bool },
    Password { tailscale: bool },
    Proxy { loopback: bool, password: bool },
}

/// The program that connects, and the page that it runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    Cli,
    Backend,
    Native,
    Node,
    Probe,
    /// The Control UI, from an origin that the configuration lists.
    Page,
    /// The Control UI of a container, listed, on loopback.
    ContainerPage,
    /// The Control UI of a development server on the client's own machine.
    LoopbackPage,
    /// The Control UI of another site.
    ForeignPage,
    /// What says that it is the Control UI, without an origin.
    NoOrigin,
    /// A page of a listed origin that says it is the CLI.
    PosingCli,
}

/// What the client proves about its device, and what the gateway knows of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    None,
    Fresh,
    /// Approved for what it asks.
    Paired,
    /// Approved for less than it asks.
    Narrow,
    /// Approved for the other role.
    OtherRole,
    /// Approved when it was another kind of machine.
    OtherKind,
    /// Approved, and its token was revoked.
    Revoked,
}

/// What the client sends along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    Nothing,
    Shared,
    SharedWrong,
    /// The right secret in the field of the other kind.
    SharedOtherField,
    /// The secret before this one.
    Previous,
    /// The same, when its time is over.
    PreviousEnded,
    /// The token of the device itself.
    Own,
    OwnInTokenField,
    OwnWrong,
    /// The token of another device with the same role.
    Stolen,
    /// A wrong shared secret beside the device's own token.
    WrongAndOwn,
    Join,
    JoinWrong,
    /// A join token that has let its one device in.
    JoinUsed,
    JoinOtherRole,
    JoinEnded,
    /// A user's name, as a proxy writes it.
    User,
    /// The name of somebody who is not in the list.
    Stranger,
    /// A Tailscale login that Tailscale confirms.
    Login,
    /// One that belongs to somebody else's address.
    LoginOfAnother,
    /// One that Tailscale says nothing about.
    LoginUnknown,
}

/// Where the client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Local,
    /// Another address of 127.0.0.0/8.
    LocalOther,
    LocalV6,
    LocalMapped,
    Lan,
    Remote,
    RemoteMapped,
    /// A trusted proxy that names its client.
    Proxy,
    /// A trusted proxy that names nobody.
    ProxyWithoutClient,
    /// A trusted proxy without a header that is required of it.
    ProxyWithoutRequired,
    /// A trusted proxy that is this machine by another of its addresses.
    OwnAddressProxy,
    /// A trusted proxy on this machine.
    LoopbackProxy,
    /// The same, when it does not say that it forwards.
    LoopbackProxySilent,
    /// A stranger that pretends to forward for this machine.
    SpoofedRemote,
    /// A program on this machine that pretends to forward.
    SpoofedLocal,
    Serve,
    /// What comes by Serve and says that it came by Funnel.
    ServeMarked,
    Funnel,
    /// The socket among the gateway's files.
    Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub mode: Mode,
    pub surface: Surface,
    pub identity: Identity,
    pub credential: Credential,
    pub peer: Peer,
}

pub const SURFACES: [Surface; 11] = [
    Surface::Cli,
    Surface::Backend,
    Surface::Native,
    Surface::Node,
    Surface::Probe,
    Surface::Page,
    Surface::ContainerPage,
    Surface::LoopbackPage,
    Surface::ForeignPage,
    Surface::NoOrigin,
    Surface::PosingCli,
];

pub const IDENTITIES: [Identity; 7] = [
    Identity::None,
    Identity::Fresh,
    Identity::Paired,
    Identity::Narrow,
    Identity::OtherRole,
    Identity::OtherKind,
    Identity::Revoked,
];

pub const CREDENTIALS: [Credential; 21] = [
    Credential::Nothing,
    Credential::Shared,
    Credential::SharedWrong,
    Credential::SharedOtherField,
    Credential::Previous,
    Credential::PreviousEnded,
    Credential::Own,
    Credential::OwnInTokenField,
    Credential::OwnWrong,
    Credential::Stolen,
    Credential::WrongAndOwn,
    Credential::Join,
    Credential::JoinWrong,
    Credential::JoinUsed,
    Credential::JoinOtherRole,
    Credential::JoinEnded,
    Credential::User,
    Credential::Stranger,
    Credential::Login,
    Credential::LoginOfAnother,
    Credential::LoginUnknown,
];

pub const PEERS: [Peer; 19] = [
    Peer::Local,
    Peer::LocalOther,
    Peer::LocalV6,
    Peer::LocalMapped,
    Peer::Lan,
    Peer::Remote,
    Peer::RemoteMapped,
    Peer::Proxy,
    Peer::ProxyWithoutClient,
    Peer::ProxyWithoutRequired,
    Peer::OwnAddressProxy,
    Peer::LoopbackProxy,
    Peer::LoopbackProxySilent,
    Peer::SpoofedRemote,
    Peer::SpoofedLocal,
    Peer::Serve,
    Peer::ServeMarked,
    Peer::Funnel,
    Peer::Owner,
];

impl Surface {
    pub fn role(self) -> Role {
        if self == Self::Node {
            Role::Node
        } else {
            Role::Operator
        }
    }

    pub fn client(self) -> (ClientId, ClientMode) {
        match self {
            Self::Cli | Self::PosingCli => (ClientId::Cli, ClientMode::Cli),
            Self::Backend => (ClientId::GatewayClient, ClientMode::Backend),
            Self::Native => (ClientId::OpenclawMacos, ClientMode::Ui),
            Self::Node => (ClientId::NodeHost, ClientMode::Node),
            Self::Probe => (ClientId::OpenclawProbe, ClientMode::Probe),
            Self::Page
            | Self::ContainerPage
            | Self::LoopbackPage
            | Self::ForeignPage
            | Self::NoOrigin => (ClientId::OpenclawControlUi, ClientMode::Ui),
        }
    }

    /// `Host` and `Origin`.
    pub fn page(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Page | Self::PosingCli => ("gw.example.com", "https://gw.example.com"),
            Self::ContainerPage => ("localhost:18789", "http://localhost:18789"),
            Self::LoopbackPage => ("127.0.0.1:18789", "http://localhost:5173"),
            Self::ForeignPage => ("gw.example.com", "https://evil.example.net"),
            Self::Cli
            | Self::Backend
            | Self::Native
            | Self::Node
            | Self::Probe
            | Self::NoOrigin => return None,
        })
    }

    pub fn is_control_ui(self) -> bool {
        self.client().0 == ClientId::OpenclawControlUi
    }
}

impl Credential {
    pub fn is_login(self) -> bool {
        matches!(
            self,
            Self::Login | Self::LoginOfAnother | Self::LoginUnknown
        )
    }

    /// Whether it is the best of its kind.
    fn is_telling(self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::Shared | Self::Own | Self::Join | Self::User | Self::Login
        )
    }
}

impl Identity {
    pub fn has_device(self) -> bool {
        self != Self::None
    }
}

impl Cell {
    /// Whether the ways fit together. What is left out cannot be sent, or says the same as another
    /// cell.
    pub fn is_real(self) -> bool {
        use Credential as C;
        use Identity as I;
        let has_own = match self.credential {
            // The token of a device that has none.
            C::Own | C::OwnInTokenField | C::WrongAndOwn => self.identity != I::Fresh,
            _ => true,
        };
        // Odd identities show themselves with what would let the ordinary one in.
        let telling =
            matches!(self.identity, I::None | I::Fresh | I::Paired) || self.credential.is_telling();
        // Pages that never come in, and other spellings of an address, need no more.
        let never = matches!(self.surface, Surface::ForeignPage | Surface::NoOrigin);
        let spelling = matches!(
            self.peer,
            Peer::LocalOther
                | Peer::LocalV6
                | Peer::LocalMapped
                | Peer::RemoteMapped
                | Peer::OwnAddressProxy
        );
        let brief = matches!(self.identity, I::None | I::Fresh) && self.credential.is_telling();
        let enough = brief || !(never || spelling);
        let narrow = self.identity != I::Narrow || self.surface != Surface::Node;
        // Nothing but the body of `connect` goes over the socket of the owner.
        let over_owner = self.peer != Peer::Owner || self.surface.page().is_none();
        has_own && telling && enough && narrow && over_owner
    }
}

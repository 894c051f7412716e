//! Device tokens that gateways gave to this client: where each may go, and the format of the file
//! that keeps them (spec credentials §6; spec protocol §3.6). The host reads and writes the file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::client::IssuedToken;
use crate::device::DeviceId;
use crate::policy::{Endpoint, PinPlace, TlsPins, TlsTrust};
use crate::protocol::Role;
use crate::scope::ScopeSet;
use crate::secret::Secret;
use crate::time::WallTime;

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The longest file that is read, in bytes.
pub const MAX_TOKEN_BOOK: usize = 1024 * 1024;

/// Tokens that are kept. The one that was stored first makes room.
const MAX_TOKENS: usize = 500;

/// Which gateway a token is for: host, port and path, as the URL parser understood them. Gateways
/// behind one proxy may differ in the path alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayKey(String);

impl GatewayKey {
    /// The key of an endpoint.
    ///
    /// ```
    /// use clawgate_core::{credentials::GatewayKey, policy::{Endpoint, UrlPolicy}};
    ///
    /// let key = |url| GatewayKey::of(&Endpoint::parse(url, UrlPolicy::Strict).unwrap());
    /// assert_eq!(key("wss://GW.example.com."), key("wss://gw.example.com:443/?q"));
    /// assert_ne!(key("wss://gw.example.com/a"), key("wss://gw.example.com/b"));
    /// ```
    pub fn of(endpoint: &Endpoint) -> Self {
        let path = endpoint.path_and_query();
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        if let Some(tunnel) = endpoint.tunnel() {
            // The end on this machine may be anywhere, and another gateway may listen there.
            let (target, port) = (&tunnel.spec.target, tunnel.spec.remote_port);
            return Self(format!("ssh:{target}/{port}{}", path.trim_end_matches('/')));
        }
        Self(format!(
            "{}{}",
            PinPlace::of(endpoint),
            path.trim_end_matches('/')
        ))
    }
}

impl fmt::Display for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What protected the connection by which a token came. The token never leaves by less.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Protection {
    /// Nothing: this machine, or a network that is near.
    Plain,
    /// TLS with a certificate that the authorities vouch for.
    Tls,
    /// TLS with one of these certificates.
    Pinned(TlsPins),
}

impl Protection {
    fn of(endpoint: &Endpoint, trust: &TlsTrust) -> Self {
        match (endpoint.is_tls(), trust.pins()) {
            (false, _) => Self::Plain,
            (true, None) => Self::Tls,
            (true, Some(pins)) => Self::Pinned(pins.clone()),
        }
    }

    /// Why a token that came so may not go there.
    fn bars(&self, endpoint: &Endpoint, trust: &TlsTrust) -> Option<&'static str> {
        let pinned_again = |pins: &TlsPins| {
            let now = trust.pins().filter(|_| endpoint.is_tls());
            now.is_some_and(|now| pins.iter().any(|pin| now.accept(pin)))
        };
        match self {
            _ if endpoint.is_break_glass() => Some(
                "it is not sent over plaintext to a host that only the break-glass variable allows",
            ),
            Self::Plain => None,
            Self::Tls if endpoint.is_tls() => None,
            Self::Tls => Some("it came over TLS, and this connection has none"),
            Self::Pinned(pins) if pinned_again(pins) => None,
            Self::Pinned(_) => Some(
                "it came over a connection with a pinned certificate, and this one does not have \
                 that pin",
            ),
        }
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// The token.
    pub token: Secret,
    /// What it allows.
    pub scopes: ScopeSet,
    /// When the gateway made it.
    pub issued_at: Option<WallTime>,
    /// When it was stored.
    pub stored_at: WallTime,
    protection: Protection,
}

/// The answer to whether there is a token for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// There is one for that gateway, which must not be sent, for this reason.
    Barred(&'static str),
    /// There is none.
    Nothing,
    /// This one may be sent.
    Token(&'a StoredToken),
}

impl<'a> Found<'a> {
    /// The token that may be sent.
    pub const fn token(self) -> Option<&'a StoredToken> {
        match self {
            Self::Token(token) => Some(token),
            Self::Barred(_) | Self::Nothing => None,
        }
    }
}

/// Why a file is no token book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenBookError {
    /// It has another version.
    #[error("it has version {0}, and this clawgate reads version {VERSION}")]
    Version(u32),
    /// It is not what clawgate writes.
    #[error("it is not a list of device tokens as clawgate writes it")]
    Malformed,
}

/// All device tokens of one client, each for one gateway, device and role.
///
/// ```
/// use clawgate_core::{
///     client::IssuedToken,
///     credentials::TokenBook,
///     device::DeviceIdentity,
///     policy::{Endpoint, TlsTrust, UrlPolicy},
///     protocol::Role,
///     secret::Secret,
///     time::WallTime,
/// };
///
/// let endpoint = |url| Endpoint::parse(url, UrlPolicy::Strict).unwrap();
/// let (gateway, other) = (endpoint("wss://gw.example.com"), endpoint("wss://other.example.com"));
/// let device = DeviceIdentity::from_seed(&[7; 32]);
/// let issued = IssuedToken {
///     token: Secret::new("hunter2"),
///     role: "operator".into(),
///     scopes: vec!["operator.read".into()],
///     issued_at: None,
/// };
/// let trust = TlsTrust::Authorities;
/// let mut book = TokenBook::new();
/// assert!(book.remember((&gateway, &trust), (device.id(), Role::Operator), &issued, WallTime(1)));
/// let find = |endpoint| book.find((endpoint, &trust), (device.id(), Role::Operator)).token();
/// assert!(find(&gateway).is_some());
/// assert!(find(&other).is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBook(BTreeMap<Slot, StoredToken>);

/// A connection: where it leads, and how its certificate is judged.
pub type Way<'a> = (&'a Endpoint, &'a TlsTrust);

/// Who comes: the device, and as what.
pub type Who<'a> = (&'a DeviceId, Role);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    gateway: GatewayKey,
    device: String,
    role: Role,
}

impl Slot {
    fn of(endpoint: &Endpoint, (device, role): Who<'_>) -> Self {
        Self {
            gateway: GatewayKey::of(endpoint),
            device: device.as_str().into(),
            role,
        }
    }
}

impl TokenBook {
    /// A book without tokens.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The token of a device for a connection.
    pub fn find(&self, (endpoint, trust): Way<'_>, who: Who<'_>) -> Found<'_> {
        match self.0.get(&Slot::of(endpoint, who)) {
            None => Found::Nothing,
            Some(stored) => match stored.protection.bars(endpoint, trust) {
                Some(why) => Found::Barred(why),
                None => Found::Token(stored),
            },
        }
    }

    /// Stores the token that a gateway issued over a connection, in place of an older one. A token
    /// for another role than the one that was asked for is not stored. Tells whether anything
    /// changed.
    pub fn remember(
        &mut self,
        (endpoint, trust): Way<'_>,
        (device, role): Who<'_>,
        issued: &IssuedToken,
        now: WallTime,
    ) -> bool {
        let is_role = issued.role.is_empty() || issued.role == role.as_str();
        if !is_role || endpoint.is_break_glass() {
            return false;
        }
        let mut new = StoredToken {
            token: issued.token.clone(),
            scopes: ScopeSet::parse(&issued.scopes),
            issued_at: issued.issued_at,
            stored_at: now,
            protection: Protection::of(endpoint, trust),
        };
        let slot = Slot::of(endpoint, (device, role));
        if let Some(old) = self.0.get(&slot) {
            // A gateway names the scopes of the connection, which may be fewer than the token's.
            if old.token == new.token {
                new.scopes = new.scopes.union(&old.scopes);
            }
            let same = StoredToken {
                stored_at: old.stored_at,
                ..new.clone()
            };
            if *old == same {
                return false;
            }
        }
        while self.0.len() >= MAX_TOKENS && !self.0.contains_key(&slot) {
            let oldest = self.0.iter().min_by_key(|(_, stored)| stored.stored_at);
            let Some(oldest) = oldest.map(|(slot, _)| slot.clone()) else {
                break;
            };
            self.0.remove(&oldest);
        }
        self.0.insert(slot, new);
        true
    }

    /// Drops a token that the gateway refused, unless a newer one has taken its place. Tells whether
    /// there was one.
    pub fn forget(&mut self, endpoint: &Endpoint, who: Who<'_>, refused: &Secret) -> bool {
        let slot = Slot::of(endpoint, who);
        let is_it = self.0.get(&slot).is_some_and(|kept| kept.token == *refused);
        is_it && self.0.remove(&slot).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For which gateways and roles a device has tokens.
    pub fn gateways(&self, device: &DeviceId) -> impl Iterator<Item = (&GatewayKey, Role)> {
        self.0
            .keys()
            .filter(|slot| slot.device == device.as_str())
            .map(|slot| (&slot.gateway, slot.role))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn parse(text: &str) -> Result<Self, TokenBookError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let malformed = |_| TokenBookError::Malformed;
        let head: Head = serde_json::from_str(text).map_err(malformed)?;
        if head.version != VERSION {
            return Err(TokenBookError::Version(head.version));
        }
        let text: Text<Row> = serde_json::from_str(text).map_err(malformed)?;
        let mut book = BTreeMap::new();
        for row in text.tokens {
            let (slot, stored) = row.read().ok_or(TokenBookError::Malformed)?;
            if book.insert(slot, stored).is_some() {
                return Err(TokenBookError::Malformed);
            }
        }
        Ok(Self(book))
    }

    /// The file's text, which holds the tokens.
    pub fn to_text(&self) -> Secret {
        let text = Text {
            version: VERSION,
            tokens: self.0.iter().map(RowRef::of).collect(),
        };
        // Lists of strings and numbers always have a text.
        let text = serde_json::to_string_pretty(&text).unwrap_or_default();
        Secret::new(text + "\n")
    }
}

#[derive(Serialize, Deserialize)]
struct Text<Row> {
    version: u32,
    tokens: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Transport {
    Pinned,
    Plain,
    Tls,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    gateway: String,
    device: String,
    role: Role,
    token: String,
    scopes: Vec<String>,
    issued_at_ms: Option<WallTime>,
    stored_at_ms: WallTime,
    transport: Transport,
    #[serde(default)]
    pins: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RowRef<'a> {
    gateway: &'a str,
    device: &'a str,
    role: Role,
    token: &'a str,
    scopes: Vec<String>,
    issued_at_ms: Option<WallTime>,
    stored_at_ms: WallTime,
    transport: Transport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pins: Vec<String>,
}

impl Row {
    fn read(self) -> Option<(Slot, StoredToken)> {
        let token = Secret::non_blank(Secret::new(self.token).expose())?;
        if self.gateway.is_empty() || self.device.is_empty() {
            return None;
        }
        let protection = match self.transport {
            Transport::Plain => Protection::Plain,
            Transport::Tls => Protection::Tls,
            Transport::Pinned => Protection::Pinned(TlsPins::parse(&self.pins).ok()?),
        };
        let slot = Slot {
            gateway: GatewayKey(self.gateway),
            device: self.device,
            role: self.role,
        };
        let stored = StoredToken {
            token,
            scopes: ScopeSet::parse(&self.scopes),
            issued_at: self.issued_at_ms,
            stored_at: self.stored_at_ms,
            protection,
        };
        Some((slot, stored))
    }
}

impl<'a> RowRef<'a> {
    fn of((slot, stored): (&'a Slot, &'a StoredToken)) -> Self {
        let (transport, pins) = match &stored.protection {
            Protection::Plain => (Transport::Plain, Vec::new()),
            Protection::Tls => (Transport::Tls, Vec::new()),
            Protection::Pinned(pins) => (
                Transport::Pinned,
                pins.iter().map(ToString::to_string).collect(),
            ),
        };
        Self {
            gateway: &slot.gateway.0,
            device: &slot.device,
            role: slot.role,
            token: stored.token.expose(),
            scopes: stored.scopes.names(),
            issued_at_ms: stored.issued_at,
            stored_at_ms: stored.stored_at,
            transport,
            pins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::DeviceIdentity, policy::UrlPolicy};

    const NOW: WallTime = WallTime(1_737_264_000_000);

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::parse(url, UrlPolicy::AllowInsecureNames).unwrap()
    }

    fn device(seed: u8) -> DeviceId {
        DeviceIdentity::from_seed(&[seed; 32]).id().clone()
    }

    fn issued(token: &str, role: &str) -> IssuedToken {
        IssuedToken {
            token: Secret::new(token),
            role: role.into(),
            scopes: vec!["operator.read".into()],
            issued_at: Some(NOW),
        }
    }

    fn pinned(bytes: &[u8]) -> TlsTrust {
        let pins = bytes.iter().map(|byte| format!("{byte:02x}").repeat(32));
        TlsTrust::Pinned(TlsPins::parse(pins).unwrap())
    }

    #[test]
    fn a_token_never_leaves_by_less_than_it_came_by() {
        let near = "ws://192.168.1.2:18789";
        let near_tls = "wss://192.168.1.2:18789";
        let none = TlsTrust::Authorities;
        let first = TlsTrust::FirstUse;
        let table = [
            ((near, &none), (near, &none), true),
            ((near, &none), (near_tls, &none), true),
            ((near_tls, &none), (near_tls, &none), true),
            ((near_tls, &none), (near_tls, &pinned(&[1])), true),
            ((near_tls, &none), (near, &none), false),
            ((near_tls, &pinned(&[1])), (near_tls, &pinned(&[1])), true),
            // An old and a new certificate overlap.
            (
                (near_tls, &pinned(&[1])),
                (near_tls, &pinned(&[2, 1])),
                true,
            ),
            ((near_tls, &pinned(&[1])), (near_tls, &pinned(&[2])), false),
            ((near_tls, &pinned(&[1])), (near_tls, &none), false),
            ((near_tls, &pinned(&[1])), (near_tls, &first), false),
            ((near_tls, &pinned(&[1])), (near, &none), false),
            // Another port, host or path is another gateway.
            ((near, &none), ("ws://192.168.1.2:18790", &none), false),
            ((near, &none), ("ws://192.168.1.3:18789", &none), false),
            ((near, &none), ("ws://192.168.1.2:18789/b", &none), false),
            // Never over plaintext to a host that proves nothing.
            (
                ("wss://gw.example.com:1", &none),
                ("ws://gw.example.com:1", &none),
                false,
            ),
        ];
        let who = (&device(1), Role::Operator);
        for ((from, came), (to, goes), allowed) in table {
            let mut book = TokenBook::new();
            assert!(book.remember((&endpoint(from), came), who, &issued("t", "operator"), NOW));
            let found = book.find((&endpoint(to), goes), who);
            assert_eq!(
                found.token().is_some(),
                allowed,
                "{from} {came:?} to {to} {goes:?}"
            );
        }
    }

    #[test]
    fn a_host_behind_the_break_glass_neither_gets_nor_gives_a_token() {
        let (plain, who) = (endpoint("ws://gw.example.com:1"), (&device(1), Role::Node));
        let mut book = TokenBook::new();
        let way = (&plain, &TlsTrust::Authorities);
        assert!(!book.remember(way, who, &issued("t", "node"), NOW));
        assert!(book.is_empty());
        // Not even one that somebody wrote into the file.
        let text = format!(
            r#"{{"version":1,"tokens":[{{"gateway":"gw.example.com:1","device":"{}","role":"node",
            "token":"t","scopes":[],"storedAtMs":1,"transport":"plain"}}]}}"#,
            who.0.as_str()
        );
        let book = TokenBook::parse(&text).unwrap();
        assert!(matches!(book.find(way, who), Found::Barred(_)));
    }

    #[test]
    fn a_token_is_for_one_device_and_one_role() {
        let gateway = endpoint("ws://127.0.0.1:1");
        let way = (&gateway, &TlsTrust::Authorities);
        let (one, two) = (device(1), device(2));
        let mut book = TokenBook::new();
        assert!(book.remember(way, (&one, Role::Node), &issued("t", "node"), NOW));
        assert!(book.find(way, (&one, Role::Node)).token().is_some());
        assert_eq!(book.find(way, (&one, Role::Operator)), Found::Nothing);
        assert_eq!(book.find(way, (&two, Role::Node)), Found::Nothing);
        // What is for another role than was asked for is not believed.
        assert!(!book.remember(way, (&two, Role::Node), &issued("t", "operator"), NOW));
    }

    #[test]
    fn a_narrow_connection_does_not_narrow_the_token() {
        let gateway = endpoint("ws://127.0.0.1:1");
        let way = (&gateway, &TlsTrust::Authorities);
        let who = (&device(1), Role::Operator);
        let with = |token: &str, scope: &str| IssuedToken {
            scopes: vec![scope.into()],
            ..issued(token, "operator")
        };
        let mut book = TokenBook::new();
        let held = |book: &TokenBook| book.find(way, who).token().unwrap().scopes.names();
        assert!(book.remember(way, who, &with("t", "operator.pairing"), NOW));
        assert!(book.remember(way, who, &with("t", "operator.read"), NOW));
        assert!(!book.remember(way, who, &with("t", "operator.read"), NOW));
        assert_eq!(held(&book), ["operator.pairing", "operator.read"]);
        // What another token allows is not known from the old one.
        assert!(book.remember(way, who, &with("u", "operator.write"), NOW));
        assert_eq!(held(&book), ["operator.write"]);
    }

    #[test]
    fn only_the_refused_token_is_forgotten() {
        let gateway = endpoint("ws://127.0.0.1:1");
        let way = (&gateway, &TlsTrust::Authorities);
        let who = (&device(1), Role::Operator);
        let mut book = TokenBook::new();
        assert!(book.remember(way, who, &issued("old", "operator"), NOW));
        assert!(!book.remember(way, who, &issued("old", "operator"), WallTime(NOW.0 + 1)));
        assert!(book.remember(way, who, &issued("new", ""), NOW));
        assert!(!book.forget(&gateway, who, &Secret::new("old")));
        assert!(book.forget(&gateway, who, &Secret::new("new")));
        assert!(book.is_empty());
    }

    #[test]
    fn the_file_comes_back_as_it_was_and_nothing_shows_a_token() {
        let gateway = endpoint("wss://gw.example.com/a");
        let who = (&device(1), Role::Operator);
        let mut book = TokenBook::new();
        assert!(book.remember(
            (&gateway, &pinned(&[7, 8])),
            who,
            &issued("hunter2", ""),
            NOW
        ));
        let node = (who.0, Role::Node);
        assert!(book.remember(
            (&gateway, &TlsTrust::Authorities),
            node,
            &issued("h3", ""),
            NOW
        ));
        let text = book.to_text();
        assert_eq!(TokenBook::parse(text.expose()).unwrap(), book);
        assert!(!format!("{book:?}{text:?}").contains("hunter2"));
        assert_eq!(book.gateways(who.0).count(), 2);
    }

    #[test]
    fn what_is_not_whole_is_no_book() {
        use TokenBookError::{Malformed, Version};
        let row = r#"{"gateway":"h:1","device":"d","role":"node","token":"t","scopes":[],"storedAtMs":1,"transport":"plain"}"#;
        let book = |rows: &str| format!(r#"{{"version":1,"tokens":[{rows}]}}"#);
        assert_eq!(TokenBook::parse(&book(row)).unwrap().len(), 1);
        for (text, error) in [
            ("{".to_owned(), Malformed),
            (r#"{"version":2,"tokens":[]}"#.to_owned(), Version(2)),
            (book(&format!("{row},{row}")), Malformed),
            (book(&row.replace("\"t\"", "\" \"")), Malformed),
            (book(&row.replace("plain", "pinned")), Malformed),
            (book(&row.replace("node", "boss")), Malformed),
        ] {
            assert_eq!(TokenBook::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_book_is_bounded_and_the_oldest_makes_room() {
        let trust = TlsTrust::Authorities;
        let who = (&device(1), Role::Operator);
        let mut book = TokenBook::new();
        for port in 1..=MAX_TOKENS as u64 + 1 {
            let gateway = endpoint(&format!("ws://127.0.0.1:{port}"));
            assert!(book.remember((&gateway, &trust), who, &issued("t", ""), WallTime(port)));
        }
        assert_eq!(book.len(), MAX_TOKENS);
        let gone = endpoint("ws://127.0.0.1:1");
        assert_eq!(book.find((&gone, &trust), who), Found::Nothing);
        let full = book.to_text().expose().len() < MAX_TOKEN_BOOK;
        assert!(full, "a full book is still read");
    }
}

//! Makes a cell real: a gateway of that mode with its devices and tokens, and a client that comes as
//! the cell says.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use clawgate_core::{
    config::AuthMode,
    frame::RawJson,
    gateway::{AdmissionPolicy, Effect, EffectOutcome, Gateway, ServerSecrets},
    ids::ConnId,
    policy::{
        AuthRule, HostHeaderFallback, Listener, LocalAddresses, LoopbackProxy, OriginPolicy,
        RequestHeaders, SecretKind, TailscaleLogin, TrustedProxies, TrustedProxyRule, Whois,
        server_auth::{ServerSecret, ServerSecretSource},
    },
    protocol::{ClientInfo, Role},
    secret::Secret,
    server::PeerFacts,
    store::Table,
    time::Now,
};
use serde_json::{Value, json};

use crate::{
    cells::{Cell, Credential, Identity, Mode, Peer},
    common::{Device, Host, connect_params},
    oracle::{Verdict, widen},
};

const SECRET: &str = "right-secret";
const PREVIOUS: &str = "previous-secret";
const GRACE: Duration = Duration::from_secs(3_600);
const JOIN_SHORT: Duration = Duration::from_secs(60);
const READ: &str = "operator.read";
const ADMIN: &str = "operator.admin";
const LOGIN: &str = "ann@example.org";

/// Seeds of devices: a pair for the two roles.
const PAIRED: [u8; 2] = [20, 21];
const VICTIM: [u8; 2] = [22, 23];
const REVOKED: [u8; 2] = [24, 25];
const JOINED: [u8; 2] = [26, 27];
const FRESH: [u8; 2] = [30, 31];

fn place(role: Role) -> usize {
    usize::from(role == Role::Node)
}

pub struct Scene {
    host: Host,
    policy: AdmissionPolicy,
    rows: BTreeMap<(Table, String), RawJson>,
    start: Now,
    tokens: BTreeMap<u8, String>,
    /// Fresh, used and short-lived ones, by role.
    joins: [[String; 2]; 3],
}

fn rule(mode: Mode, secret: &str) -> AuthRule {
    let shared = |kind, tailscale| AuthRule::Shared {
        kind,
        secret: Some(Secret::new(secret)),
        tailscale: if tailscale {
            TailscaleLogin::Allowed
        } else {
            TailscaleLogin::Off
        },
    };
    match mode {
        Mode::None => AuthRule::None,
        Mode::Token { tailscale } => shared(SecretKind::Token, tailscale),
        Mode::Password { tailscale } => shared(SecretKind::Password, tailscale),
        Mode::Proxy { loopback, password } => AuthRule::TrustedProxy {
            rule: Some(TrustedProxyRule {
                user_header: "x-user".into(),
                required_headers: vec!["x-edge".into()],
                allow_users: vec!["ann".into()],
                loopback: if loopback {
                    LoopbackProxy::Allowed
                } else {
                    LoopbackProxy::Refused
                },
            }),
            local_password: password.then(|| Secret::new(secret)),
        },
    }
}

fn auth_mode(mode: Mode) -> Option<AuthMode> {
    match mode {
        Mode::None
        | Mode::Proxy {
            password: false, ..
        } => None,
        Mode::Token { .. } => Some(AuthMode::Token),
        Mode::Password { .. } => Some(AuthMode::Password),
        Mode::Proxy { .. } => Some(AuthMode::TrustedProxy),
    }
}

impl Scene {
    pub fn new(mode: Mode) -> Self {
        let change = |policy: &mut AdmissionPolicy| {
            let origins = ["https://gw.example.com", "http://localhost:18789"];
            policy.origins = OriginPolicy::new(origins, HostHeaderFallback::Off);
            policy.proxies = TrustedProxies::parse(["10.0.0.1", "10.0.0.2", "127.0.0.77"]);
        };
        let mut host = Host::new(rule(mode, PREVIOUS)).with_policy(change);
        let mut policy = AdmissionPolicy::new(rule(mode, SECRET));
        change(&mut policy);
        let owner = owner(&mut host);
        let mut tokens = BTreeMap::new();
        for (seed, role) in [PAIRED, VICTIM, REVOKED]
            .iter()
            .flat_map(|[operator, node]| [(*operator, Role::Operator), (*node, Role::Node)])
        {
            let auth = host.welcome(&by_owner(seed, role)).1;
            tokens.insert(seed, auth["deviceToken"].as_str().unwrap().to_owned());
            if REVOKED.contains(&seed) {
                let target = json!({ "deviceId": by_owner(seed, role).id(), "role": role });
                host.get(owner, "device.token.revoke", target);
            }
        }
        let mut join = |role: Role, ttl: u64| {
            let scopes = if role == Role::Node {
                vec![]
            } else {
                vec![READ]
            };
            let terms = json!({ "role": role, "scopes": scopes, "ttlMs": ttl });
            let made = host.get(owner, "device.invite.create", terms);
            made["token"].as_str().unwrap().to_owned()
        };
        let mut pair = |ttl| [join(Role::Operator, ttl), join(Role::Node, ttl)];
        let joins = [
            pair(86_400_000),
            pair(86_400_000),
            pair(JOIN_SHORT.as_millis() as u64),
        ];
        if let Some(mode) = auth_mode(mode) {
            rotate(&mut host, owner, mode);
        }
        let mut scene = Self {
            rows: host.disk.rows.clone(),
            start: host.now,
            host,
            policy,
            tokens,
            joins,
        };
        // From now on the gateway starts with the new secret each time.
        let policy = scene.policy.clone();
        scene.host = scene.host.with_policy(|old| *old = policy);
        if mode != Mode::None {
            scene.use_up_join_tokens();
        }
        scene
    }

    /// One device each comes in by the tokens that are used up.
    fn use_up_join_tokens(&mut self) {
        self.reset(Duration::ZERO);
        for (at, role) in [(0, Role::Operator), (1, Role::Node)] {
            let mut device = by_owner(JOINED[at], role);
            device.peer = PeerFacts::direct([203, 0, 113, 9].into());
            device.auth = json!({ "bootstrapToken": self.joins[1][at] });
            self.host.welcome(&device);
        }
        self.rows = self.host.disk.rows.clone();
    }

    /// The gateway starts again with what it had, and this long after.
    fn reset(&mut self, later: Duration) {
        self.host.disk.rows = self.rows.clone();
        self.host.now = self.start.after(later);
        self.host.restart();
    }

    /// Lets a client come as the cell says, and tells what became of it.
    pub fn play(&mut self, cell: Cell) -> Verdict {
        self.reset(match cell.credential {
            Credential::PreviousEnded => GRACE,
            Credential::JoinEnded => JOIN_SHORT,
            _ => Duration::ZERO,
        });
        let device = self.device(cell);
        let host = &mut self.host;
        let conn = host.open_peer(device.peer.clone()).unwrap();
        let challenge = host.recv(conn);
        let mut params = device.params(&challenge);
        if !cell.identity.has_device() {
            params.as_object_mut().unwrap().remove("device");
        }
        host.call(conn, "1", "connect", params);
        while let Some(request) = host.effects.pop() {
            assert!(matches!(request.effect, Effect::Whois(_)), "{cell:?}");
            let outcome = match cell.credential {
                Credential::Login => EffectOutcome::Whois(Whois::Login(LOGIN.to_uppercase())),
                Credential::LoginOfAnother => {
                    EffectOutcome::Whois(Whois::Login("bob@example.org".into()))
                }
                _ => EffectOutcome::Failed("no answer".into()),
            };
            host.complete(request.id, outcome);
        }
        let answer = (0..3).find_map(|_| {
            let answer = host.try_recv(conn);
            if answer.is_none() {
                host.advance(Duration::from_secs(6));
            }
            answer
        });
        let answer = answer.unwrap_or_else(|| panic!("no answer in {cell:?}"));
        if answer["ok"] == true {
            let verdict = admitted(&answer["payload"]["auth"]);
            self.check_rights(cell, conn, &verdict);
            verdict
        } else {
            assert!(host.closed(conn).is_some(), "an open connection: {cell:?}");
            refused(&answer["error"])
        }
    }

    /// What the gateway says that a client may do is what it may do.
    fn check_rights(&mut self, cell: Cell, conn: ConnId, verdict: &Verdict) {
        let Verdict::In { scopes, .. } = verdict else {
            return;
        };
        for (method, scope) in [("system-presence", READ), ("secrets.status", ADMIN)] {
            let answer = self.host.ask(conn, method, json!({}));
            let allowed = answer["ok"] == true;
            assert_eq!(
                allowed,
                scopes.contains(scope),
                "{method} in {cell:?}: {answer}"
            );
        }
    }

    fn device(&self, cell: Cell) -> Device {
        let role = cell.surface.role();
        let at = place(role);
        let seed = match cell.identity {
            Identity::None | Identity::Fresh => FRESH[at],
            Identity::Paired | Identity::Narrow | Identity::OtherKind => PAIRED[at],
            Identity::OtherRole => PAIRED[1 - at],
            Identity::Revoked => REVOKED[at],
        };
        let (id, mode) = cell.surface.client();
        let platform = match cell.identity {
            Identity::OtherKind => "windows",
            _ => "linux",
        };
        let scopes = match (role, cell.identity) {
            (Role::Node, _) => vec![],
            (_, Identity::Narrow) => vec![ADMIN.to_owned()],
            (_, _) => vec![READ.to_owned()],
        };
        Device {
            seed,
            client: ClientInfo::new(id, mode, "1", platform),
            role,
            scopes,
            auth: self.auth(cell, seed),
            claims: json!({}),
            peer: self.peer(cell),
        }
    }

    fn auth(&self, cell: Cell, seed: u8) -> Value {
        use Credential as C;
        let at = place(cell.surface.role());
        let (own, other) = match cell.mode {
            Mode::Token { .. } => ("token", "password"),
            Mode::None | Mode::Password { .. } | Mode::Proxy { .. } => ("password", "token"),
        };
        let token = self
            .tokens
            .get(&seed)
            .unwrap_or_else(|| &self.tokens[&PAIRED[at]]);
        let join = |kind: usize, at: usize| json!({ "bootstrapToken": self.joins[kind][at] });
        match cell.credential {
            C::Nothing | C::User | C::Stranger | C::Login | C::LoginOfAnother | C::LoginUnknown => {
                json!({})
            }
            C::Shared => json!({ own: SECRET }),
            C::SharedWrong => json!({ own: "wrong-secret" }),
            C::SharedOtherField => json!({ other: SECRET }),
            C::Previous | C::PreviousEnded => json!({ own: PREVIOUS }),
            C::Own => json!({ "deviceToken": token }),
            C::OwnInTokenField => json!({ "token": token }),
            C::OwnWrong => json!({ "deviceToken": "wrong-token" }),
            C::Stolen => json!({ "deviceToken": self.tokens[&VICTIM[at]] }),
            C::WrongAndOwn => json!({ own: "wrong-secret", "deviceToken": token }),
            C::Join => join(0, at),
            C::JoinWrong => json!({ "bootstrapToken": "wrong-token" }),
            C::JoinUsed => join(1, at),
            C::JoinOtherRole => join(0, 1 - at),
            C::JoinEnded => join(2, at),
        }
    }

    fn peer(&self, cell: Cell) -> PeerFacts {
        if cell.peer == Peer::Owner {
            return PeerFacts::owner();
        }
        let mut fields: Vec<(&str, &str)> = Vec::new();
        match cell.surface.page() {
            Some((host, origin)) => fields.extend([("host", host), ("origin", origin)]),
            None => fields.push(("host", "127.0.0.1:18789")),
        }
        match cell.credential {
            Credential::User => fields.push(("x-user", "ann")),
            Credential::Stranger => fields.push(("x-user", "mallory")),
            _ if cell.credential.is_login() => fields.push(("tailscale-user-login", LOGIN)),
            _ => {}
        }
        let (ip, listener, forwarded) = way(cell.peer);
        fields.extend(forwarded);
        self.facts(ip, listener, RequestHeaders::new(fields))
    }

    /// What the host knows of a request.
    pub fn facts(&self, ip: &str, listener: Listener, headers: RequestHeaders) -> PeerFacts {
        let ip: IpAddr = ip.parse().unwrap();
        let mut peer = PeerFacts::direct(ip);
        peer.local_addresses = LocalAddresses::Known(vec![[10, 0, 0, 2].into()]);
        peer.ingress = self.policy.ingress().classify(listener, peer.ip, &headers);
        peer.headers = headers;
        peer
    }

    /// What stands in `Authorization`.
    pub fn bearer(&self, credential: Credential) -> Option<String> {
        Some(match credential {
            Credential::Shared => SECRET.to_owned(),
            Credential::SharedWrong => "wrong-secret".to_owned(),
            Credential::Previous | Credential::PreviousEnded => PREVIOUS.to_owned(),
            Credential::Own => self.tokens[&PAIRED[0]].clone(),
            Credential::Join => self.joins[0][0].clone(),
            _ => return None,
        })
    }

    /// Asks a gateway without a WebSocket.
    pub fn ask_http<T>(
        &mut self,
        credential: Credential,
        ask: impl FnOnce(&mut Gateway, Now) -> T,
    ) -> T {
        self.reset(match credential {
            Credential::PreviousEnded => GRACE,
            _ => Duration::ZERO,
        });
        let answer = ask(&mut self.host.gateway, self.host.now);
        while self.host.gateway.poll_commit().is_some() {}
        answer
    }
}

/// The address of the other end, the port that it came to, and what a proxy wrote.
pub fn way(peer: Peer) -> (&'static str, Listener, Vec<(&'static str, &'static str)>) {
    use Listener::{ManagedFunnel, ManagedServe, Ordinary};
    const EDGE: (&str, &str) = ("x-edge", "1");
    const CLIENT: (&str, &str) = ("x-forwarded-for", "198.51.100.4");
    let tailnet = || {
        vec![
            ("x-forwarded-for", "100.64.0.5"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "gw.tail1234.ts.net"),
        ]
    };
    match peer {
        Peer::Local => ("127.0.0.1", Ordinary, vec![]),
        Peer::LocalOther => ("127.8.8.8", Ordinary, vec![]),
        Peer::LocalV6 => ("::1", Ordinary, vec![]),
        Peer::LocalMapped => ("::ffff:127.0.0.1", Ordinary, vec![]),
        Peer::Lan => ("192.168.1.9", Ordinary, vec![]),
        Peer::Remote => ("203.0.113.7", Ordinary, vec![]),
        Peer::RemoteMapped => ("::ffff:203.0.113.7", Ordinary, vec![]),
        Peer::Proxy => ("10.0.0.1", Ordinary, vec![EDGE, CLIENT]),
        Peer::ProxyWithoutClient => ("10.0.0.1", Ordinary, vec![EDGE]),
        Peer::ProxyWithoutRequired => ("::ffff:10.0.0.1", Ordinary, vec![CLIENT]),
        Peer::OwnAddressProxy => ("10.0.0.2", Ordinary, vec![EDGE, CLIENT]),
        Peer::LoopbackProxy => ("127.0.0.77", Ordinary, vec![EDGE, CLIENT]),
        Peer::LoopbackProxySilent => ("127.0.0.77", Ordinary, vec![EDGE]),
        Peer::SpoofedRemote => {
            let spoofed = ("x-forwarded-for", "127.0.0.1");
            ("203.0.113.7", Ordinary, vec![EDGE, spoofed])
        }
        Peer::SpoofedLocal => ("127.0.0.1", Ordinary, vec![EDGE, CLIENT]),
        Peer::Serve => ("127.0.0.1", ManagedServe, tailnet()),
        Peer::ServeMarked => {
            let marked = vec![("tailscale-funnel-request", "?1")];
            ("127.0.0.1", ManagedServe, [tailnet(), marked].concat())
        }
        Peer::Funnel => ("127.0.0.1", ManagedFunnel, tailnet()),
        Peer::Owner => unreachable!("it has no address"),
    }
}

fn by_owner(seed: u8, role: Role) -> Device {
    let device = match role {
        Role::Node => Device::node(seed),
        Role::Operator => Device::remote(seed, &[READ]),
    };
    Device {
        peer: PeerFacts::owner(),
        ..device
    }
}

fn owner(host: &mut Host) -> ConnId {
    let conn = host.open_peer(PeerFacts::owner()).unwrap();
    host.recv(conn);
    host.call(conn, "1", "connect", connect_params("", &[ADMIN]));
    assert_eq!(host.recv(conn)["ok"], true);
    conn
}

/// Replaces the secret, and leaves the one before valid for a while.
fn rotate(host: &mut Host, owner: ConnId, mode: AuthMode) {
    let params = json!({ "graceMs": GRACE.as_millis() as u64 });
    host.call(owner, "r", "secrets.reload", params);
    let request = host.effects.pop().unwrap();
    let read = ServerSecrets {
        mode,
        secret: Some(ServerSecret {
            secret: Secret::new(SECRET),
            source: ServerSecretSource::ConfigAuth,
        }),
        warnings: Vec::new(),
    };
    host.complete(request.id, EffectOutcome::Secrets(Box::new(read)));
    assert_eq!(host.recv_response(owner)["ok"], true);
}

fn admitted(auth: &Value) -> Verdict {
    let scopes = auth["scopes"].as_array().unwrap();
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str().unwrap()).collect();
    Verdict::In {
        method: auth["method"].as_str().unwrap_or("owner").to_owned(),
        scopes: widen(&scopes),
        token: auth["deviceToken"].is_string(),
    }
}

fn refused(error: &Value) -> Verdict {
    let details = &error["details"];
    let code = details["code"].as_str().unwrap_or("?");
    let why = [&details["authReason"], &details["reason"]]
        .into_iter()
        .find_map(Value::as_str);
    Verdict::Out(match why {
        Some(why) => format!("{code}: {why}"),
        None => code.to_owned(),
    })
}

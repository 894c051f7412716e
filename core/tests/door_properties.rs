//! Whatever is sent without a valid credential: no handler but that of `connect` ever sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use clawgate_core::{
    gateway::EffectOutcome,
    ids::ConnId,
    methods::METHODS,
    policy::{
        AuthRule, Ingress, Listener, LoopbackProxy, RealIpFallback, RequestHeaders, SecretKind,
        TailscaleLogin, TrustedProxies, TrustedProxyRule, Whois,
    },
    protocol::{ClientId, ClientInfo, ClientMode, Role},
    secret::Secret,
    server::PeerFacts,
};
use common::{Device, Host};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Nothing that is made up here can be it.
const SECRET: &str = "the-right-secret-0f5c2b9d";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    None,
    Token,
    Password,
    Tailscale,
    Proxy,
}

/// Ways to come that are no credential in any mode.
#[derive(Clone, Copy, Debug)]
enum Way {
    Local,
    Remote,
    SpoofedLocal,
    SpoofedRemote,
    SpoofedLogin,
    Serve,
    ProxyWithoutUser,
    ForeignPage,
}

/// One frame of an attacker.
#[derive(Clone, Debug)]
enum Shot {
    /// Any text.
    Noise(String),
    /// A call of a real method.
    Call(usize, Value),
    /// A `connect` that is sound but for its credential.
    Connect(Box<Try>),
}

#[derive(Clone, Debug)]
struct Try {
    program: usize,
    device: Option<u8>,
    auth: Value,
    /// Fields that are put in, over what is there.
    changes: Vec<(usize, Value)>,
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!("operator.admin")),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Credentials that are near the right one, and none of them right.
fn wrong_auth() -> impl Strategy<Value = Value> {
    let near = prop_oneof![
        Just(String::new()),
        Just(" ".to_owned()),
        Just(SECRET.to_uppercase()),
        Just(format!("{SECRET}x")),
        Just(SECRET[..SECRET.len() - 1].to_owned()),
        Just(format!("{SECRET}\u{0}")),
        Just(SECRET.chars().rev().collect()),
        "[a-z]{1,40}",
    ];
    let field = prop::sample::select(vec![
        "token",
        "password",
        "deviceToken",
        "bootstrapToken",
        "approvalRuntimeToken",
        "agentRuntimeIdentityToken",
    ]);
    prop::collection::btree_map(field, near, 0..3).prop_map(|fields| json!(fields))
}

fn shot() -> impl Strategy<Value = Shot> {
    let attempt = (
        0..PROGRAMS.len(),
        prop::option::of(0..8_u8),
        wrong_auth(),
        prop::collection::vec((0..CHANGED.len(), any_json()), 0..3),
    )
        .prop_map(|(program, device, auth, changes)| {
            Shot::Connect(Box::new(Try {
                program,
                device,
                auth,
                changes,
            }))
        });
    prop_oneof![
        1 => "\\PC{0,80}".prop_map(Shot::Noise),
        2 => (0..METHODS.len(), any_json()).prop_map(|(method, params)| Shot::Call(method, params)),
        4 => attempt,
    ]
}

const PROGRAMS: [(ClientId, ClientMode, Role); 6] = [
    (ClientId::Cli, ClientMode::Cli, Role::Operator),
    (ClientId::GatewayClient, ClientMode::Backend, Role::Operator),
    (ClientId::OpenclawControlUi, ClientMode::Ui, Role::Operator),
    (ClientId::OpenclawMacos, ClientMode::Ui, Role::Operator),
    (ClientId::OpenclawProbe, ClientMode::Probe, Role::Operator),
    (ClientId::NodeHost, ClientMode::Node, Role::Node),
];

const CHANGED: [&str; 9] = [
    "/role",
    "/scopes",
    "/client/id",
    "/client/mode",
    "/minProtocol",
    "/device/signature",
    "/device/id",
    "/caps",
    "/auth",
];

fn rule(mode: Mode) -> AuthRule {
    let secret = Secret::new(SECRET);
    let shared = |kind, tailscale| AuthRule::Shared {
        kind,
        secret: Some(secret.clone()),
        tailscale,
    };
    match mode {
        Mode::None => AuthRule::None,
        Mode::Token => shared(SecretKind::Token, TailscaleLogin::Off),
        Mode::Password => shared(SecretKind::Password, TailscaleLogin::Off),
        Mode::Tailscale => shared(SecretKind::Token, TailscaleLogin::Allowed),
        Mode::Proxy => AuthRule::TrustedProxy {
            rule: Some(TrustedProxyRule {
                user_header: "x-user".into(),
                loopback: LoopbackProxy::Allowed,
                ..TrustedProxyRule::default()
            }),
            local_password: Some(secret),
        },
    }
}

fn peer(way: Way) -> PeerFacts {
    let forwarded = ("x-forwarded-for", "198.51.100.4");
    let (ip, listener, fields): ([u8; 4], _, Vec<(&str, &str)>) = match way {
        Way::Local => ([127, 0, 0, 1], Listener::Ordinary, vec![]),
        Way::Remote => (
            [203, 0, 113, 7],
            Listener::Ordinary,
            vec![("x-user", "ann")],
        ),
        Way::SpoofedLocal => (
            [127, 0, 0, 1],
            Listener::Ordinary,
            vec![forwarded, ("x-user", "ann")],
        ),
        Way::SpoofedRemote => (
            [203, 0, 113, 7],
            Listener::Ordinary,
            vec![("x-forwarded-for", "127.0.0.1"), ("x-user", "ann")],
        ),
        Way::SpoofedLogin => (
            [127, 0, 0, 1],
            Listener::Ordinary,
            vec![("tailscale-user-login", "ann@example.org")],
        ),
        Way::Serve => (
            [127, 0, 0, 1],
            Listener::ManagedServe,
            vec![
                ("x-forwarded-for", "100.64.0.5"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "gw.ts.net"),
                ("tailscale-user-login", "ann@example.org"),
            ],
        ),
        Way::ProxyWithoutUser => ([10, 0, 0, 1], Listener::Ordinary, vec![forwarded]),
        Way::ForeignPage => (
            [127, 0, 0, 1],
            Listener::Ordinary,
            vec![
                ("host", "127.0.0.1"),
                ("origin", "https://evil.example.net"),
            ],
        ),
    };
    let mut peer = PeerFacts::direct(ip.into());
    peer.headers = RequestHeaders::new(fields);
    let (headers, proxies) = (&peer.headers, &proxies());
    let fallback = RealIpFallback::Off;
    peer.ingress = Ingress::classify(listener, peer.ip, headers, proxies, fallback);
    peer
}

fn proxies() -> TrustedProxies {
    TrustedProxies::parse(["10.0.0.1"])
}

/// Ways that lead in without a secret where none is asked for.
fn is_open(mode: Mode, way: Way) -> bool {
    mode == Mode::None
        && matches!(
            way,
            Way::Local | Way::Remote | Way::Serve | Way::ProxyWithoutUser
        )
}

fn fire(host: &mut Host, conn: ConnId, challenge: &Value, shot: &Shot, peer: &PeerFacts) {
    match shot {
        Shot::Noise(text) => host.send_text(conn, text),
        Shot::Call(method, params) => {
            host.call(conn, "call", METHODS[*method].name, params.clone());
        }
        Shot::Connect(attempt) => {
            let (id, mode, role) = PROGRAMS[attempt.program];
            let device = Device {
                seed: attempt.device.unwrap_or(0),
                client: ClientInfo::new(id, mode, "1", "linux"),
                role,
                scopes: vec!["operator.admin".into()],
                auth: attempt.auth.clone(),
                claims: json!({}),
                peer: peer.clone(),
            };
            let mut params = device.params(challenge);
            if attempt.device.is_none() {
                params.as_object_mut().unwrap().remove("device");
            }
            for (at, value) in &attempt.changes {
                if let Some(field) = params.pointer_mut(CHANGED[*at]) {
                    *field = value.clone();
                }
            }
            host.call(conn, "connect", "connect", params);
        }
    }
    // Tailscale knows somebody else at that address.
    while let Some(request) = host.effects.pop() {
        let other = EffectOutcome::Whois(Whois::Login("bob@example.org".into()));
        host.complete(request.id, other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_without_a_valid_credential_reaches_a_handler(
        mode in prop::sample::select(vec![
            Mode::None, Mode::Token, Mode::Password, Mode::Tailscale, Mode::Proxy,
        ]),
        way in prop::sample::select(vec![
            Way::Local, Way::Remote, Way::SpoofedLocal, Way::SpoofedRemote, Way::SpoofedLogin,
            Way::Serve, Way::ProxyWithoutUser, Way::ForeignPage,
        ]),
        connections in prop::collection::vec(prop::collection::vec(shot(), 1..5), 1..4),
    ) {
        prop_assume!(!is_open(mode, way));
        let mut host = Host::new(rule(mode)).with_policy(|policy| policy.proxies = proxies());
        let peer = peer(way);
        for shots in &connections {
            let conn = host.open_peer(peer.clone()).unwrap();
            let challenge = host.recv(conn);
            for shot in shots {
                fire(&mut host, conn, &challenge, shot, &peer);
            }
            host.advance(std::time::Duration::from_secs(20));
            prop_assert!(host.closed(conn).is_some(), "it stays open");
            let mut answers = 0;
            while let Some(frame) = host.try_recv(conn) {
                prop_assert_eq!(&frame["type"], "res", "an event before the hello: {}", frame);
                prop_assert_eq!(&frame["ok"], false, "{}", frame);
                answers += 1;
            }
            // The end comes with the first refusal; what follows is not even answered.
            prop_assert!(answers <= 1, "{} answers", answers);
            prop_assert!(host.gateway.poll_timeout().is_some());
        }
        prop_assert!(host.handled.is_empty(), "{:?}", host.handled);
        // Nor did anybody get anything to come back with.
        let kept = host.disk.rows.keys().filter(|(table, _)| {
            !matches!(table, clawgate_core::store::Table::PairRequest)
        });
        prop_assert_eq!(kept.count(), 0);
        let allowed = host.disk.audit.iter().any(|entry| entry["verdict"] == "allowed");
        prop_assert!(!allowed);
    }
}

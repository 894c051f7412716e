//! Who is let in over HTTP: every mode, credential and peer; and what pages can do.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod common;

use std::time::Duration;

use clawgate_core::{
    gateway::{HttpAnswer, HttpRefusal, HttpRequest, HttpVerdict},
    policy::{
        AuthReason, AuthRule, Granted, HostHeaderFallback, Ingress, LoopbackProxy, LoopbackRule,
        OriginPolicy, RequestHeaders, SecretKind, TailscaleLogin, TrustedProxies, TrustedProxyRule,
    },
    scope::{Scope, ScopeSet},
    secret::Secret,
    server::PeerFacts,
};
use common::Host;

const SECRET: &str = "s3cret-of-the-tests";
const ADA: &str = "ada@example.com";
const ALL: [Scope; 3] = [Scope::Admin, Scope::Pairing, Scope::TalkSecrets];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    None,
    Token,
    Password,
    Proxy,
    /// With a password for this machine.
    ProxyAndPassword,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown {
    Nothing,
    Right,
    Wrong,
    OtherScheme,
    Twice,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Owner,
    Local,
    Remote,
    /// By a trusted proxy that names Ada.
    Ada,
    /// By a trusted proxy that names nobody.
    Nobody,
    /// By managed Serve, with Ada's login.
    Tailnet,
    /// By managed Funnel.
    Internet,
    /// Forwarded by a stranger.
    Stranger,
}

fn rule(mode: Mode) -> AuthRule {
    let shared = |kind| AuthRule::Shared {
        kind,
        secret: Some(Secret::new(SECRET)),
        tailscale: TailscaleLogin::Allowed,
    };
    let proxy = |local_password| AuthRule::TrustedProxy {
        rule: Some(TrustedProxyRule {
            user_header: "x-forwarded-user".into(),
            loopback: LoopbackProxy::Allowed,
            ..TrustedProxyRule::default()
        }),
        local_password,
    };
    match mode {
        Mode::None => AuthRule::None,
        Mode::Token => shared(SecretKind::Token),
        Mode::Password => shared(SecretKind::Password),
        Mode::Proxy => proxy(None),
        Mode::ProxyAndPassword => proxy(Some(Secret::new(SECRET))),
    }
}

fn host(mode: Mode) -> Host {
    Host::new(rule(mode)).with_policy(|policy| {
        policy.proxies = TrustedProxies::parse(["127.0.0.2"]);
        policy.rate_limit.loopback = LoopbackRule::Limited;
        policy.rate_limit.max_attempts = 3;
    })
}

fn peer(from: From, more: &[(&str, &str)]) -> PeerFacts {
    let (ip, ingress): (&str, fn(core::net::IpAddr) -> Ingress) = match from {
        From::Owner => return PeerFacts::owner(),
        From::Local => ("127.0.0.1", Ingress::DirectLocal),
        From::Remote => ("203.0.113.5", Ingress::DirectRemote),
        From::Ada | From::Nobody => ("127.0.0.2", |_| {
            Ingress::TrustedProxy([203, 0, 113, 7].into())
        }),
        From::Tailnet => ("127.0.0.1", |_| {
            Ingress::TailscaleServe([100, 64, 0, 1].into())
        }),
        From::Internet => ("127.0.0.1", |_| {
            Ingress::TailscaleFunnel([198, 51, 100, 1].into())
        }),
        From::Stranger => ("203.0.113.9", |_| Ingress::Unattributable),
    };
    let ip = ip.parse().unwrap();
    let mut headers = vec![("host", "127.0.0.1:18789")];
    match from {
        From::Ada => headers.push(("x-forwarded-user", ADA)),
        From::Tailnet => headers.push(("tailscale-user-login", ADA)),
        From::Stranger => headers.push(("x-forwarded-for", "127.0.0.1")),
        From::Owner | From::Local | From::Remote | From::Nobody | From::Internet => {}
    }
    headers.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    headers.extend(more);
    PeerFacts {
        headers: RequestHeaders::new(headers),
        ingress: ingress(ip),
        ..PeerFacts::direct(ip)
    }
}

fn authorize(
    host: &mut Host,
    peer: &PeerFacts,
) -> Result<clawgate_core::gateway::HttpAccess, HttpRefusal> {
    let decision = host.gateway.authorize_http(host.now, peer);
    drain(host);
    decision
}

/// Nothing but the audit log may come of it.
fn drain(host: &mut Host) {
    while let Some(commit) = host.gateway.poll_commit() {
        host.disk.take(&commit).unwrap();
        host.gateway.handle_committed(host.now, commit.id, Ok(()));
    }
    assert!(host.gateway.poll_delivery().is_none());
    assert!(host.gateway.poll_effect().is_none());
}

/// How the table says that a request ends: the way in, or the status and the name of the reason.
fn expected(mode: Mode, shown: Shown, from: From) -> Result<&'static str, (u16, &'static str)> {
    match (mode, from) {
        (_, From::Owner) => return Ok("none"),
        (_, From::Stranger) => return Err((403, "proxy_attribution_required")),
        (Mode::None, _) => return Ok("none"),
        (Mode::Proxy | Mode::ProxyAndPassword, From::Ada) => return Ok("trusted-proxy"),
        (Mode::Proxy | Mode::ProxyAndPassword, From::Nobody) => {
            return Err((401, "trusted_proxy_user_missing"));
        }
        (Mode::ProxyAndPassword, From::Local) if matches!(shown, Shown::Right) => {
            return Ok("password");
        }
        (Mode::ProxyAndPassword, From::Local) if matches!(shown, Shown::Wrong | Shown::Twice) => {
            return Err((401, "password_mismatch"));
        }
        (Mode::Proxy | Mode::ProxyAndPassword, _) => {
            return Err((401, "trusted_proxy_untrusted_source"));
        }
        (Mode::Token | Mode::Password, _) => {}
    }
    // A Tailscale login is none here.
    match (mode, shown) {
        (Mode::Token, Shown::Right) => Ok("token"),
        (Mode::Token, Shown::Wrong | Shown::Twice) => Err((401, "token_mismatch")),
        (Mode::Token, _) => Err((401, "token_missing")),
        (_, Shown::Right) => Ok("password"),
        (_, Shown::Wrong | Shown::Twice) => Err((401, "password_mismatch")),
        (_, Shown::Nothing | Shown::OtherScheme) => Err((401, "password_missing")),
    }
}

#[test]
fn every_cell_of_the_table() {
    let right = format!("Bearer {SECRET}");
    for mode in [
        Mode::None,
        Mode::Token,
        Mode::Password,
        Mode::Proxy,
        Mode::ProxyAndPassword,
    ] {
        for shown in [
            Shown::Nothing,
            Shown::Right,
            Shown::Wrong,
            Shown::OtherScheme,
            Shown::Twice,
        ] {
            let headers: &[(&str, &str)] = match shown {
                Shown::Nothing => &[],
                Shown::Right => &[("authorization", &right)],
                Shown::Wrong => &[("authorization", "Bearer guess")],
                Shown::OtherScheme => &[("authorization", "Basic czM=")],
                Shown::Twice => &[("authorization", &right), ("authorization", &right)],
            };
            for from in [
                From::Owner,
                From::Local,
                From::Remote,
                From::Ada,
                From::Nobody,
                From::Tailnet,
                From::Internet,
                From::Stranger,
            ] {
                let mut host = host(mode);
                let decision = authorize(&mut host, &peer(from, headers));
                let denied = host.disk.audit.len();
                let cell = match &decision {
                    Ok(access) => Ok(access.granted.method()),
                    Err(refusal) => {
                        let reason = refusal.reason();
                        let entry = &host.disk.audit[0];
                        assert_eq!(entry["reason"], *reason);
                        assert!(!entry.to_string().contains("guess"));
                        Err((refusal.answer().status, reason))
                    }
                };
                let wanted = expected(mode, shown, from).map_err(|(s, name)| (s, name.to_owned()));
                assert_eq!(cell, wanted, "{mode:?} {shown:?} {from:?}");
                assert_eq!(denied, usize::from(decision.is_err()));
            }
        }
    }
}

#[test]
fn who_proves_the_secret_has_every_scope_and_others_may_ask_for_less() {
    let scopes = |mode, from, header: Option<&str>| {
        let right = format!("Bearer {SECRET}");
        let mut headers = vec![("authorization", right.as_str())];
        headers.extend(header.map(|value| ("x-openclaw-scopes", value)));
        authorize(&mut host(mode), &peer(from, &headers)).unwrap()
    };
    let allows = |scopes: &ScopeSet| ALL.map(|scope| scopes.allows(scope));
    for header in [None, Some("operator.read"), Some("")] {
        let access = scopes(Mode::Token, From::Remote, header);
        assert_eq!(allows(&access.scopes), [true; 3], "{header:?}");
    }
    for (mode, from) in [(Mode::None, From::Local), (Mode::Proxy, From::Ada)] {
        assert_eq!(allows(&scopes(mode, from, None).scopes), [true; 3]);
        let reader = scopes(mode, from, Some("operator.read,operator.root"));
        assert!(reader.require(Scope::Read).is_ok());
        let missing = reader.require(Scope::Write).unwrap_err().answer();
        assert_eq!(missing.status, 403);
        assert!(missing.body.contains("MISSING_SCOPE"), "{}", missing.body);
        assert!(scopes(mode, from, Some("")).scopes.is_empty());
    }
}

#[test]
fn guesses_lock_out_and_the_answer_says_for_how_long() {
    let mut host = host(Mode::Token);
    let wrong = peer(From::Remote, &[("authorization", "Bearer guess")]);
    for _ in 0..3 {
        authorize(&mut host, &wrong).unwrap_err();
    }
    let right = format!("Bearer {SECRET}");
    let right = peer(From::Remote, &[("authorization", &right)]);
    let locked = authorize(&mut host, &right).unwrap_err().answer();
    assert_eq!(locked.status, 429);
    assert!(locked.headers.contains(&("Retry-After", "300".into())));
    host.now = host.now.after(Duration::from_secs(300));
    assert!(authorize(&mut host, &right).is_ok());
}

#[test]
fn local_guesses_are_answered_later_and_later() {
    let mut host = Host::new(rule(Mode::Token));
    let wrong = peer(From::Local, &[("authorization", "Bearer guess")]);
    let delays: Vec<u128> = (0..3)
        .map(|_| {
            let refusal = authorize(&mut host, &wrong).unwrap_err();
            refusal.answer().delay.as_millis()
        })
        .collect();
    assert_eq!(delays, [250, 500, 1_000]);
}

#[test]
fn a_page_needs_an_origin_that_is_accepted_whatever_it_knows() {
    let right = format!("Bearer {SECRET}");
    let ask = |mode, from, more: &[(&'static str, &str)]| {
        let mut host = Host::new(rule(mode)).with_policy(|policy| {
            policy.proxies = TrustedProxies::parse(["127.0.0.2"]);
            policy.origins = OriginPolicy::new(["https://ui.example.com"], HostHeaderFallback::Off);
        });
        let mut headers = vec![("authorization", right.as_str())];
        headers.extend(more.iter().copied());
        authorize(&mut host, &peer(from, &headers)).map_err(|refusal| refusal.reason())
    };
    for mode in [Mode::None, Mode::Token, Mode::Password] {
        for origin in [
            "https://evil.example",
            "null",
            "http://127.0.0.1.evil.example",
        ] {
            let refused = ask(mode, From::Local, &[("origin", origin)]);
            assert_eq!(
                refused.unwrap_err(),
                "origin_not_allowed",
                "{mode:?} {origin}"
            );
        }
        for site in ["cross-site", "same-site"] {
            let refused = ask(mode, From::Local, &[("sec-fetch-site", site)]);
            assert_eq!(
                refused.unwrap_err(),
                "origin_not_allowed",
                "{mode:?} {site}"
            );
        }
        for origin in ["https://ui.example.com", "http://127.0.0.1:18789"] {
            assert!(
                ask(mode, From::Local, &[("origin", origin)]).is_ok(),
                "{origin}"
            );
        }
    }
    assert!(
        ask(
            Mode::Proxy,
            From::Ada,
            &[("origin", "https://evil.example")]
        )
        .is_err()
    );
}

#[test]
fn a_rebound_name_opens_nothing() {
    let rebound = ("host", "rebound.example:18789");
    let ask = |mode, from, more: &[(&'static str, &str)]| {
        authorize(&mut host(mode), &peer(from, more)).map_err(|refusal| refusal.reason())
    };
    let denied = || Err("host_not_allowed".to_owned());
    let reason = |decision: Result<_, String>| decision.map(|_| ());
    // Without a secret, the name decides, whoever asks.
    assert_eq!(reason(ask(Mode::None, From::Local, &[rebound])), denied());
    // A page may write the headers of a proxy, but not its own name.
    assert_eq!(reason(ask(Mode::Proxy, From::Ada, &[rebound])), denied());
    // Browsers are turned away in any mode; other programs show a secret or nothing.
    let right = format!("Bearer {SECRET}");
    let bearer = ("authorization", right.as_str());
    for browser in [("user-agent", "Mozilla/5.0"), ("sec-fetch-mode", "cors")] {
        let decision = ask(Mode::Token, From::Remote, &[rebound, bearer, browser]);
        assert_eq!(reason(decision), denied(), "{browser:?}");
    }
    assert!(ask(Mode::Token, From::Remote, &[rebound, bearer]).is_ok());
    for known in [
        "localhost:1",
        "192.168.1.5",
        "[::1]:18789",
        "gw.local",
        "gw.tail1.ts.net",
    ] {
        assert!(
            ask(Mode::None, From::Local, &[("host", known)]).is_ok(),
            "{known}"
        );
    }
}

fn http(host: &mut Host, method: &str, target: &str, peer: &PeerFacts) -> HttpVerdict {
    let request = HttpRequest {
        method,
        target,
        peer,
    };
    let verdict = host.gateway.handle_http(host.now, &request);
    drain(host);
    verdict
}

fn answer(host: &mut Host, method: &str, target: &str, peer: &PeerFacts) -> HttpAnswer {
    match http(host, method, target, peer) {
        HttpVerdict::Answer(answer) => answer,
        HttpVerdict::Body { .. } => panic!("a request with a body"),
        HttpVerdict::Metrics(_) => panic!("a request for metrics"),
        HttpVerdict::Upgrade => panic!("an upgrade"),
    }
}

#[test]
fn spoofed_headers_are_told_as_often_as_is_useful() {
    let mut host = host(Mode::Token);
    let stranger = peer(
        From::Stranger,
        &[("upgrade", "websocket"), ("x-forwarded-prefix", "/secret")],
    );
    let mut warnings = Vec::new();
    for _ in 0..1_000 {
        let refused = answer(&mut host, "GET", "/", &stranger);
        assert_eq!(refused.status, 403);
        warnings.extend(refused.warning);
    }
    assert_eq!((warnings.len(), host.disk.audit.len()), (10, 200));
    for told in [&warnings[0], &host.disk.audit[0].to_string()] {
        assert!(told.contains("203.0.113.9"), "{told}");
        assert!(
            told.contains("x-forwarded-for, x-forwarded-prefix"),
            "{told}"
        );
        assert!(
            !told.contains("127.0.0.1") && !told.contains("/secret"),
            "{told}"
        );
    }
    host.now = host.now.after(Duration::from_secs(6));
    let next = answer(&mut host, "GET", "/", &stranger).warning.unwrap();
    assert!(next.contains("990 more before this one"), "{next}");
    assert_eq!(host.disk.audit.last().unwrap()["leftOut"], 800);
}

#[test]
fn only_a_sound_request_goes_on_to_the_websocket() {
    let mut host = host(Mode::Token);
    let with = |upgrade| peer(From::Local, &[("upgrade", upgrade)]);
    assert!(matches!(
        http(&mut host, "GET", "/any/path", &with("WebSocket")),
        HttpVerdict::Upgrade
    ));
    for (method, upgrade) in [("GET", "h2c"), ("POST", "websocket"), ("GET", "")] {
        let refused = answer(&mut host, method, "/", &with(upgrade));
        assert_eq!(refused.status, 400, "{method} {upgrade}");
    }
}

#[test]
fn a_gateway_that_stops_is_not_ready() {
    let mut host = host(Mode::Token);
    let local = peer(From::Local, &[]);
    assert_eq!(answer(&mut host, "GET", "/readyz", &local).status, 200);
    host.shutdown("for the test");
    let ready = answer(&mut host, "GET", "/ready?verbose", &local);
    assert_eq!(ready.status, 503);
    assert!(
        ready.body.contains(r#""failing":["stopping"]"#),
        "{}",
        ready.body
    );
    assert_eq!(answer(&mut host, "GET", "/health", &local).status, 200);
}

#[test]
fn a_gateway_that_cannot_let_anybody_in_says_so() {
    let rule = AuthRule::TrustedProxy {
        rule: None,
        local_password: None,
    };
    let decision = authorize(&mut Host::new(rule), &peer(From::Local, &[]));
    let refusal = HttpRefusal::Auth(AuthReason::TrustedProxyConfigMissing, Duration::ZERO);
    assert_eq!(decision, Err(refusal));
    let open = authorize(&mut host(Mode::None), &peer(From::Local, &[])).unwrap();
    assert_eq!(open.granted, Granted::None);
}

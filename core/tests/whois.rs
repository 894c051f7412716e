//! Clients whom Tailscale has to vouch for.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod common;

use clawgate_core::{
    gateway::{Effect, EffectOutcome},
    ids::{ConnId, EffectId},
    policy::{AuthRule, Ingress, RequestHeaders, SecretKind, TailscaleLogin, Whois},
    protocol::{ClientId, ClientInfo, ClientMode},
    secret::Secret,
    server::PeerFacts,
};
use common::{Device, Host};
use std::time::Duration;

const ADA: &str = "ada@example.org";

fn host() -> Host {
    Host::new(AuthRule::Shared {
        kind: SecretKind::Token,
        secret: Some(Secret::new("s3")),
        tailscale: TailscaleLogin::Allowed,
    })
}

fn browser(seed: u8, last: u8) -> Device {
    let host = "gw.tail1.ts.net";
    let origin = format!("https://{host}");
    let headers = [
        ("host", host),
        ("origin", &origin),
        ("tailscale-user-login", ADA),
    ];
    let mut device = Device::remote(seed, &["operator.admin"]);
    device.client = ClientInfo::new(ClientId::OpenclawControlUi, ClientMode::Webchat, "1", "web");
    device.peer = PeerFacts {
        headers: RequestHeaders::new(headers),
        ingress: Ingress::TailscaleServe([100, 64, 0, last].into()),
        ..PeerFacts::direct([127, 0, 0, 1].into())
    };
    device
}

fn begin(host: &mut Host, device: &Device) -> ConnId {
    let conn = host.open_peer(device.peer.clone()).unwrap();
    let challenge = host.recv(conn);
    host.call(conn, "1", "connect", device.params(&challenge));
    conn
}

/// The questions that are open.
fn questions(host: &mut Host) -> Vec<(EffectId, core::net::IpAddr)> {
    host.effects
        .drain(..)
        .map(|request| {
            let Effect::Whois(ip) = request.effect else {
                panic!("{request:?}");
            };
            (request.id, ip)
        })
        .collect()
}

fn login(name: &str) -> EffectOutcome {
    EffectOutcome::Whois(Whois::Login(name.into()))
}

#[test]
fn one_question_serves_all_who_wait_for_it() {
    let mut host = host();
    let waiting: Vec<ConnId> = (1..=3)
        .map(|seed| begin(&mut host, &browser(seed, 1)))
        .collect();
    let other = begin(&mut host, &browser(9, 2));
    let asked = questions(&mut host);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(waiting.iter().all(|conn| host.try_recv(*conn).is_none()));
    // Who asked first is gone; the others still get their answer.
    host.drop_connection(waiting[0]);
    host.complete(asked[0].0, login(ADA));
    for conn in &waiting[1..] {
        let hello = host.recv(*conn);
        assert_eq!(hello["payload"]["auth"]["method"], "tailscale", "{hello}");
    }
    host.complete(asked[1].0, login("eve@example.org"));
    assert_eq!(
        host.recv(other)["error"]["details"]["authReason"],
        "token_missing"
    );
    // A second answer to the same question comes to nothing.
    host.complete(asked[1].0, login(ADA));
    assert!(host.closed(other).is_some());
}

#[test]
fn an_answer_is_remembered_and_asked_for_again_in_time() {
    let mut host = host();
    let first = begin(&mut host, &browser(1, 1));
    let asked = questions(&mut host);
    host.complete(asked[0].0, login(ADA));
    assert_eq!(host.recv(first)["ok"], true);
    host.advance(Duration::from_secs(59));
    let second = begin(&mut host, &browser(2, 1));
    assert!(questions(&mut host).is_empty());
    assert_eq!(host.recv(second)["ok"], true);
    host.advance(Duration::from_secs(2));
    begin(&mut host, &browser(3, 1));
    assert_eq!(questions(&mut host).len(), 1);
}

#[test]
fn silence_is_no_login() {
    let mut host = host();
    let failed = begin(&mut host, &browser(1, 1));
    let late = begin(&mut host, &browser(2, 2));
    let asked = questions(&mut host);
    host.complete(asked[0].0, EffectOutcome::Failed("no program".into()));
    assert_eq!(
        host.recv(failed)["error"]["details"]["authReason"],
        "token_missing"
    );
    host.advance(Duration::from_secs(11));
    assert_eq!(
        host.recv(late)["error"]["details"]["authReason"],
        "token_missing"
    );
    // A late answer lets nobody in, and is not remembered.
    host.complete(asked[1].0, login(ADA));
    let next = begin(&mut host, &browser(3, 2));
    assert!(questions(&mut host).is_empty());
    assert_eq!(
        host.recv(next)["error"]["details"]["authReason"],
        "token_missing"
    );
}

#[test]
fn a_gateway_that_stops_waits_for_nobody() {
    let mut host = host();
    let conn = begin(&mut host, &browser(1, 1));
    let asked = questions(&mut host);
    host.shutdown("for the test");
    assert_eq!(host.closed(conn).map(|(code, _)| code), Some(1012));
    host.complete(asked[0].0, login(ADA));
}

//! The whole table, a test for each mode.

use std::collections::BTreeMap;

use crate::{
    cells::{CREDENTIALS, Cell, IDENTITIES, Mode, PEERS, SURFACES},
    oracle::{Verdict, verdict},
    scene::Scene,
};

fn cells(mode: Mode) -> impl Iterator<Item = Cell> {
    SURFACES
        .into_iter()
        .flat_map(move |surface| {
            IDENTITIES.into_iter().flat_map(move |identity| {
                CREDENTIALS.into_iter().flat_map(move |credential| {
                    PEERS.into_iter().map(move |peer| Cell {
                        mode,
                        surface,
                        identity,
                        credential,
                        peer,
                    })
                })
            })
        })
        .filter(|cell| cell.is_real())
}

#[allow(clippy::print_stdout, reason = "a summary for whoever asks for it")]
fn check(mode: Mode) {
    let mut scene = Scene::new(mode);
    let (mut checked, mut wrong) = (0, Vec::new());
    let mut summary: BTreeMap<String, usize> = BTreeMap::new();
    for cell in cells(mode) {
        let (right, found) = (verdict(cell), scene.play(cell));
        checked += 1;
        let kind = match &found {
            Verdict::In { method, token, .. } => format!("in by {method}, token {token}"),
            Verdict::Out(refusal) => refusal.clone(),
        };
        *summary.entry(kind).or_default() += 1;
        if right != found {
            wrong.push(format!(
                "{cell:?}\n  should be {right:?}\n  and is    {found:?}"
            ));
        }
    }
    println!("{mode:?}: {checked} cells");
    for (kind, count) in &summary {
        println!("  {count:6} {kind}");
    }
    // A table in which nobody comes in, or everybody, proves nothing.
    let entered = summary.keys().filter(|kind| kind.starts_with("in by"));
    assert!(entered.count() > 3 && summary.len() > 8, "{summary:?}");
    let shown: Vec<&String> = wrong.iter().take(8).collect();
    assert!(
        wrong.is_empty(),
        "{} of {checked} cells: {shown:#?}",
        wrong.len()
    );
}

#[test]
fn every_door_of_a_gateway_without_auth() {
    check(Mode::None);
}

#[test]
fn every_door_of_a_gateway_with_a_token() {
    check(Mode::Token { tailscale: false });
}

#[test]
fn every_door_of_a_gateway_with_a_token_or_a_tailscale_login() {
    check(Mode::Token { tailscale: true });
}

#[test]
fn every_door_of_a_gateway_with_a_password() {
    check(Mode::Password { tailscale: false });
}

#[test]
fn every_door_of_a_gateway_with_a_password_or_a_tailscale_login() {
    check(Mode::Password { tailscale: true });
}

#[test]
fn every_door_of_a_gateway_behind_a_proxy() {
    for (loopback, password) in [(false, false), (false, true), (true, false), (true, true)] {
        check(Mode::Proxy { loopback, password });
    }
}

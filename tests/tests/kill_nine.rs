//! Whatever a gateway has acknowledged is there after it was killed, at whatever moment.

use std::collections::BTreeSet;

use clawgate_core::rng::Rng;
use clawgate_tests::{
    dice::{dice, seed},
    failure::{Failure, TestResult},
    gateway_process::GatewayProcess,
    raw_client::{Answer, RawClient},
};
use serde_json::{Value, json};

const ROUNDS: u64 = 12;

/// Changes that are under way at once.
const CALLS: u64 = 40;

fn ids(invites: &Value) -> BTreeSet<String> {
    invites
        .get("invites")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|invite| Some(invite.get("inviteId")?.as_str()?.to_owned()))
        .collect()
}

/// Sends many changes at once, kills the gateway after some of the answers, and gives what was
/// acknowledged.
fn change_and_kill(
    gateway: &mut GatewayProcess,
    dice: &mut Rng,
    known: &BTreeSet<String>,
) -> TestResult<(BTreeSet<String>, BTreeSet<String>)> {
    let mut client = RawClient::operator(&gateway.url(), gateway.token(), &["operator.admin"])?;
    let mut calls = Vec::new();
    for (index, old) in (0..CALLS).zip(known.iter().map(Some).chain(std::iter::repeat(None))) {
        // Every other call takes something away, as far as there is something.
        let (method, params) = match old {
            Some(id) if index % 2 == 0 => ("device.invite.revoke", json!({ "inviteId": id })),
            Some(_) | None => ("device.invite.create", json!({ "ttlMs": 3_600_000 })),
        };
        calls.push((method, client.request(method, params)?));
    }
    let answers_before_the_end = dice.u64() % (CALLS + 1);
    let (mut made, mut revoked) = (BTreeSet::new(), BTreeSet::new());
    for (index, (method, id)) in (0..).zip(&calls) {
        if index == answers_before_the_end {
            gateway.kill()?;
        }
        // After the end, what had been written to the socket before still arrives.
        let Ok(Answer::Payload(answer)) = client.answer(id) else {
            break;
        };
        let invite = answer
            .get("inviteId")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::new(format!("no id in {answer}")))?;
        if *method == "device.invite.create" {
            made.insert(invite.to_owned());
        } else {
            revoked.insert(invite.to_owned());
        }
    }
    if answers_before_the_end == CALLS {
        gateway.kill()?;
    }
    Ok((made, revoked))
}

#[test]
fn nothing_acknowledged_is_lost_or_comes_back() -> TestResult {
    let seed = seed()?;
    let mut dice = dice(seed);
    let mut gateway = GatewayProcess::start()?;
    let mut known = BTreeSet::new();
    for round in 0..ROUNDS {
        let (made, revoked) = change_and_kill(&mut gateway, &mut dice, &known)?;
        gateway.restart()?;
        let mut client = RawClient::operator(&gateway.url(), gateway.token(), &["operator.admin"])?;
        let found = ids(&client.call("device.invite.list", json!({}))?.payload()?);
        let lost: Vec<&String> = made.difference(&found).collect();
        let back: Vec<&String> = revoked.intersection(&found).collect();
        if !lost.is_empty() || !back.is_empty() {
            return Err(Failure::new(format!(
                "seed {seed}, round {round}: lost {lost:?}, came back {back:?}"
            )));
        }
        // What was not acknowledged may have been done or not.
        known = found;
    }
    Ok(())
}

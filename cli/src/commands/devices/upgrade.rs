//! `devices upgrade`: a device asks for more scopes, and waits for the answer.

use std::time::Duration;

use clawgate_core::client::{Call, IssuedToken};
use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_core::protocol::Role;
use clawgate_core::scope::ScopeSet;
use clawgate_core::secret::Secret;
use serde_json::{Value, json};

use super::{word, words};
use crate::context::Context;
use crate::device_args::UpgradeArgs;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, Resolved, TargetFlags, target_text};
use crate::text::{duration, plain};

pub(super) fn run(args: UpgradeArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let asked = ScopeSet::from_iter(args.scopes);
    let held = resolved.target.auth().device_scopes().cloned();
    let wanted = held
        .as_ref()
        .map_or_else(|| asked.clone(), |held| held.union(&asked));
    // A device that is not paired asks by connecting; one that is asks over its connection.
    let connect_with = held.as_ref().unwrap_or(&wanted);
    let total = flags.timeout + args.wait;
    let mut link = Link::open_as_device(&resolved, connect_with.names(), total)
        .map_err(|error| error.explain(&resolved))?;
    let granted = link.connection.hello().scopes.clone().unwrap_or_default();
    let granted = ScopeSet::parse(&granted);
    if !granted.covers(&wanted) {
        let request = link.call("device.scopes.requestUpgrade", encode(&wanted)?)?;
        let request: Value = request.parse().unwrap_or_default();
        let id = plain(word(&request, "requestId"));
        output::note(&format!(
            "request {id}: approve it on the gateway's host with `clawgate devices approve {id}`; \
             waiting for {}",
            duration(args.wait)
        ));
        let answer = wait(&mut link, &id, args.wait)?;
        keep(&link, &resolved, &answer)?;
    }
    link.connection.close();
    let scopes = wanted.names();
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "gateway": resolved.target.endpoint().url(), "scopes": scopes,
        }))?,
        Format::Text => output::text(&format!(
            "this device has {} at {}\n",
            scopes.join(","),
            target_text(&resolved.why)
        ))?,
    }
    Ok(Exit::Ok)
}

fn encode(scopes: &ScopeSet) -> Result<RawJson, Failure> {
    params(&json!({ "scopes": scopes.names() }))
}

fn params(value: &Value) -> Result<RawJson, Failure> {
    RawJson::encode(value)
        .map_err(|error| Failure::new(Exit::Failed, "params", error.to_string(), ""))
}

fn wait(link: &mut Link<'_>, id: &str, at_most: Duration) -> Result<Value, Failure> {
    const METHOD: &str = "device.scopes.waitUpgrade";
    let call = Call::new(METHOD, params(&json!({ "requestId": id }))?).timeout(at_most);
    let answer: Value = link.run(call)?.parse().unwrap_or_default();
    match word(&answer, "status") {
        "approved" => Ok(answer),
        status => Err(Failure::new(
            Exit::Unauthorised,
            "upgrade_denied",
            format!("The request {id} was not approved: {}.", plain(status)),
            "Ask whoever looks after the gateway, then try again.",
        )
        .fact("requestId", json!(id))),
    }
}

/// Keeps the wider token in place of the old one.
fn keep(link: &Link<'_>, resolved: &Resolved, answer: &Value) -> Result<(), Failure> {
    let token = Secret::non_blank(word(answer, "deviceToken"));
    let identity = match &resolved.device {
        Some(files) => files.identity()?,
        None => None,
    };
    if let (Some(token), Some(identity)) = (token, identity) {
        let scopes = words(answer, "scopes");
        let issued = IssuedToken {
            token,
            role: Role::Operator.as_str().into(),
            scopes: scopes.split(',').map(Into::into).collect(),
            issued_at: None,
        };
        link.keep_token(&identity, Role::Operator, &issued);
    }
    Ok(())
}

//! `devices remove`, `rename`, `rotate` and `revoke`.

use clawgate_core::client::IssuedToken;
use clawgate_core::protocol::Role;
use clawgate_core::scope::Scope;
use clawgate_core::secret::Secret;
use serde_json::{Value, json};

use super::{Kind, all, find, items, word, words};
use crate::context::Context;
use crate::desk::{self, Desk};
use crate::device_args::TokenArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::plain;

pub(super) fn remove(given: &str, flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (id, place) = desk::with(flags, context, |desk| {
        let id = device(desk, given)?.0;
        desk.call("device.pair.remove", &json!({ "deviceId": id }))?;
        Ok((id, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "deviceId": id }))?,
        Format::Text => output::text(&format!("removed: device {}\n", plain(&id)))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn rename(
    given: &str,
    label: &str,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let (id, place) = desk::with(flags, context, |desk| {
        let id = device(desk, given)?.0;
        let params = json!({ "deviceId": id, "label": label });
        desk.call("device.pair.rename", &params)?;
        Ok((id, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "deviceId": id, "label": label.trim(),
        }))?,
        Format::Text => output::text(&format!(
            "renamed: device {} is {}\n",
            plain(&id),
            plain(label.trim())
        ))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn rotate(
    args: &TokenArgs,
    scopes: Option<&[Scope]>,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let (mut answer, place, kept) = desk::with(flags, context, |desk| {
        let (id, role) = token(desk, args)?;
        let mut params = json!({ "deviceId": id, "role": role });
        if let (Some(scopes), Value::Object(fields)) = (scopes, &mut params) {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            fields.insert("scopes".into(), json!(names));
        }
        let answer = desk.call("device.token.rotate", &params)?;
        let kept = issued(&answer).is_some_and(|issued| desk.keep_own(&id, role, &issued));
        Ok((answer, desk.place(), kept))
    })?;
    if let (true, Value::Object(fields)) = (kept, &mut answer) {
        // It is where it belongs, and nobody has to see it.
        fields.remove("token");
    }
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "kept": kept, "rotated": answer,
        }))?,
        Format::Text => {
            let mut text = format!(
                "rotated: the {} token of device {} (scopes {})\n",
                plain(word(&answer, "role")),
                plain(word(&answer, "deviceId")),
                plain(&words(&answer, "scopes")),
            );
            text.push_str(&match (kept, word(&answer, "token")) {
                (true, _) => "This machine has kept it.\n".to_owned(),
                (false, "") => "The gateway shows it to the device itself only. The device gets \
                                it when it connects once with the gateway's token or password.\n"
                    .to_owned(),
                (false, token) => format!("token  {}\n", plain(token)),
            });
            output::text(&text)?;
        }
    }
    Ok(Exit::Ok)
}

pub(super) fn revoke(
    args: &TokenArgs,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let (answer, place) = desk::with(flags, context, |desk| {
        let (id, role) = token(desk, args)?;
        let params = json!({ "deviceId": id, "role": role });
        Ok((desk.call("device.token.revoke", &params)?, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "revoked": answer }))?,
        Format::Text => output::text(&format!(
            "revoked: the {} token of device {}; it has to be approved again\n",
            plain(word(&answer, "role")),
            plain(word(&answer, "deviceId")),
        ))?,
    }
    Ok(Exit::Ok)
}

fn issued(answer: &Value) -> Option<IssuedToken> {
    let scopes = items(answer, "scopes");
    Some(IssuedToken {
        token: Secret::non_blank(answer.get("token")?.as_str()?)?,
        role: word(answer, "role").to_owned(),
        scopes: scopes
            .iter()
            .filter_map(Value::as_str)
            .map(Into::into)
            .collect(),
        issued_at: None,
    })
}

/// The id of a paired device, and what is known of it.
fn device(desk: &mut Desk<'_>, given: &str) -> Result<(String, Value), Failure> {
    let paired = items(&all(desk)?, "paired");
    let device = find(Kind::Device, given, &paired)?;
    Ok((word(device, "deviceId").to_owned(), device.clone()))
}

/// Whose token, for which role.
fn token(desk: &mut Desk<'_>, args: &TokenArgs) -> Result<(String, Role), Failure> {
    let (id, device) = device(desk, &args.device)?;
    if let Some(role) = args.role {
        return Ok((id, role.into()));
    }
    let roles = words(&device, "roles");
    let role = match roles.as_str() {
        "node" => Role::Node,
        "operator" => Role::Operator,
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                "role_needed",
                format!("The device has the roles {roles}."),
                "Say which one: add --role operator or --role node.",
            ));
        }
    };
    Ok((id, role))
}

//! `devices invite`, `invites` and `uninvite`.

use clawgate_core::client::SETUP_SCHEME;
use clawgate_core::protocol::Role;
use clawgate_core::time::{WallTime, millis};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value, json};

use super::{Kind, find, items, word, words};
use crate::context::Context;
use crate::desk::{self, Desk};
use crate::device_args::InviteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::{Sheet, Table, plain};

pub(super) fn make(args: InviteArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let role = Role::from(args.role);
    let scopes: Vec<&str> = args.scopes.iter().map(|scope| scope.as_str()).collect();
    let mut params = json!({
        "role": role,
        "scopes": scopes,
        "commands": args.commands,
        "uses": args.uses,
        "ttlMs": millis(args.ttl),
    });
    if let Value::Object(fields) = &mut params {
        let optional = [("label", args.label), ("url", args.join_url)];
        for (name, value) in optional {
            if let Some(value) = value {
                fields.insert(name.into(), value.into());
            }
        }
    }
    let (invite, place) = desk::with(&flags, context, |desk| {
        let invite = desk.call("device.invite.create", &params)?;
        Ok((invite, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "invite": invite }))?,
        Format::Text => output::text(&describe(&invite, role, !args.no_qr))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn list(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (invites, place) = desk::with(flags, context, |desk| Ok((open(desk)?, desk.place())))?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "invites": invites }))?,
        Format::Text if invites.is_empty() => output::text("No join token is open.\n")?,
        Format::Text => {
            let mut table = Table::new(&[
                "ID", "ROLE", "SCOPES", "COMMANDS", "LEFT", "USED BY", "ENDS", "LABEL",
            ]);
            for invite in &invites {
                let devices = items(invite, "devices");
                table.row([
                    word(invite, "inviteId").to_owned(),
                    word(invite, "role").to_owned(),
                    words(invite, "scopes"),
                    words(invite, "commands"),
                    invite
                        .get("usesLeft")
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    match devices.len() {
                        0 => String::new(),
                        1 => "1 device".to_owned(),
                        many => format!("{many} devices"),
                    },
                    ends(invite),
                    word(invite, "label").to_owned(),
                ]);
            }
            output::text(&table.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

pub(super) fn take_back(
    given: &str,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let (id, place) = desk::with(flags, context, |desk| {
        let invites = open(desk)?;
        let id = word(find(Kind::Invite, given, &invites)?, "inviteId").to_owned();
        desk.call("device.invite.revoke", &json!({ "inviteId": id }))?;
        Ok((id, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "inviteId": id }))?,
        Format::Text => output::text(&format!("taken back: join token {}\n", plain(&id)))?,
    }
    Ok(Exit::Ok)
}

fn open(desk: &mut Desk<'_>) -> Result<Vec<Value>, Failure> {
    let answer = desk.call("device.invite.list", &json!({}))?;
    Ok(items(&answer, "invites"))
}

fn ends(invite: &Value) -> String {
    invite
        .get("expiresAtMs")
        .and_then(Value::as_u64)
        .map(|at| WallTime(at).to_rfc3339())
        .unwrap_or_default()
}

/// The token and how to use it. It is shown this once.
fn describe(invite: &Value, role: Role, qr: bool) -> String {
    let role = role.as_str();
    let mut sheet = Sheet::default();
    sheet.line("Join token", word(invite, "token"));
    sheet.line("Id", word(invite, "inviteId"));
    sheet.line("Role", role);
    for (name, field) in [("Scopes", "scopes"), ("Commands", "commands")] {
        let list = words(invite, field);
        if !list.is_empty() {
            sheet.line(name, list);
        }
    }
    let uses = invite.get("usesLeft").and_then(Value::as_u64);
    sheet.line("Devices", uses.unwrap_or(1).to_string());
    sheet.line("Ends", ends(invite));
    let code = word(invite, "setupCode");
    if code.is_empty() {
        sheet.line(
            "Join",
            format!("clawgate devices join - --role {role} --url URL   (and the join token on standard input)"),
        );
        return format!(
            "{}The gateway knows no address of its own: --join-url URL makes a setup code and a QR \
             code of it.\n",
            sheet.to_text()
        );
    }
    sheet.line("Gateway", word(invite, "gatewayUrl"));
    sheet.line("Setup code", code);
    sheet.line(
        "Join",
        format!("clawgate devices join - --role {role}   (and the setup code on standard input)"),
    );
    let mut text = sheet.to_text();
    if qr {
        match qr_code(&format!("{SETUP_SCHEME}{code}")) {
            Some(picture) => {
                text.push('\n');
                text.push_str(&picture);
                text.push('\n');
            }
            None => text.push_str("The setup code is too long for a QR code.\n"),
        }
    }
    text
}

/// A QR code of half blocks, light on dark terminals and with its quiet zone.
fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, qrcode::EcLevel::L).ok()?;
    Some(
        code.render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_code_is_shown_as_text_and_as_a_picture() {
        let invite = json!({
            "inviteId": "i", "token": "hunter2", "usesLeft": 1, "expiresAtMs": 1_737_264_000_000_u64,
            "setupCode": "e30", "gatewayUrl": "wss://gw.example.com", "commands": ["a", "b"],
        });
        let text = describe(&invite, Role::Node, true);
        for part in [
            "hunter2",
            "a,b",
            "e30",
            "wss://gw.example.com",
            "--role node",
            "█",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!describe(&invite, Role::Node, false).contains('█'));
    }

    #[test]
    fn without_an_address_there_is_no_code() {
        let text = describe(&json!({ "token": "hunter2" }), Role::Operator, true);
        assert!(text.contains("--join-url") && !text.contains('█'), "{text}");
    }
}

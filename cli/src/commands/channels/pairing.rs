//! `pairing list`, `approve` and `reject`.

use serde_json::{Value, json};

use super::{ask, call, params, print, text};
use crate::channel_args::{CodeArgs, PairingCommand};
use crate::commands::devices::{items, word};
use crate::context::Context;
use crate::desk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::target::TargetFlags;
use crate::text::{Table, plain};

const HINT: &str = "`clawgate pairing list` shows who waits.";

/// What becomes of somebody who asks.
#[derive(Clone, Copy, Debug)]
enum Word {
    Approve { owner: bool, quiet: bool },
    Reject,
}

/// Does what `clawgate pairing …` asks for.
pub(in crate::commands) fn run(
    command: PairingCommand,
    context: &Context,
) -> Result<Exit, Failure> {
    match command {
        PairingCommand::List {
            channel,
            account,
            target,
        } => {
            let wanted = params([
                ("channel", text(channel.as_deref())),
                ("accountId", text(account.as_deref())),
            ]);
            let hint = "`clawgate channels status` shows all accounts.";
            let answer = call("channels.pairing.list", &wanted, target, context, hint)?;
            print(context, &answer, || table(&answer))?;
            Ok(Exit::Ok)
        }
        PairingCommand::Approve { code, owner, quiet } => {
            decide(code, Word::Approve { owner, quiet }, context)
        }
        PairingCommand::Reject(code) => decide(code, Word::Reject, context),
    }
}

fn table(answer: &Value) -> String {
    let requests = items(answer, "requests");
    if requests.is_empty() {
        return "Nobody waits to be let in.\n".to_owned();
    }
    let mut table = Table::new(&["CODE", "CHANNEL", "ACCOUNT", "SENDER", "NAME", "UNTIL"]);
    for request in &requests {
        let cells = [
            "requestId",
            "channel",
            "accountId",
            "senderId",
            "senderLabel",
            "expiresAt",
        ];
        table.row(cells.map(|cell| word(request, cell).to_owned()));
    }
    table.to_text()
}

fn decide(args: CodeArgs, decision: Word, context: &Context) -> Result<Exit, Failure> {
    let (code, channel, account) = (args.code(), args.channel().map(str::to_owned), args.account);
    let method = match decision {
        Word::Approve { .. } => "channels.pairing.approve",
        Word::Reject => "channels.pairing.dismiss",
    };
    // To name an owner takes more than the method itself says.
    let owner = matches!(decision, Word::Approve { owner: true, .. });
    let methods: &[&str] = if owner {
        &["channels.pairing.list", method, "channels.start"]
    } else {
        &["channels.pairing.list", method]
    };
    let flags = TargetFlags::read(args.target)?;
    let (request, answer) = desk::with_methods(methods, &flags, context, |desk| {
        let all = ask(desk, "channels.pairing.list", &json!({}), HINT)?;
        let request = choose(&all, &code, channel.as_deref(), account.as_deref())?;
        let mut wanted = json!({
            "channel": word(&request, "channel"),
            "accountId": word(&request, "accountId"),
            "requestId": word(&request, "requestId"),
        });
        if let (Word::Approve { owner, quiet }, Some(fields)) = (decision, wanted.as_object_mut()) {
            fields.insert("notify".into(), json!(!quiet));
            fields.insert("bootstrapCommandOwner".into(), json!(owner));
        }
        let answer = ask(desk, method, &wanted, HINT)?;
        Ok((request, answer))
    })?;
    let shown = json!({ "ok": true, "request": request, "result": answer });
    print(context, &shown, || {
        let who = format!(
            "{} ({}) at {}/{}",
            plain(word(&request, "senderId")),
            plain(word(&request, "senderLabel")),
            plain(word(&request, "channel")),
            plain(word(&request, "accountId"))
        );
        match (decision, word(&answer, "commandOwnerBootstrap")) {
            (Word::Reject, _) => format!("turned away: {who}\n"),
            (Word::Approve { .. }, "configured") => {
                format!("let in: {who}, who may let others in\n")
            }
            (Word::Approve { .. }, "already-configured") => {
                format!("let in: {who}; not as the owner, since there is one already\n")
            }
            (Word::Approve { .. }, _) => format!("let in: {who}\n"),
        }
    })?;
    Ok(Exit::Ok)
}

/// The request with this code.
fn choose(
    all: &Value,
    code: &str,
    channel: Option<&str>,
    account: Option<&str>,
) -> Result<Value, Failure> {
    let is = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
    let mut found = items(all, "requests");
    found.retain(|request| {
        word(request, "requestId") == code
            && is(channel, word(request, "channel"))
            && is(account, word(request, "accountId"))
    });
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Failure::new(
            Exit::Usage,
            "ambiguous",
            format!("Several accounts have the code {}.", plain(code)),
            "Name the channel before it, and the account with --account.",
        )),
        (None, _) => Err(Failure::new(
            Exit::Refused,
            "not_found",
            format!("Nobody has the code {}.", plain(code)),
            "Codes end after an hour: `clawgate pairing list` shows who waits.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_means_one_request_or_none() {
        let request = |account: &str| json!({ "requestId": "7KQ2M9XB", "channel": "telegram", "accountId": account });
        let all = json!({ "requests": [request("default"), request("work")] });
        let chosen = choose(&all, "7KQ2M9XB", Some("telegram"), Some("work")).unwrap();
        assert_eq!(chosen, request("work"));
        let code = |channel, account| choose(&all, "7KQ2M9XB", channel, account).unwrap_err().code;
        assert_eq!(code(None, None), "ambiguous");
        assert_eq!(code(Some("webhook"), None), "not_found");
    }
}

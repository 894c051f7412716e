//! `channels status`, `start`, `stop` and `logout`.

use clawgate_core::time::WallTime;
use serde_json::Value;

use super::{call, params, print, text};
use crate::channel_args::{AccountArgs, ChannelsCommand};
use crate::commands::devices::{items, word};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::text::{Table, plain};

const HINT: &str = "`clawgate channels status` shows all accounts, and what is wrong with them.";

/// Does what `clawgate channels …` asks for.
pub(in crate::commands) fn run(
    command: ChannelsCommand,
    context: &Context,
) -> Result<Exit, Failure> {
    match command {
        ChannelsCommand::Status { channel, target } => {
            let wanted = params([("channel", text(channel.as_deref()))]);
            let answer = call("channels.status", &wanted, target, context, HINT)?;
            print(context, &answer, || describe(&answer))?;
            Ok(Exit::Ok)
        }
        ChannelsCommand::Start(args) => {
            change("channels.start", args, context, |answer| {
                match word(answer, "outcome") {
                    "already-running" => "runs already",
                    _ => "started",
                }
            })
        }
        ChannelsCommand::Stop(args) => change("channels.stop", args, context, |_| "stopped"),
        ChannelsCommand::Logout(args) => change(
            "channels.logout",
            args,
            context,
            |_| "logged out, and stopped",
        ),
    }
}

fn change(
    method: &str,
    args: AccountArgs,
    context: &Context,
    what: impl FnOnce(&Value) -> &'static str,
) -> Result<Exit, Failure> {
    let wanted = params([
        ("channel", Some(args.channel.into())),
        ("accountId", args.account.map(Value::from)),
    ]);
    let answer = call(method, &wanted, args.target, context, HINT)?;
    print(context, &answer, || {
        let (channel, account) = (word(&answer, "channel"), word(&answer, "accountId"));
        format!("{}: {}/{}\n", what(&answer), plain(channel), plain(account))
    })?;
    Ok(Exit::Ok)
}

fn describe(answer: &Value) -> String {
    let mut table = Table::new(&[
        "CHANNEL",
        "ACCOUNT",
        "NAME",
        "STATE",
        "DIRECT",
        "WAITING",
        "UNCERTAIN",
        "LAST HEARD",
    ]);
    let order = items(answer, "channelOrder");
    for channel in order.iter().filter_map(Value::as_str) {
        let rows = answer.get("channelAccounts").map(|all| items(all, channel));
        for row in rows.unwrap_or_default() {
            let count = |name: &str| row.get(name).and_then(Value::as_u64);
            let waiting = count("waitingIn").unwrap_or(0) + count("waitingOut").unwrap_or(0);
            let heard = count("lastTransportActivityAt");
            table.row([
                channel.to_owned(),
                word(&row, "accountId").to_owned(),
                word(&row, "name").to_owned(),
                state(&row).to_owned(),
                word(&row, "dmPolicy").to_owned(),
                waiting.to_string(),
                count("uncertain").unwrap_or(0).to_string(),
                heard
                    .map(|at| WallTime(at).to_rfc3339())
                    .unwrap_or_default(),
            ]);
        }
    }
    if order.is_empty() {
        return "No channel is configured.\n".to_owned();
    }
    let mut shown = table.to_text();
    for issue in items(answer, "statusIssues") {
        shown.push_str(&format!(
            "{}/{}: {}\n",
            plain(word(&issue, "channel")),
            plain(word(&issue, "accountId")),
            plain(word(&issue, "message"))
        ));
    }
    shown
}

/// How an account fares, in one word.
fn state(row: &Value) -> &str {
    if row.get("enabled").and_then(Value::as_bool) == Some(false) {
        return "disabled";
    }
    word(row, "healthState")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn status_shows_accounts_and_their_problems() {
        let answer = json!({
            "channelOrder": ["telegram"],
            "channelAccounts": { "telegram": [
                {
                    "accountId": "default", "name": "@door_bot", "enabled": true,
                    "healthState": "healthy", "dmPolicy": "pairing", "waitingIn": 1, "waitingOut": 2,
                    "uncertain": 1, "lastTransportActivityAt": 1_737_264_000_000_u64,
                },
                { "accountId": "work", "enabled": false, "healthState": "stopped" },
            ] },
            "statusIssues": [{
                "channel": "telegram", "accountId": "work", "kind": "auth", "message": "401",
            }],
        });
        assert_eq!(
            describe(&answer),
            "\
CHANNEL   ACCOUNT  NAME       STATE     DIRECT   WAITING  UNCERTAIN  LAST HEARD
telegram  default  @door_bot  healthy   pairing  3        1          2025-01-19T05:20:00.000Z
telegram  work     -          disabled  -        0        0          -
telegram/work: 401
"
        );
        assert_eq!(describe(&json!(null)), "No channel is configured.\n");
    }
}

//! `approvals watch`: stays connected, and says what it missed while it was away.

use std::collections::BTreeSet;

use clawgate_core::client::{Call, Disconnected, Next};
use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_core::protocol::RESUME_CAP;
use clawgate_std::{Client, ClientEvent};
use serde_json::{Value, json};

use super::{asked, host, word};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Reader};
use crate::target::TargetFlags;
use crate::text::{duration, plain};
use crate::{dial, target};

/// What makes a gateway count this client among those that show approvals to people.
const CAPS: [&str; 2] = ["exec-approvals", RESUME_CAP];

pub(super) fn run(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let resolved = target::find(Surface::ExecApprovals, flags, context)?;
    let (client, events) = dial::stay(&resolved, &["exec.approval.list"], &CAPS, flags.timeout)?;
    let mut watch = Watch {
        format: context.format,
        shown: BTreeSet::new(),
    };
    for event in events {
        let reader = match event {
            // What was missed while there was no history shows in the list.
            ClientEvent::Connected(_) | ClientEvent::HistoryLost(_) | ClientEvent::Missed(_) => {
                watch.catch_up(&client)?
            }
            ClientEvent::Event(event) => {
                let payload: Value = event.payload.parse().unwrap_or_default();
                match &*event.event {
                    "exec.approval.requested" => watch.requested(&payload)?,
                    "exec.approval.resolved" => watch.resolved(&payload)?,
                    _ => Reader::There,
                }
            }
            ClientEvent::Disconnected { why, next } => match next {
                Next::Retry(after) => {
                    output::note(&format!(
                        "the connection is lost ({}); trying again in {}",
                        why_lost(&why),
                        duration(after)
                    ));
                    Reader::There
                }
                Next::Paused(reason) => {
                    return Err(Failure::new(
                        Exit::Refused,
                        "refused",
                        format!("The gateway refuses the connection: {}.", reason.message),
                        "Put that right, and start again.",
                    ));
                }
                Next::Stop => break,
            },
            ClientEvent::ForgetDeviceToken | ClientEvent::Gap(_) | ClientEvent::Resumed { .. } => {
                Reader::There
            }
        };
        if reader == Reader::Gone {
            break;
        }
    }
    Ok(Exit::Ok)
}

fn why_lost(why: &Disconnected) -> String {
    match why {
        Disconnected::Conn(ending) => ending.to_string(),
        Disconnected::Dial(words) => words.clone(),
        Disconnected::DialTimeout => "no answer in time".to_owned(),
    }
}

struct Watch {
    format: Format,
    /// Questions that were shown and not decided.
    shown: BTreeSet<String>,
}

impl Watch {
    fn catch_up(&mut self, client: &Client) -> Result<Reader, Failure> {
        let call = Call::new("exec.approval.list", RawJson::empty_object());
        // A connection that is lost again comes back with another event.
        let Ok(answer) = client.call(call) else {
            return Ok(Reader::There);
        };
        let pending: Vec<Value> = answer.parse().unwrap_or_default();
        let waiting: BTreeSet<String> = pending
            .iter()
            .map(|approval| word(approval, "id").to_owned())
            .collect();
        let gone: Vec<String> = self.shown.difference(&waiting).cloned().collect();
        let mut reader = Reader::There;
        for id in gone {
            reader = self.resolved(&json!({ "id": id }))?;
        }
        for approval in &pending {
            reader = self.requested(approval)?;
        }
        Ok(reader)
    }

    fn requested(&mut self, approval: &Value) -> Result<Reader, Failure> {
        let id = word(approval, "id");
        if !self.shown.insert(id.to_owned()) {
            return Ok(Reader::There);
        }
        let line = format!(
            "? {}  {}  [{}]  {}\n",
            plain(id),
            plain(asked(approval, "command")),
            plain(&host(approval)),
            plain(asked(approval, "cwd"))
        );
        let document = json!({ "event": "requested", "approval": approval });
        output::stream(self.format, &document, &line)
    }

    fn resolved(&mut self, event: &Value) -> Result<Reader, Failure> {
        let id = word(event, "id");
        self.shown.remove(id);
        let decision = match word(event, "decision") {
            "" => "ended",
            decision => decision,
        };
        let line = format!(
            "= {}  {}  {}\n",
            plain(id),
            plain(decision),
            plain(word(event, "resolvedBy"))
        );
        let document = json!({
            "event": "resolved", "id": id, "decision": decision,
            "resolvedBy": event.get("resolvedBy"),
        });
        output::stream(self.format, &document, &line)
    }
}

//! A question whether a program may run, as it is kept and shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    ids::{ApprovalId, RunId, ToolCallId},
    store::{Record, Table},
    time::WallTime,
};

/// What a reviewer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// This time.
    AllowOnce,
    /// This time, and the same command from now on.
    AllowAlways,
    /// No.
    Deny,
}

impl Decision {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow-once",
            Self::AllowAlways => "allow-always",
            Self::Deny => "deny",
        }
    }

    /// The decision of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::AllowOnce, Self::AllowAlways, Self::Deny]
            .into_iter()
            .find(|decision| decision.as_str() == name)
    }
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Resolver {
    pub(crate) kind: ResolverKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResolverKind {
    /// A device that is paired.
    Device,
    /// A client without a device.
    Runtime,
    /// The gateway itself, by a grant.
    System,
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub(crate) enum Ending {
    /// Somebody decided.
    Decided {
        decision: Decision,
        resolver: Resolver,
        /// What to call whoever it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Its time was over.
    Expired,
    /// The run that asked did not outlive its gateway.
    GatewayRestart,
    /// Nobody was there who could have decided.
    NoRoute,
    /// The run that asked was stopped.
    RunAborted,
}

impl Ending {
    /// What the asker is told; nothing when nobody decided.
    pub(crate) fn decision(&self) -> Option<Decision> {
        match self {
            Self::Decided { decision, .. } => Some(*decision),
            Self::Expired | Self::GatewayRestart | Self::NoRoute | Self::RunAborted => None,
        }
    }

    /// The published word for why it ended.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Decided { .. } => "user",
            Self::Expired => "timeout",
            Self::GatewayRestart => "gateway-restart",
            Self::NoRoute => "no-route",
            Self::RunAborted => "run-aborted",
        }
    }

    /// Who ended it, for people; `no-approval-route` where nobody could (spec protocol §6.8).
    pub(crate) fn resolved_by(&self) -> Option<&str> {
        match self {
            Self::Decided { label, .. } => label.as_deref(),
            Self::NoRoute => Some("no-approval-route"),
            Self::Expired | Self::GatewayRestart | Self::RunAborted => None,
        }
    }
}

/// The moment and the way in which a question ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    pub(crate) at_ms: WallTime,
    #[serde(flatten)]
    pub(crate) ending: Ending,
}

/// The call of a run that a question is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunCall {
    pub(crate) run: RunId,
    pub(crate) call: ToolCallId,
}

/// What would run, as reviewers see it (spec protocol §6.8). Values of the environment are not in
/// it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExecRequest {
    pub(crate) command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command_preview: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command_argv: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env_keys: Vec<String>,
    pub(crate) system_run_plan: Option<Value>,
    pub(crate) cwd: Option<String>,
    pub(crate) node_id: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) security: Option<String>,
    pub(crate) ask: Option<String>,
    pub(crate) warning_text: Option<String>,
    pub(crate) scope: Option<ActionScope>,
    pub(crate) allowed_decisions: Vec<Decision>,
    pub(crate) agent_id: Option<String>,
    pub(crate) resolved_path: Option<String>,
    pub(crate) session_key: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) run_id: Option<String>,
    pub(crate) tool_call_id: Option<String>,
    pub(crate) turn_source_channel: Option<String>,
    pub(crate) turn_source_to: Option<String>,
    pub(crate) turn_source_account_id: Option<String>,
    pub(crate) turn_source_thread_id: Option<Value>,
}

/// What an action would reach, in the published shapes: a closed list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub(crate) enum ActionScope {
    ExternalPost {
        target: String,
        visibility: Visibility,
    },
    MessageSend {
        target: String,
        recipient_count: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        recipients: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<Audience>,
    },
    Payment {
        amount: String,
        currency: String,
        target: String,
    },
    StandingGrant {
        automation: String,
        command: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_days: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Visibility {
    Public,
    Restricted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Audience {
    External,
    Internal,
}

impl ActionScope {
    /// Whether every part has the published size.
    pub(crate) fn fits(&self) -> bool {
        let within = |text: &str, most: usize| !text.is_empty() && text.chars().count() <= most;
        match self {
            Self::ExternalPost { target, .. } => within(target, 128),
            Self::MessageSend {
                target,
                recipient_count,
                recipients,
                ..
            } => {
                within(target, 128)
                    && (1..=1_000_000).contains(recipient_count)
                    && recipients.len() <= 5
                    && recipients.iter().all(|recipient| within(recipient, 128))
            }
            Self::Payment {
                amount,
                currency,
                target,
            } => within(amount, 40) && within(currency, 12) && within(target, 128),
            Self::StandingGrant {
                automation,
                command,
                expires_in_days,
            } => {
                within(automation, 128)
                    && within(command, 256)
                    && expires_in_days.is_none_or(|days| (1..=3_650).contains(&days))
            }
        }
    }
}

/// The digest of everything that makes two commands the same: what a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Operation(String);

impl Operation {
    pub(crate) fn of(
        request: &ExecRequest,
        argv: &[String],
        env: &BTreeMap<String, String>,
    ) -> Self {
        let parts = serde_json::json!([
            request.agent_id,
            request.host,
            request.node_id,
            request.cwd,
            request.command,
            argv,
            env,
        ]);
        let digest = Sha256::digest(parts.to_string());
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Approval {
    pub(crate) id: ApprovalId,
    pub(crate) request: ExecRequest,
    pub(crate) created_at_ms: WallTime,
    pub(crate) expires_at_ms: WallTime,
    pub(crate) operation: Operation,
    /// The run that asks, if it was a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<RunCall>,
    /// Nothing while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Ended>,
}

impl Approval {
    pub(crate) fn is_pending(&self) -> bool {
        self.ended.is_none()
    }

    pub(crate) fn decision(&self) -> Option<Decision> {
        self.ended.as_ref()?.ending.decision()
    }
}

impl Record for Approval {
    const TABLE: Table = Table::ExecApproval;

    fn key(&self) -> &str {
        self.id.as_str()
    }
}

/// A text in which nothing hides: what would not be seen, or would turn the rest around, is written
/// out. A reviewer has to read what will run.
///
/// ```
/// use clawgate_core::gateway::shown;
///
/// assert_eq!(shown("rm -rf x"), "rm -rf x");
/// assert_eq!(shown("echo \u{202e}txt.exe"), "echo \\u{202e}txt.exe");
/// assert_eq!(shown("a\nb\tc"), "a\\nb\\tc");
/// ```
pub fn shown(text: &str) -> String {
    let mut clear = String::with_capacity(text.len());
    for each in text.chars() {
        if is_hidden(each) {
            clear.extend(each.escape_default());
        } else {
            clear.push(each);
        }
    }
    clear
}

fn is_hidden(each: char) -> bool {
    each.is_control()
        || matches!(each,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

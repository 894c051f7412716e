//! Work that the gateway needs from its host, and what comes back.

use core::net::IpAddr;
use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    config::AuthMode,
    ids::EffectId,
    job::JobSpec,
    node::ApprovalsText,
    policy::{Whois, server_auth::ServerSecret},
    secret::Secret,
    store::{TranscriptPage, TranscriptQuery},
};

/// One piece of work. Answer it with [`crate::gateway::Gateway::complete`]; an answer that does not
/// come within `limits.effect` fails the call that needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectRequest {
    /// Goes back with the outcome.
    pub id: EffectId,
    /// What to do.
    pub effect: Effect,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write to the standard input of the job that this effect started.
    FeedJob(EffectId, Bytes),
    /// Hold a lock of this name, which no other process of this machine and user holds at the same
    /// time, until [`Effect::ReleaseLock`] or the end of the process.
    HoldLock(String),
    /// Read the configuration file.
    ReadConfig,
    /// Sample the memory of this process.
    ReadProcess,
    /// Read the configuration, its secret references and the gateway's own token again, and decide
    /// the auth as at a start.
    ReadSecrets,
    /// Start a job. It is known by the effect's own id; tell what comes of it by
    /// [`Gateway::handle_job`](super::Gateway::handle_job) and never by `complete`.
    StartJob(Box<JobSpec>),
    /// End the job that this effect started. No answer is needed.
    StopJob(EffectId),
    /// Put this text in the place of the file of exec approvals, readable to its owner alone, whole
    /// and on disk before the outcome. When the file is not as it was, leave it, and answer with what
    /// is there.
    KeepExecApprovals {
        /// The new text.
        text: Secret,
        /// What the file was like.
        over: ApprovalsText,
    },
    /// Put this token in the place of the one that the gateway made for itself. It is there whole, and
    /// on disk, before the outcome.
    KeepToken(Secret),
    /// Read the file of exec approvals of this host; at most
    /// [`MAX_APPROVALS`](crate::node::MAX_APPROVALS) bytes.
    ReadExecApprovals,
    /// Answer a question about transcripts.
    ReadTranscript(TranscriptQuery),
    /// Look at every connection ([`crate::server::ServerConn::counts`]) and at the process, for the
    /// metrics. Tell it by [`Gateway::handle_sample`](super::Gateway::handle_sample) and never by
    /// `complete`.
    SampleHost,
    /// Let go of a lock. No answer is needed.
    ReleaseLock(String),
    /// Read the end of the log file.
    TailLog(TailLog),
    /// Ask the Tailscale daemon of this machine who is at an address. The host gives up after
    /// [`WHOIS_TIMEOUT`].
    Whois(IpAddr),
}

/// How long Tailscale may take to answer (spec hostpolicy §5).
pub const WHOIS_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectOutcome {
    /// [`Effect::ReadConfig`].
    Config(ConfigText),
    /// [`Effect::HoldLock`], [`Effect::KeepToken`] and [`Effect::KeepExecApprovals`].
    Done,
    /// [`Effect::ReadExecApprovals`], and [`Effect::KeepExecApprovals`] where another text is there.
    ExecApprovals(ApprovalsText),
    /// It could not be done; in words for the caller, without secrets.
    Failed(String),
    /// [`Effect::TailLog`].
    Log(LogTail),
    /// [`Effect::ReadProcess`].
    Process(ProcessStats),
    /// [`Effect::ReadSecrets`].
    Secrets(Box<ServerSecrets>),
    /// [`Effect::ReadTranscript`].
    Transcript(TranscriptPage),
    /// [`Effect::Whois`].
    Whois(Whois),
}

/// The auth that a gateway would start with by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSecrets {
    /// How it would tell its clients from strangers.
    pub mode: AuthMode,
    /// The token or password that the mode uses.
    pub secret: Option<ServerSecret>,
    /// What the operator should know, without secrets.
    pub warnings: Vec<String>,
}

/// The configuration file as it lies on disk.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigText {
    /// Its text; `None` when there is no file.
    pub text: Option<String>,
}

impl fmt::Debug for ConfigText {
    /// Shows the size only: the file may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            None => f.write_str("ConfigText(no file)"),
            Some(text) => write!(f, "ConfigText({} bytes)", text.len()),
        }
    }
}

/// Memory of the gateway process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStats {
    /// Resident bytes.
    pub rss_bytes: u64,
}

/// Which part of the log is wanted (spec protocol §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailLog {
    /// Byte offset that an earlier answer gave; `None` for the end of the file.
    pub cursor: Option<u64>,
    /// Lines at most, 1 to 5,000.
    pub limit: usize,
    /// Bytes at most, 1 to 1,000,000.
    pub max_bytes: usize,
}

/// The `logs.tail` result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogTail {
    /// The file's path.
    pub file: String,
    /// Where the next call goes on, a byte offset.
    pub cursor: u64,
    /// The file's size in bytes.
    pub size: u64,
    /// Whole lines.
    pub lines: Vec<String>,
    /// Whether lines were left out at the front.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub truncated: Option<bool>,
    /// Whether the cursor was past the end: the file was replaced.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reset: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_configuration_is_not_shown() {
        let text = Some(r#"{"gateway":{"auth":{"token":"hunter2"}}}"#.into());
        let shown = format!("{:?}", EffectOutcome::Config(ConfigText { text }));
        assert_eq!(shown, "Config(ConfigText(40 bytes))");
    }
}

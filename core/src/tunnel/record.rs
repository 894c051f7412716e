//! What the holder of a tunnel tells other programs of the same user: one small file for each tunnel. It
//! holds no secret, and nobody is believed because of it: who uses a tunnel proves the listener itself.

use serde::{Deserialize, Serialize};

use super::failure::TunnelFailure;
use super::spec::TunnelSpec;
use crate::time::WallTime;

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The longest file that is read, in bytes.
pub const MAX_RECORD: usize = 64 * 1024;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the system's own words.
    pub started: String,
}

/// How a tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelState {
    /// `ssh` is starting.
    Opening,
    /// It can be used.
    Open,
    /// It was lost, and the next attempt has a time.
    Waiting,
    /// It was given up: somebody has to do something.
    Failed,
}

impl TunnelState {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

/// Why a tunnel is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holding {
    /// Until it was not used for a while.
    Idle,
    /// Until somebody ends it.
    Held,
}

/// The last thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When.
    pub at_ms: WallTime,
    /// What.
    pub failure: TunnelFailure,
}

/// The record of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelRecord {
    version: u32,
    /// What is forwarded.
    pub spec: TunnelSpec,
    /// The process that holds the tunnel and its lock.
    pub keeper: ProcessMark,
    /// Why it is open.
    pub holding: Holding,
    /// How it stands.
    pub state: TunnelState,
    /// Since when it stands so.
    pub since_ms: WallTime,
    /// The `ssh` that runs.
    pub ssh: Option<ProcessMark>,
    /// Where it listens.
    pub local_port: Option<u16>,
    /// How often it was lost and opened again.
    pub reopened: u32,
    /// The last thing that went wrong, even if all is well now.
    pub last_error: Option<LastError>,
}

/// Why a file is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It has another version.
    #[error("it has version {0}, and this clawgate reads version {VERSION}")]
    Version(u32),
    /// It is not what clawgate writes.
    #[error("it is not a record of a tunnel as clawgate writes it")]
    Malformed,
}

impl TunnelRecord {
    /// The record of a tunnel that is being opened.
    pub fn new(spec: TunnelSpec, keeper: ProcessMark, holding: Holding, now: WallTime) -> Self {
        Self {
            version: VERSION,
            spec,
            keeper,
            holding,
            state: TunnelState::Opening,
            since_ms: now,
            ssh: None,
            local_port: None,
            reopened: 0,
            last_error: None,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let malformed = |_| RecordError::Malformed;
        let head: Head = serde_json::from_str(text).map_err(malformed)?;
        if head.version != VERSION {
            return Err(RecordError::Version(head.version));
        }
        serde_json::from_str(text).map_err(malformed)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        // Texts and numbers always have a text.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SshTarget;
    use crate::tunnel::{Exit, TunnelFailure};

    #[test]
    fn a_record_survives_its_text() {
        let spec = TunnelSpec::new(SshTarget::parse("nick@studio").unwrap(), 18789);
        let mark = |pid| ProcessMark {
            pid,
            started: "7".into(),
        };
        let mut record = TunnelRecord::new(spec, mark(1), Holding::Held, WallTime(5));
        record.state = TunnelState::Open;
        record.ssh = Some(mark(2));
        record.local_port = Some(18789);
        record.last_error = Some(LastError {
            at_ms: WallTime(4),
            failure: TunnelFailure::of_exit(Exit::Code(255), "Connection refused"),
        });
        let text = record.to_text();
        assert_eq!(TunnelRecord::parse(&text), Ok(record));
        let newer = text.replacen("\"version\": 1", "\"version\": 2", 1);
        assert_eq!(TunnelRecord::parse(&newer), Err(RecordError::Version(2)));
        for broken in ["", "{}", "{\"version\":1}", "[1]"] {
            assert_eq!(TunnelRecord::parse(broken), Err(RecordError::Malformed));
        }
    }
}

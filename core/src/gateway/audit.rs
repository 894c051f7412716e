//! The audit log: who asked for what, from where, and what was decided. Never a secret.
//!
//! Entries are bounded in rate: a flood of attempts becomes one entry with a count, so that it can
//! neither fill the disk nor wash away what was there. The host bounds how many are kept.

use std::time::Duration;

use serde::Serialize;

use super::bucket::Bucket;
use crate::{
    frame::RawJson,
    store::{Journal, Write},
    time::{Now, WallTime},
};

/// Entries that may come at once.
const BURST: u32 = 200;

/// The time after which one more may come.
const REFILL: Duration = Duration::from_millis(50);

/// Bytes of a text that a client chose.
const MAX_TEXT: usize = 120;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Allowed,
    Denied,
}

/// One decision.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEntry {
    pub(crate) ts: WallTime,
    /// What it was about, such as `connect` or `device.pair.approve`.
    pub(crate) action: &'static str,
    pub(crate) verdict: Verdict,
    /// The stable name of the reason, for what was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The way in, such as `token` or `device-token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) via: Option<&'static str>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<&'static str>,
    /// The device that acted, or that was acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// The user that a proxy or Tailscale named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// What it was done to, such as a request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// How many entries were left out before this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) left_out: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl AuditEntry {
    pub(crate) fn new(now: Now, action: &'static str, verdict: Verdict) -> Self {
        Self {
            ts: now.wall,
            action,
            verdict,
            reason: None,
            via: None,
            from: None,
            client: None,
            device: None,
            user: None,
            subject: None,
            left_out: 0,
        }
    }
}

/// Writes entries down, as fast as it may.
#[derive(Debug)]
pub(crate) struct Audit(Bucket);

impl Audit {
    pub(crate) fn new(now: Now) -> Self {
        Self(Bucket::new(now.mono, BURST, REFILL))
    }

    pub(crate) fn record(&mut self, journal: &mut Journal, now: Now, mut entry: AuditEntry) {
        let Some(left_out) = self.0.take(now.mono) else {
            return;
        };
        entry.left_out = left_out;
        for text in [&mut entry.reason, &mut entry.user, &mut entry.subject]
            .into_iter()
            .flatten()
        {
            shorten(text);
        }
        if let Ok(entry) = RawJson::encode(&entry) {
            journal.stage(Write::Audit { entry });
        }
    }
}

fn shorten(text: &mut String) {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_count() {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        let now = Now {
            mono: std::time::Instant::now(),
            wall: WallTime(1),
        };
        let mut journal = Journal::default();
        let mut audit = Audit::new(now);
        let entry = || AuditEntry::new(now, "connect", Verdict::Denied);
        for _ in 0..BURST + 1_000 {
            audit.record(&mut journal, now, entry());
        }
        audit.record(&mut journal, now.after(REFILL), entry());
        let writes = journal.seal().unwrap().writes;
        assert_eq!(writes.len(), BURST as usize + 1);
        let Some(Write::Audit { entry }) = writes.last() else {
            panic!("no entry");
        };
        assert!(entry.as_str().contains(r#""leftOut":1000"#), "{entry:?}");
    }
}

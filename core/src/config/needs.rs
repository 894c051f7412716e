//! What a change of the config needs before it counts.

use serde_json::Value;

use super::diff::differences;
use super::key_path::{KeyPath, Segment};
use super::schema::{Key, Kind, ROOT, Reload};
use super::types::ReloadMode;

/// What has to happen before a change counts, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing reads the key.
    Nothing,
    /// A gateway that runs takes it up by itself.
    Live,
    /// Clients take it up when they connect the next time; one that stays connected keeps what it had.
    Reconnect,
    /// The gateway must be started anew.
    Restart,
}

impl Need {
    /// A stable name for scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Live => "live",
            Self::Reconnect => "reconnect",
            Self::Restart => "restart",
        }
    }

    /// The same where a gateway takes changes up in this way (`gateway.reload.mode`).
    #[must_use]
    pub const fn under(self, mode: ReloadMode) -> Self {
        match (self, mode) {
            (Self::Live, ReloadMode::Off | ReloadMode::Restart) => Self::Restart,
            _ => self,
        }
    }

    /// The same in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Nothing => "nothing reads it",
            Self::Live => "taken up while the gateway runs",
            Self::Reconnect => "counts from the next connection on",
            Self::Restart => "needs a restart of the gateway",
        }
    }
}

/// One difference between two configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// Where they differ.
    pub path: KeyPath,
    /// What that needs.
    pub need: Need,
}

/// What each difference between two configs needs.
///
/// ```
/// use clawgate_core::config::{Need, changed_keys};
/// use serde_json::json;
///
/// let before = json!({ "gateway": { "port": 1 } });
/// let after = json!({ "gateway": { "port": 2, "remote": { "url": "wss://gw.example.com" } } });
/// let needs: Vec<Need> = changed_keys(&before, &after).iter().map(|key| key.need).collect();
/// assert_eq!(needs, [Need::Restart, Need::Reconnect]);
/// ```
pub fn changed_keys(before: &Value, after: &Value) -> Vec<ChangedKey> {
    differences(before, after)
        .into_iter()
        .map(|path| ChangedKey {
            need: need_of(&path),
            path,
        })
        .collect()
}

/// What a change of one key needs. A key that is not in the table is not read.
pub fn need_of(path: &KeyPath) -> Need {
    match known(path).map(|key| key.reload) {
        None | Some(Reload::Unread) => Need::Nothing,
        Some(Reload::Hot) => Need::Live,
        Some(Reload::Reconnect) => Need::Reconnect,
        Some(Reload::Restart) => Need::Restart,
    }
}

/// The entry of the table for a path: the one of the key itself, or where its keys are free, of the
/// last key above that has one.
pub fn known(path: &KeyPath) -> Option<&'static Key> {
    let mut keys: &[Key] = ROOT;
    let mut found: Option<&'static Key> = None;
    let mut rest: Option<&'static Kind> = None;
    for segment in path.segments() {
        let kind = match (segment, rest) {
            // A key that is not in its table counts for nothing.
            (Segment::Key(name), None) => {
                let key = keys.iter().find(|key| key.name == name)?;
                found = Some(key);
                &key.kind
            }
            (_, Some(kind)) => kind,
            (Segment::Index(_), None) => return found,
        };
        rest = None;
        keys = &[];
        match kind {
            Kind::Object(members) => keys = members,
            Kind::MapOf(kind) | Kind::ListOf(kind) => rest = Some(kind),
            // What stands below is part of the value.
            Kind::Bool
            | Kind::Text
            | Kind::OneOf(_)
            | Kind::Secret
            | Kind::Port
            | Kind::Integer(..)
            | Kind::TextOrFalse
            | Kind::TextOrNumber
            | Kind::TextOrTexts
            | Kind::Headers
            | Kind::Any => return found,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(path: &str) -> Need {
        need_of(&KeyPath::parse(path).unwrap())
    }

    #[test]
    fn each_key_says_what_it_needs() {
        for (path, expected) in [
            ("gateway.port", Need::Restart),
            ("gateway.auth.mode", Need::Restart),
            ("gateway.auth.token", Need::Live),
            ("gateway.auth.token.id", Need::Live),
            ("gateway.auth.rateLimit.windowMs", Need::Live),
            ("gateway.controlUi.allowedOrigins[3]", Need::Live),
            ("gateway.remote.url", Need::Reconnect),
            ("gateway.remote.edgeAuth.X-Key", Need::Reconnect),
            ("node.commands.x.program", Need::Reconnect),
            ("channels.telegram.botToken", Need::Live),
            ("secrets.providers.vault.command", Need::Live),
            ("agents.defaults.model", Need::Live),
            ("gateway.nothing", Need::Nothing),
            ("mine", Need::Nothing),
            ("cron.jobs[0]", Need::Nothing),
        ] {
            assert_eq!(need(path), expected, "{path}");
        }
    }
}

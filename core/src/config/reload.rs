//! What a running gateway does about a changed config file (`gateway.reload.mode`).
//!
//! `hot` and `hybrid` take up what can change while the gateway runs, and say which keys need a restart.
//! `restart` and `off` take nothing up: every change waits for a restart, and is told of. The gateway never
//! restarts by itself.

use serde_json::Value;

use super::key_path::KeyPath;
use super::needs::{Need, changed_keys};
use super::types::ReloadMode;

/// Keys that are named in one sentence.
const NAMED: usize = 8;

/// What to do about a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadPlan {
    /// What changed and can be taken up now.
    pub live: Vec<KeyPath>,
    /// What differs from the start and counts after a restart only.
    pub restart: Vec<KeyPath>,
    /// What changed and counts for clients that connect from now on.
    pub reconnect: Vec<KeyPath>,
}

/// Decides what to do about a config. `started` is the one that the gateway started with, `taken_up` the
/// one of which it took up last what could change.
///
/// ```
/// use clawgate_core::config::{ReloadMode, plan_reload};
/// use serde_json::json;
///
/// let started = json!({ "gateway": { "port": 1, "auth": { "token": "a" } } });
/// let new = json!({ "gateway": { "port": 2, "auth": { "token": "b" } } });
/// let plan = plan_reload(&started, &started, &new, ReloadMode::Hybrid);
/// assert_eq!(plan.live[0].to_string(), "gateway.auth.token");
/// assert_eq!(plan.notice().unwrap(), "the config needs a restart of the gateway for gateway.port");
/// // Back to what it was: nothing is left to say.
/// let plan = plan_reload(&started, &new, &started, ReloadMode::Hybrid);
/// assert_eq!((plan.live.len(), plan.notice()), (1, None));
/// ```
pub fn plan_reload(started: &Value, taken_up: &Value, new: &Value, mode: ReloadMode) -> ReloadPlan {
    let of = |before: &Value, need: Need| -> Vec<KeyPath> {
        changed_keys(before, new)
            .into_iter()
            .filter(|key| key.need == need)
            .map(|key| key.path)
            .collect()
    };
    let (live, waiting) = match mode {
        ReloadMode::Hot | ReloadMode::Hybrid => (of(taken_up, Need::Live), Vec::new()),
        ReloadMode::Restart | ReloadMode::Off => (Vec::new(), of(taken_up, Need::Live)),
    };
    let mut restart = of(started, Need::Restart);
    restart.extend(waiting);
    restart.sort();
    ReloadPlan {
        live,
        restart,
        reconnect: of(taken_up, Need::Reconnect),
    }
}

impl ReloadPlan {
    /// Whether there is nothing to do and nothing to say.
    pub const fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty() && self.reconnect.is_empty()
    }

    /// Whether something below one of these keys can be taken up.
    pub fn takes_up(&self, keys: &[&str]) -> bool {
        let below = |path: &KeyPath| keys.iter().any(|key| path.is_below(&KeyPath::of_keys(key)));
        self.live.iter().any(below)
    }

    /// What stays to be done by somebody, in words for the log and for health.
    pub fn notice(&self) -> Option<String> {
        (!self.restart.is_empty()).then(|| {
            format!(
                "the config needs a restart of the gateway for {}",
                names(&self.restart)
            )
        })
    }
}

/// Keys in a sentence.
pub fn names(paths: &[KeyPath]) -> String {
    let mut text: Vec<String> = paths.iter().take(NAMED).map(ToString::to_string).collect();
    if paths.len() > NAMED {
        text.push(format!("{} more", paths.len() - NAMED));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_taken_up_where_that_is_off() {
        let before = json!({ "gateway": { "bind": "lan" } });
        let new = json!({ "gateway": { "bind": "lan", "auth": { "token": "b" } } });
        for mode in [ReloadMode::Off, ReloadMode::Restart] {
            let plan = plan_reload(&before, &before, &new, mode);
            assert!(plan.live.is_empty());
            assert_eq!(names(&plan.restart), "gateway.auth.token");
        }
    }

    #[test]
    fn many_keys_make_a_short_sentence() {
        let keys: serde_json::Map<String, Value> = (0..20)
            .map(|n| (format!("k{n:02}"), json!({ "botToken": "x" })))
            .collect();
        let new = json!({ "channels": { "telegram": { "accounts": keys } } });
        let plan = plan_reload(&json!({}), &json!({}), &new, ReloadMode::Off);
        assert!(
            plan.notice().unwrap().ends_with("k07.botToken, 12 more"),
            "{plan:?}"
        );
        let plan = plan_reload(&json!({}), &json!({}), &new, ReloadMode::Hot);
        assert!(plan.takes_up(&["channels"]) && !plan.takes_up(&["agents", "models"]));
    }
}

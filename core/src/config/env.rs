//! The environment as a value.

use std::collections::BTreeMap;
use std::fmt;

/// Environment variables that the host read once at start. `Debug` shows names only, since values
/// may be secrets.
///
/// ```
/// use clawgate_core::config::EnvVars;
///
/// let env: EnvVars = [("OPENCLAW_GATEWAY_TOKEN", " t ")].into_iter().collect();
/// assert_eq!(env.non_blank("OPENCLAW_GATEWAY_TOKEN"), Some("t"));
/// assert_eq!(format!("{env:?}"), r#"EnvVars({"OPENCLAW_GATEWAY_TOKEN"})"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvVars(BTreeMap<String, String>);

impl EnvVars {
    /// An empty environment.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The value exactly as it is set. Names are case-sensitive on every system.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value without the blanks at its ends; `None` when nothing else is in it
    /// (spec credentials §0). `${X}` inside a value is neither expanded nor refused.
    pub fn non_blank(&self, name: &str) -> Option<&str> {
        self.get(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// The names that are set, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Names of the predecessors `CLAWDBOT_*` and `MOLTBOT_*`. They are ignored everywhere; a
    /// server says once that they are (spec credentials §0).
    pub fn ignored_legacy_names(&self) -> impl Iterator<Item = &str> {
        self.names()
            .filter(|name| name.starts_with("CLAWDBOT_") || name.starts_with("MOLTBOT_"))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for EnvVars {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Names<'a>(&'a EnvVars);
        impl fmt::Debug for Names<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.0.names()).finish()
            }
        }
        f.debug_tuple("EnvVars").field(&Names(self)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_values_count_as_unset_and_values_stay_out_of_debug() {
        let env: EnvVars = [("A", " \t"), ("B", "hunter2")].into_iter().collect();
        assert_eq!(env.non_blank("A"), None);
        assert_eq!(env.get("A"), Some(" \t"));
        assert!(!format!("{env:?}").contains("hunter2"));
    }

    #[test]
    fn only_the_predecessors_that_ran_servers_are_reported() {
        let env: EnvVars = [
            ("CLAWDBOT_GATEWAY_TOKEN", "x"),
            ("MOLTBOT_HOME", "x"),
            ("CLAWDIA_GATEWAY_TOKEN", "x"),
        ]
        .into_iter()
        .collect();
        let names: Vec<_> = env.ignored_legacy_names().collect();
        assert_eq!(names, ["CLAWDBOT_GATEWAY_TOKEN", "MOLTBOT_HOME"]);
    }
}

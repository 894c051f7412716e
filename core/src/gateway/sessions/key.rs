//! Names of sessions (spec protocol §6.4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most bytes of a key.
const MAX_KEY: usize = 512;

/// The full name of a session: `agent:<agent>:<rest>`, `global` or `unknown`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::gateway) struct SessionKey(String);

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum InvalidKey {
    #[error("must not be blank")]
    Blank,
    #[error("is longer than {MAX_KEY} bytes")]
    TooLong,
    #[error("has control characters")]
    Control,
    #[error("must be agent:<agent>:<name>")]
    Form,
}

impl SessionKey {
    /// Resolves what a client calls a session. A short name belongs to `agent`; letters count in
    /// lower case.
    pub(in crate::gateway) fn resolve(text: &str, agent: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidKey::Blank);
        }
        if text.len() > MAX_KEY {
            return Err(InvalidKey::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidKey::Control);
        }
        let text = text.to_lowercase();
        match text.split_once(':') {
            _ if text == "global" || text == "unknown" => Ok(Self(text)),
            Some(("agent", rest)) => match rest.split_once(':') {
                Some((agent, name)) if !agent.is_empty() && !name.is_empty() => Ok(Self(text)),
                Some(_) | None => Err(InvalidKey::Form),
            },
            Some(_) | None => Ok(Self(format!("agent:{agent}:{text}"))),
        }
    }

    /// The main session of an agent.
    pub(in crate::gateway) fn main(agent: &str) -> Self {
        Self(format!("agent:{}:main", agent.to_lowercase()))
    }

    /// The key as it stands on the wire.
    pub(in crate::gateway) fn as_str(&self) -> &str {
        &self.0
    }

    /// The agent that it belongs to; none for `global` and `unknown`.
    pub(in crate::gateway) fn agent(&self) -> Option<&str> {
        let (agent, _) = self.0.strip_prefix("agent:")?.split_once(':')?;
        Some(agent)
    }

    /// `kind` of a session row.
    pub(in crate::gateway) fn kind(&self) -> &'static str {
        match self.0.as_str() {
            "global" => "global",
            "unknown" => "unknown",
            key if key.contains(":group:") || key.contains(":channel:") => "group",
            _ => "direct",
        }
    }

    /// Whether it is its agent's main session.
    pub(in crate::gateway) fn is_main(&self) -> bool {
        self.agent().is_some() && self.0.ends_with(":main") && self.0.matches(':').count() == 2
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_belong_to_the_agent_and_full_ones_stay() {
        for (text, key) in [
            ("main", "agent:ops:main"),
            (" Main ", "agent:ops:main"),
            ("cron:nightly", "agent:ops:cron:nightly"),
            ("agent:home:main", "agent:home:main"),
            ("agent:home:subagent:7", "agent:home:subagent:7"),
            ("global", "global"),
            ("unknown", "unknown"),
        ] {
            let found = SessionKey::resolve(text, "ops").map(|key| key.to_string());
            assert_eq!(found.as_deref(), Ok(key));
            // A resolved key is resolved for good.
            let again = SessionKey::resolve(key, "other").map(|key| key.to_string());
            assert_eq!(again.as_deref(), Ok(key));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "x".repeat(MAX_KEY + 1);
        for (text, why) in [
            (" ", InvalidKey::Blank),
            ("agent:", InvalidKey::Form),
            ("agent:main", InvalidKey::Form),
            ("agent::main", InvalidKey::Form),
            ("agent:main:", InvalidKey::Form),
            ("a\nb", InvalidKey::Control),
            (&long, InvalidKey::TooLong),
        ] {
            assert_eq!(SessionKey::resolve(text, "main"), Err(why));
        }
    }
}

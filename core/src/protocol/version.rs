//! Which protocol versions are spoken (spec protocol §3.3).

use super::{ClientMode, Role};

/// The version that a gateway answers with.
pub const PROTOCOL_VERSION: u32 = 4;

/// The oldest version that nodes and probes may speak.
pub const PROBE_MIN_VERSION: u32 = 3;

/// The versions that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// Oldest.
    pub min: u32,
    /// Newest.
    pub max: u32,
}

/// No version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRefused {
    /// What the client speaks.
    pub client: VersionRange,
}

impl VersionRange {
    /// The range that a client of this mode and role offers.
    pub fn offered(mode: ClientMode) -> Self {
        let min = match mode {
            ClientMode::Probe => PROBE_MIN_VERSION,
            ClientMode::Backend
            | ClientMode::Cli
            | ClientMode::Node
            | ClientMode::Test
            | ClientMode::Ui
            | ClientMode::Webchat
            | ClientMode::Worker => PROTOCOL_VERSION,
        };
        Self {
            min,
            max: PROTOCOL_VERSION,
        }
    }

    /// Whether a gateway serves a client that offers this range: the current version for everybody,
    /// one version older for probes and nodes.
    ///
    /// # Errors
    /// When it does not.
    pub fn negotiate(self, role: Role, mode: ClientMode) -> Result<u32, VersionRefused> {
        let current = self.min <= PROTOCOL_VERSION && PROTOCOL_VERSION <= self.max;
        let probe = mode == ClientMode::Probe
            && self.max >= PROBE_MIN_VERSION
            && self.min <= PROTOCOL_VERSION;
        let older_node = role == Role::Node
            && mode == ClientMode::Node
            && self.min <= PROBE_MIN_VERSION
            && PROBE_MIN_VERSION <= self.max;
        if current || probe || older_node {
            Ok(PROTOCOL_VERSION)
        } else {
            Err(VersionRefused { client: self })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_wider_for_probes_and_nodes() {
        use {ClientMode as M, Role as R};
        for (min, max, role, mode, served) in [
            (4, 4, R::Operator, M::Cli, true),
            (3, 4, R::Operator, M::Cli, true),
            (4, 9, R::Operator, M::Cli, true),
            (3, 3, R::Operator, M::Cli, false),
            (5, 6, R::Operator, M::Cli, false),
            (3, 3, R::Operator, M::Probe, true),
            (1, 2, R::Operator, M::Probe, false),
            (5, 5, R::Operator, M::Probe, false),
            (3, 3, R::Node, M::Node, true),
            (2, 2, R::Node, M::Node, false),
            (3, 3, R::Node, M::Cli, false),
            (5, 4, R::Operator, M::Cli, false),
        ] {
            let answer = VersionRange { min, max }.negotiate(role, mode);
            assert_eq!(answer.is_ok(), served, "{min}..{max} {role:?} {mode:?}");
        }
    }
}

//! What a node claims to be, and what of it was approved (spec protocol §8.1).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command_policy::{NodeCommandPolicy, NodeProfile, approval_is_admin_only};
use crate::scope::Scope;

/// Capabilities, commands and permissions: of a claim, of a request, of an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surface {
    pub(crate) caps: BTreeSet<String>,
    pub(crate) commands: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) permissions: BTreeMap<String, bool>,
}

impl Surface {
    /// A claim, without what no node of this kind may claim.
    pub(crate) fn claimed(
        policy: &NodeCommandPolicy,
        profile: NodeProfile,
        caps: &[String],
        commands: &[String],
        permissions: &BTreeMap<String, bool>,
    ) -> Self {
        let trimmed = |list: &[String]| -> BTreeSet<String> {
            let names = list.iter().map(|name| name.trim().to_owned());
            names.filter(|name| !name.is_empty()).collect()
        };
        let mut commands = trimmed(commands);
        commands.retain(|command| policy.declarable(profile, command));
        Self {
            caps: trimmed(caps),
            commands,
            permissions: permissions.clone(),
        }
    }

    /// What of a claim counts under this approval: nothing that was not approved.
    #[must_use]
    pub(crate) fn effective(&self, claim: &Self) -> Self {
        let permissions = claim.permissions.iter().filter_map(|(name, claimed)| {
            let granted = if *claimed {
                *self.permissions.get(name)?
            } else {
                false
            };
            Some((name.clone(), granted))
        });
        Self {
            caps: self.caps.intersection(&claim.caps).cloned().collect(),
            commands: self
                .commands
                .intersection(&claim.commands)
                .cloned()
                .collect(),
            permissions: permissions.collect(),
        }
    }

    /// Whether nothing of a claim needs another approval. A permission that a node does not have
    /// needs none.
    pub(crate) fn covers(&self, claim: &Self) -> bool {
        let permitted = |(name, wanted): (&String, &bool)| {
            !wanted || self.permissions.get(name).copied().unwrap_or(false)
        };
        self.caps.is_superset(&claim.caps)
            && self.commands.is_superset(&claim.commands)
            && claim.permissions.iter().all(permitted)
    }

    /// The scopes that approving it takes (spec protocol §8.1).
    pub(crate) fn approval_scopes(&self) -> &'static [Scope] {
        if self
            .commands
            .iter()
            .any(|name| approval_is_admin_only(name))
        {
            &[Scope::Pairing, Scope::Admin]
        } else if self.commands.is_empty() {
            &[Scope::Pairing]
        } else {
            &[Scope::Pairing, Scope::Write]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(caps: &[&str], commands: &[&str], permissions: &[(&str, bool)]) -> Surface {
        Surface {
            caps: caps.iter().map(|&name| name.into()).collect(),
            commands: commands.iter().map(|&name| name.into()).collect(),
            permissions: permissions
                .iter()
                .map(|&(name, value)| (name.into(), value))
                .collect(),
        }
    }

    #[test]
    fn what_counts_is_claimed_and_approved() {
        let approved = surface(&["a", "b"], &["x", "y"], &[("p", true), ("q", false)]);
        let claim = surface(
            &["b", "c"],
            &["y", "z"],
            &[("p", true), ("q", true), ("r", true), ("s", false)],
        );
        let effective = surface(&["b"], &["y"], &[("p", true), ("q", false), ("s", false)]);
        assert_eq!(approved.effective(&claim), effective);
        assert!(!approved.covers(&claim));
        assert!(approved.covers(&effective));
        assert!(Surface::default().covers(&surface(&[], &[], &[("s", false)])));
        assert!(!Surface::default().covers(&surface(&[], &[], &[("s", true)])));
    }

    #[test]
    fn scopes_grow_with_the_commands() {
        use Scope::{Admin, Pairing, Write};
        for (commands, scopes) in [
            (&[][..], &[Pairing][..]),
            (&["camera.list"], &[Pairing, Write]),
            (&["weather.get"], &[Pairing, Write]),
            (&["camera.list", "system.run"], &[Pairing, Admin]),
            (&["system.run.prepare"], &[Pairing, Admin]),
            (&["system.which"], &[Pairing, Admin]),
            (&["browser.proxy"], &[Pairing, Admin]),
            (&["browser.proxy.upload.v1"], &[Pairing, Admin]),
            (&["fs.listDir"], &[Pairing, Admin]),
            (&["terminal.upload"], &[Pairing, Admin]),
            (&["system.execApprovals.get"], &[Pairing, Admin]),
            (&["system.execApprovals.set"], &[Pairing, Admin]),
        ] {
            assert_eq!(surface(&[], commands, &[]).approval_scopes(), scopes);
        }
    }
}

//! Values of secret references, as the rules about credentials ask for them (spec credentials §5).

use std::collections::BTreeSet;

use crate::config::{EnvVars, SecretRef, SecretsConfig};
use crate::secret::Secret;
use crate::secrets::{Bound, RefFault, RefValues, WantedRef, bind};

/// Whether references can be read at all.
#[derive(Clone, Copy, Debug)]
pub enum RefAccess<'a> {
    /// Not here: every reference is unresolved.
    Unavailable,
    /// Variables from the environment, the rest from what the host has read.
    Available(&'a RefValues),
}

/// What is known about the value of a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Value(Secret),
    Failed(RefFault),
    /// The host has not been asked yet.
    Wanted(WantedRef),
}

impl RefAccess<'_> {
    pub(crate) fn read(
        self,
        reference: &SecretRef,
        secrets: &SecretsConfig,
        env: &EnvVars,
    ) -> Reading {
        let Self::Available(values) = self else {
            return Reading::Failed(RefFault::NotRead);
        };
        match bind(reference, secrets, env) {
            Err(fault) => Reading::Failed(fault),
            Ok(Bound::Value(value)) => Reading::Value(value),
            Ok(Bound::Ask(wanted)) => match values.get(&wanted) {
                Some(Ok(value)) => Reading::Value(value.clone()),
                Some(Err(fault)) => Reading::Failed(fault.clone()),
                None => Reading::Wanted(wanted),
            },
        }
    }
}

/// Reads references and notes what the host should read.
pub(crate) struct RefReader<'a> {
    pub(crate) access: RefAccess<'a>,
    pub(crate) secrets: &'a SecretsConfig,
    pub(crate) env: &'a EnvVars,
    pub(crate) wanted: BTreeSet<WantedRef>,
}

impl RefReader<'_> {
    /// The value, or why there is none so far.
    pub(crate) fn read(&mut self, reference: &SecretRef) -> Result<Secret, RefFault> {
        match self.access.read(reference, self.secrets, self.env) {
            Reading::Value(value) => Ok(value),
            Reading::Failed(fault) => Err(fault),
            Reading::Wanted(wanted) => {
                self.wanted.insert(wanted);
                Err(RefFault::NotRead)
            }
        }
    }

    /// Why the reference is broken, as far as that is known without asking the host for it.
    pub(crate) fn known_fault(&self, reference: &SecretRef) -> Option<RefFault> {
        match self.access.read(reference, self.secrets, self.env) {
            Reading::Failed(fault) => Some(fault),
            Reading::Value(_) | Reading::Wanted(_) => None,
        }
    }
}

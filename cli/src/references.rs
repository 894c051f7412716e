//! Values of secret references: read only when a rule asks for them.

use clawgate_core::config::{EnvVars, SecretsConfig};
use clawgate_core::secrets::{RefValues, WantedRef};

/// Asks a rule again and again, reading what it wants in between, until it wants nothing new. What it
/// does not want is never read, so a program for a credential that is not used is never run.
pub(crate) fn with_references<T>(
    secrets: &SecretsConfig,
    env: &EnvVars,
    mut rule: impl FnMut(&RefValues) -> (T, Vec<WantedRef>),
) -> T {
    let mut values = RefValues::new();
    loop {
        let (answer, mut wanted) = rule(&values);
        wanted.retain(|wanted| values.get(wanted).is_none());
        if wanted.is_empty() {
            return answer;
        }
        clawgate_std::read_secrets(&wanted, secrets, env, &mut values);
        // Whatever was not read by now never will be.
        for wanted in wanted {
            if values.get(&wanted).is_none() {
                values.insert(wanted, Err(clawgate_core::secrets::RefFault::NotRead));
            }
        }
    }
}

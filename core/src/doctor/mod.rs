//! What `clawgate doctor` finds: rules over facts that the host gathered.
//!
//! A finding has a stable code, says what is wrong and what to do, and never repeats a secret. The rules
//! for exposure and files are those of [`crate::policy::audit`]; they enter here by [`of_audit`].
//!
//! ```
//! use clawgate_core::config::{Config, EnvVars};
//! use clawgate_core::doctor::precedence;
//! use serde_json::json;
//!
//! let config = Config::from_value(&json!({ "gateway": { "auth": { "token": "configured" } } }));
//! let env: EnvVars = [("OPENCLAW_GATEWAY_TOKEN", "of the shell")].into_iter().collect();
//! let findings = precedence(&env, &config);
//! assert_eq!(findings[0].code, "precedence.env_token_shadows");
//! ```

mod finding;
mod precedence;
mod rules;

pub use finding::{Area, Finding, Repair};
pub use precedence::precedence;
pub use rules::{
    Database, Debris, MAX_CLOCK_SKEW, Program, clock, config, database, debris, of_audit,
    other_service, port_held, programs, references, service_drift, versions,
};

/// The gravest first; those alike in the order of their areas.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (b.severity, a.area, &a.code).cmp(&(a.severity, b.area, &b.code)));
}

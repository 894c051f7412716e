//! What a node does when the gateway does not let it in.

use std::time::Duration;

use crate::client::PauseReason;

/// What to do after the client has paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comeback {
    /// Knock again after this time: somebody may approve the device meanwhile, and the request must
    /// not run out.
    After(Duration),
    /// Nothing helps but a person at this machine.
    Never,
}

/// Judges a pause.
///
/// ```
/// use clawgate_core::{client::PauseReason, node::{Comeback, after_pause}};
///
/// let pairing = PauseReason { code: "PAIRING_REQUIRED".into(), message: "…".into() };
/// assert!(matches!(after_pause(&pairing), Comeback::After(_)));
/// ```
pub fn after_pause(reason: &PauseReason) -> Comeback {
    match reason.code.as_str() {
        "PAIRING_REQUIRED" => Comeback::After(Duration::from_secs(3)),
        "AUTH_RATE_LIMITED" => Comeback::After(Duration::from_secs(60)),
        _ => Comeback::Never,
    }
}

//! What the gateway counts of itself, and how it is told.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `calls` | calls from their arrival to their answer |
//! | `ended` | what has ended, for a log |
//! | `counting` | everything else that is counted where it happens |
//! | `reading` | all numbers at one moment |
//! | `text` | the same as text for `/metrics` |
//! | `document` | the same as JSON for `clawgate.metrics` |

mod calls;
mod counting;
mod document;
mod ended;
mod reading;
mod text;

pub use calls::CallEnded;
pub(super) use ended::EndedWork;
pub use ended::{Ended, WorkEnded, WorkKind, WorkLog};

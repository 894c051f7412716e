//! Numbers about the gateway: what happened how often, and how long it took.
//!
//! Everything here is counted by plain additions and has a fixed size: each label has a closed list of
//! values (the names of methods come from the method table, those of errors from the protocol). So a
//! client cannot make the gateway remember more, and no number can name a chat, a person or a secret.
//! All together takes less than 64 KiB, however long the gateway runs, beside 100 bytes for a
//! connection and for a call under way.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `label` | closed lists of names, and a counter for each |
//! | `histogram` | how long something took |
//! | `conn` | what a connection counts by itself |
//! | `results` | how things end |
//! | `registry` | all that the gateway counts |
//! | `exposition` | the text form (OpenMetrics 1.0, Prometheus 0.0.4) |

mod conn;
mod exposition;
mod histogram;
mod label;
mod registry;
mod results;

pub use conn::{CloseCause, ConnCounts, ConnSample, HandshakeResult, HostSample};
pub use exposition::{Exposition, Form, Kind};
pub use histogram::{BOUNDS, Histogram};
pub use label::{Counters, Label};
pub(crate) use registry::CallUnderWay;
pub use registry::{CallCell, ConnTotals, JobKind, Metrics};
pub use results::{
    CallResult, CommitResult, HttpClass, HttpRoute, InvokeResult, JobResult, OpenRefused, RunResult,
};

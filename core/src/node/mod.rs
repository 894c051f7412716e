//! A headless node: what it does with the gateway's requests (spec protocol §8).
//!
//! [`NodeHost`] decides everything: which commands there are, whether a program may run, how long,
//! how much of its output is kept, and what is answered. Reading files, running programs and looking
//! at the machine are [`NodeWork`] for the host, which reports what came of it.
//!
//! | module | rule it holds |
//! | --- | --- |
//! | `host` | the machine: requests, deadlines, cancel, repeats, answers |
//! | `request` | the events that a gateway sends |
//! | `command` | which commands a node offers |
//! | `system_run` | the parameters and results of `system.run` and what belongs to it |
//! | `small_commands` | the other commands' parameters and results |
//! | `exec_policy`, `pattern` | whether a program may run |
//! | `approvals` | the file of exec approvals |
//! | `environment` | which variables reach a program |
//! | `machine_facts` | what `device.info`, `device.status` and the host's figures say |
//! | `publication` | what a node tells of itself after each hello |
//! | `repeat` | answers that are kept for a repeated request |
//! | `standing` | what a person should know of the connection |

mod approvals;
mod command;
mod environment;
mod exec_policy;
mod fields;
mod host;
mod machine_facts;
mod pattern;
mod publication;
mod repeat;
mod request;
mod small_commands;
mod standing;
mod system_run;
mod work;

pub(crate) use approvals::Approvals;
pub use approvals::{ApprovalsText, Ask, MAX_APPROVALS, Security};
pub use command::{CommandName, CustomCommand, InvalidCommand, NodeCommands, Notifier};
pub use environment::{passes_on, refused_override};
pub use exec_policy::ExecPolicy;
pub use host::{HostNotice, NodeHost, NodeLimits, NodeOptions};
pub use machine_facts::{Battery, DeviceFacts, Disk, MachineSample, Memory};
pub use standing::{Comeback, after_pause};
pub use work::{
    Capture, Captured, Found, JobId, Look, Looked, NodeCall, NodeCallId, NodeOutcome, NodeWork,
    Part, RunEnd, RunSpec, Written,
};

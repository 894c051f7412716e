//! What goes between the machine and its host.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;

use super::{ApprovalsText, MachineSample};
use crate::{frame::RawJson, secret::Secret};

/// One piece of work. Numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub(super) u64);

/// One call to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeCallId(pub(super) u64);

/// A call to make over the present connection. Its answer comes back by
/// [`NodeHost::handle_answer`](super::NodeHost::handle_answer); calls are started in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCall {
    /// The call.
    pub id: NodeCallId,
    /// Its method.
    pub method: &'static str,
    /// Its parameters.
    pub params: RawJson,
}

/// Work for the host. Each piece but [`NodeWork::Kill`] is answered with exactly one
/// [`NodeOutcome`].
#[derive(Clone, Debug, PartialEq)]
pub enum NodeWork {
    /// End a run with everything that it started. Its outcome still comes.
    Kill(JobId),
    /// Look things up.
    Look(JobId, Look),
    /// Run a program.
    Run(JobId, RunSpec),
    /// Look at the machine.
    Sample(JobId),
    /// Replace the file of exec approvals, if it still is what it was.
    WriteApprovals {
        /// The work.
        job: JobId,
        /// What the file held.
        before: ApprovalsText,
        /// What it shall hold, for its owner only, whole or not at all.
        after: Secret,
    },
}

/// What to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Programs: a name without a slash is searched in `PATH`, anything else is a path, relative to
    /// the folder.
    pub programs: Vec<String>,
    /// The folder; `None` for the host's own.
    pub folder: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// One for each program, in the same order; `None` for what is not there or cannot be run.
    pub programs: Vec<Option<Found>>,
    /// The folder without links; or why there is none, in words.
    pub folder: Result<String, String>,
    /// The file of exec approvals.
    pub approvals: ApprovalsText,
}

/// Where a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The absolute path as it was found, without `.` and `..`.
    pub path: String,
    /// The same without links.
    pub real: String,
}

/// One run of a program, without a shell. It gets a process group of its own, which is ended with
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSpec {
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it runs; `None` for the host's own folder.
    pub folder: Option<PathBuf>,
    /// What is added to the environment, of which only what [`passes_on`](super::passes_on) allows
    /// is given.
    pub env: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Bytes,
    /// How much of standard output is kept.
    pub stdout: Capture,
    /// How much of standard error is kept.
    pub stderr: Capture,
}

/// How much of a stream is kept. All of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// In bytes.
    pub limit: usize,
    /// Of where it is too long.
    pub part: Part,
}

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The beginning.
    Head,
    /// The end.
    Tail,
}

/// What was kept of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether there were more.
    pub truncated: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: Captured,
    /// What it wrote about errors.
    pub stderr: Captured,
}

/// What came of a change of the file of exec approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Somebody else changed it first.
    Changed,
    /// It is on disk.
    Done,
    /// It is as it was; in words.
    Failed(String),
}

/// What came of a piece of work.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeOutcome {
    /// Of [`NodeWork::Look`].
    Looked(Looked),
    /// Of [`NodeWork::Run`]: it ran, and has ended.
    Ran(RunEnd),
    /// Of [`NodeWork::Run`]: it never started; in words.
    NotStarted(String),
    /// Of [`NodeWork::Sample`].
    Sampled(Box<MachineSample>),
    /// Of [`NodeWork::WriteApprovals`].
    Wrote(Written),
}

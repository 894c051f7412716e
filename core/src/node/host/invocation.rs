//! One thing that is being carried out, and who waits for it.

use std::time::Instant;

use serde_json::Value;

use crate::{
    node::{
        command::CommandName,
        repeat::{Key, Print},
        system_run::{CommandLine, RunRequest},
        work::RunSpec,
    },
    secret::Secret,
};

/// A request that waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) id: String,
    /// The connection that it came over: no other one is told.
    pub(super) link: u64,
}

#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) waiters: Vec<Waiter>,
    pub(super) repeat: Option<(Key, Print)>,
    pub(super) until: Option<Instant>,
    /// Whether anything was done that must not be done twice.
    pub(super) acted: bool,
    pub(super) stage: Stage,
}

/// What is waited for.
#[derive(Debug)]
pub(super) enum Stage {
    /// `device.status`: the figures.
    Figures,
    /// `system.execApprovals.get`: the file.
    GetLook,
    /// `system.execApprovals.set`: the file that is to be replaced.
    SetLook { file: Value, base: Option<String> },
    /// `system.execApprovals.set`: the new file.
    SetWrite { after: Secret },
    /// `system.run.prepare`: the program and the file.
    PrepareLook(CommandLine),
    /// `system.run`: the program and the file.
    RunLook(Box<RunRequest>),
    /// `system.run`: a rule more in the file.
    RunWrite(Box<RunRequest>, Box<RunSpec>),
    /// `system.which`: the programs.
    WhichLook(Vec<String>),
    /// The end of a program.
    Program(Program),
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) of: ProgramOf,
    /// Why it was ended, if it was.
    pub(super) stop: Option<StopCause>,
}

#[derive(Debug)]
pub(super) enum ProgramOf {
    Custom(CommandName),
    Notify,
    Run(Box<RunRequest>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    /// Nobody waits for it.
    Cancelled,
    /// Its time is over.
    Late,
}

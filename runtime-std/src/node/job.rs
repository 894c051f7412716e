//! Pieces of work, each in a thread of its own.

use std::{io, path::PathBuf, thread};

use clawgate_core::node::{JobId, NodeOutcome, NodeWork, RunSpec, Written};

use super::{approvals, look, sample};

/// Where things are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) approvals: PathBuf,
    pub(super) home: PathBuf,
}

/// Starts a piece of work. A program can be ended by what is given back.
pub(super) fn start(
    work: NodeWork,
    places: &Places,
    report: impl Fn(JobId, NodeOutcome) + Clone + Send + 'static,
) -> Option<(JobId, Kill)> {
    let (job, task, kill): (_, Box<dyn FnOnce() -> NodeOutcome + Send>, _) = match work {
        NodeWork::Kill(_) => return None,
        NodeWork::Look(job, wanted) => {
            let places = places.clone();
            let task = move || NodeOutcome::Looked(look::look(&wanted, &places.approvals));
            (job, Box::new(task), None)
        }
        NodeWork::Sample(job) => {
            let home = places.home.clone();
            let task = move || NodeOutcome::Sampled(Box::new(sample::sample(&home)));
            (job, Box::new(task), None)
        }
        NodeWork::WriteApprovals { job, before, after } => {
            let path = places.approvals.clone();
            let task =
                move || NodeOutcome::Wrote(approvals::replace_approvals(&path, &before, &after));
            (job, Box::new(task), None)
        }
        NodeWork::Run(job, spec) => match Kill::new() {
            Ok((kill, killed)) => (job, Box::new(move || run(&spec, killed)), Some(kill)),
            Err(error) => {
                report(job, NodeOutcome::NotStarted(error.to_string()));
                return None;
            }
        },
    };
    let on_failure = failed(kill.is_some());
    let reporter = report.clone();
    let spawned = thread::Builder::new()
        .name("clawgate-node-job".into())
        .spawn(move || reporter(job, task()));
    if let Err(error) = spawned {
        report(job, on_failure(&error));
        return None;
    }
    kill.map(|kill| (job, kill))
}

/// What is reported where the system gives no thread.
fn failed(is_program: bool) -> impl Fn(&io::Error) -> NodeOutcome {
    move |error| {
        if is_program {
            NodeOutcome::NotStarted(error.to_string())
        } else {
            NodeOutcome::Wrote(Written::Failed(error.to_string()))
        }
    }
}

#[cfg(unix)]
mod kill {
    use std::{io, os::unix::net::UnixStream};

    /// Ends a program when it is dropped.
    #[derive(Debug)]
    pub(in crate::node) struct Kill(#[allow(dead_code, reason = "held open")] UnixStream);

    /// The program's end of it.
    #[derive(Debug)]
    pub(in crate::node) struct Killed(pub(in crate::node) UnixStream);

    impl Kill {
        pub(super) fn new() -> io::Result<(Self, Killed)> {
            let (here, there) = UnixStream::pair()?;
            Ok((Self(here), Killed(there)))
        }
    }
}

#[cfg(not(unix))]
mod kill {
    use std::io;

    #[derive(Debug)]
    pub(in crate::node) struct Kill;

    #[derive(Debug)]
    pub(in crate::node) struct Killed;

    impl Kill {
        pub(super) fn new() -> io::Result<(Self, Killed)> {
            Err(io::Error::other("programs are run on Unix systems only"))
        }
    }
}

pub(super) use kill::{Kill, Killed};

#[cfg(unix)]
fn run(spec: &RunSpec, killed: Killed) -> NodeOutcome {
    super::program::run(spec, killed.0)
}

#[cfg(not(unix))]
fn run(_: &RunSpec, _: Killed) -> NodeOutcome {
    NodeOutcome::NotStarted("programs are run on Unix systems only".to_owned())
}

//! The way to the gateway, step by step.

use std::time::Duration;

use clawgate_core::credentials::{Explanation, Surface};
use clawgate_core::doctor::{self, Area, Finding};
use clawgate_core::frame::RawJson;
use clawgate_core::policy::audit::Severity;
use clawgate_core::time::WallTime;
use clawgate_std::{ConnectError, Problem, Stage, Timings};
use serde_json::Value;

use crate::context::Context;
use crate::device::wall_time;
use crate::dial::{Link, NoLink};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::refusal;
use crate::target::{self, Resolved, TargetFlags};

/// A call that takes `operator.read`, so that its answer tells what the client is allowed.
const READ_CALL: &str = "status";

/// What has to work before a call has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::commands) enum Step {
    /// There is a target, and something to present there.
    Target,
    /// The SSH tunnel is open.
    Tunnel,
    Dns,
    Tcp,
    Tls,
    /// The certificate is the pinned one.
    Pin,
    Upgrade,
    Challenge,
    Auth,
    Scope,
}

impl Step {
    const ALL: [Self; 10] = [
        Self::Target,
        Self::Tunnel,
        Self::Dns,
        Self::Tcp,
        Self::Tls,
        Self::Pin,
        Self::Upgrade,
        Self::Challenge,
        Self::Auth,
        Self::Scope,
    ];

    pub(in crate::commands) const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Tunnel => "tunnel",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Pin => "pin",
            Self::Upgrade => "upgrade",
            Self::Challenge => "challenge",
            Self::Auth => "auth",
            Self::Scope => "scope",
        }
    }

    /// The stage whose time is this step's.
    const fn stage(self) -> Option<Stage> {
        match self {
            Self::Target | Self::Pin => None,
            Self::Tunnel => Some(Stage::Tunnel),
            Self::Dns => Some(Stage::Dns),
            Self::Tcp => Some(Stage::Tcp),
            Self::Tls => Some(Stage::Tls),
            Self::Upgrade => Some(Stage::Upgrade),
            Self::Challenge => Some(Stage::Challenge),
            Self::Auth => Some(Stage::Hello),
            Self::Scope => Some(Stage::Call),
        }
    }
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum State {
    Ok,
    Failed,
    /// This target does not need it.
    NotNeeded,
    /// An earlier one failed.
    NotTried,
}

impl State {
    pub(in crate::commands) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::NotNeeded => "-",
            Self::NotTried => "?",
        }
    }
}

/// A step, and how it went.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Tried {
    pub(in crate::commands) step: Step,
    pub(in crate::commands) state: State,
    pub(in crate::commands) took: Option<Duration>,
}

/// The whole way.
#[derive(Debug)]
pub(in crate::commands) struct Reach {
    pub(in crate::commands) why: Option<Explanation>,
    pub(in crate::commands) steps: Vec<Tried>,
    /// The first step that failed, and why.
    failed: Option<(Step, Failure)>,
    is_local: bool,
    pub(in crate::commands) version: Option<String>,
    /// The gateway's time, and this machine's at the same moment.
    times: Option<(WallTime, WallTime)>,
}

impl Reach {
    /// Goes as far as it gets. Nothing is changed on either side.
    pub(super) fn try_out(flags: &TargetFlags, context: &Context) -> Self {
        let mut reach = Self {
            why: None,
            steps: Vec::new(),
            failed: None,
            is_local: false,
            version: None,
            times: None,
        };
        let resolved = match target::find(Surface::Call, flags, context) {
            Ok(resolved) => resolved.only_looking(),
            Err(failure) => {
                reach.why = target::explain(Surface::Call, flags, context)
                    .ok()
                    .map(|resolution| resolution.explanation);
                reach.end(Some((Step::Target, failure)), &Timings::default(), None);
                return reach;
            }
        };
        reach.is_local = resolved.target.endpoint().is_loopback();
        let (failed, timings) = match Link::open(&resolved, &[READ_CALL], flags.timeout) {
            Err(NoLink::Local(failure)) => (Some((Step::Target, failure)), Timings::default()),
            Err(NoLink::Connect(error)) => {
                let failure = refusal::connect(&error, &resolved);
                (Some((step_of(&error), failure)), error.timings.clone())
            }
            Ok(mut link) => {
                let hello = link.connection.hello();
                reach.version.clone_from(&hello.server_version);
                if let Ok(health) = link.call("health", RawJson::empty_object()) {
                    let health: Value = health.parse().unwrap_or(Value::Null);
                    let there = health.get("ts").and_then(Value::as_u64);
                    reach.times = there.map(|there| (WallTime(there), wall_time()));
                }
                let failed = match link.call(READ_CALL, RawJson::empty_object()) {
                    Err(failure) if failure.exit == Exit::Unauthorised => {
                        Some((Step::Scope, failure))
                    }
                    // Whatever else it says, it let the call through.
                    Ok(_) | Err(_) => None,
                };
                let timings = link.connection.timings().clone();
                link.connection.close();
                (failed, timings)
            }
        };
        reach.why = Some(resolved.why.clone());
        reach.end(failed, &timings, Some(&resolved));
        reach
    }

    fn end(
        &mut self,
        failed: Option<(Step, Failure)>,
        timings: &Timings,
        resolved: Option<&Resolved>,
    ) {
        let first = failed.as_ref().map(|(step, _)| *step);
        let is_tls = resolved.is_some_and(|it| it.target.endpoint().is_tls());
        let is_tunnelled = resolved.is_some_and(|it| it.target.endpoint().tunnel().is_some());
        let is_pinned = resolved.is_some_and(|it| it.target.pin_source().is_some());
        let is_name = resolved.is_some_and(|it| it.target.endpoint().host().ip().is_none());
        self.steps = Step::ALL
            .into_iter()
            .map(|step| {
                let needed = match step {
                    Step::Tunnel => is_tunnelled,
                    Step::Dns => is_name,
                    Step::Tls => is_tls,
                    Step::Pin => is_tls && is_pinned,
                    Step::Target
                    | Step::Tcp
                    | Step::Upgrade
                    | Step::Challenge
                    | Step::Auth
                    | Step::Scope => true,
                };
                let state = match first {
                    Some(first) if first == step => State::Failed,
                    Some(first) if first < step => State::NotTried,
                    Some(_) | None if needed => State::Ok,
                    Some(_) | None => State::NotNeeded,
                };
                let took = step
                    .stage()
                    .filter(|_| state == State::Ok)
                    .and_then(|stage| timings.of(stage));
                Tried { step, state, took }
            })
            .collect();
        self.failed = failed;
    }

    /// What the way showed.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some((step, failure)) = &self.failed {
            // A gateway of this machine that is not running may be meant.
            let severity = if *step == Step::Tcp && self.is_local {
                Severity::Warn
            } else {
                Severity::Critical
            };
            findings.push(Finding::new(
                (Area::Reach, format!("reach.{}", step.as_str())),
                severity,
                failure.message.clone(),
                failure.next.clone(),
            ));
        }
        let here = env!("CARGO_PKG_VERSION");
        let versions = self.version.as_deref();
        findings.extend(versions.and_then(|there| doctor::versions(here, there)));
        findings.extend(
            self.times
                .and_then(|(there, here)| doctor::clock(there, here)),
        );
        findings
    }
}

fn step_of(error: &ConnectError) -> Step {
    if matches!(error.problem, Problem::PinMismatch { .. }) {
        return Step::Pin;
    }
    match error.stage {
        Stage::Tunnel => Step::Tunnel,
        Stage::Dns => Step::Dns,
        Stage::Socket | Stage::Tcp => Step::Tcp,
        Stage::Tls => Step::Tls,
        Stage::Upgrade => Step::Upgrade,
        Stage::Challenge => Step::Challenge,
        Stage::Hello => Step::Auth,
        Stage::Call => Step::Scope,
    }
}

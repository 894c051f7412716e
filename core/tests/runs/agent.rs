//! An agent that does what its message says, step by step, and notes what it is asked to do.
//!
//! A message is a list of words: `t` says something, `r` takes it back, `call=1/weather.get,2/lamp.set`
//! calls nodes at once, `job` starts a job and waits for its end, `work=…` does both and feeds the job,
//! `nap` waits a moment, `hang` waits for ever, `fail` fails. At the end of the list the run is done.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use clawgate_core::{
    agent::{
        Agent, AgentInput, AgentOutput, FailureKind, JobNo, ModelInfo, ProfileStatus, RunDone,
        RunFailed, RunRequest, ToolCall, Usage,
    },
    frame::RawJson,
    ids::{RunId, ToolCallId},
    job::{JobEvent, JobSpec, ProgramJob},
    time::Now,
};

thread_local! {
    /// What the agent was given since somebody looked.
    static GIVEN: RefCell<Vec<Given>> = const { RefCell::new(Vec::new()) };
    /// What runs under way were told besides, since somebody looked.
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static JOBS: Cell<usize> = const { Cell::new(0) };
}

/// Jobs for whose end the agent waits.
pub fn jobs() -> usize {
    JOBS.get()
}

/// A run that the agent was given.
pub struct Given {
    pub run: RunId,
    pub message: String,
    /// What was said before.
    pub before: Vec<String>,
}

/// What the agent was given since the last call.
pub fn given() -> Vec<Given> {
    GIVEN.take()
}

/// What runs under way were told besides, since the last call.
pub fn heard() -> Vec<String> {
    HEARD.take()
}

pub fn scripted() -> Box<dyn Agent> {
    JOBS.set(0);
    Box::new(Scripted::default())
}

#[derive(Debug, Default)]
struct Scripted {
    outputs: VecDeque<(RunId, AgentOutput)>,
    runs: BTreeMap<RunId, Script>,
}

#[derive(Debug)]
struct Script {
    steps: VecDeque<String>,
    said: String,
    calls: BTreeSet<ToolCallId>,
    jobs: BTreeSet<JobNo>,
    nap: Option<Instant>,
    hangs: bool,
    numbers: u32,
}

impl Script {
    fn waits(&self) -> bool {
        self.hangs || self.nap.is_some() || !self.calls.is_empty() || !self.jobs.is_empty()
    }
}

impl Scripted {
    fn go_on(&mut self, now: Now, run: &RunId) {
        while let Some(script) = self.runs.get_mut(run)
            && !script.waits()
        {
            let step = script.steps.pop_front();
            let outputs = script.take(now, step.as_deref());
            let over = outputs
                .iter()
                .any(|output| matches!(output, AgentOutput::Done(_) | AgentOutput::Failed(_)));
            if over {
                self.runs.remove(run);
            }
            let outputs = outputs.into_iter().map(|output| (run.clone(), output));
            self.outputs.extend(outputs);
        }
    }
}

impl Script {
    fn take(&mut self, now: Now, step: Option<&str>) -> Vec<AgentOutput> {
        let Some(step) = step else {
            return vec![AgentOutput::Done(RunDone {
                text: self.said.clone(),
                usage: Some(Usage {
                    input: 1,
                    output: 2,
                }),
                provider: Some("test".into()),
                model: Some("scripted".into()),
                stop_reason: Some("stop".into()),
            })];
        };
        match step.split_once('=').unwrap_or((step, "")) {
            ("t", _) => {
                self.said.push_str("word ");
                vec![AgentOutput::Text("word ".into())]
            }
            ("r", _) => {
                self.said = "instead ".into();
                vec![AgentOutput::Replace(self.said.clone())]
            }
            ("call", targets) => targets.split(',').map(|target| self.call(target)).collect(),
            ("job", _) => vec![self.start_job()],
            ("work", targets) => {
                let calls = targets.split(',').map(|target| self.call(target));
                let mut outputs: Vec<AgentOutput> = calls.collect();
                outputs.push(self.start_job());
                outputs
            }
            ("nap", _) => {
                self.nap = Some(now.mono + Duration::from_millis(400));
                Vec::new()
            }
            ("hang", _) => {
                self.hangs = true;
                Vec::new()
            }
            ("fail", _) => vec![AgentOutput::Failed(RunFailed {
                kind: FailureKind::RateLimit,
                message: "as it was told".into(),
                provider: None,
                model: None,
                http_status: Some(429),
                usage: None,
            })],
            _ => Vec::new(),
        }
    }

    fn start_job(&mut self) -> AgentOutput {
        self.numbers += 1;
        let number = JobNo(self.numbers);
        self.jobs.insert(number);
        AgentOutput::StartJob(number, job())
    }

    fn call(&mut self, target: &str) -> AgentOutput {
        self.numbers += 1;
        let id = ToolCallId::new(format!("c{}", self.numbers));
        self.calls.insert(id.clone());
        let (node, command) = target.split_once('/').unwrap_or(("?", target));
        AgentOutput::ToolCall(ToolCall {
            id,
            node: format!("node-{node}"),
            command: command.into(),
            params: RawJson::empty_object(),
        })
    }
}

fn job() -> JobSpec {
    JobSpec::Program(ProgramJob {
        argv: vec!["program".into()],
        cwd: None,
        env: BTreeMap::new(),
        withheld: BTreeSet::new(),
        max_output: 1_000,
        grace: Duration::from_secs(1),
    })
}

impl Agent for Scripted {
    fn start(&mut self, now: Now, run: RunId, request: RunRequest) {
        let before = request.history.iter();
        GIVEN.with_borrow_mut(|given| {
            given.push(Given {
                run: run.clone(),
                message: request.message.clone(),
                before: before.map(|said| said.text.clone()).collect(),
            });
        });
        let script = Script {
            steps: request
                .message
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            said: String::new(),
            calls: BTreeSet::new(),
            jobs: BTreeSet::new(),
            nap: None,
            hangs: false,
            numbers: 0,
        };
        let before = self.runs.insert(run.clone(), script);
        assert!(before.is_none(), "{run} begins twice");
        self.go_on(now, &run);
    }

    fn handle(&mut self, now: Now, run: &RunId, input: AgentInput) {
        let Some(script) = self.runs.get_mut(run) else {
            return;
        };
        match input {
            AgentInput::Cancel => {
                // An agent may stop its jobs itself, or leave that to the gateway.
                let jobs = script.jobs.iter().filter(|job| job.0 % 2 == 0);
                let stops = jobs.map(|job| (run.clone(), AgentOutput::StopJob(*job)));
                self.outputs.extend(stops);
                self.runs.remove(run);
            }
            AgentInput::ToolDone { call, .. } => {
                assert!(script.calls.remove(&call), "{run}: {call} ended twice");
                let jobs = script.jobs.iter();
                let feeds = jobs.map(|job| (run.clone(), AgentOutput::FeedJob(*job, "x".into())));
                self.outputs.extend(feeds);
            }
            AgentInput::Job(job, JobEvent::Ended(_) | JobEvent::Failed(_)) => {
                assert!(script.jobs.remove(&job), "{run}: {job:?} ended twice");
            }
            AgentInput::Job(job, JobEvent::Head(_) | JobEvent::Data(_)) => {
                assert!(script.jobs.contains(&job), "{run}: {job:?} is over");
                script.said.push_str("data ");
                let said = AgentOutput::Text("data ".into());
                self.outputs.push_back((run.clone(), said));
            }
        }
        self.go_on(now, run);
    }

    fn steer(&mut self, now: Now, run: &RunId, text: &str) -> bool {
        let Some(script) = self.runs.get_mut(run).filter(|script| script.hangs) else {
            return false;
        };
        HEARD.with_borrow_mut(|heard| heard.push(text.to_owned()));
        script.hangs = false;
        script
            .steps
            .extend(text.split_whitespace().map(str::to_owned));
        self.go_on(now, run);
        true
    }

    fn handle_timeout(&mut self, now: Now) {
        let due: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, script)| script.nap.is_some_and(|at| at <= now.mono))
            .map(|(run, _)| run.clone())
            .collect();
        for run in due {
            if let Some(script) = self.runs.get_mut(&run) {
                script.nap = None;
            }
            self.go_on(now, &run);
        }
    }

    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)> {
        JOBS.set(self.runs.values().map(|script| script.jobs.len()).sum());
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.runs.values().filter_map(|script| script.nap).min()
    }

    fn models(&self) -> Vec<ModelInfo> {
        Vec::new()
    }

    fn profiles(&self, _: Now) -> Vec<ProfileStatus> {
        Vec::new()
    }
}

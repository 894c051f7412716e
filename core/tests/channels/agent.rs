//! An agent that answers with what it heard, at once or after a job.

use std::{collections::BTreeMap, collections::VecDeque, time::Duration, time::Instant};

use bytes::Bytes;
use clawgate_core::{
    agent::{
        Agent, AgentInput, AgentOutput, FailureKind, JobNo, ModelInfo, ProfileStatus, RunDone,
        RunFailed, RunRequest,
    },
    ids::RunId,
    job::{HttpJob, HttpMethod, JobEvent, JobSpec},
    policy::{Endpoint, UrlPolicy},
    time::Now,
};

#[derive(Debug, Default)]
pub struct Echo {
    outputs: VecDeque<(RunId, AgentOutput)>,
    thinking: BTreeMap<RunId, String>,
}

pub fn echo() -> Box<dyn Agent> {
    Box::new(Echo::default())
}

impl Echo {
    fn done(&mut self, run: &RunId, text: &str) {
        let done = RunDone {
            text: text.into(),
            ..RunDone::default()
        };
        self.outputs
            .push_back((run.clone(), AgentOutput::Done(done)));
    }
}

impl Agent for Echo {
    fn start(&mut self, _: Now, run: RunId, request: RunRequest) {
        let message = request.message.clone();
        match message.split_once(' ').unwrap_or((&message, "")) {
            ("think", text) => {
                let spec = HttpJob {
                    method: HttpMethod::Post,
                    url: Endpoint::parse("http://127.0.0.1:9/", UrlPolicy::Strict).unwrap(),
                    secret_path: None,
                    headers: Vec::new(),
                    body: Bytes::from_static(b"{\"think\":true}"),
                    connect: Duration::from_secs(1),
                    idle: Duration::from_secs(60),
                    max_body: 1,
                };
                self.thinking.insert(run.clone(), format!("re: {text}"));
                let job = AgentOutput::StartJob(JobNo(1), JobSpec::Http(spec));
                self.outputs.push_back((run, job));
            }
            ("fail", why) => {
                let failed = RunFailed {
                    kind: FailureKind::Unknown,
                    message: why.into(),
                    provider: None,
                    model: None,
                    http_status: None,
                    usage: None,
                };
                self.outputs.push_back((run, AgentOutput::Failed(failed)));
            }
            ("prompt", _) => self.done(&run, &request.extra_prompt.unwrap_or_default()),
            ("history", _) => {
                let said: Vec<String> = request
                    .history
                    .iter()
                    .map(|message| message.text.clone())
                    .collect();
                self.done(&run, &said.join(","));
            }
            ("files", _) => self.done(&run, &format!("{} files", request.attachments.len())),
            ("quiet", _) => self.done(&run, ""),
            _ => self.done(&run, &format!("re: {message}")),
        }
    }

    fn handle(&mut self, _: Now, run: &RunId, input: AgentInput) {
        match input {
            AgentInput::Cancel => {
                self.thinking.remove(run);
                self.outputs.retain(|(of, _)| of != run);
            }
            AgentInput::Job(_, JobEvent::Ended(_) | JobEvent::Failed(_)) => {
                if let Some(text) = self.thinking.remove(run) {
                    self.done(run, &text);
                }
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn models(&self) -> Vec<ModelInfo> {
        Vec::new()
    }

    fn profiles(&self, _: Now) -> Vec<ProfileStatus> {
        Vec::new()
    }
}

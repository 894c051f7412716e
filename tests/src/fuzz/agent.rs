//! Bodies for what agents read from outside: streams of endpoints and lines of programs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clawgate_core::{
    agent::{
        Agent, AgentInput, AgentOutput, AgentTool, JobNo, PerAgent, RunRequest,
        command::{CommandAgent, LineReader, ProgramUse},
        openai::{
            ModelUse, OpenAiAgent, OpenAiSetup, Provider, SseLimits, SseParser, Times, Traces,
            check_base_url,
        },
    },
    config::{CooldownConfig, ModelName},
    ids::{RunId, ToolCallId},
    job::{HttpHead, JobEnd, JobEvent},
    policy::UrlPolicy,
    time::{Now, WallTime},
};

/// The first byte says how the rest is cut.
fn cut(data: &[u8]) -> Option<(usize, &[u8])> {
    let (step, rest) = data.split_first()?;
    Some((usize::from(*step).max(1), rest))
}

/// A stream of an endpoint: nothing panics, it reads the same however it is cut, and a run that has
/// shown something never asks again, and ends once.
pub fn sse(data: &[u8]) {
    let Some((step, stream)) = cut(data) else {
        return;
    };
    let limits = SseLimits {
        line: 512,
        event: 1024,
    };
    let read = |step: usize| {
        let mut parser = SseParser::new(limits);
        let mut events = Vec::new();
        for part in stream.chunks(step) {
            events.extend(parser.push(part).ok()?);
        }
        events.extend(parser.finish());
        Some(events)
    };
    // Where a limit is passed, what came before is lost with the piece that it came in.
    if let (Some(cut), Some(whole)) = (read(step), read(stream.len().max(1))) {
        assert_eq!(cut, whole, "read differently in pieces of {step}");
    }

    let provider = Provider {
        endpoint: check_base_url("http://127.0.0.1:1/v1", UrlPolicy::Strict),
        models: Vec::new(),
        max_tokens: None,
        times: Times::default(),
        traces: Traces::Told,
    };
    let agent = OpenAiAgent::new(
        OpenAiSetup {
            providers: [("p".to_owned(), provider)].into(),
            profiles: Vec::new(),
            cooldowns: CooldownConfig::default(),
            agents: PerAgent::all(ModelUse {
                models: ModelName::parse("p/m").into_iter().collect(),
                ..ModelUse::default()
            }),
        },
        [0; 32],
    );
    let mut run = Run::start(agent);
    let head = HttpHead {
        status: 200,
        content_type: (step % 2 == 0).then(|| "text/event-stream".to_owned()),
        retry_after: None,
    };
    run.job(JobEvent::Head(head));
    for part in stream.chunks(step) {
        run.job(JobEvent::Data(part.to_vec().into()));
    }
    run.job(JobEvent::Ended(JobEnd::Complete));
    run.cancel();
}

/// Lines of a program: nothing panics, they read the same however they are cut, each call is made
/// once, and a run ends once.
pub fn agent_lines(data: &[u8]) {
    let Some((step, output)) = cut(data) else {
        return;
    };
    let read = |step: usize| {
        let mut reader = LineReader::new(256);
        let mut lines = Vec::new();
        for part in output.chunks(step) {
            lines.extend(reader.push(part).ok()?);
        }
        lines.extend(reader.finish());
        Some(lines)
    };
    assert_eq!(
        read(step),
        read(output.len().max(1)),
        "read differently in pieces of {step}"
    );

    let mut run = Run::start(CommandAgent::new(PerAgent::all(ProgramUse {
        argv: vec!["agent".to_owned()],
        ..ProgramUse::default()
    })));
    for part in output.chunks(step) {
        run.job(JobEvent::Data(part.to_vec().into()));
    }
    run.job(JobEvent::Ended(JobEnd::Exit(Some(0))));
    assert!(run.ended, "the program has ended, and its run has not");
}

/// One run, and what it promised.
struct Run<A> {
    agent: A,
    now: Now,
    id: RunId,
    job: JobNo,
    shown: bool,
    calls: BTreeSet<ToolCallId>,
    ended: bool,
}

impl<A: Agent> Run<A> {
    fn start(agent: A) -> Self {
        let mut run = Self {
            agent,
            now: Now {
                mono: Instant::now(),
                wall: WallTime(0),
            },
            id: RunId::new("r"),
            job: JobNo(0),
            shown: false,
            calls: BTreeSet::new(),
            ended: false,
        };
        let request = RunRequest {
            agent_id: "main".to_owned(),
            session_key: "agent:main:main".to_owned(),
            message: "hello".to_owned(),
            attachments: Vec::new(),
            history: Vec::new(),
            tools: vec![AgentTool {
                node_id: "n".to_owned(),
                node_name: "n".to_owned(),
                platform: None,
                command: "c".to_owned(),
                description: None,
                parameters: None,
            }],
            model: None,
            extra_prompt: None,
            timeout: Duration::from_secs(60),
            trace: None,
        };
        run.agent.start(run.now, run.id.clone(), request);
        run.drain();
        run
    }

    fn job(&mut self, event: JobEvent) {
        self.agent
            .handle(self.now, &self.id, AgentInput::Job(self.job, event));
        self.drain();
    }

    fn cancel(&mut self) {
        self.agent.handle(self.now, &self.id, AgentInput::Cancel);
        while let Some((_, output)) = self.agent.poll_output() {
            assert!(
                matches!(output, AgentOutput::StopJob(_)),
                "{output:?} after a cancel"
            );
        }
        assert_eq!(self.agent.poll_timeout(), None);
    }

    fn drain(&mut self) {
        while let Some((_, output)) = self.agent.poll_output() {
            assert!(!self.ended, "{output:?} follows the end");
            match output {
                AgentOutput::Text(text) => {
                    assert!(!text.is_empty(), "an empty piece of text");
                    self.shown = true;
                }
                AgentOutput::Replace(_) => self.shown = true,
                AgentOutput::ToolCall(call) => {
                    assert!(self.calls.insert(call.id), "a call is made twice");
                }
                AgentOutput::Waiting(_) => assert!(!self.shown, "it asks again"),
                AgentOutput::StartJob(no, _) => {
                    // The model is asked again only after its tools.
                    assert!(!self.shown || no != self.job, "it asks again");
                }
                AgentOutput::FeedJob(..) | AgentOutput::StopJob(_) => {}
                AgentOutput::Done(_) | AgentOutput::Failed(_) => self.ended = true,
            }
        }
    }
}

//! A program as an agent: one process for each run, JSON lines on its standard input and output. So
//! an agent can be written in any language (seed 002, *Command flow*).
//!
//! The program reads, one object a line:
//!
//! | line | means |
//! | --- | --- |
//! | `{"type":"start","runId","agentId","sessionKey","message","history":[{"role","text"}],"tools":[{"node","nodeName","platform","command","description","parameters"}],"attachments":[{"mimeType","fileName","content"}],"model","prompt","timeoutMs"}` | the run, once and first; `content` is Base64 |
//! | `{"type":"tool_result","id","ok":true,"result"}` | what a node answered |
//! | `{"type":"tool_result","id","ok":false,"error":{"code","message"}}` | why it did not |
//!
//! and writes:
//!
//! | line | means |
//! | --- | --- |
//! | `{"type":"text","text"}` | more of the reply |
//! | `{"type":"replace","text"}` | the reply so far was wrong; it is this |
//! | `{"type":"tool_call","id","node","command","params"}` | ask a node, by its id or name; `id` is the program's, and new in the run. Several may be open at once |
//! | `{"type":"done","text"?,"usage"?:{"input","output"},"model"?,"stopReason"?}` | the end; without `text`, the reply is what was written before |
//! | `{"type":"error","message"}` | the end, without a reply |
//!
//! Unknown keys are let be, and blank lines are skipped. A line of more than [`MAX_LINE`] bytes, one
//! that is none of these, or an end without `done` fails the run. When the run is cancelled, or is over,
//! standard input is closed; what still runs a little later is killed with all that it started.
//! Standard error goes to the gateway's log, at debug.

mod lines;
mod protocol;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    time::{Duration, Instant},
};

pub use lines::{LineReader, LineTooLong};

use super::{
    Agent, AgentInput, AgentOutput, FailureKind, JobNo, ModelInfo, PerAgent, ProfileStatus,
    RunDone, RunFailed, RunRequest, ToolCall,
};
use crate::{
    ids::{RunId, ToolCallId},
    job::{JobEnd, JobEvent, JobSpec, ProgramJob},
    time::Now,
};
use protocol::Said;

/// The name under which programs stand as a provider.
pub const PROVIDER: &str = "command";
/// Bytes of one line that a program writes.
pub const MAX_LINE: usize = 1024 * 1024;
/// Bytes that a program writes in all.
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;
/// Calls of one run that may be open at once.
pub const MAX_OPEN_CALLS: usize = 64;
/// Calls of one run in all.
pub const MAX_CALLS: usize = 1_000;
/// Bytes of a reply.
const MAX_REPLY: usize = 4 * 1024 * 1024;
/// Time between the end of standard input and the kill.
const GRACE: Duration = Duration::from_secs(2);
/// Characters of a program's own words about an error.
const MAX_WORDS: usize = 1_000;

/// What is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramUse {
    /// The program and its arguments; empty where none is configured.
    pub argv: Vec<String>,
    /// Where it runs.
    pub cwd: Option<PathBuf>,
    /// Variables that it does not get: they hold credentials.
    pub withheld: BTreeSet<String>,
}

/// An agent that is a program.
///
/// ```
/// use std::time::{Duration, Instant};
/// use bytes::Bytes;
/// use clawgate_core::agent::{Agent, AgentInput, AgentOutput, PerAgent, RunRequest};
/// use clawgate_core::agent::command::{CommandAgent, ProgramUse};
/// use clawgate_core::{ids::RunId, job::JobEvent, time::{Now, WallTime}};
///
/// let program = ProgramUse { argv: vec!["./agent.py".into()], ..ProgramUse::default() };
/// let mut agent = CommandAgent::new(PerAgent::all(program));
/// let (now, run) = (Now { mono: Instant::now(), wall: WallTime(0) }, RunId::new("r1"));
/// let request = RunRequest {
///     agent_id: "main".into(),
///     session_key: "agent:main:main".into(),
///     message: "hello".into(),
///     attachments: Vec::new(),
///     history: Vec::new(),
///     tools: Vec::new(),
///     model: None,
///     extra_prompt: None,
///     timeout: Duration::from_secs(60),
///     trace: None,
/// };
/// agent.start(now, run.clone(), request);
/// let Some((_, AgentOutput::StartJob(job, _))) = agent.poll_output() else { panic!() };
/// let Some((_, AgentOutput::FeedJob(_, line))) = agent.poll_output() else { panic!() };
/// assert!(line.ends_with(b"}\n"));
///
/// let written = Bytes::from_static(b"{\"type\":\"done\",\"text\":\"Hello.\"}\n");
/// agent.handle(now, &run, AgentInput::Job(job, JobEvent::Data(written)));
/// let last = std::iter::from_fn(|| agent.poll_output()).last();
/// assert!(matches!(last, Some((_, AgentOutput::Done(done))) if done.text == "Hello."));
/// ```
#[derive(Debug)]
pub struct CommandAgent {
    programs: PerAgent<ProgramUse>,
    runs: BTreeMap<RunId, Run>,
    outputs: VecDeque<(RunId, AgentOutput)>,
}

#[derive(Debug)]
struct Run {
    program: String,
    deadline: Instant,
    lines: LineReader,
    line_no: usize,
    text: String,
    open: BTreeSet<ToolCallId>,
    seen: BTreeSet<ToolCallId>,
}

/// The one job of a run.
const JOB: JobNo = JobNo(0);

/// Whether the program still runs when its run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Running,
    Gone,
}

impl CommandAgent {
    /// An agent that runs these.
    pub const fn new(programs: PerAgent<ProgramUse>) -> Self {
        Self {
            programs,
            runs: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, id: &RunId, output: AgentOutput) {
        self.outputs.push_back((id.clone(), output));
    }

    fn end(&mut self, id: &RunId, program: Program, last: AgentOutput) {
        self.runs.remove(id);
        if program == Program::Running {
            self.tell(id, AgentOutput::StopJob(JOB));
        }
        self.tell(id, last);
    }

    fn fail(&mut self, id: &RunId, program: Program, kind: FailureKind, message: String) {
        let failed = RunFailed {
            kind,
            message,
            provider: Some(PROVIDER.into()),
            model: self.runs.get(id).map(|run| run.program.clone()),
            http_status: None,
            usage: None,
        };
        self.end(id, program, AgentOutput::Failed(failed));
    }

    fn job(&mut self, id: &RunId, event: JobEvent) {
        let Some(run) = self.runs.get_mut(id) else {
            return;
        };
        let name = run.program.clone();
        match event {
            JobEvent::Data(bytes) => {
                let lines = run.lines.push(&bytes);
                match lines {
                    Ok(lines) => self.lines(id, lines, Program::Running),
                    Err(error) => {
                        let message =
                            format!("The agent program {name} cannot be followed: {error}.");
                        self.fail(id, Program::Running, FailureKind::Unknown, message);
                    }
                }
            }
            JobEvent::Ended(end) => {
                let rest = run.lines.finish();
                self.lines(id, rest.into_iter().collect(), Program::Gone);
                let how = match end {
                    JobEnd::Exit(Some(code)) => format!("with code {code}"),
                    JobEnd::Exit(None) => "by a signal".to_owned(),
                    JobEnd::Complete => "early".to_owned(),
                };
                if self.runs.contains_key(id) {
                    let message = format!(
                        "The agent program {name} ended {how} before it said that it was done. What \
                         it wrote to standard error is in the gateway's log, at debug."
                    );
                    self.fail(id, Program::Gone, FailureKind::Unknown, message);
                }
            }
            JobEvent::Failed(failure) => {
                let message = format!(
                    "The agent program {name} did not run to its end: {}.",
                    failure.message.trim_end_matches('.')
                );
                self.fail(id, Program::Gone, FailureKind::Unknown, message);
            }
            // Programs have none.
            JobEvent::Head(_) => {}
        }
    }

    fn lines(&mut self, id: &RunId, lines: Vec<Vec<u8>>, program: Program) {
        for line in lines {
            let Some(run) = self.runs.get_mut(id) else {
                return;
            };
            run.line_no += 1;
            let said = Said::parse(&line);
            let result = match said {
                Ok(None) => Ok(()),
                Ok(Some(said)) => self.said(id, said, program),
                Err(why) => Err(why),
            };
            if let Err(why) = result
                && let Some(run) = self.runs.get(id)
            {
                let message = format!(
                    "The agent program {} cannot be followed: of line {} of its output, {why}.",
                    run.program, run.line_no
                );
                self.fail(id, program, FailureKind::Unknown, message);
            }
        }
    }

    fn said(&mut self, id: &RunId, said: Said, program: Program) -> Result<(), String> {
        let Some(run) = self.runs.get_mut(id) else {
            return Ok(());
        };
        match said {
            Said::Text(text) => {
                run.text.push_str(&text);
                if run.text.len() > MAX_REPLY {
                    return Err(format!("the reply is longer than {MAX_REPLY} bytes"));
                }
                if !text.is_empty() {
                    self.tell(id, AgentOutput::Text(text));
                }
            }
            Said::Replace(text) => {
                run.text.clone_from(&text);
                self.tell(id, AgentOutput::Replace(text));
            }
            Said::Call {
                id: call,
                node,
                command,
                params,
            } => {
                let call = ToolCallId::new(call);
                if !run.seen.insert(call.clone()) {
                    return Err("its id was used before".to_owned());
                }
                if run.open.len() >= MAX_OPEN_CALLS || run.seen.len() > MAX_CALLS {
                    return Err(format!(
                        "it is one call too many: {MAX_OPEN_CALLS} may be open at once, and {MAX_CALLS} \
                         made in all"
                    ));
                }
                // With the program gone, nobody waits for the result, and nothing must happen.
                if program == Program::Running {
                    run.open.insert(call.clone());
                    self.tell(
                        id,
                        AgentOutput::ToolCall(ToolCall {
                            id: call,
                            node,
                            command,
                            params,
                        }),
                    );
                }
            }
            Said::Done {
                text,
                usage,
                model,
                stop_reason,
            } => {
                let done = RunDone {
                    text: text.unwrap_or_else(|| std::mem::take(&mut run.text)),
                    usage,
                    provider: Some(PROVIDER.into()),
                    model: model.or_else(|| Some(run.program.clone())),
                    stop_reason: stop_reason.or_else(|| Some("stop".into())),
                };
                self.end(id, program, AgentOutput::Done(done));
            }
            Said::Error(message) => {
                let words: String = message
                    .chars()
                    .filter(|c| !c.is_control() || *c == '\n')
                    .take(MAX_WORDS)
                    .collect();
                self.fail(id, program, FailureKind::Unknown, words);
            }
        }
        Ok(())
    }
}

impl Agent for CommandAgent {
    fn start(&mut self, now: Now, id: RunId, request: RunRequest) {
        let program = self.programs.of(&request.agent_id).clone();
        let run = Run {
            program: name_of(&program.argv),
            deadline: request.deadline(now.mono),
            lines: LineReader::new(MAX_LINE),
            line_no: 0,
            text: String::new(),
            open: BTreeSet::new(),
            seen: BTreeSet::new(),
        };
        self.runs.insert(id.clone(), run);
        if program.argv.is_empty() {
            let message = "No program is configured for this agent; set agents.defaults.command.";
            return self.fail(&id, Program::Gone, FailureKind::Unknown, message.into());
        }
        let spec = ProgramJob {
            argv: program.argv,
            cwd: program.cwd,
            env: BTreeMap::new(),
            withheld: program.withheld,
            max_output: MAX_OUTPUT,
            grace: GRACE,
        };
        let first = protocol::start(&id, &request);
        self.tell(&id, AgentOutput::StartJob(JOB, JobSpec::Program(spec)));
        self.tell(&id, AgentOutput::FeedJob(JOB, first));
    }

    fn handle(&mut self, _: Now, id: &RunId, input: AgentInput) {
        match input {
            AgentInput::Cancel => {
                let started = |(of, output): &(RunId, AgentOutput)| {
                    of != id || matches!(output, AgentOutput::StartJob(..))
                };
                self.outputs.retain(started);
                if self.runs.remove(id).is_some() {
                    self.tell(id, AgentOutput::StopJob(JOB));
                }
            }
            AgentInput::ToolDone { call, outcome } => {
                let open = self
                    .runs
                    .get_mut(id)
                    .is_some_and(|run| run.open.remove(&call));
                if open {
                    let line = protocol::result(&call, outcome);
                    self.tell(id, AgentOutput::FeedJob(JOB, line));
                }
            }
            AgentInput::Job(_, event) => self.job(id, event),
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        let late: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, run)| run.deadline <= now.mono)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            let message = "The time for this run was over before the agent program was done.";
            self.fail(&id, Program::Running, FailureKind::Timeout, message.into());
        }
    }

    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.runs.values().map(|run| run.deadline).min()
    }

    fn models(&self) -> Vec<ModelInfo> {
        let mut seen = BTreeSet::new();
        self.programs
            .iter()
            .filter(|program| !program.argv.is_empty())
            .map(|program| name_of(&program.argv))
            .filter(|name| seen.insert(name.clone()))
            .map(|name| ModelInfo {
                id: name.clone(),
                name,
                provider: PROVIDER.into(),
                context_tokens: None,
                images: true,
            })
            .collect()
    }

    fn profiles(&self, _: Now) -> Vec<ProfileStatus> {
        Vec::new()
    }
}

/// The program's file, without its folder: arguments may hold secrets.
fn name_of(argv: &[String]) -> String {
    let program = argv.first().map_or("", String::as_str);
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
    name.to_owned()
}

//! One run: requests, tools, and requests again, until there is an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::answer::{Answer, AnswerFault, BodyReader, PartCall};
use super::conversation::{Conversation, TooLong};
use super::failure::{Class, Failure, shown};
use super::profiles::{Pick, ProfileFault, ProfileNo, Profiles, wall};
use super::setup::{OpenAiSetup, Provider, Traces};
use super::tools::ToolBook;
use crate::{
    agent::{
        AgentOutput, JobNo, Retry, RunDone, RunFailed, RunRequest, ToolCall, ToolError, Usage,
    },
    client::{Backoff, RetryHint},
    config::ModelName,
    frame::RawJson,
    ids::ToolCallId,
    job::{HeaderText, HttpJob, HttpMethod, JobEvent, JobSpec},
    rng::Rng,
    secret::Secret,
    time::Now,
    trace::TraceParent,
};

/// How often one model is asked for one answer.
pub const MAX_ATTEMPTS: u32 = 3;
/// The longest pause before a further attempt; who has to wait longer is told so instead.
pub const MAX_WAIT: Duration = Duration::from_secs(30);
/// Bytes of an answer's body.
const MAX_BODY: usize = 32 * 1024 * 1024;
/// Bytes that are kept of the body of a failed request.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// What the host's clock may be later than ours, so that ours decides.
const SLACK: Duration = Duration::from_secs(5);

/// What all runs share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) setup: OpenAiSetup,
    pub(super) profiles: Profiles,
    pub(super) rng: Rng,
}

#[derive(Debug)]
pub(super) struct Run {
    conversation: Conversation,
    tools: ToolBook,
    /// The models that may be used, and which is.
    candidates: Vec<ModelName>,
    candidate: usize,
    /// Keys that failed for this answer.
    tried: BTreeSet<ProfileNo>,
    attempt: u32,
    backoff: Backoff,
    rounds_left: u32,
    deadline: Instant,
    trace: Option<TraceParent>,
    next_job: u32,
    next_call: u32,
    text: String,
    /// What its user said since it was asked last.
    said_more: Vec<String>,
    usage: Option<Usage>,
    phase: Phase,
    /// Why the last request failed.
    last: Option<Failure>,
    out: Vec<AgentOutput>,
}

#[derive(Debug)]
enum Phase {
    Asking(Box<Asking>),
    Waiting {
        until: Instant,
        /// The key to try again; without one, whichever is ready then.
        again: Option<ProfileNo>,
    },
    Calling {
        asked: Vec<Asked>,
        open: BTreeMap<ToolCallId, usize>,
    },
    Ended,
}

/// A request under way.
#[derive(Debug)]
struct Asking {
    job: JobNo,
    profile: Option<ProfileNo>,
    reading: Reading,
    answer: Answer,
    first_token: Instant,
    idle: Instant,
    whole: Option<Instant>,
}

#[derive(Debug)]
enum Reading {
    Head,
    Body(BodyReader),
    Error {
        status: u16,
        retry_after: Option<Duration>,
        body: Vec<u8>,
    },
}

/// A call that the model asked for, and what came of it.
#[derive(Debug)]
struct Asked {
    id: String,
    result: Option<String>,
}

impl Run {
    pub(super) fn start(shared: &mut Shared, now: Now, request: &RunRequest) -> Self {
        let agent = shared.setup.agents.of(&request.agent_id).clone();
        let tools = ToolBook::new(request.tools.clone());
        let candidates = shared
            .setup
            .candidates(&request.agent_id, request.model.as_deref());
        let mut run = Self {
            conversation: Conversation::new(&agent.system_prompt, request, &tools),
            tools,
            candidates: candidates.as_ref().cloned().unwrap_or_default(),
            candidate: 0,
            tried: BTreeSet::new(),
            attempt: 1,
            backoff: Backoff::new(Rng::new(shared.rng.seed())),
            rounds_left: agent.max_tool_rounds,
            deadline: request.deadline(now.mono),
            trace: request.trace,
            next_job: 0,
            next_call: 0,
            text: String::new(),
            said_more: Vec::new(),
            usage: None,
            phase: Phase::Ended,
            last: None,
            out: Vec::new(),
        };
        match candidates {
            Ok(_) => run.ask(shared, now),
            Err(why) => run.end_failed(Failure::new(Class::Final, sentence(&why))),
        }
        run
    }

    pub(super) fn take_outputs(&mut self) -> Vec<AgentOutput> {
        std::mem::take(&mut self.out)
    }

    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    pub(super) fn next_timeout(&self) -> Instant {
        let own = match &self.phase {
            Phase::Asking(asking) => Some(asking.next_timeout()),
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Calling { .. } | Phase::Ended => None,
        };
        own.map_or(self.deadline, |own| own.min(self.deadline))
    }

    pub(super) fn cancel(&mut self) {
        self.out.clear();
        self.stop_job();
        self.phase = Phase::Ended;
    }

    /// The user says more. The model hears it when it is asked next, which it is before the end.
    pub(super) fn steer(&mut self, text: &str) -> bool {
        if self.has_ended() {
            return false;
        }
        self.said_more.push(text.to_owned());
        true
    }

    /// Puts what the user said since into the conversation.
    fn hear_more(&mut self) {
        for text in std::mem::take(&mut self.said_more) {
            self.conversation.add_message(&text);
        }
    }

    pub(super) fn timeout(&mut self, shared: &mut Shared, now: Now) {
        if now.mono >= self.deadline {
            self.stop_job();
            let what = "The time for this run was over before the answer was complete.";
            return self.end_failed(Failure::new(Class::Late, what));
        }
        match &self.phase {
            Phase::Asking(asking) => {
                if let Some(message) = asking.late(now.mono, self.provider_name()) {
                    self.stop_job();
                    self.failed(shared, now, Failure::new(Class::Late, message));
                }
            }
            Phase::Waiting { until, again } if *until <= now.mono => match *again {
                Some(profile) => self.send(shared, now, Some(profile)),
                None => self.ask(shared, now),
            },
            Phase::Waiting { .. } | Phase::Calling { .. } | Phase::Ended => {}
        }
    }

    fn model(&self) -> Option<&ModelName> {
        self.candidates.get(self.candidate)
    }

    fn provider_name(&self) -> &str {
        self.model().map_or("", |model| &model.provider)
    }

    /// Begins a request with whichever key is ready.
    fn ask(&mut self, shared: &mut Shared, now: Now) {
        let Some(model) = self.model().cloned() else {
            return;
        };
        let name = &model.provider;
        match shared.setup.providers.get(name).map(|it| &it.endpoint) {
            Some(Ok(_)) => {}
            Some(Err(why)) => {
                let message = format!("No request may go to {name}: {why}.");
                return self.next_candidate(shared, now, Failure::new(Class::Final, message));
            }
            None => {
                let message = format!("The provider {name} is not configured.");
                return self.next_candidate(shared, now, Failure::new(Class::Final, message));
            }
        }
        match shared.profiles.pick(name, now.mono, &self.tried) {
            Pick::Open => self.send(shared, now, None),
            Pick::Use(profile) => self.send(shared, now, Some(profile)),
            Pick::Cooling(until) => {
                let last = self.candidate + 1 == self.candidates.len();
                if last && self.attempt < MAX_ATTEMPTS && self.may_wait(now.mono, until) {
                    return self.wait(until, None);
                }
                let message = format!(
                    "Every key of {name} is left alone until {}, after failures.",
                    wall(now, until).to_rfc3339()
                );
                let failure = Failure::new(Class::RateLimit(None), message);
                self.next_candidate(shared, now, failure);
            }
            Pick::Unusable { why } => {
                let failure = self.last.clone().unwrap_or_else(|| {
                    Failure::new(Class::Key, format!("No key of {name} can be used ({why})."))
                });
                self.next_candidate(shared, now, failure);
            }
        }
    }

    fn may_wait(&self, now: Instant, until: Instant) -> bool {
        until <= now + MAX_WAIT && until < self.deadline
    }

    fn wait(&mut self, until: Instant, again: Option<ProfileNo>) {
        self.attempt += 1;
        self.out.push(AgentOutput::Waiting(Retry {
            attempt: self.attempt,
            max_attempts: MAX_ATTEMPTS,
        }));
        self.phase = Phase::Waiting { until, again };
    }

    fn send(&mut self, shared: &Shared, now: Now, profile: Option<ProfileNo>) {
        let Some(model) = self.model() else { return };
        let Some(provider) = shared.setup.providers.get(&model.provider) else {
            return;
        };
        let Ok(endpoint) = &provider.endpoint else {
            return;
        };
        let body = match self
            .conversation
            .body(&model.model, provider.capacity(&model.model))
        {
            Ok(body) => body,
            Err(TooLong { tokens, room }) => {
                let message = format!(
                    "The message is too long for {model}: about {tokens} tokens, and there is room for \
                     {room}."
                );
                return self.end_failed(Failure::new(Class::TooLong, message));
            }
        };
        let mut headers = vec![
            ("content-type", HeaderText::Plain("application/json".into())),
            (
                "accept",
                HeaderText::Plain("text/event-stream, application/json".into()),
            ),
        ];
        if let (Traces::Told, Some(trace)) = (provider.traces, self.trace) {
            headers.push(("traceparent", HeaderText::Plain(trace.to_string())));
        }
        if let Some(key) = profile.and_then(|profile| shared.profiles.key(profile)) {
            let value = Secret::new(format!("Bearer {}", key.expose()));
            headers.push(("authorization", HeaderText::Secret(value)));
        }
        let times = provider.times;
        let job = JobNo(self.next_job);
        self.next_job += 1;
        self.phase = Phase::Asking(Box::new(Asking {
            job,
            profile,
            reading: Reading::Head,
            answer: Answer::default(),
            first_token: now.mono + times.first_token,
            idle: now.mono + times.first_token,
            whole: times.whole.map(|whole| now.mono + whole),
        }));
        let spec = HttpJob {
            method: HttpMethod::Post,
            url: endpoint.clone(),
            secret_path: None,
            headers,
            body,
            connect: times.connect,
            idle: times.first_token.max(times.idle) + SLACK,
            max_body: MAX_BODY,
        };
        self.out
            .push(AgentOutput::StartJob(job, JobSpec::Http(spec)));
    }

    fn stop_job(&mut self) {
        if let Phase::Asking(asking) = &self.phase {
            self.out.push(AgentOutput::StopJob(asking.job));
        }
    }

    /// What comes of a request.
    pub(super) fn job(&mut self, shared: &mut Shared, now: Now, no: JobNo, event: JobEvent) {
        let Phase::Asking(asking) = &mut self.phase else {
            return;
        };
        if asking.job != no {
            return;
        }
        let name = self.candidates.get(self.candidate);
        let provider = name.map_or("", |name| name.provider.as_str());
        let key = asking.profile.and_then(|no| shared.profiles.key(no));
        let idle = shared
            .setup
            .providers
            .get(provider)
            .map_or(Duration::ZERO, |provider: &Provider| provider.times.idle);
        match asking.event(now.mono, event, idle, provider, key) {
            Heard::More(text) => self.say(text),
            Heard::Whole { text, running } => {
                self.say(text);
                if running {
                    self.stop_job();
                }
                self.answered(shared, now);
            }
            Heard::Failed { failure, running } => {
                if running {
                    self.stop_job();
                }
                self.failed(shared, now, failure);
            }
        }
    }

    fn say(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        let begins = matches!(&self.phase, Phase::Asking(asking) if asking.answer.text == text);
        let text = if begins && !self.text.is_empty() {
            format!("\n\n{text}")
        } else {
            text
        };
        self.text.push_str(&text);
        self.out.push(AgentOutput::Text(text));
    }

    /// A request failed. Once a piece of its answer has come, that is the end.
    fn failed(&mut self, shared: &mut Shared, now: Now, failure: Failure) {
        let Phase::Asking(asking) = &mut self.phase else {
            return self.end_failed(failure);
        };
        let (profile, began) = (asking.profile, asking.answer.began);
        let usage = asking.answer.usage.take();
        self.add_usage(usage);
        if let Some(profile) = profile {
            match failure.class {
                Class::RateLimit(asked) => {
                    shared
                        .profiles
                        .failed(profile, now.mono, ProfileFault::RateLimit(asked));
                }
                Class::Key => shared
                    .profiles
                    .failed(profile, now.mono, ProfileFault::Refused),
                Class::Passing(_)
                | Class::Late
                | Class::Model
                | Class::TooLong
                | Class::Declined
                | Class::Final => {}
            }
        }
        if began {
            return self.end_failed(failure);
        }
        let asked = match failure.class {
            Class::TooLong | Class::Declined | Class::Final => return self.end_failed(failure),
            Class::Model => return self.next_candidate(shared, now, failure),
            Class::Key | Class::RateLimit(_) => {
                if let Some(profile) = profile {
                    self.tried.insert(profile);
                }
                let pick = shared
                    .profiles
                    .pick(self.provider_name(), now.mono, &self.tried);
                match (pick, failure.class) {
                    (Pick::Use(other), _) => return self.send(shared, now, Some(other)),
                    (_, Class::RateLimit(asked)) => asked,
                    _ => return self.next_candidate(shared, now, failure),
                }
            }
            Class::Passing(asked) => asked,
            Class::Late => None,
        };
        let hint = asked.map_or(RetryHint::Backoff, RetryHint::NotBefore);
        let until = now.mono + self.backoff.next_delay(hint);
        if self.attempt < MAX_ATTEMPTS && self.may_wait(now.mono, until) {
            self.last = Some(failure);
            return self.wait(until, profile);
        }
        self.next_candidate(shared, now, failure);
    }

    fn next_candidate(&mut self, shared: &mut Shared, now: Now, failure: Failure) {
        if self.candidate + 1 >= self.candidates.len() {
            return self.end_failed(failure);
        }
        self.candidate += 1;
        self.fresh();
        self.ask(shared, now);
    }

    /// Forgets what was tried for the last answer.
    fn fresh(&mut self) {
        self.tried.clear();
        self.attempt = 1;
        self.backoff.reset();
        self.last = None;
    }

    /// The answer is whole.
    fn answered(&mut self, shared: &mut Shared, now: Now) {
        let Phase::Asking(asking) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        let Asking {
            profile, answer, ..
        } = *asking;
        if let Some(profile) = profile {
            shared.profiles.succeeded(profile);
        }
        self.add_usage(answer.usage);
        self.fresh();
        let declined = answer.finish.as_deref() == Some("content_filter") && answer.text.is_empty();
        if !answer.refusal.is_empty() || declined {
            let why = match answer.refusal.as_str() {
                "" => "its filter".to_owned(),
                refusal => shown(refusal, None),
            };
            let message = format!("{} declines to answer: {why}.", self.provider_name());
            return self.end_failed(Failure::new(Class::Declined, message));
        }
        if answer.calls.is_empty() {
            if self.said_more.is_empty() {
                return self.end_well(answer.finish);
            }
            self.conversation.add_answer(&answer.text, &[]);
            self.hear_more();
            return self.ask(shared, now);
        }
        let Some(left) = self.rounds_left.checked_sub(1) else {
            let message = "The model asked for tools again and again without an answer. Ask for \
                           less at once, or raise agents.defaults.maxToolRounds.";
            return self.end_failed(Failure::new(Class::Final, message));
        };
        self.rounds_left = left;
        self.call(shared, now, &answer.text, answer.calls);
    }

    /// Asks nodes for what the model wants, all at once.
    fn call(&mut self, shared: &mut Shared, now: Now, text: &str, mut calls: Vec<PartCall>) {
        let mut ids = BTreeSet::new();
        let mut asked = Vec::new();
        let mut open = BTreeMap::new();
        for (at, call) in calls.iter_mut().enumerate() {
            self.next_call += 1;
            let id = ToolCallId::new(format!("call-{}", self.next_call));
            // The endpoint tells results apart by these.
            if call.id.is_empty() || !ids.insert(call.id.clone()) {
                id.as_str().clone_into(&mut call.id);
                ids.insert(call.id.clone());
            }
            let result = match self.tool_call(&id, call) {
                Ok(call) => {
                    open.insert(id, at);
                    self.out.push(AgentOutput::ToolCall(call));
                    None
                }
                Err(why) => {
                    // What is sent back has to be JSON, whatever the model wrote.
                    "{}".clone_into(&mut call.arguments);
                    Some(why)
                }
            };
            asked.push(Asked {
                id: call.id.clone(),
                result,
            });
        }
        self.conversation.add_answer(text, &calls);
        self.phase = Phase::Calling { asked, open };
        self.go_on(shared, now);
    }

    fn tool_call(&self, id: &ToolCallId, call: &mut PartCall) -> Result<ToolCall, String> {
        let Some(tool) = self.tools.find(&call.name) else {
            return Err(format!("error: there is no tool {:?}", call.name));
        };
        if call.arguments.trim().is_empty() {
            "{}".clone_into(&mut call.arguments);
        }
        let is_object = serde_json::from_str::<serde_json::Value>(&call.arguments)
            .is_ok_and(|value| value.is_object());
        let params = RawJson::checked(call.arguments.trim().to_owned())
            .ok()
            .filter(|_| is_object)
            .ok_or("error: the arguments are no JSON object")?;
        Ok(ToolCall {
            id: id.clone(),
            node: tool.node_id.clone(),
            command: tool.command.clone(),
            params,
        })
    }

    pub(super) fn tool_done(
        &mut self,
        shared: &mut Shared,
        now: Now,
        id: &ToolCallId,
        outcome: Result<RawJson, ToolError>,
    ) {
        let Phase::Calling { asked, open } = &mut self.phase else {
            return;
        };
        let Some(one) = open.remove(id).and_then(|at| asked.get_mut(at)) else {
            return;
        };
        one.result = Some(match outcome {
            Ok(json) => json.as_str().to_owned(),
            Err(error) => format!("error {}: {}", error.code, error.message),
        });
        self.go_on(shared, now);
    }

    /// With every result there, asks the model again.
    fn go_on(&mut self, shared: &mut Shared, now: Now) {
        let Phase::Calling { asked, open } = &mut self.phase else {
            return;
        };
        if !open.is_empty() {
            return;
        }
        for one in std::mem::take(asked) {
            self.conversation
                .add_result(&one.id, &one.result.unwrap_or_default());
        }
        self.hear_more();
        self.ask(shared, now);
    }

    fn add_usage(&mut self, usage: Option<Usage>) {
        if let Some(usage) = usage {
            let sum = self.usage.get_or_insert_default();
            sum.input = sum.input.saturating_add(usage.input);
            sum.output = sum.output.saturating_add(usage.output);
        }
    }

    fn end_well(&mut self, finish: Option<String>) {
        let model = self.model().cloned();
        self.out.push(AgentOutput::Done(RunDone {
            text: std::mem::take(&mut self.text),
            usage: self.usage,
            provider: model.as_ref().map(|model| model.provider.clone()),
            model: model.map(|model| model.model),
            stop_reason: finish.or_else(|| Some("stop".into())),
        }));
        self.phase = Phase::Ended;
    }

    fn end_failed(&mut self, failure: Failure) {
        let model = self.model().cloned();
        self.out.push(AgentOutput::Failed(RunFailed {
            kind: failure.kind(),
            message: failure.message,
            provider: model.as_ref().map(|model| model.provider.clone()),
            model: model.map(|model| model.model),
            http_status: failure.status,
            usage: self.usage,
        }));
        self.phase = Phase::Ended;
    }
}

/// What an event of a request means.
enum Heard {
    More(String),
    /// `running`: the job has not ended by itself yet.
    Whole {
        text: String,
        running: bool,
    },
    Failed {
        failure: Failure,
        running: bool,
    },
}

impl Asking {
    fn next_timeout(&self) -> Instant {
        let mut next = self.idle;
        if !self.answer.began {
            next = next.min(self.first_token);
        }
        self.whole.map_or(next, |whole| next.min(whole))
    }

    fn late(&self, now: Instant, provider: &str) -> Option<String> {
        if now < self.next_timeout() {
            None
        } else if self.answer.began {
            Some(format!("{provider} stopped in the middle of its answer."))
        } else {
            Some(format!(
                "{provider} did not answer in time. A local model may still be loading; \
                 models.providers.{provider}.firstTokenSeconds gives it longer."
            ))
        }
    }

    fn event(
        &mut self,
        now: Instant,
        event: JobEvent,
        idle: Duration,
        provider: &str,
        key: Option<&Secret>,
    ) -> Heard {
        let failed = |failure, running| Heard::Failed { failure, running };
        match event {
            JobEvent::Head(head) => {
                if (200..300).contains(&head.status) {
                    self.reading = Reading::Body(BodyReader::new(head.content_type.as_deref()));
                } else {
                    self.reading = Reading::Error {
                        status: head.status,
                        retry_after: head.retry_after,
                        body: Vec::new(),
                    };
                }
                Heard::More(String::new())
            }
            JobEvent::Data(bytes) => match &mut self.reading {
                Reading::Head => Heard::More(String::new()),
                Reading::Error { body, .. } => {
                    let room = MAX_ERROR_BODY.saturating_sub(body.len()).min(bytes.len());
                    body.extend_from_slice(bytes.get(..room).unwrap_or_default());
                    Heard::More(String::new())
                }
                Reading::Body(reader) => {
                    self.idle = if self.answer.began {
                        now + idle
                    } else {
                        self.idle.max(now + idle)
                    };
                    match reader.data(&bytes, &mut self.answer) {
                        Ok(text) if self.answer.done => Heard::Whole {
                            text,
                            running: true,
                        },
                        Ok(text) => {
                            if self.answer.began {
                                self.idle = now + idle;
                            }
                            Heard::More(text)
                        }
                        Err(fault) => failed(of_fault(fault, provider, key), true),
                    }
                }
            },
            JobEvent::Ended(_) => self.ended(provider, key),
            JobEvent::Failed(failure) => match &self.reading {
                Reading::Error {
                    status,
                    retry_after,
                    body,
                } => failed(
                    Failure::of_status(*status, body, *retry_after, provider, key),
                    false,
                ),
                Reading::Head | Reading::Body(_) => {
                    let why = shown(&failure.message, key);
                    let message = match self.answer.began {
                        true => format!("{provider} broke its answer off: {why}."),
                        false => format!("{provider} could not be asked: {why}."),
                    };
                    failed(Failure::new(Class::Passing(None), message), false)
                }
            },
        }
    }

    fn ended(&mut self, provider: &str, key: Option<&Secret>) -> Heard {
        let failed = |failure| Heard::Failed {
            failure,
            running: false,
        };
        match &mut self.reading {
            Reading::Head => failed(Failure::new(
                Class::Passing(None),
                format!("{provider} hung up without an answer."),
            )),
            Reading::Error {
                status,
                retry_after,
                body,
            } => failed(Failure::of_status(
                *status,
                body,
                *retry_after,
                provider,
                key,
            )),
            Reading::Body(reader) => match reader.end(&mut self.answer) {
                Err(fault) => failed(of_fault(fault, provider, key)),
                Ok(text) if self.answer.done || self.answer.finish.is_some() => Heard::Whole {
                    text,
                    running: false,
                },
                Ok(_) => failed(Failure::new(
                    Class::Passing(None),
                    format!("{provider} ended its stream before the answer was complete."),
                )),
            },
        }
    }
}

fn of_fault(fault: AnswerFault, provider: &str, key: Option<&Secret>) -> Failure {
    match fault {
        AnswerFault::Error(error) => Failure::of_stream(&error, provider, key),
        AnswerFault::Broken(why) => Failure::new(
            Class::Final,
            format!(
                "{provider} did not answer as a chat-completions endpoint does: {why}. Check \
                 models.providers.{provider}.baseUrl."
            ),
        ),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().collect::<String>());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test panics on what it does not expect"
)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::agent::testing::{Rig, request};
use crate::agent::{
    FailureKind, JobNo, PerAgent, ProfileState, RunDone, RunFailed, ToolCall, Usage,
};
use crate::config::{CooldownConfig, ModelConfig};
use crate::job::{HeaderText, HttpHead, HttpJob, JobEnd, JobEvent, JobFailure, JobSpec, Reached};
use crate::policy::UrlPolicy;
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);

fn setup(keys: &[&str], models: &[&str]) -> OpenAiSetup {
    let provider = |base: &str| Provider {
        endpoint: check_base_url(base, UrlPolicy::Strict),
        models: vec![ModelConfig {
            id: "m".into(),
            name: Some("Model M".into()),
            context_window: Some(8_000),
            ..ModelConfig::default()
        }],
        max_tokens: None,
        times: Times::default(),
        traces: Traces::Kept,
    };
    OpenAiSetup {
        providers: [
            ("one".to_owned(), provider("http://127.0.0.1:1/v1")),
            ("two".to_owned(), provider("https://two.example.com/v1")),
            ("far".to_owned(), provider("http://far.example.com/v1")),
        ]
        .into(),
        profiles: keys
            .iter()
            .map(|key| ProfileSetup {
                name: format!("one:{key}"),
                provider: "one".into(),
                key: match key.strip_prefix('!') {
                    None => Ok(Secret::new(*key)),
                    Some(_) => Err("the variable K is not set".into()),
                },
            })
            .collect(),
        cooldowns: CooldownConfig::default(),
        agents: PerAgent::all(ModelUse {
            models: models
                .iter()
                .map(|name| ModelName::parse(name).unwrap())
                .collect(),
            max_tool_rounds: 3,
            ..ModelUse::default()
        }),
    }
}

fn rig(keys: &[&str], models: &[&str]) -> Rig<OpenAiAgent> {
    Rig::new(OpenAiAgent::new(setup(keys, models), [3; 32]))
}

/// What a run wants, sorted.
#[derive(Debug, Default)]
struct Wants {
    started: Option<(JobNo, HttpJob)>,
    stopped: bool,
    text: String,
    calls: Vec<ToolCall>,
    waiting: bool,
    done: Option<RunDone>,
    failed: Option<RunFailed>,
}

impl Wants {
    fn of(outputs: Vec<AgentOutput>) -> Self {
        let mut wants = Self::default();
        for output in outputs {
            assert!(
                wants.done.is_none() && wants.failed.is_none(),
                "after the end"
            );
            match output {
                AgentOutput::StartJob(no, JobSpec::Http(job)) => wants.started = Some((no, job)),
                AgentOutput::StopJob(_) => wants.stopped = true,
                AgentOutput::Text(text) => wants.text.push_str(&text),
                AgentOutput::ToolCall(call) => wants.calls.push(call),
                AgentOutput::Waiting(_) => wants.waiting = true,
                AgentOutput::Done(done) => wants.done = Some(done),
                AgentOutput::Failed(failed) => wants.failed = Some(failed),
                other => panic!("{other:?}"),
            }
        }
        wants
    }

    fn job(&self) -> (JobNo, &HttpJob) {
        let (no, job) = self.started.as_ref().unwrap_or_else(|| panic!("{self:?}"));
        (*no, job)
    }

    fn key(&self) -> Option<String> {
        self.job()
            .1
            .headers
            .iter()
            .find_map(|(name, value)| match value {
                HeaderText::Secret(secret) if *name == "authorization" => {
                    Some(secret.expose().trim_start_matches("Bearer ").to_owned())
                }
                _ => None,
            })
    }

    fn body(&self) -> Value {
        serde_json::from_slice(&self.job().1.body).unwrap()
    }

    fn failed(&self) -> &RunFailed {
        self.failed.as_ref().unwrap_or_else(|| panic!("{self:?}"))
    }
}

impl Rig<OpenAiAgent> {
    fn begin(&mut self, message: &str) -> Wants {
        Wants::of(self.start(request(message)))
    }

    fn event(&mut self, no: JobNo, event: JobEvent) -> Wants {
        Wants::of(self.give(AgentInput::Job(no, event)))
    }

    fn head(&mut self, wants: &Wants, status: u16, retry_after: Option<Duration>) {
        let content_type = (status == 200).then(|| "text/event-stream".to_owned());
        let head = HttpHead {
            status,
            content_type,
            retry_after,
        };
        let after = self.event(wants.job().0, JobEvent::Head(head));
        assert!(after.text.is_empty() && after.failed.is_none());
    }

    fn data(&mut self, wants: &Wants, text: &str) -> Wants {
        let bytes = Bytes::from(text.to_owned());
        self.event(wants.job().0, JobEvent::Data(bytes))
    }

    fn ended(&mut self, wants: &Wants) -> Wants {
        self.event(wants.job().0, JobEvent::Ended(JobEnd::Complete))
    }

    fn lost(&mut self, wants: &Wants) -> Wants {
        let failure = JobFailure {
            reached: Reached::No,
            message: "connection refused".into(),
        };
        self.event(wants.job().0, JobEvent::Failed(failure))
    }

    fn refuse(&mut self, wants: &Wants, status: u16, retry_after: Option<Duration>) -> Wants {
        self.head(wants, status, retry_after);
        self.ended(wants)
    }

    fn reply(&mut self, wants: &Wants, deltas: &[Value]) -> Wants {
        self.head(wants, 200, None);
        let mut stream = String::new();
        for delta in deltas {
            let chunk = json!({ "choices": [{ "delta": delta }] });
            stream.push_str(&format!("data: {chunk}\n\n"));
        }
        stream.push_str("data: [DONE]\n\n");
        self.data(wants, &stream)
    }

    fn wake(&mut self) -> (Duration, Wants) {
        let by = self.wait();
        (by, Wants::of(self.outputs()))
    }
}

fn text(text: &str) -> Value {
    json!({ "content": text })
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "tool_calls": [{ "id": id, "function": { "name": name, "arguments": arguments } }] })
}

#[test]
fn an_answer_is_streamed_piece_by_piece() {
    let mut rig = rig(&["k1"], &["one/m"]);
    let asked = rig.begin("hello");
    assert_eq!(asked.key().as_deref(), Some("k1"));
    assert_eq!(asked.body()["model"], "m");
    assert_eq!(asked.body()["messages"][1]["content"], "hello");
    assert!(!format!("{asked:?}").contains("k1"));
    rig.head(&asked, 200, None);
    assert_eq!(
        rig.data(&asked, "data: {\"choices\":[{\"delta\":{\"content\":\"Hel")
            .text,
        ""
    );
    assert_eq!(rig.data(&asked, "lo\"}}]}\n\n: ping\n\n").text, "Hello");
    rig.data(
        &asked,
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n",
    );
    rig.data(
        &asked,
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\n\n",
    );
    let end = rig.data(&asked, "data: [DONE]\n\n");
    assert!(end.stopped);
    let done = end.done.unwrap();
    assert_eq!(
        (done.text.as_str(), done.stop_reason.as_deref()),
        ("Hello", Some("length"))
    );
    assert_eq!(
        done.usage,
        Some(Usage {
            input: 7,
            output: 1
        })
    );
    assert_eq!(
        (done.provider.as_deref(), done.model.as_deref()),
        (Some("one"), Some("m"))
    );
    assert_eq!(rig.agent.poll_timeout(), None);
    assert!(rig.ended(&asked).done.is_none(), "the run has ended");
}

#[test]
fn an_answer_that_is_not_streamed_is_taken_too() {
    let mut rig = rig(&[], &["one/m"]);
    let asked = rig.begin("hello");
    assert_eq!(
        asked.key(),
        None,
        "an endpoint without keys is asked without one"
    );
    let head = HttpHead {
        status: 200,
        content_type: Some("application/json".into()),
        retry_after: None,
    };
    rig.event(asked.job().0, JobEvent::Head(head));
    let body = json!({ "choices": [{ "message": { "content": "Hi" }, "finish_reason": "stop" }] });
    rig.data(&asked, &body.to_string());
    let end = rig.ended(&asked);
    assert_eq!((end.text.as_str(), end.stopped), ("Hi", false));
    assert_eq!(end.done.unwrap().text, "Hi");
}

#[test]
fn tools_are_called_at_once_and_their_results_go_back() {
    let mut rig = rig(&[], &["one/m"]);
    let asked = rig.begin("do it");
    let names: Vec<String> = asked.body()["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names[2], "server__system_run");
    let calls = rig.reply(
        &asked,
        &[
            text("Let me see."),
            call("a", "server__system_run", "{\"x\":1}"),
            call("b", "Desk_Phone__device_status", ""),
            call("c", "nobody__x", "{}"),
            call("d", "server__system_run", "[1"),
        ],
    );
    assert_eq!(calls.text, "Let me see.");
    let [first, second] = calls.calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!(
        (first.node.as_str(), first.params.as_str()),
        ("n2", "{\"x\":1}")
    );
    assert_eq!(
        (second.command.as_str(), second.params.as_str()),
        ("device.status", "{}")
    );
    assert!(rig.answer(&second.id, "{\"battery\":1}").is_empty());
    let again = Wants::of(rig.fail(&first.id, "NOT_CONNECTED", "it is gone"));
    let messages = again.body()["messages"].clone();
    let results: Vec<&str> = messages
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(
        results,
        [
            "error NOT_CONNECTED: it is gone",
            "{\"battery\":1}",
            "error: there is no tool \"nobody__x\"",
            "error: the arguments are no JSON object",
        ]
    );
    assert_eq!(messages[2]["tool_calls"][3]["function"]["arguments"], "{}");
    let end = rig.reply(&again, &[text("It is gone.")]);
    assert_eq!(end.text, "\n\nIt is gone.");
    assert_eq!(end.done.unwrap().text, "Let me see.\n\nIt is gone.");
}

#[test]
fn what_the_user_says_in_between_is_answered_in_the_same_run() {
    let mut rig = rig(&[], &["one/m"]);
    let asked = rig.begin("count to three");
    let run = rig.run.clone();
    assert!(rig.agent.steer(rig.now, &run, "in Latin"));
    let again = rig.reply(&asked, &[text("one, two, three")]);
    assert!(again.done.is_none(), "there is more to answer");
    let messages = again.body()["messages"].clone();
    let said: Vec<&str> = messages.as_array().unwrap()[1..]
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(said, ["count to three", "one, two, three", "in Latin"]);
    let end = rig.reply(&again, &[text("unus, duo, tres")]);
    let done = end.done.unwrap();
    assert_eq!(done.text, "one, two, three\n\nunus, duo, tres");
    assert!(!rig.agent.steer(rig.now, &run, "and on"), "it is over");
}

#[test]
fn rounds_of_tools_are_finite() {
    let mut rig = rig(&[], &["one/m"]);
    let mut asked = rig.begin("do it");
    for _ in 0..3 {
        let calls = rig.reply(&asked, &[call("", "server__system_run", "{}")]);
        asked = Wants::of(rig.answer(&calls.calls[0].id, "1"));
    }
    let end = rig.reply(&asked, &[call("", "server__system_run", "{}")]);
    assert!(end.failed().message.contains("maxToolRounds"));
    assert!(end.calls.is_empty());
}

#[test]
fn failures_before_the_answer_are_tried_again_after_longer_and_longer_pauses() {
    for status in [500, 503, 429, 408] {
        let mut rig = rig(&["k1"], &["one/m"]);
        let first = rig.begin("hello");
        let failed = rig.refuse(&first, status, None);
        assert!(failed.waiting && failed.failed.is_none(), "{status}");
        let (one, second) = rig.wake();
        assert!((750..=1000).contains(&one.as_millis()), "{one:?}");
        rig.lost(&second);
        let (two, third) = rig.wake();
        assert!(two > one && two <= 2 * SECOND);
        let end = rig.refuse(&third, status, None);
        let failed = end.failed();
        let kind = if status == 429 {
            FailureKind::RateLimit
        } else {
            FailureKind::Unknown
        };
        assert_eq!((failed.kind, failed.http_status), (kind, Some(status)));
    }
    let mut recovered = rig(&["k1"], &["one/m"]);
    let first = recovered.begin("hello");
    recovered.refuse(&first, 503, Some(12 * SECOND));
    let (waited, second) = recovered.wake();
    assert_eq!(waited, 12 * SECOND, "what the provider asks for is kept");
    let end = recovered.reply(&second, &[text("Hi")]);
    assert_eq!(end.done.unwrap().text, "Hi");
}

#[test]
fn a_wait_that_would_be_too_long_is_said_instead() {
    let mut rig = rig(&["k1"], &["one/m"]);
    let first = rig.begin("hello");
    let end = rig.refuse(&first, 429, Some(3_600 * SECOND));
    assert_eq!(end.failed().kind, FailureKind::RateLimit);
    rig.run = RunId::new("next");
    let next = rig.begin("hello");
    let failed = next.failed();
    assert_eq!(failed.kind, FailureKind::RateLimit);
    assert!(
        failed.message.contains("1970-01-01T01:16:40"),
        "{}",
        failed.message
    );
}

#[test]
fn nothing_is_asked_again_once_a_piece_has_come() {
    let pieces: [&str; 2] = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"server__system_run\"}}]}}]}\n\n",
    ];
    for piece in pieces {
        for end in 0..4 {
            let mut rig = rig(&["k1", "k2"], &["one/m", "two/m"]);
            let asked = rig.begin("hello");
            rig.head(&asked, 200, None);
            rig.data(&asked, piece);
            let end = match end {
                0 => rig.lost(&asked),
                1 => rig.ended(&asked),
                2 => rig.data(
                    &asked,
                    "data: {\"error\":{\"code\":429,\"message\":\"slow\"}}\n\n",
                ),
                _ => rig.wake().1,
            };
            assert!(
                end.started.is_none() && !end.waiting && end.calls.is_empty(),
                "{end:?}"
            );
            end.failed();
        }
    }
}

#[test]
fn a_key_that_is_refused_gives_way_to_the_next_and_cools_down() {
    for (status, seconds) in [(401, 600), (403, 600), (429, 30)] {
        let mut rig = rig(&["!", "k1", "k2"], &["one/m"]);
        let first = rig.begin("hello");
        assert_eq!(first.key().as_deref(), Some("k1"));
        let second = rig.refuse(&first, status, None);
        assert!(!second.waiting, "the next key is tried at once");
        assert_eq!(second.key().as_deref(), Some("k2"));
        assert!(rig.reply(&second, &[text("Hi")]).done.is_some());
        let states: Vec<ProfileState> = rig
            .agent
            .profiles(rig.now)
            .into_iter()
            .map(|it| it.state)
            .collect();
        assert!(matches!(states[0], ProfileState::Unresolved { .. }));
        assert!(matches!(&states[1], ProfileState::CoolingDown { until, .. }
            if until.0 == rig.now.wall.0 + seconds * 1000));
        assert_eq!(states[2], ProfileState::Ready);

        rig.run = RunId::new("next");
        assert_eq!(rig.begin("hello").key().as_deref(), Some("k2"));
        rig.now = rig.now.after(Duration::from_secs(seconds));
        rig.run = RunId::new("later");
        assert_eq!(rig.begin("hello").key().as_deref(), Some("k1"));
    }
    let mut none = rig(&["k1", "k2"], &["one/m"]);
    let first = none.begin("hello");
    let second = none.refuse(&first, 401, None);
    let end = none.refuse(&second, 401, None);
    let message = &end.failed().message;
    assert!(
        message.contains("apiKey") && !message.contains("k1"),
        "{message}"
    );
}

#[test]
fn keys_that_cannot_be_resolved_are_never_replaced_by_none() {
    let mut rig = rig(&["!"], &["one/m"]);
    let end = rig.begin("hello");
    assert!(end.started.is_none());
    assert!(end.failed().message.contains("the variable K is not set"));
}

#[test]
fn the_next_model_stands_in_and_a_wish_of_the_caller_does_not() {
    let mut rig = rig(&["k1"], &["one/m", "two/n"]);
    let first = rig.begin("hello");
    let second = rig.refuse(&first, 401, None);
    assert_eq!(second.body()["model"], "n");
    assert_eq!(second.job().1.url.host_header(), "two.example.com");
    assert_eq!(
        second.key(),
        None,
        "the key of one provider never goes to another"
    );

    let mut wish = request("hello");
    wish.model = Some("two/other/model".into());
    rig.run = RunId::new("wish");
    let asked = Wants::of(rig.start(wish.clone()));
    assert_eq!(asked.body()["model"], "other/model");
    assert_eq!(
        rig.refuse(&asked, 404, None).failed().http_status,
        Some(404)
    );
    wish.model = Some("gone/m".into());
    rig.run = RunId::new("gone");
    assert!(
        Wants::of(rig.start(wish))
            .failed()
            .message
            .contains("one of the providers")
    );
}

#[test]
fn no_request_goes_where_host_policy_forbids() {
    let mut rig = rig(&[], &["far/m"]);
    let end = rig.begin("hello");
    assert!(end.started.is_none());
    assert!(
        end.failed().message.contains("plaintext http://"),
        "{:?}",
        end.failed()
    );
    let mut moved = self::rig(&["k1"], &["one/m"]);
    let asked = moved.begin("hello");
    let end = moved.refuse(&asked, 307, None);
    assert!(end.failed().message.contains("points elsewhere"));
}

#[test]
fn silence_ends_a_request_and_time_ends_a_run() {
    let mut rig = rig(&[], &["one/m"]);
    let asked = rig.begin("hello");
    let (by, late) = rig.wake();
    assert_eq!(by, 120 * SECOND);
    assert!(late.stopped && late.waiting);
    let (_, asked2) = rig.wake();
    assert!(
        rig.data(&asked, "data: x\n\n").failed.is_none(),
        "an earlier job says nothing more"
    );
    rig.head(&asked2, 200, None);
    rig.data(
        &asked2,
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
    );
    let (by, late) = rig.wake();
    assert_eq!(by, 60 * SECOND);
    assert_eq!(late.failed().kind, FailureKind::Timeout);

    let mut short = request("hello");
    short.timeout = 5 * SECOND;
    rig.run = RunId::new("short");
    let asked = Wants::of(rig.start(short));
    rig.lost(&asked);
    rig.wake();
    let (_, end) = rig.wake();
    assert!(end.stopped);
    assert_eq!(end.failed().kind, FailureKind::Timeout);
}

#[test]
fn a_cancel_stops_the_request_and_nothing_else_follows() {
    let mut rig = rig(&[], &["one/m"]);
    let asked = rig.begin("hello");
    let outputs = rig.give(AgentInput::Cancel);
    assert!(matches!(outputs.as_slice(), [AgentOutput::StopJob(_)]));
    assert!(rig.give(AgentInput::Cancel).is_empty());
    let after = rig.data(
        &asked,
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
    );
    assert!(after.text.is_empty());
    assert_eq!(rig.agent.poll_timeout(), None);
}

#[test]
fn refusals_and_conversations_that_are_too_long_are_told_apart() {
    let mut rig = rig(&[], &["one/m", "two/m"]);
    let asked = rig.begin("hello");
    let end = rig.reply(&asked, &[json!({ "refusal": "I cannot." })]);
    assert_eq!(end.failed().kind, FailureKind::Refusal);
    rig.run = RunId::new("long");
    let asked = rig.begin("hello");
    rig.head(&asked, 400, None);
    rig.data(&asked, "{\"error\":{\"code\":\"context_length_exceeded\"}}");
    assert_eq!(rig.ended(&asked).failed().kind, FailureKind::ContextLength);
    rig.run = RunId::new("longer");
    let end = rig.begin(&"word ".repeat(10_000));
    assert!(end.started.is_none());
    assert_eq!(end.failed().kind, FailureKind::ContextLength);
}

#[test]
fn models_are_listed_with_the_used_ones_first() {
    let rig = rig(&[], &["two/other", "one/m"]);
    let models = rig.agent.models();
    let names: Vec<String> = models
        .iter()
        .map(|model| format!("{}/{}", model.provider, model.id))
        .collect();
    assert_eq!(names, ["two/other", "one/m", "far/m", "two/m"]);
    assert_eq!(
        (models[1].name.as_str(), models[1].context_tokens),
        ("Model M", Some(8_000))
    );
}

proptest! {
    /// Whatever an endpoint does, a run ends, asks a finite number of times, and never asks again
    /// after a piece of an answer.
    #[test]
    fn every_run_ends(steps in prop::collection::vec(0u8..9, 0..40)) {
        let mut rig = rig(&["k1", "k2"], &["one/m", "two/m"]);
        let mut asked = rig.begin("hello");
        let mut requests = 1;
        let mut shown = false;
        let mut steps = steps.into_iter();
        let end = loop {
            let step = steps.next().unwrap_or(8);
            let wants = match (step, asked.started.is_some()) {
                (0, true) => rig.lost(&asked),
                (1, true) => rig.ended(&asked),
                (2, true) => rig.refuse(&asked, 429, None),
                (3, true) => rig.refuse(&asked, 401, None),
                (4, true) => rig.refuse(&asked, 500, None),
                (5, true) => { rig.head(&asked, 200, None); Wants::default() }
                (6, true) => rig.data(&asked, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"),
                (7, true) => rig.data(&asked, "data: [DONE]\n\n"),
                _ => rig.wake().1,
            };
            shown |= !wants.text.is_empty();
            if wants.started.is_some() {
                prop_assert!(!shown, "asked again");
                requests += 1;
                asked = wants;
            } else if wants.done.is_some() || wants.failed.is_some() {
                break wants;
            }
        };
        prop_assert!(requests <= 12, "{} requests", requests);
        prop_assert!(end.done.is_some() || !end.failed().message.is_empty());
        prop_assert_eq!(rig.agent.poll_timeout(), None);
    }
}

#[test]
fn an_endpoint_is_told_of_a_trace_only_where_its_config_says_so() {
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (traces, told) in [(Traces::Kept, None), (Traces::Told, Some(text))] {
        let mut setup = setup(&["one:a"], &["one/m"]);
        for provider in setup.providers.values_mut() {
            provider.traces = traces;
        }
        let mut rig = Rig::new(OpenAiAgent::new(setup, [3; 32]));
        let wants = Wants::of(rig.start(RunRequest {
            trace: crate::trace::TraceParent::parse(text),
            ..request("hello")
        }));
        let headers = &wants.job().1.headers;
        let found = headers.iter().find(|(name, _)| *name == "traceparent");
        let found = found.map(|(_, value)| match value {
            HeaderText::Plain(value) => value.as_str(),
            HeaderText::Secret(_) => panic!("no secret"),
        });
        assert_eq!(found, told);
    }
}

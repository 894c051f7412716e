//! Messages, runs, sessions and their transcripts, with a host in memory and virtual time.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use clawgate_core::{
    agent::{
        Agent, AgentInput, AgentOutput, FailureKind, ModelInfo, ProfileStatus, RunDone, RunFailed,
        RunRequest, Usage,
    },
    ids::{ConnId, RunId},
    store::StoreFailure,
    time::Now,
};
use serde_json::{Value, json};

use common::{Host, token_rule};

const TOKEN: &str = "hunter2";

/// An agent that does what its message says: words, each a step.
#[derive(Debug, Default)]
struct Scripted {
    outputs: VecDeque<(RunId, AgentOutput)>,
    /// Runs that wait for a cancel.
    idle: Vec<RunId>,
}

fn scripted() -> Box<dyn Agent> {
    Box::new(Scripted::default())
}

impl Agent for Scripted {
    fn start(&mut self, _: Now, run: RunId, request: RunRequest) {
        let mut say = |output| self.outputs.push_back((run.clone(), output));
        let done = |text: &str| {
            AgentOutput::Done(RunDone {
                text: text.into(),
                usage: Some(Usage {
                    input: 3,
                    output: 5,
                }),
                provider: Some("test".into()),
                model: Some("scripted".into()),
                stop_reason: Some("stop".into()),
            })
        };
        match request
            .message
            .split_once(' ')
            .unwrap_or((&request.message, ""))
        {
            ("say", text) => {
                for word in text.split_inclusive(' ') {
                    say(AgentOutput::Text(word.into()));
                }
                say(done(text));
            }
            ("history", _) => {
                let said: Vec<String> = request
                    .history
                    .iter()
                    .map(|message| format!("{:?}:{}", message.speaker, message.text))
                    .collect();
                say(done(&said.join("|")));
            }
            ("prompt", _) => say(done(&request.extra_prompt.unwrap_or_default())),
            ("files", _) => {
                let files: Vec<String> = request
                    .attachments
                    .iter()
                    .map(|file| format!("{}:{}", file.mime_type, file.content.len()))
                    .collect();
                say(done(&files.join("|")));
            }
            ("fail", why) => say(AgentOutput::Failed(RunFailed {
                kind: FailureKind::RateLimit,
                message: why.into(),
                provider: Some("test".into()),
                model: None,
                http_status: Some(429),
                usage: None,
            })),
            ("wait", text) => {
                say(AgentOutput::Text(text.into()));
                self.idle.push(run);
            }
            _ => say(done("?")),
        }
    }

    fn handle(&mut self, _: Now, run: &RunId, input: AgentInput) {
        if matches!(input, AgentInput::Cancel) {
            self.idle.retain(|idle| idle != run);
        }
    }

    fn steer(&mut self, _: Now, run: &RunId, text: &str) -> bool {
        let takes = self.idle.contains(run) && text.starts_with("more");
        if takes {
            self.idle.retain(|idle| idle != run);
            let text = format!("heard {text}");
            let done = RunDone {
                text,
                ..RunDone::default()
            };
            self.outputs
                .push_back((run.clone(), AgentOutput::Done(done)));
        }
        takes
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

const SCOPES: [&str; 3] = ["operator.read", "operator.write", "operator.admin"];

fn host() -> Host {
    Host::new(token_rule(TOKEN)).with_agent(scripted)
}

fn operator(host: &mut Host) -> ConnId {
    let conn = host.connect(TOKEN, &SCOPES);
    host.advance(Duration::from_millis(200));
    drain(host, conn);
    conn
}

fn drain(host: &mut Host, conn: ConnId) -> Vec<Value> {
    std::iter::from_fn(|| host.try_recv(conn)).collect()
}

fn send(host: &mut Host, conn: ConnId, key: &str, message: &str) -> Value {
    let params = json!({ "sessionKey": "main", "message": message, "idempotencyKey": key });
    host.get(conn, "chat.send", params)
}

fn events<'a>(frames: &'a [Value], name: &str) -> Vec<&'a Value> {
    frames
        .iter()
        .filter(|frame| frame["event"] == name)
        .map(|frame| &frame["payload"])
        .collect()
}

fn answers<'a>(frames: &'a [Value], id: &str) -> Vec<&'a Value> {
    frames
        .iter()
        .filter(|frame| frame["id"] == id)
        .map(|frame| &frame["payload"])
        .collect()
}

fn texts(history: &Value) -> Vec<String> {
    let text = |message: &Value| {
        let content = &message["content"];
        let text = content.as_str().or_else(|| content[0]["text"].as_str());
        text.unwrap_or_default().to_owned()
    };
    history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect()
}

fn history(host: &mut Host, conn: ConnId) -> Value {
    host.get(conn, "chat.history", json!({ "sessionKey": "main" }))
}

#[test]
fn a_message_is_acknowledged_streamed_and_kept() {
    let mut host = host();
    let conn = operator(&mut host);
    let params =
        json!({ "sessionKey": "main", "message": "say hello there", "idempotencyKey": "k1" });
    host.call(conn, "9", "chat.send", params);
    host.advance(Duration::from_millis(100));
    let frames = drain(&mut host, conn);
    let ack = frames.iter().position(|frame| frame["id"] == "9").unwrap();
    assert_eq!(
        frames[ack]["payload"],
        json!({ "runId": "k1", "status": "started" })
    );
    let chat = events(&frames, "chat");
    let last = chat.last().unwrap();
    assert_eq!(last["state"], "final");
    assert_eq!(last["message"]["content"][0]["text"], "hello there");
    assert_eq!(last["usage"]["totalTokens"], 8);
    let seqs: Vec<u64> = chat
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    let agent = events(&frames, "agent");
    let phases: Vec<&str> = agent
        .iter()
        .filter_map(|event| event["data"]["phase"].as_str())
        .collect();
    assert_eq!(phases, ["start", "end"]);
    let kept = history(&mut host, conn);
    assert_eq!(texts(&kept), ["say hello there", "hello there"]);
    assert_eq!(kept["sessionInfo"]["status"], "done");
    assert_eq!(kept["sessionInfo"]["totalTokens"], 8);
}

#[test]
fn text_is_told_while_it_comes() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait part");
    host.advance(Duration::from_millis(100));
    let frames = drain(&mut host, conn);
    let deltas = events(&frames, "chat");
    assert_eq!(deltas.len(), 1);
    assert_eq!(deltas[0]["state"], "delta");
    assert_eq!(deltas[0]["deltaText"], "part");
    let here = history(&mut host, conn);
    assert_eq!(
        here["inFlightRun"],
        json!({ "runId": "k1", "text": "part" })
    );
    host.call(conn, "abort", "chat.abort", json!({ "sessionKey": "main" }));
    let frames = drain(&mut host, conn);
    let stopped = json!({ "ok": true, "aborted": true, "runIds": ["k1"] });
    assert_eq!(answers(&frames, "abort"), [&stopped]);
    assert_eq!(events(&frames, "chat")[0]["state"], "aborted");
    let kept = history(&mut host, conn);
    assert_eq!(texts(&kept), ["wait part", "part"]);
    assert!(kept.get("inFlightRun").is_none());
    let again = host.get(conn, "chat.abort", json!({ "sessionKey": "main" }));
    assert_eq!(again["aborted"], false);
}

#[test]
fn a_repeated_message_is_one_run_and_another_one_is_refused() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait x");
    assert_eq!(send(&mut host, conn, "k1", "wait x")["status"], "in_flight");
    let other = json!({ "sessionKey": "main", "message": "say y", "idempotencyKey": "k1" });
    let refused = host.ask(conn, "chat.send", other);
    assert_eq!(
        refused["error"]["details"]["reason"],
        "chat-request-conflict"
    );
    host.get(
        conn,
        "chat.abort",
        json!({ "sessionKey": "main", "runId": "k1" }),
    );
    assert_eq!(send(&mut host, conn, "k1", "wait x")["status"], "error");
    assert_eq!(texts(&history(&mut host, conn)).len(), 2);
}

#[test]
fn one_run_at_a_time_and_in_order() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait first");
    send(&mut host, conn, "k2", "say second");
    send(&mut host, conn, "k3", "history");
    let waiting = history(&mut host, conn);
    assert_eq!(waiting["pendingInputs"]["total"], 2);
    assert_eq!(waiting["pendingInputs"]["items"][0]["runId"], "k2");
    assert_eq!(texts(&waiting), ["wait first"]);
    drain(&mut host, conn);
    host.get(
        conn,
        "chat.abort",
        json!({ "sessionKey": "main", "runId": "k1" }),
    );
    let kept = history(&mut host, conn);
    assert_eq!(
        texts(&kept),
        [
            "wait first",
            "first",
            "say second",
            "second",
            "history",
            "User:wait first|Assistant:first|User:say second|Assistant:second",
        ]
    );
    assert_eq!(kept["pendingInputs"]["total"], 0);
}

#[test]
fn an_interrupt_goes_first_and_collected_messages_are_answered_together() {
    let mut host = host();
    let conn = operator(&mut host);
    let mode = |key: &str, message: &str, mode: &str| {
        json!({
            "sessionKey": "main",
            "message": message,
            "idempotencyKey": key,
            "queueMode": mode,
        })
    };
    send(&mut host, conn, "k1", "wait x");
    send(&mut host, conn, "k2", "say later");
    host.get(conn, "chat.send", mode("k3", "wait now", "interrupt"));
    let running = history(&mut host, conn);
    assert_eq!(running["inFlightRun"]["runId"], "k3");
    host.get(conn, "chat.send", mode("k4", "one", "collect"));
    host.get(conn, "chat.send", mode("k5", "history", "collect"));
    host.get(
        conn,
        "chat.abort",
        json!({ "sessionKey": "main", "runId": "k3" }),
    );
    let kept = texts(&history(&mut host, conn));
    let last = kept.last().unwrap();
    assert!(last.ends_with("Assistant:later|User:one"), "{last}");
    for key in ["k4", "k5"] {
        let state = host.get(conn, "agent.wait", json!({ "runId": key }));
        assert_eq!(state["status"], "ok", "{key}");
    }
}

#[test]
fn a_run_hears_more_if_its_agent_can_and_answers_both_messages() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait x");
    send(&mut host, conn, "k2", "say later");
    send(&mut host, conn, "k3", "more words");
    // Those that wait have their turn first.
    assert_eq!(history(&mut host, conn)["pendingInputs"]["total"], 2);
    for key in ["k3", "k2"] {
        let stop = json!({ "sessionKey": "main", "runId": key });
        host.get(conn, "chat.abort", stop);
    }
    send(&mut host, conn, "k4", "more words");
    let kept = texts(&history(&mut host, conn));
    assert_eq!(kept, ["wait x", "more words", "heard more words"]);
    for key in ["k1", "k4"] {
        let state = host.get(conn, "agent.wait", json!({ "runId": key }));
        assert_eq!(state["status"], "ok", "{key}");
    }
}

#[test]
fn whoever_joined_a_run_can_stop_it() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait x");
    for (key, message) in [("k2", "wait a"), ("k3", "wait b")] {
        let params = json!({
            "sessionKey": "main",
            "message": message,
            "idempotencyKey": key,
            "queueMode": "collect",
        });
        host.get(conn, "chat.send", params);
    }
    let stop = |run: &str| json!({ "sessionKey": "main", "runId": run });
    host.get(conn, "chat.abort", stop("k1"));
    assert_eq!(history(&mut host, conn)["inFlightRun"]["runId"], "k2");
    let stopped = host.get(conn, "chat.abort", stop("k3"));
    assert_eq!(stopped["aborted"], true, "{stopped}");
    assert!(history(&mut host, conn).get("inFlightRun").is_none());
    for key in ["k2", "k3"] {
        let state = host.get(conn, "agent.wait", json!({ "runId": key }));
        assert_eq!(state["stopReason"], "aborted", "{key}");
    }
}

#[test]
fn a_run_hears_nothing_that_could_not_be_kept() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait x");
    host.disk.failure = Some(StoreFailure::Full);
    let params = json!({ "sessionKey": "main", "message": "more a", "idempotencyKey": "k2" });
    let refused = host.ask(conn, "chat.send", params);
    assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
    host.disk.failure = None;
    assert_eq!(history(&mut host, conn)["inFlightRun"]["runId"], "k1");
    send(&mut host, conn, "k3", "more b");
    let kept = texts(&history(&mut host, conn));
    assert_eq!(kept, ["wait x", "more b", "heard more b"]);
}

#[test]
fn a_run_hears_what_still_waits_when_it_is_kept() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait x");
    host.disk.waiting = Some(VecDeque::new());
    for (key, message) in [("k2", "more a"), ("k3", "more b")] {
        let params = json!({ "sessionKey": "main", "message": message, "idempotencyKey": key });
        host.call(conn, key, "chat.send", params);
    }
    let stop = json!({ "sessionKey": "main", "runId": "k2" });
    host.call(conn, "stop", "chat.abort", stop);
    while host.write() {}
    host.disk.waiting = None;
    drain(&mut host, conn);
    let kept = texts(&history(&mut host, conn));
    assert_eq!(kept, ["wait x", "more b", "heard more b"]);
    let stopped = host.get(conn, "agent.wait", json!({ "runId": "k2" }));
    assert_eq!(stopped["stopReason"], "aborted");
}

#[test]
fn agent_answers_twice_and_can_be_waited_for() {
    let mut host = host();
    let conn = operator(&mut host);
    let params = json!({ "message": "wait x", "idempotencyKey": "k1" });
    host.call(conn, "a", "agent", params.clone());
    host.call(
        conn,
        "w",
        "agent.wait",
        json!({ "runId": "k1", "timeoutMs": 60_000 }),
    );
    host.call(
        conn,
        "s",
        "agent.wait",
        json!({ "runId": "k1", "timeoutMs": 1_000 }),
    );
    let frames = drain(&mut host, conn);
    let first: Vec<&Value> = frames.iter().filter(|frame| frame["id"] == "a").collect();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["payload"]["status"], "accepted");
    host.advance(Duration::from_secs(2));
    let frames = drain(&mut host, conn);
    let late: Vec<&Value> = frames.iter().filter(|frame| frame["id"] == "s").collect();
    assert_eq!(
        late[0]["payload"],
        json!({ "runId": "k1", "status": "timeout" })
    );
    host.call(conn, "stop", "sessions.abort", json!({ "key": "main" }));
    let frames = drain(&mut host, conn);
    assert_eq!(answers(&frames, "a")[0]["status"], "timeout");
    assert_eq!(answers(&frames, "w")[0]["stopReason"], "aborted");
    assert_eq!(answers(&frames, "stop")[0]["abortedRunId"], "k1");
    let again = host.ask(conn, "agent", params);
    assert_eq!(again["payload"]["status"], "timeout");

    host.call(
        conn,
        "b",
        "agent",
        json!({ "message": "say hi", "idempotencyKey": "k2" }),
    );
    let frames = drain(&mut host, conn);
    let answers: Vec<&Value> = frames.iter().filter(|frame| frame["id"] == "b").collect();
    assert_eq!(
        answers[1]["payload"]["result"]["payloads"],
        json!([{ "text": "hi" }])
    );
    host.call(
        conn,
        "c",
        "agent",
        json!({ "message": "fail no luck", "idempotencyKey": "k3" }),
    );
    let frames = drain(&mut host, conn);
    let answers: Vec<&Value> = frames.iter().filter(|frame| frame["id"] == "c").collect();
    assert_eq!(answers[1]["error"]["message"], "no luck");
    let failed = events(&frames, "chat");
    assert_eq!(failed[0]["errorKind"], "rate_limit");
    assert_eq!(failed[0]["errorDetail"]["httpStatus"], 429);
}

#[test]
fn a_run_has_its_time() {
    let mut host = host();
    let conn = operator(&mut host);
    let params = json!({
        "sessionKey": "main",
        "message": "wait x",
        "idempotencyKey": "k1",
        "timeoutMs": 5_000,
    });
    host.get(conn, "chat.send", params);
    host.advance(Duration::from_millis(4_999));
    assert!(history(&mut host, conn).get("inFlightRun").is_some());
    drain(&mut host, conn);
    host.advance(Duration::from_millis(1));
    let frames = drain(&mut host, conn);
    assert_eq!(events(&frames, "chat")[0]["errorKind"], "timeout");
}

#[test]
fn a_run_goes_on_without_the_client_that_asked_for_it() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait half");
    host.drop_connection(conn);
    let other = operator(&mut host);
    let here = history(&mut host, other);
    assert_eq!(here["inFlightRun"]["text"], "half");
    let cursor = here["deltaCursor"].clone();
    host.get(other, "chat.abort", json!({ "sessionKey": "main" }));
    let delta = json!({ "sessionKey": "main", "cursor": cursor });
    let delta = host.get(other, "chat.history", delta);
    assert_eq!(delta["kind"], "delta");
    assert_eq!(texts(&delta), ["half"]);
    let reset = json!({ "sessionKey": "main", "cursor": "bogus" });
    assert_eq!(
        host.get(other, "chat.history", reset),
        json!({ "kind": "reset" })
    );
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_what_ran_is_not_run_again() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait half");
    send(&mut host, conn, "k2", "say queued");
    host.restart();
    let conn = operator(&mut host);
    let kept = history(&mut host, conn);
    let texts = texts(&kept);
    assert_eq!(texts[0], "wait half");
    assert!(texts[1].contains("the gateway stopped"), "{texts:?}");
    assert_eq!(texts[2..], ["say queued", "queued"]);
    let cut = host.get(conn, "agent.wait", json!({ "runId": "k1" }));
    assert_eq!(cut["status"], "error");
    let over = host.get(conn, "agent.wait", json!({ "runId": "k2" }));
    assert_eq!(over["status"], "ok");
    // The same message again is no new one.
    assert_eq!(send(&mut host, conn, "k1", "wait half")["status"], "error");
}

#[test]
fn messages_that_wait_for_an_agent_that_is_gone_are_kept_and_end() {
    let mut host = host();
    let conn = operator(&mut host);
    let made = json!({ "name": "temp" });
    let agent = host.get(conn, "agents.create", made)["agentId"].clone();
    let key = format!("agent:{}:main", agent.as_str().unwrap());
    for (id, message) in [("k1", "wait half"), ("k2", "say two"), ("k3", "say three")] {
        let params = json!({ "sessionKey": key, "message": message, "idempotencyKey": id });
        host.get(conn, "chat.send", params);
    }
    host.get(conn, "agents.delete", json!({ "agentId": agent }));
    let abort = json!({ "sessionKey": key, "runId": "k1" });
    host.get(conn, "chat.abort", abort);
    for id in ["k2", "k3"] {
        let over = host.get(conn, "agent.wait", json!({ "runId": id }));
        assert_eq!(over["status"], "error");
        assert!(
            over["error"].as_str().unwrap().contains("unknown agent"),
            "{over}"
        );
    }
    let kept = host.get(conn, "chat.history", json!({ "sessionKey": key }));
    let texts = texts(&kept);
    assert_eq!(
        (texts[0].as_str(), texts[2].as_str()),
        ("wait half", "say two")
    );
    assert_eq!(texts[4], "say three");
    assert_eq!(kept["pendingInputs"]["total"], 0);
}

#[test]
fn nothing_is_acknowledged_that_could_not_be_kept() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k0", "say before");
    host.disk.failure = Some(StoreFailure::Full);
    let params = json!({ "sessionKey": "main", "message": "say x", "idempotencyKey": "k1" });
    let refused = host.ask(conn, "chat.send", params.clone());
    assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
    let refused = host.ask(
        conn,
        "agent",
        json!({ "message": "say y", "idempotencyKey": "k2" }),
    );
    assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
    host.disk.failure = None;
    assert_eq!(host.get(conn, "chat.send", params)["status"], "started");
    // The disk works again: what waited for that is due at once.
    host.advance(Duration::ZERO);
    drain(&mut host, conn);
    let kept = texts(&history(&mut host, conn));
    assert_eq!(kept, ["say before", "before", "say x", "x"]);
}

#[test]
fn a_reply_that_could_not_be_kept_is_not_told_as_if_it_were() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait half");
    drain(&mut host, conn);
    host.disk.failure = Some(StoreFailure::Full);
    let refused = host.ask(conn, "chat.abort", json!({ "sessionKey": "main" }));
    assert_eq!(refused["ok"], false);
    assert!(events(&drain(&mut host, conn), "chat").is_empty());
    host.disk.failure = None;
    host.advance(Duration::from_secs(61));
    let kept = history(&mut host, conn);
    assert!(kept.get("inFlightRun").is_none(), "{kept}");
    assert_eq!(kept["sessionInfo"]["status"], "failed");
    send(&mut host, conn, "k2", "say on");
    assert_eq!(texts(&history(&mut host, conn)).last().unwrap(), "on");
}

#[test]
fn pages_go_back_to_the_first_message() {
    let mut host = host();
    let conn = operator(&mut host);
    for number in 0..10 {
        send(
            &mut host,
            conn,
            &format!("k{number}"),
            &format!("say {number}"),
        );
    }
    let mut seen = Vec::new();
    let mut offset = json!(0);
    loop {
        let params = json!({ "sessionKey": "main", "limit": 6, "offset": offset });
        let page = host.get(conn, "chat.history", params);
        let mut texts = texts(&page);
        texts.extend(seen);
        seen = texts;
        assert_eq!(page["totalMessages"], 20);
        match page.get("nextOffset") {
            Some(next) => offset = next.clone(),
            None => break,
        }
    }
    let all: Vec<String> = (0..10)
        .flat_map(|n| [format!("say {n}"), n.to_string()])
        .collect();
    assert_eq!(seen, all);
    let one = history(&mut host, conn)["messages"][4]["__openclaw"]["id"].clone();
    let around = json!({ "sessionKey": "main", "limit": 2, "messageId": one });
    assert_eq!(
        texts(&host.get(conn, "chat.history", around)),
        ["1", "say 2"]
    );
    let found = json!({ "sessionKey": "main", "messageId": one });
    let found = host.get(conn, "chat.message.get", found);
    assert_eq!(found["message"]["content"], "say 2");
}

#[test]
fn files_reach_the_agent_and_are_named_in_lists() {
    let mut host = host();
    let conn = operator(&mut host);
    let params = |content: &str| {
        json!({
            "sessionKey": "main",
            "message": "files",
            "idempotencyKey": "k1",
            "attachments": [{ "mimeType": "image/png", "fileName": "a.png", "content": content }],
        })
    };
    let refused = host.ask(conn, "chat.send", params("no base64!"));
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("attachments[0]")
    );
    host.get(conn, "chat.send", params("aGVsbG8="));
    let kept = history(&mut host, conn);
    assert_eq!(texts(&kept), ["files", "image/png:5"]);
    let block = &kept["messages"][0]["content"][1];
    assert_eq!(
        (&block["omitted"], &block["bytes"]),
        (&json!(true), &json!(5))
    );
    let id = kept["messages"][0]["__openclaw"]["id"].clone();
    let whole = json!({ "sessionKey": "main", "messageId": id });
    let whole = host.get(conn, "chat.message.get", whole);
    assert_eq!(whole["message"]["content"][1]["data"], "aGVsbG8=");
}

#[test]
fn sessions_are_listed_changed_reset_and_deleted() {
    let mut host = host();
    let conn = operator(&mut host);
    host.get(conn, "sessions.subscribe", json!({}));
    send(&mut host, conn, "k1", "say hi");
    let made =
        json!({ "key": "side", "label": "Side", "message": "say there", "idempotencyKey": "k2" });
    let made = host.get(conn, "sessions.create", made);
    assert_eq!(
        (&made["key"], &made["runId"]),
        (&json!("agent:main:side"), &json!("k2"))
    );
    let list = host.get(conn, "sessions.list", json!({ "includeLastMessage": true }));
    assert_eq!(list["count"], 2);
    let side = list["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["label"] == "Side");
    assert_eq!(side.unwrap()["lastMessagePreview"], "there");
    let patched = json!({ "key": "side", "pinned": true, "label": null });
    host.get(conn, "sessions.patch", patched);
    let list = host.get(conn, "sessions.list", json!({ "limit": 1 }));
    assert_eq!(list["sessions"][0]["key"], "agent:main:side");
    assert_eq!(
        (&list["hasMore"], &list["nextOffset"]),
        (&json!(true), &json!(1))
    );
    let hits = host.get(conn, "sessions.search", json!({ "query": "THERE" }));
    assert_eq!(hits["results"][0]["sessionKey"], "agent:main:side");
    let previews = json!({ "keys": ["main", "side", "nope"] });
    let previews = host.get(conn, "sessions.preview", previews);
    let states: Vec<&str> = previews["previews"]
        .as_array()
        .unwrap()
        .iter()
        .map(|preview| preview["status"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["ok", "ok", "missing"]);
    drain(&mut host, conn);
    let before =
        host.get(conn, "sessions.describe", json!({ "key": "main" }))["session"]["sessionId"]
            .clone();
    let stale = json!({ "key": "main", "expectedSessionId": "else" });
    let stale = host.ask(conn, "sessions.reset", stale);
    assert_eq!(stale["error"]["details"]["reason"], "session-changed");
    host.call(conn, "reset", "sessions.reset", json!({ "key": "main" }));
    let frames = drain(&mut host, conn);
    assert_eq!(events(&frames, "sessions.changed")[0]["reason"], "reset");
    assert!(texts(&history(&mut host, conn)).is_empty());
    let old = json!({ "sessionKey": "main", "sessionId": before });
    assert_eq!(
        texts(&host.get(conn, "chat.history", old)),
        ["say hi", "hi"]
    );
    let deleted = host.get(conn, "sessions.delete", json!({ "key": "side" }));
    assert_eq!(deleted["deleted"], true);
    let gone = host.ask(conn, "sessions.resolve", json!({ "key": "side" }));
    assert_eq!(gone["error"]["message"], "No session found: side");
    assert_eq!(
        host.ask(conn, "sessions.delete", json!({ "key": "main" }))["ok"],
        false
    );
}

#[test]
fn events_go_to_those_who_may_and_want_to_hear_them() {
    let mut host = host();
    let conn = operator(&mut host);
    let stranger = host.connect(TOKEN, &["operator.pairing"]);
    let scoped = host.open();
    let _ = host.recv(scoped);
    let mut params = common::connect_params(TOKEN, &["operator.read"]);
    params["caps"] = json!(["session-scoped-events"]);
    host.call(scoped, "1", "connect", params);
    send(&mut host, conn, "k1", "say one");
    host.advance(Duration::from_millis(100));
    assert!(events(&drain(&mut host, stranger), "chat").is_empty());
    assert!(events(&drain(&mut host, scoped), "chat").is_empty());
    host.get(
        scoped,
        "sessions.messages.subscribe",
        json!({ "key": "main" }),
    );
    send(&mut host, conn, "k2", "say two");
    host.advance(Duration::from_millis(100));
    let frames = drain(&mut host, scoped);
    assert!(!events(&frames, "chat").is_empty());
    let messages = events(&frames, "session.message");
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["message"]["content"], "say two");
    assert!(events(&drain(&mut host, stranger), "chat").is_empty());
}

#[test]
fn words_that_stop_and_words_that_reset_are_not_for_the_agent() {
    let mut host = host();
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait x");
    let stopped = send(&mut host, conn, "k2", "/stop");
    assert_eq!(stopped["runIds"], json!(["k1"]));
    send(&mut host, conn, "k3", "/new");
    assert!(texts(&history(&mut host, conn)).is_empty());
    let spoken = json!({
        "sessionKey": "main",
        "message": "/stop",
        "idempotencyKey": "k4",
        "suppressCommandInterpretation": true,
    });
    host.get(conn, "chat.send", spoken);
    assert_eq!(texts(&history(&mut host, conn)), ["/stop", "?"]);
}

#[test]
fn limits_hold_at_their_edge() {
    let mut host = Host::new(token_rule(TOKEN))
        .with_limits(|limits| {
            limits.max_queued_runs = 2;
            limits.max_active_runs = 1;
            limits.max_sessions = 2;
            limits.max_runs = 3;
        })
        .with_agent(scripted);
    let conn = operator(&mut host);
    send(&mut host, conn, "k1", "wait x");
    send(&mut host, conn, "k2", "say a");
    send(&mut host, conn, "k3", "say b");
    let params = json!({ "sessionKey": "main", "message": "say c", "idempotencyKey": "k4" });
    let full = host.ask(conn, "chat.send", params);
    assert_eq!(full["error"]["retryable"], true, "{full}");
    // Another session waits for the one place.
    let other = json!({ "sessionKey": "other", "message": "say d", "idempotencyKey": "k5" });
    host.get(conn, "chat.send", other);
    let row = host.get(conn, "sessions.describe", json!({ "key": "other" }));
    assert_eq!(row["session"]["status"], "queued");
    let third = json!({ "sessionKey": "third", "message": "say e", "idempotencyKey": "k6" });
    assert_eq!(host.ask(conn, "chat.send", third)["ok"], false);
    host.get(
        conn,
        "chat.abort",
        json!({ "sessionKey": "main", "runId": "k1" }),
    );
    for key in ["k2", "k3", "k5"] {
        let state = host.get(conn, "agent.wait", json!({ "runId": key }));
        assert_eq!(state["status"], "ok", "{key}");
    }
    // The oldest run that is over is forgotten: its id is free.
    assert_eq!(
        send(&mut host, conn, "k1", "say again")["status"],
        "started"
    );
}

#[test]
fn an_agent_is_told_its_files_and_what_happened() {
    let mut host = host();
    let conn = operator(&mut host);
    let file = json!({ "agentId": "main", "name": "AGENTS.md", "content": "Be brief." });
    host.get(conn, "agents.files.set", file);
    host.get(conn, "system-event", json!({ "text": "the door opened" }));
    let params = json!({
        "message": "prompt",
        "idempotencyKey": "k1",
        "extraSystemPrompt": "Speak Latin.",
    });
    host.call(conn, "a", "agent", params);
    drain(&mut host, conn);
    let kept = texts(&history(&mut host, conn));
    let prompt = kept.last().unwrap();
    for part in [
        "# AGENTS.md\n\nBe brief.",
        "- the door opened",
        "Speak Latin.",
    ] {
        assert!(prompt.contains(part), "{prompt}");
    }
    send(&mut host, conn, "k2", "prompt");
    let kept = texts(&history(&mut host, conn));
    assert!(!kept.last().unwrap().contains("the door"), "told once");
}

#[test]
fn a_wake_makes_the_agent_look() {
    let mut host = host();
    let conn = operator(&mut host);
    host.get(
        conn,
        "wake",
        json!({ "mode": "next-heartbeat", "text": "one" }),
    );
    assert!(texts(&history(&mut host, conn)).is_empty());
    host.get(conn, "wake", json!({ "mode": "now", "text": "two" }));
    assert_eq!(texts(&history(&mut host, conn)), ["one\ntwo", "?"]);
}

#[test]
fn transcripts_of_before_are_kept_up_to_a_number() {
    let mut host = host();
    let conn = operator(&mut host);
    let mut lives = Vec::new();
    for number in 0..34 {
        send(
            &mut host,
            conn,
            &format!("k{number}"),
            &format!("say {number}"),
        );
        let here = history(&mut host, conn);
        lives.push(here["sessionId"].as_str().unwrap().to_owned());
        host.get(conn, "sessions.reset", json!({ "key": "main" }));
    }
    let ask = |host: &mut Host, life: &str| {
        let params = json!({ "sessionKey": "main", "sessionId": life });
        host.ask(conn, "chat.history", params)
    };
    assert_eq!(ask(&mut host, &lives[1])["ok"], false);
    assert_eq!(texts(&ask(&mut host, &lives[2])["payload"]), ["say 2", "2"]);
}

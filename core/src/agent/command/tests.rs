#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test panics on what it does not expect"
)]

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::agent::testing::{Rig, request};
use crate::job::{JobFailure, Reached};

fn rig() -> Rig<CommandAgent> {
    Rig::new(CommandAgent::new(PerAgent::all(ProgramUse {
        argv: vec!["/opt/bin/agent.py".into(), "--key=hunter2".into()],
        ..ProgramUse::default()
    })))
}

fn write(rig: &mut Rig<CommandAgent>, text: &str) -> Vec<AgentOutput> {
    let bytes = Bytes::from(text.to_owned());
    rig.give(AgentInput::Job(JOB, JobEvent::Data(bytes)))
}

fn failure(outputs: &[AgentOutput]) -> &RunFailed {
    match outputs.last() {
        Some(AgentOutput::Failed(failed)) => failed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_is_told_of_the_run_and_of_results_and_its_words_are_the_reply() {
    let mut rig = rig();
    let started = rig.start(request("hello"));
    let [
        AgentOutput::StartJob(_, JobSpec::Program(job)),
        AgentOutput::FeedJob(_, first),
    ] = started.as_slice()
    else {
        panic!("{started:?}");
    };
    assert_eq!(job.argv[0], "/opt/bin/agent.py");
    let first: Value = serde_json::from_slice(first).unwrap();
    assert_eq!(
        (&first["type"], &first["message"]),
        (&json!("start"), &json!("hello"))
    );
    assert_eq!(first["tools"][2]["node"], "n2");
    assert_eq!(first["timeoutMs"], 600_000);

    assert!(write(&mut rig, "{\"type\":\"text\",").is_empty());
    let said = write(
        &mut rig,
        "\"text\":\"Let me see. \"}\n{\"type\":\"tool_call\",\"id\":\"1\",\"node\":\"server\",\"command\":\"system.run\"}\n",
    );
    let [AgentOutput::Text(text), AgentOutput::ToolCall(call)] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert_eq!(
        (text.as_str(), call.node.as_str()),
        ("Let me see. ", "server")
    );
    let fed = rig.answer(&call.id, "{\"ok\":1}");
    let [AgentOutput::FeedJob(_, line)] = fed.as_slice() else {
        panic!("{fed:?}");
    };
    let line: Value = serde_json::from_slice(line).unwrap();
    assert_eq!(
        (&line["id"], &line["result"]["ok"]),
        (&json!("1"), &json!(1))
    );
    assert!(rig.answer(&call.id, "2").is_empty(), "a second answer");

    let end = write(
        &mut rig,
        "{\"type\":\"text\",\"text\":\"Done.\"}\n\n{\"type\":\"done\"}\n{\"type\":\"text\",\"text\":\"x\"}\n",
    );
    let [
        AgentOutput::Text(_),
        AgentOutput::StopJob(_),
        AgentOutput::Done(done),
    ] = end.as_slice()
    else {
        panic!("{end:?}");
    };
    assert_eq!(done.text, "Let me see. Done.");
    assert_eq!(done.model.as_deref(), Some("agent.py"));
    assert_eq!(rig.agent.poll_timeout(), None);
}

#[test]
fn a_program_that_cannot_be_followed_fails_its_run_and_is_ended() {
    let long = format!(
        "{{\"type\":\"text\",\"text\":\"{}\"}}\n",
        "x".repeat(MAX_LINE)
    );
    let twice =
        "{\"type\":\"tool_call\",\"id\":\"1\",\"node\":\"n\",\"command\":\"c\"}\n".repeat(2);
    for (written, part) in [
        ("nonsense\n", "of line 1 of its output, it is no JSON"),
        (
            "\n{}\n",
            "of line 2 of its output, it is JSON of another shape",
        ),
        (long.as_str(), "longer than"),
        (twice.as_str(), "used before"),
        (
            "{\"type\":\"error\",\"message\":\"out of ideas\"}\n",
            "out of ideas",
        ),
    ] {
        let mut rig = rig();
        rig.start(request("hello"));
        let end = write(&mut rig, written);
        assert!(matches!(end[end.len() - 2], AgentOutput::StopJob(_)));
        let message = &failure(&end).message;
        assert!(
            message.contains(part) && !message.contains("hunter2"),
            "{message}"
        );
        assert!(write(&mut rig, "{\"type\":\"done\"}\n").is_empty());
    }
}

#[test]
fn an_end_without_done_is_a_failure_with_the_code() {
    for (event, part) in [
        (
            JobEvent::Ended(JobEnd::Exit(Some(3))),
            "agent.py ended with code 3",
        ),
        (JobEvent::Ended(JobEnd::Exit(None)), "by a signal"),
        (
            JobEvent::Failed(JobFailure {
                reached: Reached::No,
                message: "no such file".into(),
            }),
            "no such file",
        ),
    ] {
        let mut rig = rig();
        rig.start(request("hello"));
        let end = rig.give(AgentInput::Job(JOB, event));
        assert_eq!(end.len(), 1, "there is nothing to stop: {end:?}");
        assert!(failure(&end).message.contains(part));
    }
    let mut last = rig();
    last.start(request("hello"));
    write(&mut last, "{\"type\":\"done\",\"text\":\"no line feed\"}");
    let end = last.give(AgentInput::Job(JOB, JobEvent::Ended(JobEnd::Exit(Some(0)))));
    assert!(matches!(end.as_slice(), [AgentOutput::Done(done)] if done.text == "no line feed"));
}

#[test]
fn a_cancel_or_the_deadline_ends_the_program() {
    let mut cancelled = rig();
    cancelled.start(request("hello"));
    let end = cancelled.give(AgentInput::Cancel);
    assert!(matches!(end.as_slice(), [AgentOutput::StopJob(_)]));
    assert!(write(&mut cancelled, "{\"type\":\"done\"}\n").is_empty());

    let mut late = rig();
    late.start(request("hello"));
    late.wait();
    let end = late.outputs();
    assert!(matches!(
        end.as_slice(),
        [AgentOutput::StopJob(_), AgentOutput::Failed(_)]
    ));
    assert_eq!(failure(&end).kind, FailureKind::Timeout);
}

#[test]
fn calls_are_finite() {
    let mut rig = rig();
    rig.start(request("hello"));
    let calls: String = (0..=MAX_OPEN_CALLS)
        .map(|n| {
            format!("{{\"type\":\"tool_call\",\"id\":\"{n}\",\"node\":\"n\",\"command\":\"c\"}}\n")
        })
        .collect();
    let outputs = write(&mut rig, &calls);
    assert!(failure(&outputs).message.contains("one call too many"));
}

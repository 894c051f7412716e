//! What goes wrong at the service or on the way to it: no message is lost or answered twice, and what
//! the gateway believes is true (seed 002, *Reliability*).

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use clawgate_bot_api::{Act, Answer, Attachment, Declared, Fault, Post, Taken};
use clawgate_tests::failure::TestResult;
use serde_json::{Value, json};

use crate::support::{Scene, TOKEN, of_sending, polls};

/// Says something that is answered by itself.
fn echo(scene: &Scene, word: &str) -> TestResult {
    scene.api.says(&scene.anna, &format!("/echo {word}"))?;
    Ok(())
}

/// What Anna was told, in order.
fn told(scene: &Scene, count: usize) -> TestResult<Vec<String>> {
    let sent = scene.told(count)?;
    Ok(sent.into_iter().map(|it| it.text).collect())
}

/// How often the service took a message with this text.
fn times(scene: &Scene, text: &str) -> usize {
    let sent = scene.api.sent(&scene.anna);
    sent.iter().filter(|it| it.text == text).count()
}

/// The words about what is wrong, when they contain this.
fn problem(scene: &Scene, part: &str) -> TestResult<Value> {
    scene.account(part, |row| {
        row["lastError"]
            .as_str()
            .is_some_and(|why| why.contains(part))
    })
}

fn healthy(scene: &Scene) -> TestResult<Value> {
    scene.account("a healthy account", |row| row["healthState"] == "healthy")
}

#[test]
fn another_poller_is_explained_and_nothing_is_lost_or_repeated() -> TestResult {
    let scene = Scene::start()?;
    echo(&scene, "one")?;
    scene.told(1)?;
    // The other one asks while the gateway's poll waits, which ends with 409.
    scene.see(|state| polls(state).then_some(()))?;
    let host = scene.api.url().replace("http://", "");
    let mut other = TcpStream::connect(&host)?;
    let path = format!("/bot{TOKEN}/getUpdates?timeout=50");
    write!(other, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    scene.see(|state| {
        state
            .calls_of("getUpdates")
            .find_map(|call| (call.status == Some(409)).then_some(()))
    })?;
    // It keeps at it.
    let conflict = Fault::on("getUpdates")
        .forever()
        .act(Act::Answer(Answer::conflict()));
    scene.api.fault(conflict);
    let row = problem(&scene, "another program polls with this bot token")?;
    assert_eq!(row["healthState"], "degraded", "{row}");
    let shown = scene.owner.run(&["channels", "status"])?.stdout;
    assert!(
        shown.contains("another program") && shown.contains("@BotFather"),
        "{shown}"
    );
    let health = scene.owner.run(&["health", "--json"])?.stdout;
    assert!(health.contains("another program"), "{health}");
    echo(&scene, "two")?;
    drop(other);
    scene.api.clear_faults();
    assert_eq!(told(&scene, 2)?, ["one", "two"]);
    healthy(&scene)?;
    Ok(())
}

#[test]
fn a_token_that_is_not_known_blocks_the_account_until_it_is() -> TestResult {
    let scene = Scene::start()?;
    echo(&scene, "one")?;
    scene.told(1)?;
    let unknown = Answer::error(401, "Unauthorized");
    let fault = Fault::on("getUpdates").act(Act::Answer(unknown));
    scene.fault_of_next_poll(fault, "/echo two")?;
    scene.told(2)?;
    let row = problem(&scene, "does not know the bot token")?;
    assert_eq!(row["healthState"], "blocked", "{row}");
    let status = scene.owner.json(&["channels", "status"])?;
    assert_eq!(status["statusIssues"][0]["kind"], "auth", "{status}");
    echo(&scene, "three")?;
    scene.owner.json(&["channels", "start", "telegram"])?;
    assert_eq!(told(&scene, 3)?, ["one", "two", "three"]);
    healthy(&scene)?;
    Ok(())
}

#[test]
fn a_pause_that_the_service_asks_for_is_kept_and_the_reply_comes_once() -> TestResult {
    let scene = Scene::start()?;
    scene
        .api
        .fault(of_sending(Act::Answer(Answer::too_many_requests(2))));
    echo(&scene, "patience")?;
    assert_eq!(told(&scene, 1)?, ["patience"]);
    let calls = scene.api.calls();
    let mut sends = calls.iter().filter(|call| call.method == "sendMessage");
    let (first, second) = (sends.next(), sends.next());
    let times = first
        .zip(second)
        .map(|(first, second)| second.at.monotonic - first.at.monotonic);
    assert!(
        times.is_some_and(|apart| apart >= Duration::from_secs(2)),
        "{times:?}"
    );
    let message = scene.message("/echo patience", "sent")?;
    let steps = scene.trace("429", &message["id"])?;
    assert!(
        steps.iter().any(|step| step.starts_with("not sent yet: ")),
        "{steps:?}"
    );
    assert_eq!(times_of_sending(&scene), 2);
    Ok(())
}

fn times_of_sending(scene: &Scene) -> usize {
    scene
        .api
        .look(|state| state.calls_of("sendMessage").count())
}

/// A reply whose answer goes wrong in this way: nobody knows what became of it. `arrived` is the truth.
/// An operator sends it again, and the chat has gone on meanwhile.
fn assert_uncertain(act: Act, arrived: usize) -> TestResult {
    let scene = Scene::start()?;
    let what = format!("{act:?}");
    scene.api.fault(of_sending(act));
    echo(&scene, "perhaps")?;
    let asked = scene.message("/echo perhaps", "uncertain")?;
    assert_eq!(times(&scene, "perhaps"), arrived, "{what}");
    // The chat goes on, and nothing is repeated by itself.
    echo(&scene, "next")?;
    scene.message("/echo next", "sent")?;
    assert_eq!(times(&scene, "perhaps"), arrived, "{what}");
    let uncertain = scene.messages(&["--state", "uncertain"])?;
    let ids: Vec<&Value> = uncertain.iter().map(|row| &row["id"]).collect();
    assert!(
        ids.contains(&&asked["id"]) && ids.contains(&&asked["answer"]),
        "{uncertain:?}"
    );
    let row = healthy(&scene)?;
    assert_eq!(row["uncertain"], 1, "{row}");
    let id = asked["id"].as_str().unwrap_or_default();
    let resent = scene.owner.json(&["messages", "resend", id])?;
    assert_eq!(resent["resent"], asked["answer"], "{resent}");
    scene.message("/echo perhaps", "sent")?;
    assert_eq!(times(&scene, "perhaps"), arrived + 1, "{what}");
    assert!(scene.messages(&["--state", "uncertain"])?.is_empty());
    // What is sent cannot be sent again.
    let again = scene.owner.run(&["messages", "resend", id, "--json"])?;
    assert!(again.error()?.to_string().contains("sent"), "{again:?}");
    assert_eq!(times(&scene, "perhaps"), arrived + 1, "{what}");
    Ok(())
}

#[test]
fn an_error_of_the_service_leaves_a_reply_uncertain() -> TestResult {
    assert_uncertain(Act::Answer(Answer::internal_error()), 0)?;
    assert_uncertain(Act::Taken(Taken::Answer(Answer::bad_gateway())), 1)
}

#[test]
fn a_connection_that_is_reset_leaves_a_reply_uncertain_whether_it_arrived_or_not() -> TestResult {
    assert_uncertain(Act::LostReset, 0)?;
    assert_uncertain(Act::Taken(Taken::Reset), 1)
}

#[test]
fn an_answer_that_is_cut_leaves_a_reply_uncertain() -> TestResult {
    assert_uncertain(Act::Taken(Taken::ResetAfterHead), 1)?;
    assert_uncertain(Act::Taken(Taken::CloseInBody), 1)
}

#[test]
fn garbage_for_an_answer_leaves_a_reply_uncertain() -> TestResult {
    assert_uncertain(Act::Taken(Taken::Answer(Answer::garbage())), 1)
}

#[test]
fn a_reply_that_is_uncertain_stays_so_over_a_crash() -> TestResult {
    let mut scene = Scene::start()?;
    scene.api.fault(of_sending(Act::Taken(Taken::Silence)));
    echo(&scene, "silence")?;
    scene.told(1)?;
    scene.gateway.kill()?;
    scene.gateway.restart()?;
    let asked = scene.message("/echo silence", "uncertain")?;
    echo(&scene, "next")?;
    assert_eq!(told(&scene, 2)?, ["silence", "next"]);
    let steps = scene.trace("crash", &asked["id"])?;
    let doubt = "perhaps taken by the service: the gateway stopped while it was being sent";
    assert!(steps.iter().any(|step| step == doubt), "{steps:?}");
    Ok(())
}

#[test]
fn slow_answers_are_waited_for() -> TestResult {
    let scene = Scene::start()?;
    let slow = || {
        Act::Taken(Taken::Trickle {
            piece: 40,
            pause: Duration::from_millis(50),
        })
    };
    scene.api.fault(of_sending(slow()));
    scene.fault_of_next_poll(Fault::on("getUpdates").act(slow()), "/echo one")?;
    scene.told(1)?;
    echo(&scene, "two")?;
    assert_eq!(told(&scene, 2)?, ["one", "two"]);
    scene.message("/echo one", "sent")?;
    scene.message("/echo two", "sent")?;
    Ok(())
}

/// A poll that goes wrong in this way: the messages come all the same, each once.
fn assert_polls_on(act: Act, calls: u32) -> TestResult {
    let scene = Scene::start()?;
    let what = format!("{act:?}");
    echo(&scene, "one")?;
    scene.told(1)?;
    let fault = Fault::on("getUpdates").times(calls).act(act);
    scene.fault_of_next_poll(fault, "/echo two")?;
    // It is in the list before the poll that goes wrong, or comes to the next one.
    echo(&scene, "three")?;
    assert_eq!(told(&scene, 3)?, ["one", "two", "three"], "{what}");
    healthy(&scene)?;
    echo(&scene, "four")?;
    assert_eq!(told(&scene, 4)?, ["one", "two", "three", "four"], "{what}");
    assert_eq!(times_of_sending(&scene), 4, "{what}");
    Ok(())
}

#[test]
fn polls_that_fail_lose_nothing_and_repeat_nothing() -> TestResult {
    assert_polls_on(Act::Answer(Answer::garbage()), 2)?;
    assert_polls_on(Act::Answer(Answer::bad_gateway()), 2)?;
    assert_polls_on(Act::Answer(Answer::too_many_requests(1)), 1)
}

#[test]
fn polls_whose_connection_breaks_lose_nothing_and_repeat_nothing() -> TestResult {
    assert_polls_on(Act::LostReset, 2)?;
    assert_polls_on(Act::Taken(Taken::ResetInBody), 1)?;
    assert_polls_on(Act::Taken(Taken::CloseInBody), 1)
}

#[test]
fn updates_that_come_twice_are_answered_once() -> TestResult {
    assert_polls_on(Act::UpdatesTwice, 2)?;
    assert_polls_on(Act::UpdatesAgain(usize::MAX), 2)
}

#[test]
fn a_gateway_that_lost_its_place_in_the_list_answers_nothing_twice() -> TestResult {
    let mut scene = Scene::start()?;
    echo(&scene, "one")?;
    echo(&scene, "two")?;
    scene.told(2)?;
    scene.message("/echo two", "sent")?;
    scene.gateway.kill()?;
    // The service, too, has forgotten how far the bot had come.
    let forgot = Fault::on("getUpdates")
        .times(3)
        .act(Act::UpdatesAgain(usize::MAX));
    scene.api.fault(forgot);
    scene.gateway.restart()?;
    echo(&scene, "three")?;
    assert_eq!(told(&scene, 3)?, ["one", "two", "three"]);
    assert_eq!(times_of_sending(&scene), 3);
    let known = scene.messages(&[])?;
    let heard = known.iter().filter(|row| row["direction"] == "in").count();
    assert_eq!(heard, 3, "{known:?}");
    Ok(())
}

#[test]
fn a_huge_file_is_left_out_and_its_message_answered() -> TestResult {
    let scene = Scene::start()?;
    for declared in [Declared::Size, Declared::Nothing] {
        let word = format!("{declared:?}");
        let file = Attachment::of_size("film.bin", 50 << 20, declared);
        let post = Post::by(&scene.anna, &format!("/echo {word}"));
        scene.api.post(post.with(file))?;
        let message = scene.message(&format!("/echo {word}"), "sent")?;
        assert_eq!(times(&scene, &word), 1);
        let steps = scene.trace("50 MB", &message["id"])?;
        assert!(
            steps
                .iter()
                .any(|step| step.contains("a file was left out")),
            "{steps:?}"
        );
    }
    Ok(())
}

#[test]
fn a_reply_to_somebody_who_blocked_the_bot_is_failed_and_says_why() -> TestResult {
    let scene = Scene::start()?;
    scene.api.fault(of_sending(Act::Answer(Answer::error(
        403,
        "Forbidden: bot was blocked by the user",
    ))));
    echo(&scene, "gone")?;
    let asked = scene.message("/echo gone", "failed")?;
    let steps = scene.trace("403", &asked["id"])?;
    assert!(
        steps.iter().any(|step| step.contains("blocked the bot")),
        "{steps:?}"
    );
    echo(&scene, "back")?;
    assert_eq!(told(&scene, 1)?, ["back"]);
    assert_eq!(asked["doubt"], json!(null));
    Ok(())
}

#[test]
fn a_reply_waits_while_the_token_is_not_accepted_and_is_sent_once() -> TestResult {
    let scene = Scene::start()?;
    let unknown = Answer::error(401, "Unauthorized");
    scene.api.fault(of_sending(Act::Answer(unknown)).times(2));
    echo(&scene, "one")?;
    echo(&scene, "two")?;
    assert_eq!(told(&scene, 2)?, ["one", "two"]);
    let asked = scene.message("/echo one", "sent")?;
    let steps = scene.trace("401", &asked["id"])?;
    let waits = |step: &&String| step.contains("not sent yet: the bot token is not accepted");
    assert_eq!(steps.iter().filter(waits).count(), 2, "{steps:?}");
    Ok(())
}

#[test]
fn formatting_that_the_service_refuses_is_left_out() -> TestResult {
    let scene = Scene::start()?;
    let refused = "Bad Request: can't parse entities: Unsupported start tag \"b\" at byte offset 0";
    scene
        .api
        .fault(of_sending(Act::Answer(Answer::error(400, refused))));
    echo(&scene, "**bold** words")?;
    assert_eq!(told(&scene, 1)?, ["**bold** words"]);
    scene.message("/echo **bold** words", "sent")?;
    Ok(())
}

//! The published client talks to an agent: stream, abort, reconnect in the middle of a run, pages.
//! Every frame is checked against the published schema on its way, and so are the parameters.

use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::GatewayProcess;
use clawgate_tests::model_endpoint::{Exchange, ModelEndpoint};
use clawgate_tests::reference_client::ReferenceClient;
use clawgate_tests::schema;
use serde_json::{Value, json};

use crate::openai::{done, gateway, node, text_of, two_calls};
use crate::support::{self, SESSION, text};

/// The one client of these tests.
const CLIENT: &str = "chat";

struct Chat {
    reference: ReferenceClient,
    endpoint: ModelEndpoint,
    gateway: GatewayProcess,
    calls: u64,
}

impl Chat {
    fn begin() -> TestResult<Self> {
        let endpoint = ModelEndpoint::open()?;
        let gateway = gateway(&endpoint)?;
        let mut reference = ReferenceClient::start()?;
        let options = json!({
            "url": gateway.url(),
            "token": gateway.token(),
            "scopes": ["operator.read", "operator.write", "operator.admin"],
            "caps": ["tool-events"],
        });
        reference.connect(CLIENT, options)?;
        reference.hello(CLIENT)?;
        Ok(Self {
            reference,
            endpoint,
            gateway,
            calls: 0,
        })
    }

    fn call(&mut self, method: &str, params: Value) -> TestResult<Value> {
        self.call_with(method, params, json!({}))
    }

    fn call_with(&mut self, method: &str, params: Value, options: Value) -> TestResult<Value> {
        schema::check_params(method, Some(&params))?;
        self.calls += 1;
        let id = format!("call-{}", self.calls);
        let call = json!({ "id": id, "method": method, "params": params, "options": options });
        self.reference.calls(CLIENT, vec![call])?;
        let mut answer = self.reference.answer(CLIENT, &id)?;
        if answer["ok"] == true {
            return Ok(answer["payload"].take());
        }
        Err(Failure::new(format!(
            "{method} was refused: {}",
            answer["error"]
        )))
    }

    fn send(&mut self, run: &str, message: &str) -> TestResult {
        let params = json!({ "sessionKey": SESSION, "message": message, "idempotencyKey": run });
        let answer = self.call("chat.send", params)?;
        assert_eq!(answer, json!({ "runId": run, "status": "started" }));
        Ok(())
    }

    /// Sends a message whose answer the model has begun with these words.
    fn send_and_begin(&mut self, run: &str, words: &str) -> TestResult<Exchange> {
        self.send(run, &format!("message of {run}"))?;
        let mut asked = self.endpoint.next()?;
        asked.begin()?;
        asked.stream(&text_of(&[words]), 5)?;
        self.heard(run, words)?;
        Ok(asked)
    }

    /// Waits until clients have heard so much of a reply.
    fn heard(&mut self, run: &str, words: &str) -> TestResult {
        self.reference
            .wait_for(CLIENT, "a piece of the reply", |report| {
                let payload = &report["event"]["payload"];
                payload["runId"] == run
                    && payload["state"] == "delta"
                    && text(&payload["message"]) == words
            })?;
        Ok(())
    }

    /// Waits for an event of a run with this `state`.
    fn end(&mut self, run: &str, state: &str) -> TestResult<Value> {
        let mut report = self
            .reference
            .wait_for(CLIENT, "the end of the run", |report| {
                let event = &report["event"];
                event["event"] == "chat"
                    && event["payload"]["runId"] == run
                    && event["payload"]["state"] != "delta"
            })?;
        let end = report["event"]["payload"].take();
        assert_eq!(end["state"], state, "{end}");
        Ok(end)
    }

    /// Sends a message, and lets the model answer it.
    fn exchange(&mut self, run: &str, reply: &str) -> TestResult {
        let mut asked = self.send_and_begin(run, reply)?;
        asked.stream(&done(), 64)?;
        asked.end();
        let end = self.end(run, "final")?;
        assert_eq!(text(&end["message"]), reply);
        Ok(())
    }

    fn history(&mut self, more: &[(&str, Value)]) -> TestResult<Value> {
        let mut params = json!({ "sessionKey": SESSION });
        for (name, value) in more {
            params[*name] = value.clone();
        }
        self.call("chat.history", params)
    }
}

/// The texts of the messages of a page.
fn texts(page: &Value) -> Vec<String> {
    page["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect()
}

#[test]
fn the_published_client_sees_a_run_from_its_tools_to_its_end() -> TestResult {
    let mut chat = Chat::begin()?;
    let mut watcher = support::client(&chat.gateway)?;
    let node = node(&chat.gateway, &mut watcher)?;
    let listed = chat.call("node.list", json!({}))?;
    let rows = listed["nodes"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["nodeId"] == node.id());
    assert!(row.is_some_and(|row| row["connected"] == true), "{listed}");
    chat.call("sessions.subscribe", json!({}))?;
    chat.call("sessions.messages.subscribe", json!({ "key": SESSION }))?;
    chat.send("with-tools", "how warm is it?")?;
    let mut asked = chat.endpoint.next()?;
    let function = asked.body()["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| tool["function"]["name"].as_str())
        .find(|name| name.ends_with("room_read"))
        .unwrap_or_default()
        .to_owned();
    asked.begin()?;
    asked.stream(&two_calls(&function), 11)?;
    asked.end();
    for phase in ["start", "start", "result", "result"] {
        chat.reference.wait_for(CLIENT, phase, |report| {
            let payload = &report["event"]["payload"];
            payload["stream"] == "tool" && payload["data"]["phase"] == phase
        })?;
    }
    let mut asked = chat.endpoint.next()?;
    asked.begin()?;
    asked.stream(&text_of(&["21,5 °C"]), 2)?;
    chat.heard("with-tools", "21,5 °C")?;
    asked.stream(&done(), 3)?;
    asked.end();
    let end = chat.end("with-tools", "final")?;
    assert_eq!(text(&end["message"]), "21,5 °C");
    // Who follows the session got each row of its transcript, and changes of the list.
    for role in ["user", "toolResult", "toolResult", "assistant"] {
        let told = chat.reference.event(CLIENT, "session.message")?;
        assert_eq!(told["payload"]["message"]["role"], role, "{told}");
    }
    let changed = chat.reference.event(CLIENT, "sessions.changed")?;
    schema::check_definition("SessionRow", &changed["payload"]["session"])?;
    // `agent` is answered twice on one id; the client waits for the second one.
    let params = json!({ "message": "again", "sessionKey": SESSION, "idempotencyKey": "agent-1" });
    schema::check_params("agent", Some(&params))?;
    let call = json!({
        "id": "agent", "method": "agent", "params": params, "options": { "expectFinal": true },
    });
    chat.reference.calls(CLIENT, vec![call])?;
    let mut asked = chat.endpoint.next()?;
    asked.begin()?;
    asked.stream(&(text_of(&["Again."]) + &done()), 500)?;
    asked.end();
    let answer = chat.reference.answer(CLIENT, "agent")?;
    let payload = &answer["payload"];
    assert_eq!(payload["status"], "ok", "{answer}");
    assert_eq!(payload["result"]["payloads"], json!([{ "text": "Again." }]));
    Ok(())
}

#[test]
fn the_published_client_comes_back_in_the_middle_of_a_run() -> TestResult {
    let mut chat = Chat::begin()?;
    chat.exchange("before", "What was before.")?;
    let cursor = chat.history(&[])?["deltaCursor"].take();
    let mut asked = chat.send_and_begin("in-between", "Half of it")?;
    chat.reference.lose_connection(CLIENT)?;
    chat.reference.wait(CLIENT, "close")?;
    chat.reference.hello(CLIENT)?;
    // The run under way, and what came since the cursor.
    let page = chat.history(&[])?;
    assert_eq!(
        page["inFlightRun"],
        json!({ "runId": "in-between", "text": "Half of it" })
    );
    let since = chat.history(&[("cursor", cursor.clone())])?;
    assert_eq!(since["kind"], "delta", "{since}");
    assert_eq!(texts(&since), ["message of in-between"]);
    assert_eq!(since["inFlightRun"]["text"], "Half of it");
    // The rest comes to the new connection.
    asked.stream(&text_of(&[", and the rest"]), 4)?;
    chat.heard("in-between", "Half of it, and the rest")?;
    asked.stream(&done(), 64)?;
    asked.end();
    let end = chat.end("in-between", "final")?;
    assert_eq!(text(&end["message"]), "Half of it, and the rest");
    let since = chat.history(&[("cursor", since["deltaCursor"].clone())])?;
    assert_eq!(texts(&since), ["Half of it, and the rest"]);
    assert!(since["inFlightRun"].is_null(), "{since}");
    // Another life of the session: the cursor says nothing any more.
    chat.call("sessions.reset", json!({ "key": SESSION }))?;
    let reset = chat.history(&[("cursor", cursor)])?;
    assert_eq!(reset, json!({ "kind": "reset" }));
    Ok(())
}

#[test]
fn the_published_client_aborts_and_turns_pages() -> TestResult {
    let mut chat = Chat::begin()?;
    let asked = chat.send_and_begin("stopped", "As far as")?;
    let aborted = chat.call(
        "chat.abort",
        json!({ "sessionKey": SESSION, "runId": "stopped" }),
    )?;
    assert_eq!(aborted["runIds"], json!(["stopped"]));
    asked.closed()?;
    let end = chat.end("stopped", "aborted")?;
    assert_eq!(text(&end["message"]), "As far as");
    for number in 1..=3 {
        chat.exchange(&format!("run-{number}"), &format!("reply {number}"))?;
    }
    // All pages together are the whole transcript, the newest page first.
    let whole = texts(&chat.history(&[])?);
    assert_eq!(whole.len(), 8);
    let mut pages: Vec<String> = Vec::new();
    let mut offset = json!(0);
    loop {
        let page = chat.history(&[("limit", json!(3)), ("offset", offset)])?;
        pages.splice(0..0, texts(&page));
        if page["hasMore"] != true {
            break;
        }
        offset = page["nextOffset"].clone();
    }
    assert_eq!(pages, whole);
    // Sessions are listed, changed and begun again.
    let patched = chat.call(
        "sessions.patch",
        json!({ "key": SESSION, "label": "Kitchen" }),
    )?;
    assert_eq!(patched["ok"], true, "{patched}");
    let listed = chat.call("sessions.list", json!({ "includeLastMessage": true }))?;
    let row = listed["sessions"][0].clone();
    assert_eq!(
        (&row["key"], &row["label"]),
        (&json!(SESSION), &json!("Kitchen"))
    );
    let life = row["sessionId"].clone();
    let reset = chat.call("sessions.reset", json!({ "key": SESSION, "reason": "new" }))?;
    assert_ne!(reset["entry"]["sessionId"], life, "{reset}");
    assert_eq!(texts(&chat.history(&[])?), Vec::<String>::new());
    // What was said before is still there for who names that life.
    let before = chat.history(&[("sessionId", life)])?;
    assert_eq!(texts(&before), whole);
    Ok(())
}

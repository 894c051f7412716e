//! What the gateway counts: after a known story, every number is known.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test panics when a promise is broken"
)]

mod common;
#[path = "../../tests/src/openmetrics.rs"]
#[allow(dead_code, unreachable_pub, reason = "made for other tests, too")]
mod openmetrics;

use std::{collections::VecDeque, time::Duration};

use clawgate_core::{
    gateway::{EffectOutcome, Ended, HttpRequest, HttpVerdict, ProcessStats, WorkKind},
    ids::ConnId,
    metrics::{CallResult, Form},
    policy::RequestHeaders,
    server::PeerFacts,
    store::StoreFailure,
};
use common::{Device, Host, connect_params, token_rule};
use openmetrics::Numbers;
use serde_json::{Value, json};

const TOKEN: &str = "canary-of-the-token";
const ADMIN: &[&str] = &["operator.admin", "operator.pairing"];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn host() -> Host {
    Host::new(token_rule(TOKEN))
}

fn page(host: &Host, form: Form) -> String {
    let page = host.gateway.metrics_page(host.now, form, &host.sample());
    assert_eq!((page.status, page.content_type), (200, form.content_type()));
    page.body
}

fn numbers(host: &Host) -> Numbers {
    let text = page(host, Form::OpenMetrics);
    openmetrics::read(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

/// Everything that is not 0, but for buckets and bytes.
fn told(host: &Host) -> Vec<String> {
    let text = page(host, Form::OpenMetrics);
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.ends_with(" 0"))
        .filter(|line| !line.contains("_bucket{") && !line.contains("_bytes"))
        .map(|line| line.strip_prefix("clawgate_").unwrap().to_owned())
        .collect()
}

fn call(host: &mut Host, conn: ConnId, method: &str, params: Value) -> Value {
    host.ask(conn, method, params)
}

fn approved_node(host: &mut Host, admin: ConnId) -> (ConnId, String) {
    let mut device = Device::node(9).local().with(json!({ "token": TOKEN }));
    device.client.device_family = Some("Linux".into());
    device.claims = json!({ "caps": ["system"], "commands": ["system.which"] });
    let (conn, _) = host.welcome(&device);
    let pending = host.get(admin, "node.pair.list", json!({}))["pending"].clone();
    let params = json!({ "requestId": pending[0]["requestId"] });
    host.get(admin, "node.pair.approve", params);
    while host.try_recv(conn).is_some() {}
    (conn, device.id())
}

fn invoke(host: &mut Host, admin: ConnId, node: &str, id: &str) {
    let params = json!({
        "nodeId": node, "command": "system.which", "params": {"bins": ["git"]},
        "timeoutMs": 5_000, "idempotencyKey": id,
    });
    host.call(admin, id, "node.invoke", params);
}

#[test]
fn every_number_is_what_happened() {
    let mut host = host();
    assert_eq!(told(&host), ["build_info{version=\"0.0.0\"} 1"]);

    // Six come, and two are let in.
    let admin = host.connect(TOKEN, ADMIN);
    let reader = host.connect(TOKEN, &["operator.read"]);
    let wrong = host.open();
    host.call(wrong, "1", "connect", connect_params("wrong", &[]));
    host.advance(Duration::from_secs(2));
    let broken = host.open();
    host.send_text(broken, "{}");
    let silent = host.open();
    host.advance(Duration::from_secs(60));
    assert!(host.closed(silent).is_some());
    let gone = host.open();
    host.drop_connection(gone);

    // Calls that end in each way.
    for _ in 0..3 {
        call(&mut host, reader, "health", json!({}));
    }
    call(&mut host, reader, "logs.tail", json!({"limit": 0}));
    let params = json!({"enabled": true});
    call(&mut host, reader, "set-heartbeats", params);
    call(&mut host, admin, "no.such.method", json!({}));
    call(&mut host, admin, "node.event", json!({}));
    host.send_text(admin, r#"{"type":"req"}"#);
    assert_eq!(host.recv_response(admin)["ok"], false);
    // One takes the host 40 ms, and one is never answered.
    host.call(reader, "a", "status", json!({}));
    host.advance(Duration::from_millis(40));
    host.call(reader, "b", "status", json!({}));
    let process = EffectOutcome::Process(ProcessStats { rss_bytes: 7 });
    let effects = std::mem::take(&mut host.effects);
    host.complete(effects[0].id, process);
    assert_eq!(host.recv_response(reader)["ok"], true);
    host.drop_connection(reader);

    // A slow disk, and then a full one.
    host.disk.waiting = Some(VecDeque::new());
    let words = json!({"triggers": ["hello"]});
    host.call(admin, "c", "voicewake.set", words.clone());
    host.advance(Duration::from_millis(20));
    let depth = |host: &Host, queue| numbers(host).get("clawgate_queue_depth", &[("queue", queue)]);
    assert_eq!((depth(&host, "commits"), depth(&host, "calls")), (1.0, 1.0));
    while host.write() {}
    assert_eq!(host.recv_response(admin)["ok"], true);
    host.disk.failure = Some(StoreFailure::Full);
    host.call(admin, "d", "voicewake.set", words);
    host.advance(Duration::from_millis(3));
    while host.write() {}
    assert_eq!(host.recv_response(admin)["ok"], false);
    host.disk.failure = None;
    host.disk.waiting = None;

    // A node that answers once, and then not.
    let (node, id) = approved_node(&mut host, admin);
    for (name, answers) in [("e", true), ("f", false)] {
        invoke(&mut host, admin, &id, name);
        let event = host.recv(node)["payload"].clone();
        host.advance(Duration::from_millis(7));
        assert_eq!(depth(&host, "node_invokes"), 1.0);
        if answers {
            let params = json!({"id": event["id"], "nodeId": id, "ok": true, "payload": {}});
            call(&mut host, node, "node.invoke.result", params);
        } else {
            host.advance(Duration::from_secs(5));
        }
        assert_eq!(host.recv_response(admin)["ok"], answers);
    }

    // A run of the built-in agent.
    let params = json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "g"});
    call(&mut host, admin, "chat.send", params);
    host.advance(Duration::from_millis(200));

    // Requests over HTTP.
    let peer = PeerFacts::direct([127, 0, 0, 1].into());
    for target in ["/healthz", "/readyz", "/nowhere", "/metrics"] {
        let request = HttpRequest {
            method: "GET",
            target,
            peer: &peer,
        };
        host.head(&request);
    }

    assert_eq!(
        told(&host),
        [
            "build_info{version=\"0.0.0\"} 1",
            "uptime_seconds 67.277",
            // The host has not taken away yet whom the gateway sent away.
            "connections{role=\"none\"} 3",
            "connections{role=\"operator\"} 1",
            "connections{role=\"node\"} 1",
            "connections_accepted_total 7",
            "handshakes_total{result=\"ok\"} 3",
            "handshakes_total{result=\"malformed\"} 1",
            "handshakes_total{result=\"timeout\"} 1",
            "handshakes_total{result=\"gone\"} 1",
            "handshakes_total{result=\"AUTH_TOKEN_MISMATCH\"} 1",
            "connections_closed_total{reason=\"handshake_timeout\"} 1",
            "connections_closed_total{reason=\"refused\"} 2",
            "connections_closed_total{reason=\"peer\"} 2",
            "messages_received_total 23",
            "calls_total{method=\"health\",result=\"ok\"} 3",
            "calls_total{method=\"logs.tail\",result=\"invalid_request\"} 1",
            "calls_total{method=\"status\",result=\"ok\"} 1",
            "calls_total{method=\"status\",result=\"abandoned\"} 1",
            "calls_total{method=\"voicewake.set\",result=\"ok\"} 1",
            "calls_total{method=\"voicewake.set\",result=\"unavailable\"} 1",
            "calls_total{method=\"set-heartbeats\",result=\"missing_scope\"} 1",
            "calls_total{method=\"node.pair.list\",result=\"ok\"} 1",
            "calls_total{method=\"node.pair.approve\",result=\"ok\"} 1",
            "calls_total{method=\"node.invoke\",result=\"ok\"} 1",
            "calls_total{method=\"node.invoke\",result=\"unavailable\"} 1",
            "calls_total{method=\"node.invoke.result\",result=\"ok\"} 1",
            "calls_total{method=\"node.event\",result=\"wrong_role\"} 1",
            "calls_total{method=\"chat.send\",result=\"ok\"} 1",
            "calls_total{method=\"unknown\",result=\"invalid_request\"} 1",
            "calls_total{method=\"unknown\",result=\"unknown_method\"} 1",
            "call_duration_seconds_count{method=\"health\"} 3",
            "call_duration_seconds_count{method=\"logs.tail\"} 1",
            "call_duration_seconds_count{method=\"status\"} 1",
            "call_duration_seconds_sum{method=\"status\"} 0.04",
            "call_duration_seconds_count{method=\"voicewake.set\"} 2",
            "call_duration_seconds_sum{method=\"voicewake.set\"} 0.023",
            "call_duration_seconds_count{method=\"node.pair.list\"} 1",
            "call_duration_seconds_count{method=\"node.pair.approve\"} 1",
            "call_duration_seconds_count{method=\"node.invoke\"} 2",
            "call_duration_seconds_sum{method=\"node.invoke\"} 5.007",
            "call_duration_seconds_count{method=\"node.invoke.result\"} 1",
            "call_duration_seconds_count{method=\"chat.send\"} 1",
            "node_invokes_total{result=\"ok\"} 1",
            "node_invokes_total{result=\"timeout\"} 1",
            "node_invoke_duration_seconds_count 2",
            "node_invoke_duration_seconds_sum 5.007",
            "store_commits_total{result=\"ok\"} 9",
            "store_commits_total{result=\"failed\"} 1",
            "store_commit_duration_seconds_count 10",
            "store_commit_duration_seconds_sum 0.023",
            "runs_total{result=\"done\"} 1",
            "run_duration_seconds_count 1",
            "http_requests_total{route=\"probe\",class=\"2xx\"} 2",
            "http_requests_total{route=\"metrics\",class=\"4xx\"} 1",
            "http_requests_total{route=\"other\",class=\"4xx\"} 1",
        ]
    );
    // The same by size: a call of 40 ms is over 25 ms and not over 50.
    let numbers = numbers(&host);
    let bucket = |le| {
        let labels = [("le", le), ("method", "status")];
        numbers.get("clawgate_call_duration_seconds_bucket", &labels)
    };
    assert_eq!(
        (bucket("0.025"), bucket("0.05"), bucket("+Inf")),
        (0.0, 1.0, 1.0)
    );
}

#[test]
fn a_slow_client_is_counted_when_it_is_sent_away() {
    let mut host = host().with_limits(|limits| limits.max_buffered_bytes = 40_000);
    let conn = host.connect(TOKEN, ADMIN);
    let number = |host: &Host, name| numbers(host).get(name, &[]);
    host.stall(conn);
    let mut most = 0.0_f64;
    for _ in 0..1_000 {
        host.call(conn, "1", "health", json!({}));
        most = most.max(number(&host, "clawgate_outbound_buffered_largest_bytes"));
        if host.closed(conn).is_some() {
            break;
        }
    }
    assert_eq!(host.closed(conn).unwrap().1, "slow consumer");
    assert!(most > 0.0 && most <= 40_000.0, "{most}");
    assert_eq!(number(&host, "clawgate_slow_consumer_closes_total"), 1.0);
    host.drop_connection(conn);
    assert_eq!(number(&host, "clawgate_slow_consumer_closes_total"), 1.0);
    let closed =
        |reason| numbers(&host).get("clawgate_connections_closed_total", &[("reason", reason)]);
    assert_eq!((closed("slow_consumer"), closed("peer")), (1.0, 0.0));
}

#[test]
fn what_a_client_makes_up_is_no_label() {
    let mut host = host();
    let admin = host.connect(TOKEN, ADMIN);
    for number in 0..500 {
        host.ask(admin, &format!("made.up.{number}"), json!({}));
    }
    let numbers = numbers(&host);
    let labels = [("method", "unknown"), ("result", "unknown_method")];
    assert_eq!(numbers.get("clawgate_calls_total", &labels), 500.0);
    let methods: Vec<_> = numbers.values_of("method").into_iter().collect();
    assert_eq!(methods, ["unknown"]);
    assert!(!page(&host, Form::OpenMetrics).contains(TOKEN));
}

#[test]
fn both_forms_tell_the_same() {
    let mut host = host();
    let admin = host.connect(TOKEN, ADMIN);
    host.get(admin, "health", json!({}));
    let values = |form| -> Vec<String> {
        page(&host, form)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(values(Form::OpenMetrics), values(Form::Prometheus));
}

#[test]
fn the_page_is_for_callers_of_this_machine_and_for_those_who_authorise() {
    let mut host = host();
    let bearer = format!("Bearer {TOKEN}");
    let own = ("host", "127.0.0.1:18789");
    let mut ask = |method: &str, ip: [u8; 4], headers: &[(&str, &str)]| {
        let mut peer = PeerFacts::direct(ip.into());
        peer.headers = RequestHeaders::new(headers.iter().copied());
        let request = HttpRequest {
            method,
            target: "/metrics?x=1",
            peer: &peer,
        };
        match host.head(&request) {
            HttpVerdict::Metrics(form) => Ok(form),
            HttpVerdict::Answer(answer) => Err(answer.status),
            HttpVerdict::Body { .. } | HttpVerdict::Upgrade => panic!("something else"),
        }
    };
    let (here, there) = ([127, 0, 0, 1], [203, 0, 113, 5]);
    let allowed = Ok(Form::OpenMetrics);
    assert_eq!(ask("GET", here, &[own]), allowed);
    assert_eq!(ask("HEAD", here, &[own]), allowed);
    assert_eq!(ask("POST", here, &[own]), Err(405));
    assert_eq!(
        ask("GET", here, &[own, ("accept", "text/plain")]),
        Ok(Form::Prometheus)
    );
    // Pages of other sites, and names that were made to lead here.
    assert_eq!(
        ask("GET", here, &[own, ("origin", "https://evil.example")]),
        Err(403)
    );
    assert_eq!(
        ask("GET", here, &[own, ("sec-fetch-site", "cross-site")]),
        Err(403)
    );
    let rebound = [("host", "evil.example"), ("sec-fetch-site", "same-origin")];
    assert_eq!(ask("GET", here, &rebound), Err(403));
    assert_eq!(ask("GET", here, &[("host", "evil.example")]), Err(401));
    // From elsewhere, with and without the token.
    assert_eq!(ask("GET", there, &[own]), Err(401));
    assert_eq!(
        ask("GET", there, &[own, ("authorization", "Bearer wrong")]),
        Err(401)
    );
    assert_eq!(
        ask("GET", there, &[own, ("authorization", &bearer)]),
        allowed
    );
}

#[test]
fn readers_get_the_numbers_as_json_and_administrators_the_connections() {
    let mut host = host();
    let admin = host.connect(TOKEN, ADMIN);
    let reader = host.connect(TOKEN, &["operator.read"]);
    let nobody = host.connect(TOKEN, &[]);
    let refused = host.ask(nobody, "clawgate.metrics", json!({}));
    assert_eq!(refused["error"]["details"]["code"], "MISSING_SCOPE");
    host.get(reader, "health", json!({}));
    let told = host.get(reader, "clawgate.metrics", json!({}));
    assert_eq!(told["connections"]["open"]["operator"], 3);
    let refused = host.ask(reader, "clawgate.connections", json!({}));
    assert_eq!(refused["error"]["details"]["code"], "MISSING_SCOPE");
    let health = &told["calls"].as_array().unwrap()[0];
    assert_eq!(
        (&health["method"], &health["results"]["ok"]),
        (&json!("health"), &json!(1))
    );
    let bounds = told["bounds"].as_array().unwrap().len();
    assert_eq!(
        health["times"]["counts"].as_array().unwrap().len(),
        bounds + 1
    );
    let told = host.get(admin, "clawgate.connections", json!({}));
    let clients = told["connections"].as_array().unwrap();
    assert_eq!(clients.len(), 3);
    let own = clients
        .iter()
        .find(|row| row["conn"] == admin.to_string())
        .unwrap();
    assert_eq!(
        (&own["role"], &own["client"], &own["calls"]),
        (&json!("operator"), &json!("cli"), &json!(1))
    );
    assert!(!told.to_string().contains(TOKEN));
    let refused = host.ask(admin, "clawgate.metrics", json!({"x": 1}));
    assert_eq!(refused["error"]["code"], "INVALID_REQUEST");
}

#[test]
fn what_a_call_causes_stays_in_its_trace() {
    let mut host = host();
    host.keep_work_log();
    let admin = host.connect(TOKEN, ADMIN);
    let (node, id) = approved_node(&mut host, admin);
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let message = json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "run"});
    let invoke = json!({
        "nodeId": id, "command": "system.which", "params": {"bins": ["git"]},
        "idempotencyKey": "k",
    });
    for (request, method, params) in [("a", "chat.send", message), ("b", "node.invoke", invoke)] {
        let frame = json!({
            "type": "req", "id": request, "method": method, "params": params,
            "traceparent": parent,
        });
        host.send_text(admin, &frame.to_string());
    }
    host.advance(Duration::from_millis(200));
    let sent = std::iter::from_fn(|| host.try_recv(node))
        .find(|frame| frame["event"] == "node.invoke.request")
        .unwrap();
    // A node may be anybody's program, and its events have a closed shape.
    assert!(!sent.to_string().contains(TRACE), "{sent}");
    let params = json!({"id": sent["payload"]["id"], "nodeId": id, "ok": true, "payload": {}});
    host.get(node, "node.invoke.result", params);

    let ended: Vec<_> = std::iter::from_fn(|| host.gateway.poll_ended()).collect();
    let call = |request: &str| {
        let found = ended.iter().find_map(|ended| match ended {
            Ended::Call(call) if call.request.as_str() == request => call.span,
            Ended::Call(_) | Ended::Work(_) => None,
        });
        found.unwrap()
    };
    let work = |kind| {
        let found = ended.iter().find_map(|ended| match ended {
            Ended::Work(work) if work.kind == kind => Some(work),
            Ended::Call(_) | Ended::Work(_) => None,
        });
        found.unwrap()
    };
    let run = work(WorkKind::Run);
    assert_eq!(
        (run.id.as_str(), run.what.as_str(), run.result),
        ("run", "main", "done")
    );
    let invoked = work(WorkKind::NodeCall);
    assert_eq!((&invoked.id, invoked.what.as_str()), (&id, "system.which"));
    for (span, cause) in [(run.span, call("a")), (invoked.span, call("b"))] {
        let span = span.unwrap();
        assert_eq!(span.trace().to_string(), TRACE);
        assert_eq!(span.parent(), cause.id());
        assert_eq!(cause.parent().to_string(), SPAN);
    }
}

#[test]
fn a_call_is_logged_with_its_end_and_its_trace() {
    let mut host = host();
    host.keep_work_log();
    let admin = host.connect(TOKEN, ADMIN);
    let traced = |id: &str, method: &str, trace: &str| {
        json!({"type": "req", "id": id, "method": method, "traceparent": trace}).to_string()
    };
    let parent = format!("00-{TRACE}-{SPAN}-01");
    host.send_text(admin, &traced("a", "health", &parent));
    host.send_text(admin, &traced("b", "health", "00-nonsense"));
    host.send_text(admin, &traced("c", "no.such.method", &parent));
    host.call(admin, "d", "status", json!({}));
    host.advance(Duration::from_millis(1_500));
    let process = EffectOutcome::Process(ProcessStats { rss_bytes: 7 });
    let effect = host.effects.remove(0).id;
    host.complete(effect, process);
    let ended: Vec<_> = std::iter::from_fn(|| host.gateway.poll_ended())
        .filter_map(|ended| match ended {
            Ended::Call(call) => Some(call),
            Ended::Work(_) => None,
        })
        .collect();
    let told: Vec<_> = ended
        .iter()
        .map(|call| {
            (
                call.request.as_str(),
                call.method_name(),
                call.result,
                call.is_notable(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a", "health", CallResult::Ok, false),
            ("b", "health", CallResult::Ok, false),
            ("c", "unknown", CallResult::UnknownMethod, true),
            ("d", "status", CallResult::Ok, true),
        ]
    );
    let span = ended[0].span.unwrap();
    assert_eq!(
        (span.trace().to_string(), span.parent().to_string()),
        (TRACE.into(), SPAN.into())
    );
    assert_ne!(span.id().to_string(), SPAN);
    assert!(ended[1].span.is_none());
    assert_eq!(ended[3].took, Some(Duration::from_millis(1_500)));
    // A frame that is too long there is refused, as the protocol has it.
    host.send_text(admin, &traced("e", "health", &"0".repeat(129)));
    let answers: Vec<Value> = std::iter::from_fn(|| host.try_recv(admin)).collect();
    assert_eq!(answers.last().unwrap()["error"]["code"], "INVALID_REQUEST");
}

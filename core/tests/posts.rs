//! Requests with a body: which are taken, when they are answered, and what a lost disk means for them.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking"
)]

mod common;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clawgate_core::{
    channel::{
        AccessPolicy, Account, AccountRef, Channel, ChannelJob, ChannelOutput, ChannelStatus,
        Channels, DmPolicy, Errand, FileRef, Outgoing, Post, PostId,
        webhook::{SIGNATURE_HEADER, TIMESTAMP_HEADER, Webhook, WebhookSetup, check_url, sign},
    },
    gateway::{Effect, HttpAnswer, HttpRequest, HttpVerdict},
    job::{HttpHead, JobEnd, JobEvent, JobSpec},
    policy::{Ingress, RequestHeaders, UrlPolicy},
    secret::Secret,
    server::PeerFacts,
    store::{StoreFailure, Table},
    time::Now,
};
use common::{Host, token_rule};
use serde_json::Value;

const PATH: &str = "/channels/webhook/default";
const SECRET: &str = "a secret for the tests";
const MESSAGE: &str = r#"{"id":"1","chat":"c","sender":{"id":"ada"},"text":"hi"}"#;

/// A channel that never answers.
#[derive(Debug)]
enum Mute {
    /// It takes requests.
    Hears,
    /// It is reached in another way.
    Deaf,
}

impl Channel for Mute {
    fn start(&mut self, _: Now, _: Option<&str>) {}
    fn stop(&mut self, _: Now) {}
    fn handle_job(&mut self, _: Now, _: ChannelJob, _: JobEvent) {}
    fn send(&mut self, _: Now, _: Errand, _: Outgoing) {}
    fn fetch(&mut self, _: Now, _: Errand, _: &FileRef) {}
    fn takes_posts(&self) -> bool {
        matches!(self, Self::Hears)
    }
    fn post(&mut self, _: Now, _: Post) -> bool {
        self.takes_posts()
    }
    fn split(&self, text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }
    fn handle_timeout(&mut self, _: Now) {}
    fn poll_output(&mut self) -> Option<ChannelOutput> {
        None
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn status(&self) -> ChannelStatus {
        ChannelStatus::default()
    }
}

fn account(machine: Box<dyn Channel>) -> Account {
    Account {
        label: "Test".into(),
        enabled: true,
        access: AccessPolicy {
            dm: DmPolicy::Open,
            ..AccessPolicy::default()
        },
        lock: None,
        digest: [0; 32],
        machine: Ok(machine),
    }
}

fn channels() -> Channels {
    channels_with(None)
}

/// The same, with replies that go somewhere.
fn channels_with(url: Option<&str>) -> Channels {
    let webhook = Webhook::new(WebhookSetup {
        account: AccountRef::new("webhook", "default"),
        secret: Secret::new(SECRET),
        url: url.map(|url| check_url(url, UrlPolicy::Strict).unwrap()),
        typing: false,
    });
    let broken = Account {
        machine: Err("it has no secret".into()),
        ..account(Box::new(Mute::Deaf))
    };
    Channels::default()
        .with(
            AccountRef::new("webhook", "default"),
            account(Box::new(webhook.unwrap())),
        )
        .with(AccountRef::new("webhook", "broken"), broken)
        .with(
            AccountRef::new("mute", "default"),
            account(Box::new(Mute::Hears)),
        )
        .with(
            AccountRef::new("deaf", "default"),
            account(Box::new(Mute::Deaf)),
        )
}

fn host() -> Host {
    let mut host = Host::new(token_rule("hunter2")).with_channels(channels);
    host.advance(Duration::ZERO);
    host
}

fn peer(headers: &[(&str, &str)]) -> PeerFacts {
    PeerFacts {
        headers: RequestHeaders::new(headers.iter().copied()),
        ..PeerFacts::direct([203, 0, 113, 5].into())
    }
}

fn ask(host: &mut Host, method: &str, target: &str, peer: &PeerFacts) -> HttpVerdict {
    let request = HttpRequest {
        method,
        target,
        peer,
    };
    host.head(&request)
}

fn refused(verdict: HttpVerdict) -> HttpAnswer {
    match verdict {
        HttpVerdict::Answer(answer) => answer,
        HttpVerdict::Body { .. } | HttpVerdict::Metrics(_) | HttpVerdict::Upgrade => {
            panic!("no answer")
        }
    }
}

fn taken(verdict: HttpVerdict) -> PostId {
    match verdict {
        HttpVerdict::Body { post, .. } => post,
        HttpVerdict::Answer(answer) => panic!("{answer:?} asks for no body"),
        HttpVerdict::Metrics(_) | HttpVerdict::Upgrade => panic!("no body"),
    }
}

fn header<'a>(answer: &'a HttpAnswer, name: &str) -> Option<&'a str> {
    let found = answer.headers.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.as_str())
}

/// Sends a message that is signed now.
fn send(host: &mut Host, target: &str, body: &str) -> PostId {
    let seconds = host.now.wall.0 / 1_000;
    let signature = sign(&Secret::new(SECRET), seconds, PATH, body.as_bytes());
    let (time, length) = (seconds.to_string(), body.len().to_string());
    let peer = peer(&[
        ("content-length", &length),
        (TIMESTAMP_HEADER, &time),
        (SIGNATURE_HEADER, &signature),
    ]);
    let post = taken(ask(host, "POST", target, &peer));
    let request = HttpRequest {
        method: "POST",
        target,
        peer: &peer,
    };
    host.post(post, &request, Bytes::copy_from_slice(body.as_bytes()));
    post
}

fn answers(host: &mut Host) -> Vec<(PostId, u16)> {
    let posts = std::mem::take(&mut host.posts).into_iter();
    posts.map(|(post, answer)| (post, answer.status)).collect()
}

/// Messages that somebody wrote.
fn messages(host: &Host) -> usize {
    let rows = host.disk.rows.iter();
    rows.filter(|((table, _), document)| {
        let record: Value = document.parse().unwrap();
        *table == Table::ChannelMessage && record["text"] == "hi"
    })
    .count()
}

#[test]
fn the_head_decides_whether_a_body_is_read() {
    let mut host = host();
    let long = (1024 * 1024 + 1).to_string();
    let good = [("content-length", "2")];
    type Head<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);
    let table: &[Head<'_>] = &[
        ("GET", PATH, &[], 405),
        ("PUT", PATH, &good, 405),
        ("OPTIONS", PATH, &[], 405),
        ("POST", "/channels/webhook/other", &good, 404),
        ("POST", "/channels/webhook/broken", &good, 404),
        ("POST", "/channels/webhook/", &good, 404),
        ("POST", "/channels/webhook/default/", &good, 404),
        ("POST", "/channels/webhook/%64efault", &good, 404),
        ("POST", "/channels/deaf/default", &good, 404),
        ("POST", "/channels", &good, 404),
        ("POST", PATH, &[], 411),
        ("POST", PATH, &[("transfer-encoding", "chunked")], 411),
        (
            "POST",
            PATH,
            &[good[0], ("transfer-encoding", "chunked")],
            400,
        ),
        ("POST", PATH, &[good[0], ("Content-Length", "3")], 400),
        ("POST", PATH, &[("content-length", "-1")], 400),
        ("POST", PATH, &[("content-length", "+2")], 400),
        ("POST", PATH, &[("content-length", "")], 400),
        ("POST", PATH, &[("content-length", &long)], 413),
        (
            "POST",
            PATH,
            &[("content-length", "99999999999999999999999")],
            413,
        ),
    ];
    for (method, target, headers, status) in table {
        let answer = refused(ask(&mut host, method, target, &peer(headers)));
        assert_eq!(answer.status, *status, "{method} {target} {headers:?}");
        if *status == 405 {
            assert_eq!(header(&answer, "Allow"), Some("POST"));
        }
    }
    for target in [PATH, "/channels/webhook/default?from=here"] {
        taken(ask(&mut host, "POST", target, &peer(&good)));
    }
}

#[test]
fn headers_of_a_proxy_that_nobody_trusts_are_refused() {
    let mut host = host();
    let stranger = PeerFacts {
        ingress: Ingress::Unattributable,
        ..peer(&[("content-length", "2"), ("x-forwarded-for", "127.0.0.1")])
    };
    let answer = refused(ask(&mut host, "POST", PATH, &stranger));
    assert_eq!(answer.status, 403);
    assert!(answer.warning.is_some());
    // A path that is not there says nothing of that.
    let answer = refused(ask(&mut host, "POST", "/channels/webhook/other", &stranger));
    assert_eq!((answer.status, answer.warning), (404, None));
}

#[test]
fn so_many_are_taken_at_once() {
    let mut host = host();
    let peer = peer(&[("content-length", "2")]);
    let mut open: VecDeque<PostId> = VecDeque::new();
    for _ in 0..host.limits.max_posts {
        open.push_back(taken(ask(&mut host, "POST", PATH, &peer)));
    }
    let answer = refused(ask(&mut host, "POST", PATH, &peer));
    assert_eq!(
        (answer.status, header(&answer, "Retry-After")),
        (503, Some("5"))
    );
    host.gateway.forget_post(open.pop_front().unwrap());
    taken(ask(&mut host, "POST", PATH, &peer));
}

#[test]
fn the_answer_waits_for_the_disk() {
    let mut host = host();
    host.disk.waiting = Some(VecDeque::new());
    let post = send(&mut host, PATH, MESSAGE);
    assert_eq!(answers(&mut host), []);
    while host.write() {}
    assert_eq!(answers(&mut host), [(post, 202)]);
    assert_eq!(messages(&host), 1);
    // What nobody waits for any more is kept all the same.
    let other = MESSAGE.replace("\"1\"", "\"2\"");
    let post = send(&mut host, PATH, &other);
    host.gateway.forget_post(post);
    while host.write() {}
    assert_eq!(answers(&mut host), []);
    assert_eq!(messages(&host), 2);
}

#[test]
fn what_the_disk_did_not_take_comes_again_and_counts_once() {
    let mut host = host();
    host.disk.failure = Some(StoreFailure::Full);
    let post = send(&mut host, PATH, MESSAGE);
    let told = std::mem::take(&mut host.posts);
    let [(to, answer)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        (*to, answer.status, header(answer, "Retry-After")),
        (post, 503, Some("5"))
    );
    assert_eq!(messages(&host), 0);
    host.disk.failure = None;
    host.advance(Duration::from_secs(120));
    let post = send(&mut host, PATH, MESSAGE);
    assert_eq!(answers(&mut host), [(post, 202)]);
    let kept = messages(&host);
    // The same again, before and after a crash.
    let post = send(&mut host, PATH, MESSAGE);
    assert_eq!(answers(&mut host), [(post, 202)]);
    host.restart();
    host.advance(Duration::ZERO);
    let post = send(&mut host, PATH, MESSAGE);
    assert_eq!(answers(&mut host), [(post, 202)]);
    assert_eq!(messages(&host), kept);
}

#[test]
fn a_file_is_kept_until_its_message_is_answered() {
    let url = Some("http://127.0.0.1:9/");
    let mut host = Host::new(token_rule("hunter2")).with_channels(move || channels_with(url));
    host.advance(Duration::ZERO);
    let data = "aGVsbG8g".repeat(100);
    let file = format!(r#","files":[{{"mimeType":"text/plain","data":"{data}"}}]}}"#);
    let body = format!("{}{file}", MESSAGE.strip_suffix('}').unwrap());
    let post = send(&mut host, PATH, &body);
    assert_eq!(answers(&mut host), [(post, 202)]);
    let kept = |host: &Host| {
        let rows = host.disk.rows.values();
        rows.filter(|document| document.as_str().contains(&data))
            .count()
    };
    assert_eq!(kept(&host), 1);
    let job = host.effects.iter().find_map(|request| {
        let Effect::StartJob(spec) = &request.effect else {
            return None;
        };
        matches!(**spec, JobSpec::Http(_)).then_some(request.id)
    });
    let head = HttpHead {
        status: 200,
        content_type: None,
        retry_after: None,
    };
    host.job(job.unwrap(), JobEvent::Head(head));
    host.job(job.unwrap(), JobEvent::Ended(JobEnd::Complete));
    assert_eq!((kept(&host), messages(&host)), (0, 1));
}

#[test]
fn a_channel_that_says_nothing_is_not_waited_for() {
    let mut host = host();
    let post = send(&mut host, "/channels/mute/default", MESSAGE);
    assert_eq!(answers(&mut host), []);
    host.advance(host.limits.effect);
    assert_eq!(answers(&mut host), [(post, 503)]);
}

#[test]
fn whoever_waits_at_the_end_is_told_to_come_again() {
    let mut host = host();
    let waiting = send(&mut host, "/channels/mute/default", MESSAGE);
    let good = peer(&[("content-length", "2")]);
    let reading = taken(ask(&mut host, "POST", PATH, &good));
    host.shutdown("test");
    assert_eq!(answers(&mut host), [(waiting, 503)]);
    assert_eq!(refused(ask(&mut host, "POST", PATH, &good)).status, 503);
    let request = HttpRequest {
        method: "POST",
        target: PATH,
        peer: &good,
    };
    host.post(reading, &request, Bytes::from_static(b"{}"));
    assert_eq!(answers(&mut host), [(reading, 503)]);
}

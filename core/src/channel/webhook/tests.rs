//! The channel against scripted jobs and posts.
#![allow(
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "any instant will do, and a test panics at what it does not expect"
)]

use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    channel::{FileBytes, Part, PostId, ReplyTo, SendOutcome},
    job::{HttpHead, HttpJob, JobEnd, JobFailure, JobSpec, Reached},
    policy::RequestHeaders,
    server::PeerFacts,
};

const SECRET: &str = "hunter2 hunter2 hunter2";
const PATH: &str = "/channels/webhook/default";

struct Scene {
    webhook: Webhook,
    now: Now,
}

impl Scene {
    fn new() -> Self {
        let mut webhook = Webhook::new(WebhookSetup {
            account: AccountRef::new(WEBHOOK, "default"),
            secret: Secret::new(SECRET),
            url: Some(check_url("http://127.0.0.1:8090/replies", UrlPolicy::Strict).unwrap()),
            typing: true,
        })
        .unwrap();
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        let now = Now {
            mono: Instant::now(),
            wall: WallTime(1_767_225_600_000),
        };
        webhook.start(now, None);
        Self { webhook, now }
    }

    fn outputs(&mut self) -> Vec<ChannelOutput> {
        std::iter::from_fn(|| self.webhook.poll_output()).collect()
    }

    fn send(&mut self, errand: u64, part: Part) {
        let outgoing = Outgoing {
            place: Place {
                account: AccountRef::new(WEBHOOK, "default"),
                chat: format!("chat-{errand}"),
                thread: None,
            },
            part,
            reply_to: Some(ReplyTo::Heard("m1".into())),
            silent: false,
            key: format!("key-{errand}"),
        };
        self.webhook.send(self.now, Errand(errand), outgoing);
    }

    fn text(&mut self, errand: u64) -> (ChannelJob, HttpJob) {
        self.send(errand, Part::Text("hello".into()));
        self.job()
    }

    fn job(&mut self) -> (ChannelJob, HttpJob) {
        let mut jobs: Vec<_> = self
            .outputs()
            .into_iter()
            .filter_map(|output| {
                let ChannelOutput::StartJob(job, JobSpec::Http(spec)) = output else {
                    return None;
                };
                Some((job, spec))
            })
            .collect();
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    }

    fn head(&mut self, job: ChannelJob, status: u16, retry_after: Option<u64>) {
        let head = HttpHead {
            status,
            content_type: None,
            retry_after: retry_after.map(Duration::from_secs),
        };
        self.webhook.handle_job(self.now, job, JobEvent::Head(head));
    }

    fn fail(&mut self, job: ChannelJob, reached: Reached) {
        let message = "the connection broke".into();
        let event = JobEvent::Failed(JobFailure { reached, message });
        self.webhook.handle_job(self.now, job, event);
    }

    /// What came of the one part that ended.
    fn outcome(&mut self) -> Option<SendOutcome> {
        self.outputs().into_iter().find_map(|output| {
            let ChannelOutput::Sent(_, outcome) = output else {
                return None;
            };
            Some(outcome)
        })
    }

    fn wait(&mut self) {
        let at = self.webhook.poll_timeout().unwrap();
        self.now = self.now.after(at.saturating_duration_since(self.now.mono));
        self.webhook.handle_timeout(self.now);
    }

    fn post(&mut self, body: &Value, seconds: u64, secret: &str) -> (u16, Value, Vec<String>) {
        let body = body.to_string();
        let signature = sign(&Secret::new(secret), seconds, PATH, body.as_bytes());
        let time = seconds.to_string();
        let headers = [(TIMESTAMP_HEADER, time), (SIGNATURE_HEADER, signature)];
        let post = Post {
            id: PostId(1),
            peer: PeerFacts {
                headers: RequestHeaders::new(headers),
                ..PeerFacts::direct([127, 0, 0, 1].into())
            },
            body: Bytes::from(body),
        };
        assert!(self.webhook.post(self.now, post));
        let mut heard = Vec::new();
        for output in self.outputs() {
            if let ChannelOutput::Received { messages, .. } = output {
                heard.extend(messages.into_iter().map(|message| message.text));
            } else if let ChannelOutput::Answer(PostId(1), answer) = output {
                let body = serde_json::from_str(&answer.body).unwrap_or_default();
                return (answer.status, body, heard);
            }
        }
        panic!("no answer");
    }

    fn seconds(&self) -> u64 {
        self.now.wall.0 / 1_000
    }
}

fn message() -> Value {
    json!({ "id": "1", "chat": "c", "sender": { "id": "ada" }, "text": "hi" })
}

#[test]
fn a_signed_message_is_heard_before_it_is_answered() {
    let mut scene = Scene::new();
    let seconds = scene.seconds();
    let (status, answer, heard) = scene.post(&message(), seconds, SECRET);
    assert_eq!((status, heard), (202, vec!["hi".to_owned()]));
    assert_eq!(answer, json!({ "ok": true, "id": "1" }));
}

#[test]
fn strangers_learn_nothing_and_the_status_counts_them() {
    let mut scene = Scene::new();
    let seconds = scene.seconds();
    let wrong = scene.post(&message(), seconds, "not the right secret at all");
    let late_and_wrong = scene.post(&message(), seconds - 9_999, "not the right secret at all");
    assert_eq!(wrong, late_and_wrong);
    assert_eq!((wrong.0, wrong.2.len()), (401, 0));
    let problem = scene.webhook.status().problem.unwrap();
    assert!(
        problem.contains("last good one: 2,") && problem.contains(PATH),
        "{problem}"
    );
    scene.post(&message(), seconds, SECRET);
    assert_eq!(scene.webhook.status().problem, None);
}

#[test]
fn a_clock_that_is_off_is_named_to_whoever_has_the_secret() {
    let mut scene = Scene::new();
    let seconds = scene.seconds();
    let (status, answer, heard) = scene.post(&message(), seconds - 301, SECRET);
    assert_eq!((status, heard.len()), (409, 0));
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(said.contains("301 seconds ago"), "{said}");
    let problem = scene.webhook.status().problem.unwrap();
    assert!(problem.contains("301 seconds ago"), "{problem}");
}

#[test]
fn what_is_wrong_is_named_and_what_has_no_room_comes_again() {
    let mut scene = Scene::new();
    let seconds = scene.seconds();
    let bad = json!({ "id": "1", "chat": "c", "sender": {}, "text": "hi" });
    let (status, answer, _) = scene.post(&bad, seconds, SECRET);
    assert_eq!((status, &answer["error"]["field"]), (400, &json!("sender")));
    scene.webhook.room(scene.now, Room::Full);
    let (status, _, heard) = scene.post(&message(), seconds, SECRET);
    assert_eq!((status, heard.len()), (503, 0));
}

#[test]
fn a_part_is_signed_and_named_by_its_key() {
    let mut scene = Scene::new();
    let (_, job) = scene.text(1);
    let body: Value = serde_json::from_slice(&job.body).unwrap();
    let expected = json!({
        "key": "key-1", "chat": "chat-1", "replyTo": "m1", "silent": false,
        "part": { "type": "text", "text": "hello" },
    });
    assert_eq!(body, expected);
    let header = |name: &str| {
        let found = job.headers.iter().find(|(known, _)| *known == name);
        match &found.unwrap().1 {
            crate::job::HeaderText::Plain(text) => text.clone(),
            crate::job::HeaderText::Secret(secret) => secret.expose().to_owned(),
        }
    };
    assert_eq!(header("idempotency-key"), "key-1");
    let signature = sign(&Secret::new(SECRET), scene.seconds(), "/replies", &job.body);
    assert_eq!(header(SIGNATURE_HEADER), signature);
    assert!(!format!("{:?} {job:?}", scene.webhook).contains("hunter2"));
}

#[test]
fn a_file_goes_as_base64() {
    let mut scene = Scene::new();
    let file = FileBytes {
        name: Some("a.txt".into()),
        mime_type: "text/plain".into(),
        data: Bytes::from_static(b"hello"),
    };
    scene.send(1, Part::File(file));
    let (_, job) = scene.job();
    let body: Value = serde_json::from_slice(&job.body).unwrap();
    let part =
        json!({ "type": "file", "name": "a.txt", "mimeType": "text/plain", "data": "aGVsbG8=" });
    assert_eq!(body["part"], part);
}

#[test]
fn a_part_that_the_bridge_took_is_sent_however_its_answer_ends() {
    let mut scene = Scene::new();
    for (errand, answer, id) in [
        (1, r#"{"id":"out-1"}"#, Some("out-1")),
        (2, r#"{"id":17}"#, Some("17")),
        (3, "thanks", None),
        (4, r#"{"id":"\n"}"#, None),
    ] {
        let (job, _) = scene.text(errand);
        scene.head(job, 201, None);
        let data = JobEvent::Data(Bytes::from_static(answer.as_bytes()));
        scene.webhook.handle_job(scene.now, job, data);
        let ended = JobEvent::Ended(JobEnd::Complete);
        scene.webhook.handle_job(scene.now, job, ended);
        let sent = SendOutcome::Sent(id.map(str::to_owned));
        assert_eq!(scene.outcome(), Some(sent), "{answer}");
    }
    let (job, _) = scene.text(5);
    scene.head(job, 200, None);
    scene.fail(job, Reached::Perhaps);
    assert_eq!(scene.outcome(), Some(SendOutcome::Sent(None)));
}

#[test]
fn what_nobody_knows_is_sent_again_with_the_same_key_and_then_shown() {
    let mut scene = Scene::new();
    let (mut job, first) = scene.text(1);
    for pause in [1, 2, 4, 8] {
        if pause == 2 {
            scene.head(job, 500, None);
        } else {
            scene.fail(job, Reached::Perhaps);
        }
        assert_eq!(scene.outcome(), None);
        assert_eq!(scene.webhook.status().link, Link::Failing);
        let before = scene.now.mono;
        scene.wait();
        assert_eq!(scene.now.mono - before, Duration::from_secs(pause));
        let (next, again) = scene.job();
        assert_eq!(again.body, first.body);
        // The time of the signature is that of the try.
        assert_ne!(again.headers, first.headers);
        job = next;
    }
    scene.fail(job, Reached::Perhaps);
    let Some(SendOutcome::Uncertain(why)) = scene.outcome() else {
        panic!("not uncertain");
    };
    assert!(why.contains("tried 5 times"), "{why}");
    assert_eq!(scene.webhook.poll_timeout(), None);
}

#[test]
fn what_did_not_arrive_is_the_gateways_to_send_again() {
    let mut scene = Scene::new();
    let (job, _) = scene.text(1);
    scene.fail(job, Reached::No);
    let why = "the connection broke".to_owned();
    assert_eq!(
        scene.outcome(),
        Some(SendOutcome::NotSent { why, wait: None })
    );
    let (job, _) = scene.text(2);
    scene.head(job, 429, Some(7));
    let Some(SendOutcome::NotSent { wait, .. }) = scene.outcome() else {
        panic!("not put off");
    };
    assert_eq!(wait, Some(Duration::from_secs(7)));
    for status in [302, 400, 401, 404, 413] {
        let (job, _) = scene.text(u64::from(status));
        scene.head(job, status, None);
        let outcome = scene.outcome();
        assert!(
            matches!(outcome, Some(SendOutcome::Refused(_))),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_slow_bridge_is_asked_so_many_times_at_once() {
    let mut scene = Scene::new();
    for errand in 0..20 {
        scene.send(errand, Part::Text("hello".into()));
    }
    let started = |scene: &mut Scene| {
        let outputs = scene.outputs().into_iter();
        let jobs = outputs.filter_map(|output| {
            let ChannelOutput::StartJob(job, _) = output else {
                return None;
            };
            Some(job)
        });
        jobs.collect::<Vec<_>>()
    };
    let jobs = started(&mut scene);
    assert_eq!((jobs.len(), scene.webhook.poll_timeout()), (16, None));
    scene.head(jobs[0], 404, None);
    assert_eq!(started(&mut scene).len(), 1);
    scene.webhook.stop(scene.now);
    let stopped = scene.outputs();
    assert_eq!(stopped.len(), 16);
    assert_eq!(scene.webhook.status().link, Link::Stopped);
}

#[test]
fn the_bridge_hears_that_the_agent_works() {
    let mut scene = Scene::new();
    let place = Place {
        account: AccountRef::new(WEBHOOK, "default"),
        chat: "c".into(),
        thread: Some("t".into()),
    };
    scene.webhook.working(scene.now, &place, true);
    let (job, spec) = scene.job();
    let body: Value = serde_json::from_slice(&spec.body).unwrap();
    assert_eq!(body, json!({ "typing": true, "chat": "c", "thread": "t" }));
    scene.fail(job, Reached::No);
    assert!(scene.outputs().is_empty());
    assert_eq!(scene.webhook.status().link, Link::Connected);
}

//! Parts on their way to the bridge. It has to know a part again by its key, so what it may have is sent
//! again a few times before anybody is asked.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::Value;

use super::{
    outgoing,
    sign::{SIGNATURE_HEADER, TIMESTAMP_HEADER, sign},
};
use crate::{
    channel::{ChannelJob, ChannelOutput, Errand, Outgoing, Place, SendOutcome},
    job::{HeaderText, HttpHead, HttpJob, HttpMethod, JobEvent, JobFailure, JobSpec, Reached},
    policy::Endpoint,
    secret::Secret,
    time::Now,
};

/// How often a part is sent whose end nobody knows.
const TRIES: u32 = 5;

/// The pause after the first try; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest time that a bridge may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Requests to one bridge at once. Others wait.
const MAX_JOBS: usize = 16;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Time for which a bridge may say nothing.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Characters of an id that a bridge gives.
const MAX_ID: usize = 256;

/// What is on its way.
#[derive(Debug)]
pub(super) struct Outbox {
    url: Option<Endpoint>,
    secret: Secret,
    letters: BTreeMap<Errand, Letter>,
    /// `None` stands for what nobody waits for.
    jobs: BTreeMap<ChannelJob, Option<Errand>>,
    last_job: u64,
    /// Why the last part did not arrive.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Letter {
    body: Bytes,
    key: String,
    /// Tries whose end nobody knows.
    failed: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Until its next try.
    Waits(Instant),
    /// The bridge is asked.
    Asked,
    /// The bridge has it, and says its own id for it.
    Taken(Vec<u8>),
}

/// What an answer means.
enum Meaning {
    Taken,
    Later(String, Option<Duration>),
    Unknown(String, Option<Duration>),
    Refused(String),
}

impl Outbox {
    pub(super) fn new(url: Option<Endpoint>, secret: Secret) -> Self {
        Self {
            url,
            secret,
            letters: BTreeMap::new(),
            jobs: BTreeMap::new(),
            last_job: 0,
            trouble: None,
        }
    }

    /// Why the last part did not arrive.
    pub(super) fn trouble(&self) -> Option<&String> {
        self.trouble.as_ref()
    }

    pub(super) fn send(
        &mut self,
        now: Now,
        errand: Errand,
        outgoing: &Outgoing,
        out: &mut VecDeque<ChannelOutput>,
    ) {
        if self.url.is_none() {
            let why = "no url says where replies go; set url in the channel's config".to_owned();
            return self.end(errand, SendOutcome::Refused(why), out);
        }
        let letter = Letter {
            body: outgoing::part(outgoing),
            key: outgoing.key.clone(),
            failed: 0,
            state: State::Waits(now.mono),
        };
        self.letters.insert(errand, letter);
        self.start_due(now, out);
    }

    /// Tells the bridge whether the agent works. Whether that arrives is no matter.
    pub(super) fn tell_typing(
        &mut self,
        now: Now,
        place: &Place,
        works: bool,
        out: &mut VecDeque<ChannelOutput>,
    ) {
        if self.jobs.len() < MAX_JOBS {
            let body = outgoing::typing(place, works);
            self.start(now, body, None, None, out);
        }
    }

    pub(super) fn stop(&mut self, out: &mut VecDeque<ChannelOutput>) {
        self.letters.clear();
        let jobs = std::mem::take(&mut self.jobs);
        out.extend(jobs.into_keys().map(ChannelOutput::StopJob));
    }

    pub(super) fn handle_job(
        &mut self,
        now: Now,
        job: ChannelJob,
        event: JobEvent,
        out: &mut VecDeque<ChannelOutput>,
    ) {
        let Some(errand) = self.jobs.get(&job).copied() else {
            return;
        };
        let ends = matches!(event, JobEvent::Ended(_) | JobEvent::Failed(_));
        if ends {
            self.jobs.remove(&job);
        }
        if let Some(errand) = errand {
            self.go_on(now, errand, job, event, out);
        }
        self.start_due(now, out);
    }

    fn go_on(
        &mut self,
        now: Now,
        errand: Errand,
        job: ChannelJob,
        event: JobEvent,
        out: &mut VecDeque<ChannelOutput>,
    ) {
        let Some(letter) = self.letters.get_mut(&errand) else {
            return;
        };
        let meaning = match (event, &mut letter.state) {
            (JobEvent::Head(head), _) => {
                let meaning = meaning(&head);
                if !matches!(meaning, Meaning::Taken) {
                    // What else it says changes nothing.
                    self.jobs.remove(&job);
                    out.push_back(ChannelOutput::StopJob(job));
                }
                meaning
            }
            (JobEvent::Data(bytes), State::Taken(answer)) => {
                let room = MAX_ANSWER.saturating_sub(answer.len());
                answer.extend(bytes.iter().take(room));
                return;
            }
            (JobEvent::Data(_), State::Asked | State::Waits(_)) => return,
            // It has said that it has the part, however the rest of its answer went.
            (JobEvent::Ended(_) | JobEvent::Failed(_), State::Taken(answer)) => {
                let id = id_in(answer);
                return self.end(errand, SendOutcome::Sent(id), out);
            }
            (JobEvent::Ended(_), _) => Meaning::Unknown("it did not answer".into(), None),
            (JobEvent::Failed(JobFailure { reached, message }), _) => match reached {
                Reached::No => Meaning::Later(message, None),
                Reached::Perhaps => Meaning::Unknown(message, None),
            },
        };
        match meaning {
            Meaning::Taken => letter.state = State::Taken(Vec::new()),
            Meaning::Later(why, wait) => {
                self.end(errand, SendOutcome::NotSent { why, wait }, out);
            }
            Meaning::Refused(why) => self.end(errand, SendOutcome::Refused(why), out),
            Meaning::Unknown(why, wait) => {
                letter.failed += 1;
                if letter.failed >= TRIES {
                    let why = format!("{why} (tried {TRIES} times)");
                    return self.end(errand, SendOutcome::Uncertain(why), out);
                }
                let pause = FIRST_PAUSE * (1 << (letter.failed - 1));
                let pause = pause.max(wait.unwrap_or_default());
                letter.state = State::Waits(now.mono + pause);
                self.set_trouble(Some(why), out);
            }
        }
    }

    /// Sends what is due, as far as there is room.
    pub(super) fn start_due(&mut self, now: Now, out: &mut VecDeque<ChannelOutput>) {
        while self.jobs.len() < MAX_JOBS {
            let is_due = |letter: &Letter| match letter.state {
                State::Waits(at) => at <= now.mono,
                State::Asked | State::Taken(_) => false,
            };
            let due = self.letters.iter_mut().find(|(_, letter)| is_due(letter));
            let Some((errand, letter)) = due else {
                return;
            };
            letter.state = State::Asked;
            let (errand, body, key) = (*errand, letter.body.clone(), letter.key.clone());
            self.start(now, body, Some(key), Some(errand), out);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.jobs.len() >= MAX_JOBS {
            return None;
        }
        let waits = self
            .letters
            .values()
            .filter_map(|letter| match letter.state {
                State::Waits(at) => Some(at),
                State::Asked | State::Taken(_) => None,
            });
        waits.min()
    }

    fn start(
        &mut self,
        now: Now,
        body: Bytes,
        key: Option<String>,
        errand: Option<Errand>,
        out: &mut VecDeque<ChannelOutput>,
    ) {
        let Some(url) = self.url.clone() else {
            return;
        };
        let seconds = now.wall.0 / 1_000;
        let path = url.path_and_query();
        let path = path.split('?').next().unwrap_or_default();
        let signature = sign(&self.secret, seconds, path, &body);
        let mut headers = vec![
            ("content-type", HeaderText::Plain("application/json".into())),
            (TIMESTAMP_HEADER, HeaderText::Plain(seconds.to_string())),
            (SIGNATURE_HEADER, HeaderText::Secret(Secret::new(signature))),
        ];
        headers.extend(key.map(|key| ("idempotency-key", HeaderText::Plain(key))));
        self.last_job += 1;
        let job = ChannelJob(self.last_job);
        self.jobs.insert(job, errand);
        let spec = JobSpec::Http(HttpJob {
            method: HttpMethod::Post,
            url,
            secret_path: None,
            headers,
            body,
            connect: CONNECT,
            idle: IDLE,
            max_body: MAX_ANSWER,
        });
        out.push_back(ChannelOutput::StartJob(job, spec));
    }

    fn end(&mut self, errand: Errand, outcome: SendOutcome, out: &mut VecDeque<ChannelOutput>) {
        self.letters.remove(&errand);
        let trouble = match &outcome {
            SendOutcome::Sent(_) => None,
            SendOutcome::NotSent { why, .. }
            | SendOutcome::Refused(why)
            | SendOutcome::Uncertain(why) => Some(why.clone()),
        };
        out.push_back(ChannelOutput::Sent(errand, outcome));
        self.set_trouble(trouble, out);
    }

    fn set_trouble(&mut self, trouble: Option<String>, out: &mut VecDeque<ChannelOutput>) {
        if self.trouble != trouble {
            self.trouble = trouble;
            out.push_back(ChannelOutput::Status);
        }
    }
}

fn meaning(head: &HttpHead) -> Meaning {
    let status = head.status;
    let wait = head.retry_after.map(|wait| wait.min(LONGEST_WAIT));
    match status {
        200..=299 => Meaning::Taken,
        300..=399 => Meaning::Refused(format!(
            "the bridge points elsewhere ({status}); write the address that answers into url"
        )),
        401 | 403 => Meaning::Refused(format!(
            "the bridge does not accept the signature ({status}); give both sides the same secret, \
             and set both clocks"
        )),
        404 => Meaning::Refused("the bridge has nothing at this url (404); correct url".into()),
        429 | 503 => Meaning::Later(format!("the bridge asks to wait ({status})"), wait),
        408 | 425 => Meaning::Unknown(format!("the bridge answered {status}"), wait),
        400..=499 => Meaning::Refused(format!("the bridge answered {status}")),
        _ => Meaning::Unknown(format!("the bridge answered {status}"), wait),
    }
}

/// The bridge's own id for a part, if it says one: later messages may answer it.
fn id_in(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let id = match answer.get("id")? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    ((1..=MAX_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control)).then_some(id)
}

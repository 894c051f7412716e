//! Files that people sent: where they lie, then the bytes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    api::{Answer, Bounds, Outcome, SMALL},
    requests::{Active, Requests},
    shared::Shared,
};
use crate::{
    channel::{ChannelJob, ChannelOutput, Errand, FileBytes, FileRef},
    job::{JobEvent, JobSpec},
    time::Now,
};

/// Files at a time.
const MAX_ACTIVE: usize = 4;
/// Time for the question where a file lies.
const TIME: Duration = Duration::from_secs(60);
/// Time for the file itself.
const WHOLE: Duration = Duration::from_secs(300);
/// Time for which it may be silent.
const IDLE: Duration = Duration::from_secs(30);
/// Tries for one file, and the longest pause between them.
const MAX_TRIES: u32 = 3;
const MAX_PAUSE: Duration = Duration::from_secs(30);

const MEGABYTE: u64 = 1024 * 1024;

/// The fetching part of an account.
#[derive(Debug)]
pub(super) struct Fetcher {
    max_bytes: u64,
    requests: Requests<Fetch>,
    pausing: Vec<(Instant, Fetch)>,
}

#[derive(Debug)]
struct Fetch {
    errand: Errand,
    file: FileRef,
    /// Where it lies, once that is known; fit for a URL.
    path: Option<String>,
    /// Its name there.
    name: Option<String>,
    failures: u32,
}

impl Fetcher {
    pub(super) const fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            requests: Requests::new(MAX_ACTIVE),
            pausing: Vec::new(),
        }
    }

    pub(super) fn fetch(&mut self, shared: &mut Shared, now: Now, errand: Errand, file: &FileRef) {
        if let Some(why) = file.size.and_then(|size| self.too_large(size)) {
            return end(shared, errand, Err(why));
        }
        self.requests.wait(Fetch {
            errand,
            file: file.clone(),
            path: None,
            name: None,
            failures: 0,
        });
        self.fill(shared, now);
    }

    pub(super) fn stop(&mut self, shared: &mut Shared) {
        self.requests.stop(shared);
        self.pausing.clear();
    }

    pub(super) fn handle_job(
        &mut self,
        shared: &mut Shared,
        now: Now,
        job: ChannelJob,
        event: JobEvent,
    ) {
        let Some(active) = self.requests.get_mut(job) else {
            return;
        };
        let outcome = active.exchange.handle(event);
        let size = match active.item.path {
            Some(_) => u64::try_from(active.exchange.len()).unwrap_or(u64::MAX),
            None => 0,
        };
        let too_large = self.too_large(size);
        if outcome.is_none() && too_large.is_none() {
            return;
        }
        let Some(Active { item: fetch, .. }) = self.requests.take(job) else {
            return;
        };
        match (outcome, too_large) {
            (None, Some(why)) => {
                shared.stop_job(job);
                end(shared, fetch.errand, Err(why));
            }
            (Some(_), Some(why)) => end(shared, fetch.errand, Err(why)),
            (Some(outcome), None) => self.settle(shared, now, fetch, outcome),
            (None, None) => {}
        }
        self.fill(shared, now);
    }

    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Now) {
        for Active { item: fetch, .. } in self.requests.overdue(shared, now) {
            let why = format!("{} took too long", shared.api.host());
            self.fail(shared, now, fetch, None, &why);
        }
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pausing)
            .into_iter()
            .partition(|(at, _)| *at <= now.mono);
        self.pausing = later;
        for (_, fetch) in due {
            self.requests.wait(fetch);
        }
        self.fill(shared, now);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let active = self.requests.next_timeout().into_iter();
        active.chain(self.pausing.iter().map(|(at, _)| *at)).min()
    }

    fn fill(&mut self, shared: &mut Shared, now: Now) {
        while let Some(fetch) = self.requests.next() {
            self.begin(shared, now, fetch);
        }
    }

    fn begin(&mut self, shared: &mut Shared, now: Now, fetch: Fetch) {
        let request = match &fetch.path {
            None => (ask(shared, &fetch.file), TIME),
            Some(path) => {
                let bounds = Bounds {
                    idle: IDLE,
                    // One byte more, so that too much is seen here.
                    max_body: usize::try_from(self.max_bytes.saturating_add(1))
                        .unwrap_or(usize::MAX),
                };
                (shared.api.file(path, bounds), WHOLE)
            }
        };
        self.requests.begin(shared, now, fetch, request);
    }

    fn settle(&mut self, shared: &mut Shared, now: Now, mut fetch: Fetch, outcome: Outcome) {
        if fetch.path.is_some() {
            return match outcome {
                Outcome::Whole(head, body) if head.status == 200 => {
                    let file = FileBytes {
                        name: fetch.file.name.or(fetch.name),
                        mime_type: fetch.file.mime_type,
                        data: Bytes::from(body),
                    };
                    end(shared, fetch.errand, Ok(file));
                }
                other @ (Outcome::Whole(..) | Outcome::Failed(..)) => {
                    let answer = shared.api.read(other);
                    self.refused(shared, now, fetch, answer);
                }
            };
        }
        match shared.api.read(outcome) {
            Answer::Done(file) => {
                let size = file.get("file_size").and_then(Value::as_u64);
                if let Some(why) = size.and_then(|size| self.too_large(size)) {
                    return end(shared, fetch.errand, Err(why));
                }
                let path = file.get("file_path").and_then(Value::as_str);
                match path.map(|path| (path, url_path(path))) {
                    Some((path, Ok(url))) => {
                        fetch.path = Some(url);
                        fetch.name = path.rsplit('/').next().map(str::to_owned);
                        self.begin(shared, now, fetch);
                    }
                    Some((_, Err(why))) => end(shared, fetch.errand, Err(why)),
                    None => {
                        let why = "the Bot API does not say where the file lies".to_owned();
                        end(shared, fetch.errand, Err(why));
                    }
                }
            }
            other @ (Answer::Refused(_) | Answer::Garbled(_) | Answer::Lost { .. }) => {
                self.refused(shared, now, fetch, other);
            }
        }
    }

    fn refused(&mut self, shared: &mut Shared, now: Now, fetch: Fetch, answer: Answer) {
        match answer {
            Answer::Refused(refusal) if matches!(refusal.code, 429 | 500..=599) => {
                self.fail(
                    shared,
                    now,
                    fetch,
                    refusal.retry_after,
                    &refusal.description,
                );
            }
            Answer::Refused(refusal) if refusal.description.contains("too big") => {
                let why = "the file is larger than a bot can get (20 MB)".to_owned();
                end(shared, fetch.errand, Err(why));
            }
            Answer::Refused(refusal) => {
                let why = format!("the file cannot be had: {}", refusal.description);
                end(shared, fetch.errand, Err(why));
            }
            Answer::Garbled(why) | Answer::Lost { why, .. } => {
                self.fail(shared, now, fetch, None, &why);
            }
            Answer::Done(_) => {
                let why = "the file cannot be had: the answer makes no sense".to_owned();
                end(shared, fetch.errand, Err(why));
            }
        }
    }

    /// What may be over by the next try; a file is asked for again without harm.
    fn fail(
        &mut self,
        shared: &mut Shared,
        now: Now,
        mut fetch: Fetch,
        wait: Option<Duration>,
        why: &str,
    ) {
        fetch.failures += 1;
        let pause = wait.unwrap_or_else(|| shared.pause(fetch.failures));
        if fetch.failures >= MAX_TRIES || pause > MAX_PAUSE {
            let why = format!("the file could not be fetched: {why}");
            return end(shared, fetch.errand, Err(why));
        }
        self.pausing.push((now.mono + pause, fetch));
    }

    fn too_large(&self, size: u64) -> Option<String> {
        (size > self.max_bytes).then(|| {
            format!(
                "the file is larger than {} MB, which mediaMaxMb allows",
                self.max_bytes / MEGABYTE
            )
        })
    }
}

fn ask(shared: &Shared, file: &FileRef) -> JobSpec {
    let bounds = Bounds {
        idle: TIME,
        max_body: SMALL,
    };
    let params = json!({ "file_id": file.id });
    shared.api.call("getFile", &params, bounds)
}

fn end(shared: &mut Shared, errand: Errand, result: Result<FileBytes, String>) {
    shared
        .outputs
        .push_back(ChannelOutput::Fetched(errand, result));
}

/// A path of the service as a part of a URL that leads nowhere else.
fn url_path(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        return Err(
            "the Bot API server gives paths on its own machine; run it without --local".to_owned(),
        );
    }
    let odd = path.is_empty()
        || path.chars().any(|c| c.is_control() || c == '\\')
        || path.split('/').any(|step| matches!(step, "" | "." | ".."));
    if odd {
        return Err("the Bot API names a place where no file can lie".to_owned());
    }
    let mut url = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(url)
}

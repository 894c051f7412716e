//! Saying something: which request it becomes, and what its answer means for the one who asked.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::{
    api::{Answer, ApiRefusal, Bounds, SMALL},
    format::html,
    media::{self, Media},
    requests::{Active, Requests},
    shared::Shared,
    split::{MAX_UNITS, units},
};
use crate::{
    channel::{
        ChannelJob, ChannelOutput, Errand, FileBytes, Outgoing, Part, Place, ReplyTo, SendOutcome,
    },
    config::ReplyToMode,
    job::{JobEvent, JobSpec, Reached},
    time::Now,
};

/// Requests at a time, over all chats.
const MAX_ACTIVE: usize = 8;
/// Time for one request.
const TIME: Duration = Duration::from_secs(60);
/// Bytes of a file for which a request gets one second more.
const BYTES_A_SECOND: usize = 128 * 1024;
/// Answers that are remembered for `replyToMode: first`.
const MAX_ANSWERED: usize = 256;

/// The saying part of an account.
#[derive(Debug)]
pub(super) struct Sender {
    mode: ReplyToMode,
    requests: Requests<Sending>,
    /// Messages that were answered, by the place.
    answered: VecDeque<(Place, String)>,
}

#[derive(Debug)]
struct Sending {
    errand: Errand,
    outgoing: Outgoing,
    form: Form,
    /// Where the group went, if it became another.
    moved: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Plain,
    File(Media),
}

/// What comes after a request.
enum Next {
    End(SendOutcome),
    Again { form: Form, moved: Option<i64> },
}

impl Sender {
    pub(super) const fn new(mode: ReplyToMode) -> Self {
        Self {
            mode,
            requests: Requests::new(MAX_ACTIVE),
            answered: VecDeque::new(),
        }
    }

    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        now: Now,
        errand: Errand,
        outgoing: Outgoing,
    ) {
        let form = match &outgoing.part {
            Part::Text(text) => match check_text(text) {
                Ok(()) => Form::Html,
                Err(why) => return end(shared, errand, SendOutcome::Refused(why)),
            },
            Part::File(file) => match Media::of(file) {
                Ok(media) => Form::File(media),
                Err(why) => return end(shared, errand, SendOutcome::Refused(why)),
            },
        };
        self.requests.wait(Sending {
            errand,
            outgoing,
            form,
            moved: None,
        });
        self.fill(shared, now);
    }

    /// Ends everything; errands come to nothing.
    pub(super) fn stop(&mut self, shared: &mut Shared) {
        self.requests.stop(shared);
    }

    /// Whether a job is this part's.
    pub(super) fn owns(&self, job: ChannelJob) -> bool {
        self.requests.owns(job)
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
        let Some(outcome) = active.exchange.handle(event) else {
            return;
        };
        let Some(Active { item: sending, .. }) = self.requests.take(job) else {
            return;
        };
        match next(&sending, shared.api.read(outcome)) {
            Next::End(outcome) => self.end(shared, &sending, outcome),
            // It goes on at once, so that it keeps its place.
            Next::Again { form, moved } => {
                let sending = Sending {
                    form,
                    moved,
                    ..sending
                };
                self.begin(shared, now, sending);
            }
        }
        self.fill(shared, now);
    }

    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Now) {
        for active in self.requests.overdue(shared, now) {
            // A refusal whose words do not come is one all the same.
            let outcome = match active.exchange.status() {
                Some(status @ 400..=499) => {
                    SendOutcome::Refused(format!("refused with HTTP status {status}"))
                }
                _ => {
                    SendOutcome::Uncertain(format!("{} did not answer in time", shared.api.host()))
                }
            };
            self.end(shared, &active.item, outcome);
        }
        self.fill(shared, now);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.requests.next_timeout()
    }

    fn fill(&mut self, shared: &mut Shared, now: Now) {
        while let Some(sending) = self.requests.next() {
            self.begin(shared, now, sending);
        }
    }

    fn begin(&mut self, shared: &mut Shared, now: Now, sending: Sending) {
        let request = self.request(shared, &sending);
        self.requests.begin(shared, now, sending, request);
    }

    fn request(&self, shared: &mut Shared, sending: &Sending) -> (JobSpec, Duration) {
        let mut params = self.params(sending);
        match &sending.outgoing.part {
            Part::Text(text) => {
                match sending.form {
                    Form::Html => {
                        params.insert("text".to_owned(), json!(html(text)));
                        params.insert("parse_mode".to_owned(), json!("HTML"));
                    }
                    Form::Plain | Form::File(_) => {
                        params.insert("text".to_owned(), json!(text));
                    }
                }
                let spec = shared
                    .api
                    .call("sendMessage", &Value::Object(params), bounds(TIME));
                (spec, TIME)
            }
            Part::File(file) => {
                let media = match sending.form {
                    Form::File(media) => media,
                    Form::Html | Form::Plain => Media::Document,
                };
                let time = time_for(file);
                let boundary = format!("clawgate-{}", shared.rng.uuid());
                let (content_type, body) = media::form(&boundary, &params, media, file);
                let method = media.method();
                let spec = shared.api.post(method, content_type, body, bounds(time));
                (spec, time)
            }
        }
    }

    fn params(&self, sending: &Sending) -> Map<String, Value> {
        let Outgoing {
            place,
            reply_to,
            silent,
            ..
        } = &sending.outgoing;
        let mut params = Map::new();
        let chat = sending
            .moved
            .map_or_else(|| chat_of(place), |moved| json!(moved));
        params.insert("chat_id".to_owned(), chat);
        if let Some(thread) = thread_of(place) {
            params.insert("message_thread_id".to_owned(), json!(thread));
        }
        let shown = reply_to.as_ref().filter(|to| match (to, self.mode) {
            (ReplyTo::Heard(_), ReplyToMode::Off) => false,
            (ReplyTo::Named(_), _) | (ReplyTo::Heard(_), ReplyToMode::All) => true,
            (ReplyTo::Heard(id), ReplyToMode::First) => !self
                .answered
                .iter()
                .any(|(at, answered)| at == place && answered == id),
        });
        if let Some(id) = shown.and_then(|to| to.id().parse::<i64>().ok()) {
            let reply = json!({ "message_id": id, "allow_sending_without_reply": true });
            params.insert("reply_parameters".to_owned(), reply);
        }
        if *silent {
            params.insert("disable_notification".to_owned(), json!(true));
        }
        params
    }

    fn end(&mut self, shared: &mut Shared, sending: &Sending, outcome: SendOutcome) {
        if let (SendOutcome::Sent(_), Some(ReplyTo::Heard(id))) =
            (&outcome, &sending.outgoing.reply_to)
        {
            self.answered
                .push_back((sending.outgoing.place.clone(), id.clone()));
            if self.answered.len() > MAX_ANSWERED {
                self.answered.pop_front();
            }
        }
        end(shared, sending.errand, outcome);
    }
}

/// A chat's id as the Bot API takes it.
pub(super) fn chat_of(place: &Place) -> Value {
    match place.chat.parse::<i64>() {
        Ok(id) => json!(id),
        Err(_) => json!(place.chat),
    }
}

/// The topic of a place. The general one has the number 1, by which it cannot be named.
pub(super) fn thread_of(place: &Place) -> Option<i64> {
    place
        .thread
        .as_deref()
        .and_then(|thread| thread.parse().ok())
        .filter(|thread| *thread != 1)
}

fn end(shared: &mut Shared, errand: Errand, outcome: SendOutcome) {
    shared
        .outputs
        .push_back(ChannelOutput::Sent(errand, outcome));
}

fn check_text(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("a message without words cannot be sent".to_owned());
    }
    if units(text) > MAX_UNITS {
        return Err(format!(
            "a message may have {MAX_UNITS} UTF-16 units; split it"
        ));
    }
    Ok(())
}

fn time_for(file: &FileBytes) -> Duration {
    let extra = u64::try_from(file.data.len() / BYTES_A_SECOND).unwrap_or(u64::MAX);
    TIME.saturating_add(Duration::from_secs(extra))
}

/// The host's patience is longer than the deadline that counts.
const fn bounds(time: Duration) -> Bounds {
    Bounds {
        idle: time.saturating_add(Duration::from_secs(15)),
        max_body: SMALL,
    }
}

fn next(sending: &Sending, answer: Answer) -> Next {
    Next::End(match answer {
        Answer::Done(message) => SendOutcome::Sent(
            message
                .get("message_id")
                .and_then(Value::as_i64)
                .map(|id| id.to_string()),
        ),
        Answer::Refused(refusal) => return refused(sending, refusal),
        Answer::Garbled(why) => SendOutcome::Uncertain(why),
        Answer::Lost {
            reached: Reached::No,
            why,
        } => SendOutcome::NotSent { why, wait: None },
        Answer::Lost {
            reached: Reached::Perhaps,
            why,
        } => SendOutcome::Uncertain(why),
    })
}

fn refused(sending: &Sending, refusal: ApiRefusal) -> Next {
    let words = refusal.description.to_lowercase();
    let again = |form| Next::Again {
        form,
        moved: sending.moved,
    };
    match (refusal.code, sending.form) {
        (400, Form::Html) if words.contains("can't parse entities") => return again(Form::Plain),
        (400, Form::File(media)) if media.may_be_a_document(&words) => {
            return again(Form::File(Media::Document));
        }
        _ => {}
    }
    if let (Some(moved), None) = (refusal.migrate_to, sending.moved) {
        return Next::Again {
            form: sending.form,
            moved: Some(moved),
        };
    }
    let why = refusal.description;
    Next::End(match refusal.code {
        429 => SendOutcome::NotSent {
            why: format!("too many messages: {why}"),
            wait: refusal.retry_after,
        },
        // It can be sent as soon as somebody gives the right token.
        401 | 404 => SendOutcome::NotSent {
            why: format!("the bot token is not accepted: {why}"),
            wait: None,
        },
        408 | 500..=599 => SendOutcome::Uncertain(why),
        403 if words.contains("blocked by the user") => {
            SendOutcome::Refused("the person has blocked the bot".to_owned())
        }
        403 if words.contains("can't initiate") => SendOutcome::Refused(
            "the person has to write to the bot first, or press Start".to_owned(),
        ),
        403 if words.contains("kicked") || words.contains("not a member") => {
            SendOutcome::Refused(format!("the bot is not in the group any more: {why}"))
        }
        400 if words.contains("chat not found") => SendOutcome::Refused(
            "no such chat: either its id is wrong, or the person has never written to the bot"
                .to_owned(),
        ),
        413 => SendOutcome::Refused("the file is larger than the Bot API takes".to_owned()),
        300..=399 => SendOutcome::Refused(format!("redirected ({why}): look at apiRoot")),
        _ => SendOutcome::Refused(why),
    })
}

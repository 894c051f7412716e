//! Showing people that something is being written for them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    api::{Bounds, SMALL},
    send::{chat_of, thread_of},
    shared::Shared,
};
use crate::{
    channel::{ChannelJob, Place},
    job::JobEvent,
    time::Now,
};

/// The service shows it for about this long.
const EVERY: Duration = Duration::from_secs(5);
/// Time for one request. Nobody waits for it.
const TIME: Duration = Duration::from_secs(10);

/// The typing part of an account.
#[derive(Debug, Default)]
pub(super) struct Typing {
    places: BTreeMap<Place, Sign>,
}

#[derive(Debug)]
struct Sign {
    next: Instant,
    job: Option<ChannelJob>,
}

impl Typing {
    pub(super) fn working(&mut self, shared: &mut Shared, now: Now, place: &Place, works: bool) {
        if !works {
            if let Some(job) = self.places.remove(place).and_then(|sign| sign.job) {
                shared.stop_job(job);
            }
        } else if !self.places.contains_key(place) {
            let sign = Sign {
                next: now.mono,
                job: None,
            };
            self.places.insert(place.clone(), sign);
            self.handle_timeout(shared, now);
        }
    }

    pub(super) fn stop(&mut self, shared: &mut Shared) {
        for sign in std::mem::take(&mut self.places).into_values() {
            if let Some(job) = sign.job {
                shared.stop_job(job);
            }
        }
    }

    /// Whatever comes of it, it is shown again in a while, or not.
    pub(super) fn handle_job(&mut self, job: ChannelJob, event: &JobEvent) {
        if matches!(event, JobEvent::Ended(_) | JobEvent::Failed(_))
            && let Some(sign) = self.places.values_mut().find(|sign| sign.job == Some(job))
        {
            sign.job = None;
        }
    }

    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Now) {
        for (place, sign) in &mut self.places {
            if sign.next > now.mono {
                continue;
            }
            sign.next = now.mono + EVERY;
            // One that hangs is enough.
            if sign.job.is_some() {
                continue;
            }
            let mut params = json!({ "chat_id": chat_of(place), "action": "typing" });
            if let (Some(thread), Some(params)) = (thread_of(place), params.as_object_mut()) {
                params.insert("message_thread_id".to_owned(), json!(thread));
            }
            let bounds = Bounds {
                idle: TIME,
                max_body: SMALL,
            };
            let spec = shared.api.call("sendChatAction", &params, bounds);
            sign.job = Some(shared.start_job(spec));
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.places.values().map(|sign| sign.next).min()
    }
}

//! A gateway with a toy channel, and the hands of fate over the jobs.

use std::collections::BTreeMap;

use bytes::Bytes;
use clawgate_core::{
    channel::Account,
    gateway::{Effect, EffectOutcome},
    ids::EffectId,
    job::{JobEnd, JobEvent, JobFailure, JobSpec, Reached},
    policy::AuthRule,
};
use serde_json::Value;

use crate::{
    agent::echo,
    common::{Host, token_rule},
    service::Service,
    toy,
};

pub const TOKEN: &str = "hunter2";

pub struct World {
    pub host: Host,
    pub service: Service,
    /// Jobs that the gateway started, by what they are.
    pub jobs: BTreeMap<EffectId, Value>,
}

/// What the world does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does what it should.
    Works,
    /// It never got there.
    Unreached,
    /// It got there, and the answer was lost.
    AnswerLost,
    /// It may have got there, and did not.
    Lost,
}

impl World {
    pub fn new(change: impl Fn(&mut Account) + 'static) -> Self {
        let service = Service::default();
        let of_host = service.clone();
        let rule: AuthRule = token_rule(TOKEN);
        let host = Host::new(rule)
            .with_agent(echo)
            .with_channels(move || toy::channels(&of_host, &change));
        let mut world = Self {
            host,
            service,
            jobs: BTreeMap::new(),
        };
        world.wake();
        world
    }

    /// Lets what is due happen, without time passing.
    pub fn wake(&mut self) {
        self.host.advance(std::time::Duration::ZERO);
        self.sort();
    }

    /// Sorts what the gateway asked for.
    pub fn sort(&mut self) {
        while !self.host.effects.is_empty() {
            let request = self.host.effects.remove(0);
            match request.effect {
                Effect::StartJob(spec) => {
                    let JobSpec::Http(http) = *spec else {
                        panic!("no program was expected");
                    };
                    let what = serde_json::from_slice(&http.body).unwrap();
                    self.jobs.insert(request.id, what);
                }
                Effect::StopJob(job) => {
                    self.jobs.remove(&job);
                }
                Effect::HoldLock(_) => self.host.complete(request.id, EffectOutcome::Done),
                Effect::ReleaseLock(_) => {}
                other => panic!("{other:?} was not expected"),
            }
        }
    }

    pub fn crash(&mut self) {
        self.jobs.clear();
        self.host.restart();
        self.wake();
    }

    /// Ends a job.
    pub fn end(&mut self, id: EffectId, fate: Fate) {
        let Some(what) = self.jobs.remove(&id) else {
            return;
        };
        let takes = matches!(fate, Fate::Works | Fate::AnswerLost);
        if let (Some(text), true) = (what["send"].as_str(), takes) {
            let mut state = self.service.state();
            let chat = what["chat"].as_str().unwrap().to_owned();
            state.told.push((chat, text.to_owned()));
            let key = what["key"].as_str().unwrap().to_owned();
            *state.keys.entry(key).or_default() += 1;
        }
        let upto = what["poll"].as_u64().map(|cursor| {
            let cursor = usize::try_from(cursor).unwrap();
            let mut state = self.service.state();
            assert!(
                cursor >= state.confirmed,
                "the service has forgotten what the gateway asks for"
            );
            state.confirmed = cursor;
            state.written.len()
        });
        let failed = |reached| {
            JobEvent::Failed(JobFailure {
                reached,
                message: "broken".into(),
            })
        };
        match fate {
            Fate::Works => {
                if let Some(upto) = upto {
                    let data = Bytes::from(upto.to_string());
                    self.host.job(id, JobEvent::Data(data));
                }
                self.host.job(id, JobEvent::Ended(JobEnd::Complete));
            }
            Fate::Unreached => self.host.job(id, failed(Reached::No)),
            Fate::AnswerLost | Fate::Lost => self.host.job(id, failed(Reached::Perhaps)),
        }
        self.sort();
    }

    pub fn job_of(&self, field: &str) -> Option<EffectId> {
        let mut jobs = self.jobs.iter();
        jobs.find(|(_, what)| what.get(field).is_some())
            .map(|(id, _)| *id)
    }

    /// Answers everything well, until nothing but an idle poll is left.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if let Some(other) = self.job_of("send").or_else(|| self.job_of("think")) {
                self.end(other, Fate::Works);
                continue;
            }
            let news = {
                let state = self.service.state();
                state.written.len()
            };
            match self.job_of("poll") {
                Some(poll) if self.jobs[&poll]["poll"].as_u64() != Some(news as u64) => {
                    self.end(poll, Fate::Works);
                }
                Some(_) | None => return,
            }
        }
        panic!("it never comes to rest");
    }

    pub fn says(&mut self, chat: &str, text: &str) {
        self.service.says(chat, text);
        self.settle();
    }
}

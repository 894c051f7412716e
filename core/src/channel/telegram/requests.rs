//! Requests that wait for their turn, and those that are under way until a deadline.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{api::Exchange, shared::Shared};
use crate::{channel::ChannelJob, job::JobSpec, time::Now};

/// Things to be asked of the Bot API, a number of them at a time.
#[derive(Debug)]
pub(super) struct Requests<T> {
    max_active: usize,
    waiting: VecDeque<T>,
    active: BTreeMap<ChannelJob, Active<T>>,
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Active<T> {
    /// What it is for.
    pub(super) item: T,
    /// What has come of it.
    pub(super) exchange: Exchange,
    deadline: Instant,
}

impl<T> Requests<T> {
    pub(super) const fn new(max_active: usize) -> Self {
        Self {
            max_active,
            waiting: VecDeque::new(),
            active: BTreeMap::new(),
        }
    }

    pub(super) fn wait(&mut self, item: T) {
        self.waiting.push_back(item);
    }

    /// The next one that may begin.
    pub(super) fn next(&mut self) -> Option<T> {
        if self.active.len() < self.max_active {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    pub(super) fn begin(
        &mut self,
        shared: &mut Shared,
        now: Now,
        item: T,
        (spec, time): (JobSpec, Duration),
    ) {
        let active = Active {
            item,
            exchange: Exchange::default(),
            deadline: now.mono + time,
        };
        self.active.insert(shared.start_job(spec), active);
    }

    /// Whether a job is one of these.
    pub(super) fn owns(&self, job: ChannelJob) -> bool {
        self.active.contains_key(&job)
    }

    pub(super) fn get_mut(&mut self, job: ChannelJob) -> Option<&mut Active<T>> {
        self.active.get_mut(&job)
    }

    /// Takes one that is over.
    pub(super) fn take(&mut self, job: ChannelJob) -> Option<Active<T>> {
        self.active.remove(&job)
    }

    /// Stops those whose time is up, and gives them.
    pub(super) fn overdue(&mut self, shared: &mut Shared, now: Now) -> Vec<Active<T>> {
        let due = self
            .active
            .extract_if(.., |_, active| active.deadline <= now.mono);
        due.map(|(job, active)| {
            shared.stop_job(job);
            active
        })
        .collect()
    }

    /// Ends everything; nothing comes of it.
    pub(super) fn stop(&mut self, shared: &mut Shared) {
        self.waiting.clear();
        for job in std::mem::take(&mut self.active).into_keys() {
            shared.stop_job(job);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.active.values().map(|active| active.deadline).min()
    }
}

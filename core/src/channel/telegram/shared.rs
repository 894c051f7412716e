//! What all parts of an account share: the API, numbers for jobs, and what goes out.

use std::{collections::VecDeque, time::Duration};

use crate::{
    channel::{AccountRef, ChannelJob, ChannelOutput},
    job::JobSpec,
    rng::Rng,
};

use super::api::Api;

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) account: AccountRef,
    pub(super) api: Api,
    pub(super) rng: Rng,
    pub(super) outputs: VecDeque<ChannelOutput>,
    pub(super) jobs: u64,
}

impl Shared {
    pub(super) fn start_job(&mut self, spec: JobSpec) -> ChannelJob {
        let job = ChannelJob(self.jobs);
        self.jobs += 1;
        self.outputs.push_back(ChannelOutput::StartJob(job, spec));
        job
    }

    pub(super) fn stop_job(&mut self, job: ChannelJob) {
        self.outputs.push_back(ChannelOutput::StopJob(job));
    }

    /// The pause before another try: doubled with each failure, up to 30 seconds, and spread so that
    /// many accounts do not try at the same moment.
    pub(super) fn pause(&mut self, failures: u32) -> Duration {
        let whole = Duration::from_secs(1)
            .saturating_mul(1 << failures.saturating_sub(1).min(5))
            .min(MAX_PAUSE);
        let half = whole / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_millis(self.rng.u64() % spread)
    }
}

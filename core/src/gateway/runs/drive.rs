//! What the agent wants, carried out.

use serde_json::json;

use super::{RunEnd, active::Told};
use crate::{
    agent::{AgentInput, AgentOutput},
    gateway::{Effect, Gateway},
    ids::{EffectId, RunId},
    job::{JobEvent, JobFailure, Reached},
    store::StoreFailure,
    time::Now,
};

impl Gateway {
    /// Carries out what the agent has to say, until it has nothing more.
    pub(in crate::gateway) fn drive_agent(&mut self, now: Now) {
        while let Some((run, output)) = self.agent.poll_output() {
            if !self.runs.active.contains_key(&run) {
                continue;
            }
            self.carry_out(now, &run, output);
        }
    }

    fn carry_out(&mut self, now: Now, run: &RunId, output: AgentOutput) {
        match output {
            AgentOutput::Text(text) => {
                if let Some(active) = self.runs.active.get_mut(run) {
                    active.text.push_str(&text);
                }
                if self.reply_is_too_long(run) {
                    return self.fail_run(now, run, "the reply is longer than the gateway keeps");
                }
                self.flush_later(now);
            }
            AgentOutput::Replace(text) => {
                if let Some(active) = self.runs.active.get_mut(run) {
                    active.text = text;
                    active.told = Told::Wrong;
                }
                self.flush_later(now);
            }
            AgentOutput::Waiting(retry) => {
                let data = json!({
                    "phase": "retry",
                    "attempt": retry.attempt,
                    "maxAttempts": retry.max_attempts,
                });
                self.tell_agent(now, run, "run_status", data);
            }
            AgentOutput::ToolCall(call) => self.call_tool(now, run, call),
            AgentOutput::StartJob(job, spec) => {
                let effect = self.out.effect(Effect::StartJob(Box::new(spec)));
                self.runs.jobs.insert(effect, (run.clone(), job));
                if let Some(active) = self.runs.active.get_mut(run) {
                    active.jobs.insert(job, effect);
                }
            }
            AgentOutput::FeedJob(job, bytes) => {
                if let Some(effect) = self.job_of(run, job) {
                    self.out.effect(Effect::FeedJob(effect, bytes));
                }
            }
            AgentOutput::StopJob(job) => {
                if let Some(effect) = self.job_of(run, job) {
                    self.runs.jobs.remove(&effect);
                    self.out.effect(Effect::StopJob(effect));
                    if let Some(active) = self.runs.active.get_mut(run) {
                        active.jobs.remove(&job);
                    }
                }
            }
            AgentOutput::Done(done) => self.end_run(now, run, RunEnd::Done(done)),
            AgentOutput::Failed(failed) => self.end_run(now, run, RunEnd::Failed(failed)),
        }
    }

    fn job_of(&self, run: &RunId, job: crate::agent::JobNo) -> Option<EffectId> {
        self.runs.active.get(run)?.jobs.get(&job).copied()
    }

    fn reply_is_too_long(&self, run: &RunId) -> bool {
        let max = self.setup.limits.max_reply;
        self.runs
            .active
            .get(run)
            .is_some_and(|active| active.text.len() > max)
    }

    /// Something came of a job. One that nobody waits for any more comes to nothing.
    pub fn handle_job(&mut self, now: Now, job: EffectId, event: JobEvent) {
        self.assert_drained();
        self.count_job(&event);
        if !self.channel_job(now, job, &event) {
            self.job_event(now, job, event);
        }
        self.finish_drain(now);
        self.end_input(now);
    }

    /// Work on a job that waited for the disk in vain. Gives whether it was such work.
    pub(in crate::gateway) fn lose_job_effect(
        &mut self,
        now: Now,
        id: EffectId,
        effect: Effect,
        failure: &StoreFailure,
    ) -> bool {
        let (job, reached) = if let Effect::StopJob(_) = effect {
            // Whatever is kept, nobody wants it any more.
            self.out.effect(effect);
            return true;
        } else if let Effect::FeedJob(job, _) = effect {
            // Without what it was to be given, it would wait for ever.
            if self.runs.jobs.contains_key(&job) {
                self.out.effect(Effect::StopJob(job));
            }
            (job, Reached::Perhaps)
        } else if let Effect::StartJob(_) = effect {
            (id, Reached::No)
        } else {
            return false;
        };
        let message = failure.to_string();
        if self.is_channel_job(job) {
            self.lose_channel_job(now, job, message);
            return true;
        }
        let failed = JobFailure { reached, message };
        self.job_event(now, job, JobEvent::Failed(failed));
        true
    }

    fn job_event(&mut self, now: Now, job: EffectId, event: JobEvent) {
        let ends = matches!(event, JobEvent::Ended(_) | JobEvent::Failed(_));
        if let Some((run, number)) = self.runs.jobs.get(&job).cloned() {
            if ends {
                self.runs.jobs.remove(&job);
                if let Some(active) = self.runs.active.get_mut(&run) {
                    active.jobs.remove(&number);
                }
            }
            self.agent.handle(now, &run, AgentInput::Job(number, event));
            self.drive_agent(now);
        }
    }

    /// Tells the agent to stop, and takes what it had under way from it.
    pub(super) fn cancel_agent(&mut self, now: Now, run: &RunId) {
        self.agent.handle(now, run, AgentInput::Cancel);
        self.drive_agent(now);
        let Some(active) = self.runs.active.get_mut(run) else {
            return;
        };
        let jobs = std::mem::take(&mut active.jobs);
        let calls = std::mem::take(&mut active.calls);
        for effect in jobs.into_values() {
            if self.runs.jobs.remove(&effect).is_some() {
                self.out.effect(Effect::StopJob(effect));
            }
        }
        for call in calls.values() {
            self.cancel_call(now, call);
        }
    }
}

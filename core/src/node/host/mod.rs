//! The machine.

mod invocation;
mod program;
mod steps;
mod telling;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use self::invocation::{Invocation, Stage, StopCause, Waiter};
use super::{
    command::NodeCommands,
    machine_facts::{DeviceFacts, host_stats},
    publication::{Publication, Told},
    repeat::{Key, Print, Replies, Reply},
    request::{self, Invoke},
    work::{JobId, NodeCall, NodeCallId, NodeOutcome, NodeWork},
};
use crate::{frame::RawJson, protocol::RpcError, time::Now};

/// How often a node tells its host's figures (spec protocol §8.5).
const STATS_INTERVAL: Duration = Duration::from_secs(60);
/// What the gateway does before it gives up is to read the answer, which needs time too.
const MOST_MARGIN: Duration = Duration::from_millis(500);

/// Limits of a node, all finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Requests that are carried out at once. More are told to come again.
    pub max_running: usize,
    /// Bytes that are kept of each output of `system.run`.
    pub max_output: usize,
    /// Bytes of one answer.
    pub max_result: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            max_running: 16,
            max_output: 200_000,
            max_result: 4 * 1024 * 1024,
        }
    }
}

/// What a node is made of.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// The device's id, which is the node's.
    pub node_id: String,
    /// What it offers.
    pub commands: NodeCommands,
    /// What it says of its machine.
    pub facts: DeviceFacts,
    /// Where the file of exec approvals is, as it is told to the gateway.
    pub approvals_path: String,
    /// Its limits.
    pub limits: NodeLimits,
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostNotice {
    /// The gateway takes calls of all commands that its owner approved.
    Approved,
    /// Somebody has to approve the node's commands: this request, where the gateway names it.
    AwaitsApproval(Option<String>),
    /// Somebody turned the node's commands down.
    Rejected,
    /// The gateway does not want something that this node told, in its words.
    Unwanted(String),
}

/// A node (spec protocol §8): requests of a gateway in; work, calls and deadlines out.
///
/// After every input, drain [`NodeHost::poll_work`], [`NodeHost::poll_call`] and
/// [`NodeHost::poll_notice`], and re-arm [`NodeHost::poll_timeout`].
///
/// ```
/// use std::time::Instant;
/// use clawgate_core::{
///     frame::RawJson,
///     node::{Found, Looked, ApprovalsText, NodeHost, NodeOptions, NodeOutcome, NodeWork},
///     time::{Now, WallTime},
/// };
///
/// # #[allow(clippy::disallowed_methods)]
/// let now = Now { mono: Instant::now(), wall: WallTime(1_737_264_000_000) };
/// let mut node = NodeHost::new(NodeOptions { node_id: "n".into(), ..NodeOptions::default() });
/// node.handle_connected(now, 25 * 1024 * 1024);
/// while node.poll_call().is_some() {}
/// while node.poll_work().is_some() {}
///
/// let request = RawJson::checked(
///     r#"{"id":"1","nodeId":"n","command":"system.which","paramsJSON":"{\"bins\":[\"sh\"]}"}"#,
/// )?;
/// node.handle_event(now, "node.invoke.request", &request);
/// let Some(NodeWork::Look(job, look)) = node.poll_work() else { panic!() };
/// assert_eq!(look.programs, ["sh"]);
///
/// let shell = Found { path: "/bin/sh".into(), real: "/bin/dash".into() };
/// let looked = Looked {
///     programs: vec![Some(shell)],
///     folder: Ok("/".into()),
///     approvals: ApprovalsText::Missing,
/// };
/// node.handle_outcome(now, job, NodeOutcome::Looked(looked));
/// let answer = node.poll_call().unwrap();
/// assert_eq!(answer.method, "node.invoke.result");
/// assert!(answer.params.as_str().contains("/bin/sh"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct NodeHost {
    options: NodeOptions,
    link: Option<Link>,
    links: u64,
    invocations: BTreeMap<JobId, Invocation>,
    replies: Replies,
    publications: Vec<Publication>,
    stats: Stats,
    last_job: u64,
    last_call: u64,
    work: VecDeque<NodeWork>,
    calls: VecDeque<NodeCall>,
    notices: VecDeque<HostNotice>,
}

/// The present connection.
#[derive(Clone, Copy, Debug)]
struct Link {
    number: u64,
    max_payload: usize,
}

/// The host's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stats {
    Off,
    Due(Instant),
    Sampling(JobId),
}

impl NodeHost {
    /// A node without a connection.
    pub fn new(options: NodeOptions) -> Self {
        let tools = Publication::tools(options.commands.tools());
        Self {
            publications: [Some(Publication::sessions()), tools]
                .into_iter()
                .flatten()
                .collect(),
            options,
            link: None,
            links: 0,
            invocations: BTreeMap::new(),
            replies: Replies::default(),
            stats: Stats::Off,
            last_job: 0,
            last_call: 0,
            work: VecDeque::new(),
            calls: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// What the node is made of.
    pub const fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// A connection stands; the gateway takes messages of this many bytes.
    pub fn handle_connected(&mut self, now: Now, max_payload: usize) {
        self.links += 1;
        self.link = Some(Link {
            number: self.links,
            max_payload,
        });
        for publication in &mut self.publications {
            publication.start(now.mono);
        }
        self.stats = Stats::Due(now.mono);
        self.keep_telling(now);
    }

    /// There is no connection. Programs with an idempotency key run on, for the gateway may ask for
    /// them again; everything else is given up, as the gateway gave it up.
    pub fn handle_disconnected(&mut self, now: Now) {
        self.link = None;
        self.stats = Stats::Off;
        for publication in &mut self.publications {
            publication.stop();
        }
        self.calls.clear();
        for (job, mut invocation) in std::mem::take(&mut self.invocations) {
            invocation.waiters.clear();
            let is_program = matches!(invocation.stage, Stage::Program(_));
            if is_program && invocation.repeat.is_some() {
                self.invocations.insert(job, invocation);
            } else {
                self.give_up(job, invocation);
            }
        }
        self.keep_telling(now);
    }

    /// Takes an event of the gateway. What is not for nodes is passed over.
    pub fn handle_event(&mut self, now: Now, name: &str, payload: &RawJson) {
        match name {
            "node.invoke.request" => {
                if let Some(invoke) = Invoke::read(payload) {
                    self.invoke(now, invoke);
                }
            }
            "node.invoke.cancel" => {
                if let Some(id) = request::cancelled(payload) {
                    self.cancel(&id);
                }
            }
            "node.pair.resolved" => match request::resolved(payload) {
                Some(true) => {
                    for publication in &mut self.publications {
                        publication.hurry(now.mono);
                    }
                }
                Some(false) => self.notices.push_back(HostNotice::Rejected),
                None => {}
            },
            // No command of this node takes input while it runs.
            _ => {}
        }
        self.keep_telling(now);
    }

    /// Takes what came of a piece of work. Work that was given up meanwhile is passed over.
    pub fn handle_outcome(&mut self, now: Now, job: JobId, outcome: NodeOutcome) {
        if self.stats == Stats::Sampling(job) {
            self.stats = Stats::Due(now.mono + STATS_INTERVAL);
            if let NodeOutcome::Sampled(sample) = &outcome
                && let Some(stats) = host_stats(sample)
            {
                self.tell("node.host.stats", &stats);
            }
        } else if let Some(invocation) = self.invocations.remove(&job) {
            self.step(now, invocation, outcome);
        }
        self.keep_telling(now);
    }

    /// Takes the answer to a call.
    pub fn handle_answer(&mut self, now: Now, call: NodeCallId, answer: Result<(), &RpcError>) {
        let mut answers = self.publications.iter_mut().filter_map(|publication| {
            let told = publication.answered(now.mono, call, answer)?;
            Some((publication.method, told))
        });
        if let Some((method, told)) = answers.next() {
            drop(answers);
            let about_approval = method == "node.runnerInventory.update";
            match told {
                // Both mean that the surface stands: it is looked at first.
                Told::Taken | Told::Unwanted(_) if about_approval => {
                    self.notices.push_back(HostNotice::Approved);
                    // What was told before counted for nobody.
                    if let Stats::Due(_) = self.stats {
                        self.stats = Stats::Due(now.mono);
                    }
                }
                Told::AwaitsApproval(request) if about_approval => {
                    self.notices.push_back(HostNotice::AwaitsApproval(request));
                }
                Told::Unwanted(words) => {
                    let words = format!("{method}: {words}");
                    self.notices.push_back(HostNotice::Unwanted(words));
                }
                Told::Taken | Told::AwaitsApproval(_) | Told::Later => {}
            }
        }
        self.keep_telling(now);
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        let late: Vec<JobId> = self
            .invocations
            .iter()
            .filter(|(_, invocation)| invocation.until.is_some_and(|until| until <= now.mono))
            .map(|(job, _)| *job)
            .collect();
        for job in late {
            self.expire(now, job);
        }
        self.keep_telling(now);
    }

    /// Gives everything up. Go on until [`NodeHost::is_idle`].
    pub fn stop(&mut self) {
        self.link = None;
        self.stats = Stats::Off;
        for publication in &mut self.publications {
            publication.stop();
        }
        self.calls.clear();
        for (job, mut invocation) in std::mem::take(&mut self.invocations) {
            invocation.waiters.clear();
            self.give_up(job, invocation);
        }
    }

    /// Whether no program runs.
    pub fn is_idle(&self) -> bool {
        self.invocations.is_empty()
    }

    /// The next piece of work. Call it after every input.
    pub fn poll_work(&mut self) -> Option<NodeWork> {
        self.work.pop_front()
    }

    /// The next call to the gateway. Call it after every input.
    pub fn poll_call(&mut self) -> Option<NodeCall> {
        self.calls.pop_front()
    }

    /// The next thing that a person should know. Call it after every input.
    pub fn poll_notice(&mut self) -> Option<HostNotice> {
        self.notices.pop_front()
    }

    /// When to call [`NodeHost::handle_timeout`]. It may change with every input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let programs = self.invocations.values().filter_map(|it| it.until);
        let told = self.publications.iter().filter_map(Publication::deadline);
        let stats = match self.stats {
            Stats::Due(at) => Some(at),
            Stats::Off | Stats::Sampling(_) => None,
        };
        programs.chain(told).chain(stats).min()
    }

    fn invoke(&mut self, now: Now, invoke: Invoke) {
        let Some(link) = self.link else { return };
        if invoke.node_id != self.options.node_id || self.is_known(&invoke.id, link) {
            return;
        }
        let waiter = Waiter {
            id: invoke.id.clone(),
            link: link.number,
        };
        let repeat = Key::of(&invoke).map(|key| (key, Print::of(&invoke)));
        if let Some((key, print)) = &repeat {
            const OTHER: &str = "INVALID_REQUEST: the idempotency key belongs to another request";
            let other = || Reply::Failed("INVALID_REQUEST", OTHER.to_owned());
            if let Some((known, reply)) = self.replies.get(now.mono, key) {
                let reply = if known == print {
                    reply.clone()
                } else {
                    other()
                };
                return self.answer(&[waiter], &reply);
            }
            let under_way = self.invocations.values_mut().find(|invocation| {
                invocation
                    .repeat
                    .as_ref()
                    .is_some_and(|(known, _)| known == key)
            });
            if let Some(invocation) = under_way {
                if invocation
                    .repeat
                    .as_ref()
                    .is_some_and(|(_, known)| known == print)
                {
                    invocation.waiters.push(waiter);
                    return;
                }
                return self.answer(&[waiter], &other());
            }
        }
        if self.invocations.len() >= self.options.limits.max_running {
            let limit = self.options.limits.max_running;
            let words = format!("{limit} requests are being carried out; try again");
            return self.answer(&[waiter], &Reply::Failed("NODE_NOT_READY", words));
        }
        let until = invoke.time.map(|time| now.mono + time - margin(time));
        self.begin(now, invoke, waiter, repeat, until);
    }

    fn is_known(&self, id: &str, link: Link) -> bool {
        let mut waiters = self.invocations.values().flat_map(|it| &it.waiters);
        waiters.any(|waiter| waiter.id == id && waiter.link == link.number)
    }

    fn cancel(&mut self, id: &str) {
        let found = self.invocations.iter_mut().find_map(|(job, invocation)| {
            let before = invocation.waiters.len();
            invocation.waiters.retain(|waiter| waiter.id != id);
            (invocation.waiters.len() < before).then_some(*job)
        });
        let Some(job) = found else { return };
        let left = |invocation: &Invocation| invocation.waiters.is_empty();
        if self.invocations.get(&job).is_some_and(left)
            && let Some(invocation) = self.invocations.remove(&job)
        {
            self.give_up(job, invocation);
        }
    }

    /// Nobody waits any more. A program is ended, and stays until it has.
    fn give_up(&mut self, job: JobId, mut invocation: Invocation) {
        if let Stage::Program(program) = &mut invocation.stage {
            if program.stop.is_none() {
                program.stop = Some(StopCause::Cancelled);
                self.work.push_back(NodeWork::Kill(job));
            }
            invocation.until = None;
            self.invocations.insert(job, invocation);
        }
    }

    fn expire(&mut self, now: Now, job: JobId) {
        let Some(mut invocation) = self.invocations.remove(&job) else {
            return;
        };
        invocation.until = None;
        if let Stage::Program(program) = &mut invocation.stage {
            program.stop = Some(StopCause::Late);
            self.work.push_back(NodeWork::Kill(job));
            self.invocations.insert(job, invocation);
        } else {
            let words = "the request's time was over before anything was run".to_owned();
            self.finish(now, &invocation, Reply::Failed("TIMEOUT", words));
        }
    }

    /// Answers, and keeps the answer where something was done that must not be done twice.
    fn finish(&mut self, now: Now, invocation: &Invocation, reply: Reply) {
        self.answer(&invocation.waiters, &reply);
        let acted = invocation.acted;
        if let Some((key, print)) = invocation.repeat.clone().filter(|_| acted) {
            self.replies.keep(now.mono, key, print, reply);
        }
    }
}

/// What is kept of a request's time for the way back.
fn margin(time: Duration) -> Duration {
    (time / 10).min(MOST_MARGIN)
}

//! All numbers at one moment: what was counted, what connections count by themselves, and how much
//! waits where.

use std::time::Duration;

use crate::{
    channel::{AccountRef, Link},
    gateway::{Gateway, channels::MessageState, clients::Conn},
    ids::ConnId,
    metrics::{ConnTotals, HostSample, Label, OpenRefused},
    protocol::Role,
    time::Now,
};

/// Accounts of channels that are told apart; a config has a handful.
const MAX_ACCOUNTS: usize = 256;

/// Connections at one moment, by what they may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OpenConns {
    /// Not authenticated.
    pub(super) unauthenticated: usize,
    pub(super) operators: usize,
    pub(super) nodes: usize,
    /// Told to go, and still there.
    pub(super) leaving: usize,
}

impl OpenConns {
    pub(super) const fn each(self) -> [(&'static str, usize); 4] {
        [
            ("none", self.unauthenticated),
            ("operator", self.operators),
            ("node", self.nodes),
            ("leaving", self.leaving),
        ]
    }
}

/// An account of a channel.
#[derive(Clone, Debug)]
pub(super) struct AccountReading {
    pub(super) name: AccountRef,
    pub(super) link: Link,
    pub(super) waiting_in: usize,
    pub(super) waiting_out: usize,
    pub(super) running: usize,
    pub(super) uncertain: usize,
    pub(super) restarts: u64,
}

impl AccountReading {
    pub(super) const fn each(&self) -> [(&'static str, usize); 4] {
        [
            ("in", self.waiting_in),
            ("running", self.running),
            ("out", self.waiting_out),
            ("uncertain", self.uncertain),
        ]
    }
}

/// How much waits where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queues {
    /// Bytes that wait for sockets, in all and for the one for which most wait.
    pub(super) outbound: usize,
    pub(super) outbound_most: usize,
    /// Connections with less than half of their budget left.
    pub(super) slow: usize,
    /// Calls that wait for their answer.
    pub(super) calls: usize,
    pub(super) runs_under_way: usize,
    pub(super) runs_waiting: usize,
    pub(super) run_bytes: usize,
    /// Calls that nodes work on.
    pub(super) invokes: usize,
    /// Work that the host does for the gateway, but for jobs.
    pub(super) effects: usize,
    pub(super) jobs: usize,
    pub(super) commits: usize,
    pub(super) posts: usize,
}

impl Queues {
    pub(super) const fn each(&self) -> [(&'static str, usize); 8] {
        [
            ("calls", self.calls),
            ("runs_under_way", self.runs_under_way),
            ("runs_waiting", self.runs_waiting),
            ("node_invokes", self.invokes),
            ("effects", self.effects),
            ("jobs", self.jobs),
            ("commits", self.commits),
            ("http_posts", self.posts),
        ]
    }
}

/// All numbers that are not counted but looked at.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) uptime: Duration,
    pub(super) open: OpenConns,
    /// Connections that were taken.
    pub(super) accepted: u64,
    pub(super) conns: ConnTotals,
    pub(super) refused: [(&'static str, u64); 5],
    pub(super) queues: Queues,
    pub(super) accounts: Vec<AccountReading>,
    pub(super) rss_bytes: u64,
}

impl Gateway {
    pub(super) fn read_numbers(&self, now: Now, sample: &HostSample) -> Reading {
        let mut open = OpenConns::default();
        let mut queues = self.queues_now();
        for conn in self.conns.values() {
            match conn {
                Conn::Opened(_) => open.unauthenticated += 1,
                Conn::Leaving(_) => open.leaving += 1,
                Conn::Admitted(client) => {
                    match client.role {
                        Role::Node => open.nodes += 1,
                        Role::Operator => open.operators += 1,
                    }
                    queues.calls += client.calls.len();
                }
            }
        }
        let mut conns = self.metrics.gone.clone();
        let budget = self.setup.limits.max_buffered_bytes;
        for conn in &sample.conns {
            conns.add(&conn.counts);
            queues.outbound += conn.buffered;
            queues.outbound_most = queues.outbound_most.max(conn.buffered);
            queues.slow += usize::from(conn.buffered > budget / 2);
        }
        let refused = &self.metrics.refused;
        let seen = |why: OpenRefused| (why.name(), refused.get(why));
        Reading {
            uptime: now.mono.saturating_duration_since(self.started),
            open,
            accepted: self.metrics.accepted,
            conns,
            refused: [
                seen(OpenRefused::Stopping),
                seen(OpenRefused::TooMany),
                seen(OpenRefused::TooManyFromAddress),
                ("too_many_heads", sample.refused_heads),
                ("tls", sample.failed_tls),
            ],
            queues,
            accounts: self.account_readings(),
            rss_bytes: sample.rss_bytes,
        }
    }

    fn queues_now(&self) -> Queues {
        Queues {
            runs_under_way: self.runs.running(),
            runs_waiting: self.runs.queued(),
            run_bytes: self.runs.queued_bytes(),
            invokes: self.nodes.invokes.len(),
            effects: self.pending.len(),
            jobs: self.runs.jobs_under_way() + self.accounts.jobs_under_way(),
            commits: self.metrics.commits_waiting(),
            posts: self.posts.len(),
            ..Queues::default()
        }
    }

    fn account_readings(&self) -> Vec<AccountReading> {
        let accounts = self.account_statuses().take(MAX_ACCOUNTS);
        accounts
            .map(|(name, status)| {
                let (waiting_in, waiting_out) = self.channels.waiting_of(name);
                let uncertain = self.channels.messages().filter(|record| {
                    record.place.account == *name && record.state == MessageState::Uncertain
                });
                AccountReading {
                    name: name.clone(),
                    link: status.link,
                    waiting_in,
                    waiting_out,
                    running: self.channels.running_of(name),
                    uncertain: uncertain.count(),
                    restarts: u64::from(status.restarts),
                }
            })
            .collect()
    }

    /// The connection of a sample, if it is still there, with what the gateway knows of it.
    pub(super) fn conn_of(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(&id)
    }
}

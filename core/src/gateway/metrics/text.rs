//! The numbers as text, for `/metrics`.

use super::reading::{AccountReading, Reading};
use crate::{
    channel::Link,
    gateway::{Gateway, HttpAnswer, channels::link_name},
    metrics::{CloseCause, Counters, Exposition, Form, HostSample, Kind, Label},
    time::Now,
};

/// The states of an account of a channel.
const LINKS: [Link; 5] = [
    Link::Stopped,
    Link::Connecting,
    Link::Connected,
    Link::Failing,
    Link::Blocked,
];

impl Gateway {
    /// The answer to a request for the numbers, after [`crate::gateway::HttpVerdict::Metrics`].
    pub fn metrics_page(&self, now: Now, form: Form, sample: &HostSample) -> HttpAnswer {
        let reading = self.read_numbers(now, sample);
        let mut text = Exposition::new(form);
        self.write_process(&mut text, &reading);
        write_conns(&mut text, &reading);
        self.write_calls(&mut text);
        write_queues(&mut text, &reading);
        self.write_work(&mut text);
        write_accounts(&mut text, &reading.accounts);
        HttpAnswer {
            content_type: form.content_type(),
            ..HttpAnswer::text(200, &text.finish())
        }
    }

    fn write_process(&self, text: &mut Exposition, reading: &Reading) {
        text.family("clawgate_build", Kind::Info, None, "Which gateway this is.");
        text.sample(&[("version", &self.setup.host.version)], 1);
        text.family(
            "clawgate_uptime_seconds",
            Kind::Gauge,
            Some("seconds"),
            "Time since the gateway started.",
        );
        text.sample(&[], reading.uptime.as_secs_f64());
        if reading.rss_bytes > 0 {
            text.family(
                "clawgate_resident_memory_bytes",
                Kind::Gauge,
                Some("bytes"),
                "Resident memory of the process.",
            );
            text.sample(&[], reading.rss_bytes);
        }
    }

    fn write_calls(&self, text: &mut Exposition) {
        text.family(
            "clawgate_calls",
            Kind::Counter,
            None,
            "Calls that ended, by method and result; methods that there are not are unknown.",
        );
        for (method, cell) in self.metrics.calls() {
            for (result, count) in cell.results.seen() {
                text.sample(&[("method", method), ("result", result)], count);
            }
        }
        text.family(
            "clawgate_call_duration_seconds",
            Kind::Histogram,
            Some("seconds"),
            "Time from the arrival of a call to its answer, changes on disk included.",
        );
        for (method, cell) in self.metrics.calls() {
            if cell.times.count() > 0 {
                text.histogram(&[("method", method)], &cell.times);
            }
        }
    }

    fn write_work(&self, text: &mut Exposition) {
        let metrics = &self.metrics;
        counters(
            text,
            ("clawgate_node_invokes", "result"),
            "Calls of nodes that ended.",
            &metrics.invokes,
        );
        text.family(
            "clawgate_node_invoke_duration_seconds",
            Kind::Histogram,
            Some("seconds"),
            "Time that calls of nodes took.",
        );
        text.histogram(&[], &metrics.invoke_times);
        counters(
            text,
            ("clawgate_store_commits", "result"),
            "Changes that were to be durable.",
            &metrics.commits,
        );
        text.family(
            "clawgate_store_commit_duration_seconds",
            Kind::Histogram,
            Some("seconds"),
            "Time until a change was durable, the time in the queue included.",
        );
        text.histogram(&[], &metrics.commit_times);
        counters(
            text,
            ("clawgate_jobs_started", "kind"),
            "HTTP requests and programs that were started for agents and channels.",
            &metrics.jobs_started,
        );
        counters(
            text,
            ("clawgate_jobs_ended", "result"),
            "Those that are over.",
            &metrics.jobs,
        );
        counters(
            text,
            ("clawgate_runs", "result"),
            "Runs of agents that are over.",
            &metrics.runs,
        );
        text.family(
            "clawgate_run_duration_seconds",
            Kind::Histogram,
            Some("seconds"),
            "Time that runs of agents took, from their turn on.",
        );
        text.histogram(&[], &metrics.run_times);
        text.family(
            "clawgate_http_requests",
            Kind::Counter,
            None,
            "Requests over HTTP, by what they were for and how they were answered.",
        );
        for (route, classes) in metrics.requests() {
            for (class, count) in classes.seen() {
                text.sample(&[("route", route.name()), ("class", class)], count);
            }
        }
    }
}

fn write_conns(text: &mut Exposition, reading: &Reading) {
    text.family(
        "clawgate_connections",
        Kind::Gauge,
        None,
        "WebSocket connections that are open; none have not authenticated, leaving were told to go.",
    );
    for (role, count) in reading.open.each() {
        text.sample(&[("role", role)], count);
    }
    text.family(
        "clawgate_connections_accepted",
        Kind::Counter,
        None,
        "WebSocket connections that were taken.",
    );
    text.sample(&[], reading.accepted);
    text.family(
        "clawgate_connections_refused",
        Kind::Counter,
        None,
        "Sockets that did not become a connection.",
    );
    for (reason, count) in reading.refused {
        text.sample(&[("reason", reason)], count);
    }
    counters(
        text,
        ("clawgate_handshakes", "result"),
        "Handshakes that ended: ok, or why not, by the protocol's own codes.",
        &reading.conns.handshakes,
    );
    counters(
        text,
        ("clawgate_connections_closed", "reason"),
        "Connections that ended.",
        &reading.conns.closed,
    );
    text.family(
        "clawgate_slow_consumer_closes",
        Kind::Counter,
        None,
        "Connections that were closed because too much waited for them.",
    );
    text.sample(&[], reading.conns.closed.get(CloseCause::SlowConsumer));
    text.family(
        "clawgate_events_dropped",
        Kind::Counter,
        None,
        "Events that slow connections did not get.",
    );
    text.sample(&[], reading.conns.dropped_events);
    text.family(
        "clawgate_messages_received",
        Kind::Counter,
        None,
        "WebSocket messages that came.",
    );
    text.sample(&[], reading.conns.messages_in);
    text.family(
        "clawgate_received_bytes",
        Kind::Counter,
        Some("bytes"),
        "Bytes of those messages.",
    );
    text.sample(&[], reading.conns.bytes_in);
    text.family(
        "clawgate_sent_bytes",
        Kind::Counter,
        Some("bytes"),
        "Bytes of WebSocket messages that left.",
    );
    text.sample(&[], reading.conns.bytes_out);
}

fn write_queues(text: &mut Exposition, reading: &Reading) {
    let queues = &reading.queues;
    text.family(
        "clawgate_outbound_buffered_bytes",
        Kind::Gauge,
        Some("bytes"),
        "Bytes that wait for sockets of clients.",
    );
    text.sample(&[], queues.outbound);
    text.family(
        "clawgate_outbound_buffered_largest_bytes",
        Kind::Gauge,
        Some("bytes"),
        "Bytes that wait for the slowest client.",
    );
    text.sample(&[], queues.outbound_most);
    text.family(
        "clawgate_slow_connections",
        Kind::Gauge,
        None,
        "Connections for which more than half of what is allowed waits.",
    );
    text.sample(&[], queues.slow);
    text.family(
        "clawgate_queue_depth",
        Kind::Gauge,
        None,
        "What waits or is under way.",
    );
    for (queue, depth) in queues.each() {
        text.sample(&[("queue", queue)], depth);
    }
    text.family(
        "clawgate_runs_waiting_bytes",
        Kind::Gauge,
        Some("bytes"),
        "Bytes of messages that wait for their turn.",
    );
    text.sample(&[], queues.run_bytes);
}

fn write_accounts(text: &mut Exposition, accounts: &[AccountReading]) {
    if accounts.is_empty() {
        return;
    }
    text.family(
        "clawgate_channel_state",
        Kind::StateSet,
        None,
        "How an account of a channel fares.",
    );
    let states = LINKS.map(link_name);
    for account in accounts {
        let current = link_name(account.link);
        text.states(&labels(account), &states, current);
    }
    text.family(
        "clawgate_channel_messages",
        Kind::Gauge,
        None,
        "Messages of an account: waiting for an agent, answered now, to be sent, or of an unknown fate.",
    );
    for account in accounts {
        for (queue, count) in account.each() {
            let [channel, name] = labels(account);
            text.sample(&[channel, name, ("queue", queue)], count);
        }
    }
    text.family(
        "clawgate_channel_restarts",
        Kind::Counter,
        None,
        "How often an account began anew.",
    );
    for account in accounts {
        text.sample(&labels(account), account.restarts);
    }
}

fn labels(account: &AccountReading) -> [(&'static str, &str); 2] {
    [
        ("channel", account.name.channel.as_str()),
        ("account", account.name.account.as_str()),
    ]
}

fn counters<L: Label>(
    text: &mut Exposition,
    (name, label): (&'static str, &'static str),
    help: &str,
    counters: &Counters<L>,
) {
    text.family(name, Kind::Counter, None, help);
    for (value, count) in counters.all() {
        text.sample(&[(label, value)], count);
    }
}

//! The answers of `clawgate.metrics` and `clawgate.connections`, and what happened between two of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Names and counts.
pub(super) type Counts = BTreeMap<String, u64>;

/// The numbers of a gateway at one moment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sample {
    pub(super) ts: u64,
    boot_id: String,
    pub(super) version: String,
    uptime_ms: u64,
    pub(super) rss_bytes: u64,
    /// Upper ends of the buckets, in milliseconds.
    bounds: Vec<f64>,
    pub(super) connections: Connections,
    calls: Vec<Method>,
    pub(super) queues: Counts,
    nodes: NodeCalls,
    pub(super) channels: Vec<Channel>,
    store: Timed,
    runs: Timed,
    jobs: Jobs,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Connections {
    pub(super) open: Counts,
    pub(super) accepted: u64,
    pub(super) refused: Counts,
    pub(super) handshakes: Counts,
    pub(super) closed: Counts,
    pub(super) dropped_events: u64,
    pub(super) messages_in: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) buffered_bytes: u64,
    pub(super) buffered_most: u64,
    pub(super) max_buffered_bytes: u64,
    pub(super) slow: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Method {
    method: String,
    #[serde(flatten)]
    timed: Timed,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Timed {
    results: Counts,
    times: Times,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Times {
    counts: Vec<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeCalls {
    connected: Vec<Node>,
    #[serde(flatten)]
    timed: Timed,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Jobs {
    started: Counts,
    ended: Counts,
}

/// A connected node.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Node {
    pub(super) node_id: String,
    pub(super) name: Option<String>,
    pub(super) invokes: u64,
    pub(super) connected_ms: Option<u64>,
}

/// An account of a channel.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Channel {
    pub(super) channel: String,
    pub(super) account: String,
    pub(super) state: String,
    pub(super) messages: Counts,
    pub(super) restarts: u64,
}

/// A connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Client {
    pub(super) conn: String,
    pub(super) state: String,
    pub(super) role: Option<String>,
    pub(super) client: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) ip: Option<String>,
    pub(super) device_id: Option<String>,
    pub(super) calls: u64,
    pub(super) buffered_bytes: u64,
    pub(super) peak_buffered_bytes: u64,
    pub(super) messages_in: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) dropped_events: u64,
    pub(super) connected_ms: Option<u64>,
}

/// What happened in a while, and how it stands at its end.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) ts: u64,
    pub(super) version: String,
    pub(super) uptime_ms: u64,
    /// How long the while was.
    pub(super) period_ms: u64,
    /// Whether it began with the gateway.
    pub(super) since_start: bool,
    pub(super) rss_bytes: u64,
    pub(super) connections: Connections,
    pub(super) calls: Rate,
    pub(super) methods: Vec<MethodRate>,
    pub(super) queues: Counts,
    pub(super) node_invokes: Rate,
    pub(super) nodes: Vec<Node>,
    pub(super) channels: Vec<Channel>,
    pub(super) store: Rate,
    pub(super) runs: Rate,
    pub(super) jobs_started: u64,
    pub(super) jobs_ended: Counts,
    /// Connections by name, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clients: Option<Vec<Client>>,
}

/// How often something happened, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rate {
    pub(super) count: u64,
    pub(super) per_second: f64,
    /// Of those, how many did not end well.
    pub(super) errors: u64,
    /// Milliseconds within which half of them, 95 and 99 of 100 ended; roughly.
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// The same for a method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct MethodRate {
    pub(super) method: String,
    #[serde(flatten)]
    pub(super) rate: Rate,
}

impl Page {
    /// What happened since an earlier sample of the same run of the gateway, or since its start.
    pub(super) fn between(
        earlier: Option<&Sample>,
        now: &Sample,
        clients: Option<Vec<Client>>,
    ) -> Self {
        let nothing = Sample::default();
        let earlier = earlier.filter(|earlier| earlier.boot_id == now.boot_id);
        let period_ms = earlier.map_or(now.uptime_ms, |earlier| {
            now.uptime_ms.saturating_sub(earlier.uptime_ms)
        });
        let since_start = earlier.is_none();
        let earlier = earlier.unwrap_or(&nothing);
        let while_of = While {
            period: Duration::from_millis(period_ms.max(1)),
            bounds: &now.bounds,
        };
        let before = |method: &str| {
            let mut calls = earlier.calls.iter();
            let found = calls.find(|known| known.method == method);
            found.map(|found| &found.timed)
        };
        let mut all = (Timed::default(), Timed::default());
        let mut methods = Vec::new();
        for method in &now.calls {
            let empty = Timed::default();
            let before = before(&method.method).unwrap_or(&empty);
            all.0.add(before);
            all.1.add(&method.timed);
            let rate = while_of.rate(before, &method.timed);
            if rate.count > 0 {
                let method = method.method.clone();
                methods.push(MethodRate { method, rate });
            }
        }
        methods.sort_by(|a, b| {
            let busiest = b.rate.count.cmp(&a.rate.count);
            busiest.then_with(|| a.method.cmp(&b.method))
        });
        Self {
            ts: now.ts,
            version: now.version.clone(),
            uptime_ms: now.uptime_ms,
            period_ms,
            since_start,
            rss_bytes: now.rss_bytes,
            connections: now.connections.clone(),
            calls: while_of.rate(&all.0, &all.1),
            methods,
            queues: now.queues.clone(),
            node_invokes: while_of.rate(&earlier.nodes.timed, &now.nodes.timed),
            nodes: now.nodes.connected.clone(),
            channels: now.channels.clone(),
            store: while_of.rate(&earlier.store, &now.store),
            runs: while_of.rate(&earlier.runs, &now.runs),
            jobs_started: now.jobs.started.values().sum(),
            jobs_ended: now.jobs.ended.clone(),
            clients,
        }
    }
}

impl Timed {
    fn add(&mut self, other: &Self) {
        for (name, count) in &other.results {
            *self.results.entry(name.clone()).or_default() += count;
        }
        let counts = &mut self.times.counts;
        counts.resize(counts.len().max(other.times.counts.len()), 0);
        for (sum, count) in counts.iter_mut().zip(&other.times.counts) {
            *sum += count;
        }
    }
}

/// Results that are no errors.
const FINE: [&str; 4] = ["abandoned", "done", "ok", "queued"];

struct While<'a> {
    period: Duration,
    bounds: &'a [f64],
}

impl While<'_> {
    fn rate(&self, before: &Timed, after: &Timed) -> Rate {
        let since = |name: &str, count: u64| {
            count.saturating_sub(before.results.get(name).copied().unwrap_or_default())
        };
        let ended = after.results.iter();
        let ended: Vec<(&str, u64)> = ended
            .map(|(name, count)| (name.as_str(), since(name, *count)))
            .collect();
        let errors = ended.iter().filter(|(name, _)| !FINE.contains(name));
        let count = ended.iter().map(|(_, count)| count).sum::<u64>();
        let earlier = before.times.counts.iter().chain(std::iter::repeat(&0));
        let counts: Vec<u64> = after
            .times
            .counts
            .iter()
            .zip(earlier)
            .map(|(after, before)| after.saturating_sub(*before))
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "a rate is rough")]
        let per_second = count as f64 / self.period.as_secs_f64();
        Rate {
            count,
            per_second: (per_second * 1e3).round() / 1e3,
            errors: errors.map(|(_, count)| count).sum(),
            p50_ms: self.quantile(&counts, 0.50),
            p95_ms: self.quantile(&counts, 0.95),
            p99_ms: self.quantile(&counts, 0.99),
        }
    }

    /// Where so large a part of the counts has come, in a line through its bucket.
    #[allow(
        clippy::cast_precision_loss,
        reason = "what is known is a bucket, which is rough"
    )]
    fn quantile(&self, counts: &[u64], part: f64) -> Option<f64> {
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return None;
        }
        let wanted = all as f64 * part;
        let (mut below, mut from) = (0.0, 0.0);
        for (count, to) in counts.iter().zip(self.bounds) {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                let place = from + (to - from) * (wanted - below) / count;
                return Some((place * 1e3).round() / 1e3);
            }
            (below, from) = (below + count, *to);
        }
        // Longer than the longest bound: nothing more is known.
        self.bounds.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(boot: &str, uptime: u64, ok: u64, errors: u64, counts: &[u64]) -> Sample {
        serde_json::from_value(json!({
            "ts": 1_000 + uptime, "bootId": boot, "version": "1", "uptimeMs": uptime,
            "bounds": [1.0, 10.0, 100.0],
            "calls": [{
                "method": "health",
                "results": { "ok": ok, "unavailable": errors },
                "times": { "sumMs": 1.0, "counts": counts },
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_page_tells_what_happened_in_between() {
        let before = sample("a", 1_000, 10, 0, &[10, 0, 0, 0]);
        let after = sample("a", 3_000, 19, 1, &[10, 10, 0, 0]);
        let page = Page::between(Some(&before), &after, None);
        assert_eq!((page.period_ms, page.since_start), (2_000, false));
        let rate = Rate {
            count: 10,
            per_second: 5.0,
            errors: 1,
            p50_ms: Some(5.5),
            p95_ms: Some(9.55),
            p99_ms: Some(9.91),
        };
        assert_eq!(page.calls, rate);
        let method = "health".into();
        assert_eq!(page.methods, [MethodRate { method, rate }]);
        // Nothing since then.
        let page = Page::between(Some(&after), &after, None);
        assert_eq!((page.calls, page.methods), (Rate::default(), vec![]));
    }

    #[test]
    fn another_run_of_the_gateway_begins_anew() {
        let before = sample("a", 9_000, 50, 0, &[50, 0, 0, 0]);
        let after = sample("b", 500, 1, 0, &[0, 0, 0, 1]);
        let page = Page::between(Some(&before), &after, None);
        assert_eq!((page.period_ms, page.since_start), (500, true));
        assert_eq!((page.calls.count, page.calls.per_second), (1, 2.0));
        // It took longer than the longest bound.
        assert_eq!(page.calls.p50_ms, Some(100.0));
    }

    #[test]
    fn numbers_of_another_version_are_no_failure() {
        let sample: Sample = serde_json::from_value(json!({ "new": 1 })).unwrap();
        let page = Page::between(None, &sample, None);
        assert_eq!((page.calls.count, page.nodes.len()), (0, 0));
    }
}

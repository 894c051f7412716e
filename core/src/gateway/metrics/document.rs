//! The numbers as JSON, for `clawgate.metrics` and `clawgate.connections`: additions of this gateway.
//! Their names begin with the program's own, so that no method of the published protocol can ever have
//! them.
//!
//! Counters count from the start of the gateway, and `bootId` tells its runs apart: whoever asks twice
//! can see what happened in between.

use serde_json::{Map, Value, json};

use super::reading::AccountReading;
use crate::{
    frame::RawJson,
    gateway::{Gateway, channels::link_name, clients::Conn, waiting::Waiter},
    ids::EffectId,
    methods::Method,
    metrics::{BOUNDS, ConnSample, Counters, Histogram, HostSample, Label},
    protocol::{RpcCode, RpcError},
    server::Delivery,
    time::{Now, millis},
};

/// Connections that the answer names: those for which most waits, and then the busiest ones.
const MAX_CONNS: usize = 200;

/// Nodes that the answer names.
const MAX_NODES: usize = 200;

impl Gateway {
    /// The sample that [`crate::gateway::Effect::SampleHost`] asked for.
    pub fn handle_sample(&mut self, now: Now, effect: EffectId, sample: &HostSample) {
        self.assert_drained();
        if let Some(Waiter::Call(call)) = self.pending.remove(&effect).map(|found| found.waiter) {
            let document = if call.method == Method::ClawgateConnections {
                json!({
                    "ts": now.wall,
                    "bootId": self.boot_id,
                    "maxBufferedBytes": self.setup.limits.max_buffered_bytes,
                    "total": sample.conns.len(),
                    "connections": self.client_rows(now, sample),
                })
            } else {
                self.metrics_document(now, sample)
            };
            let outcome = RawJson::encode(&document).map_err(|_| {
                let message = "the numbers could not be written as JSON";
                RpcError::new(RpcCode::Unavailable, message)
            });
            let id = call.id;
            self.deliver(call.conn, Delivery::Response { id, outcome });
        }
        self.finish_drain(now);
        self.end_input(now);
    }

    fn metrics_document(&self, now: Now, sample: &HostSample) -> Value {
        let reading = self.read_numbers(now, sample);
        let metrics = &self.metrics;
        json!({
            "ts": now.wall,
            "bootId": self.boot_id,
            "version": self.setup.host.version,
            "uptimeMs": millis(reading.uptime),
            "rssBytes": reading.rss_bytes,
            "bounds": bounds(),
            "connections": {
                "open": counted(reading.open.each()),
                "accepted": reading.accepted,
                "refused": counted(reading.refused),
                "handshakes": seen(&reading.conns.handshakes),
                "closed": seen(&reading.conns.closed),
                "droppedEvents": reading.conns.dropped_events,
                "messagesIn": reading.conns.messages_in,
                "bytesIn": reading.conns.bytes_in,
                "bytesOut": reading.conns.bytes_out,
                "bufferedBytes": reading.queues.outbound,
                "bufferedMost": reading.queues.outbound_most,
                "maxBufferedBytes": self.setup.limits.max_buffered_bytes,
                "slow": reading.queues.slow,
            },
            "calls": self.call_rows(),
            "queues": counted(reading.queues.each()),
            "nodes": {
                "connected": self.node_rows_live(now),
                "results": seen(&metrics.invokes),
                "times": times(&metrics.invoke_times),
            },
            "channels": reading.accounts.iter().map(account_row).collect::<Vec<_>>(),
            "store": {
                "results": seen(&metrics.commits),
                "times": times(&metrics.commit_times),
            },
            "jobs": {
                "started": seen(&metrics.jobs_started),
                "ended": seen(&metrics.jobs),
            },
            "runs": {
                "results": seen(&metrics.runs),
                "times": times(&metrics.run_times),
            },
        })
    }

    fn call_rows(&self) -> Vec<Value> {
        let rows = self.metrics.calls().map(|(method, cell)| {
            json!({
                "method": method,
                "results": seen(&cell.results),
                "times": times(&cell.times),
            })
        });
        rows.collect()
    }

    fn node_rows_live(&self, now: Now) -> Vec<Value> {
        let live = self.nodes.live.iter().take(MAX_NODES);
        live.map(|(id, node)| {
            let since = self.client(node.conn).map(|client| client.since);
            json!({
                "nodeId": id,
                "name": self.node_name(id),
                "invokes": self.nodes.invokes.of_node(id),
                "connectedMs": since.map(|since| now.wall.0.saturating_sub(since.0)),
            })
        })
        .collect()
    }

    fn client_rows(&self, now: Now, sample: &HostSample) -> Vec<Value> {
        let mut conns: Vec<&ConnSample> = sample.conns.iter().collect();
        let order = |a: &&ConnSample, b: &&ConnSample| {
            let waits = b.buffered.cmp(&a.buffered);
            let busy = b.counts.messages_in.cmp(&a.counts.messages_in);
            waits.then(busy).then(a.id.cmp(&b.id))
        };
        conns.sort_unstable_by(order);
        conns
            .into_iter()
            .take(MAX_CONNS)
            .filter_map(|conn| Some(self.client_row(now, conn, self.conn_of(conn.id)?)))
            .collect()
    }

    fn client_row(&self, now: Now, sample: &ConnSample, conn: &Conn) -> Value {
        let mut row = json!({
            "conn": sample.id.to_string(),
            "bufferedBytes": sample.buffered,
            "peakBufferedBytes": sample.counts.peak_buffered,
            "messagesIn": sample.counts.messages_in,
            "bytesIn": sample.counts.bytes_in,
            "bytesOut": sample.counts.bytes_out,
            "droppedEvents": sample.counts.dropped_events,
        });
        let known = match conn {
            Conn::Opened(ip) => json!({ "state": "handshake", "ip": ip.to_string() }),
            Conn::Admitted(client) | Conn::Leaving(client) => json!({
                "state": if matches!(conn, Conn::Leaving(_)) { "leaving" } else { "open" },
                "role": client.role.as_str(),
                "client": client.info.id.as_str(),
                "mode": client.info.mode.as_str(),
                "ip": client.ip.to_string(),
                "deviceId": client.device_id,
                "calls": client.calls.len(),
                "connectedMs": now.wall.0.saturating_sub(client.since.0),
            }),
        };
        if let (Some(fields), Value::Object(more)) = (row.as_object_mut(), known) {
            fields.extend(more);
        }
        row
    }
}

/// The upper ends of the buckets, in milliseconds.
fn bounds() -> Vec<f64> {
    let millis = |micros: u64| std::time::Duration::from_micros(micros).as_secs_f64() * 1e3;
    BOUNDS.iter().map(|(micros, _)| millis(*micros)).collect()
}

fn times(times: &Histogram) -> Value {
    json!({
        "sumMs": times.sum().as_secs_f64() * 1e3,
        "counts": times.counts().collect::<Vec<_>>(),
    })
}

fn seen<L: Label>(counters: &Counters<L>) -> Value {
    counted(counters.seen())
}

fn counted<N: Into<Value>>(counts: impl IntoIterator<Item = (&'static str, N)>) -> Value {
    let fields = counts.into_iter();
    Value::Object(
        fields
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect::<Map<_, _>>(),
    )
}

fn account_row(account: &AccountReading) -> Value {
    json!({
        "channel": account.name.channel,
        "account": account.name.account,
        "state": link_name(account.link),
        "messages": counted(account.each()),
        "restarts": account.restarts,
    })
}

//! The page for people.

use std::time::Duration;

use super::numbers::{Client, Counts, Page, Rate};
use crate::text::{Sheet, Table, duration, short};

/// Characters of a name.
const NAME: usize = 28;

/// All lines of a page. `width` cuts them, where there is a terminal.
pub(super) fn lines(page: &Page, width: Option<usize>) -> Vec<String> {
    let mut text = summary(page).to_text();
    if !page.methods.is_empty() {
        text.push('\n');
        text.push_str(&methods(page).to_text());
    }
    if let Some(clients) = &page.clients {
        text.push('\n');
        let budget = page.connections.max_buffered_bytes;
        text.push_str(&connections(clients, budget).to_text());
    }
    if !page.nodes.is_empty() {
        text.push('\n');
        text.push_str(&nodes(page).to_text());
    }
    if !page.channels.is_empty() {
        text.push('\n');
        text.push_str(&channels(page).to_text());
    }
    let cut = |line: &str| match width {
        Some(width) => line.chars().take(width).collect(),
        None => line.trim_end().to_owned(),
    };
    text.lines().map(cut).collect()
}

fn summary(page: &Page) -> Sheet {
    let mut sheet = Sheet::default();
    let while_of = if page.since_start {
        "numbers since the start".to_owned()
    } else {
        format!("the last {}", millis(page.period_ms))
    };
    let memory = match page.rss_bytes {
        0 => String::new(),
        bytes => format!(", {} of memory", size(bytes)),
    };
    sheet.line(
        "Gateway",
        format!(
            "clawgate {}, up for {}{memory}; {while_of}",
            page.version,
            millis(page.uptime_ms)
        ),
    );
    let conns = &page.connections;
    let refused: u64 = conns.refused.values().sum();
    sheet.line(
        "Connections",
        format!(
            "{}; {} accepted, {refused} refused, {} closed as slow",
            open(&conns.open),
            conns.accepted,
            conns.closed.get("slow_consumer").unwrap_or(&0)
        ),
    );
    sheet.line(
        "Buffers",
        format!(
            "{} in all, {} for the slowest of {} allowed; {} slow, {} events dropped",
            size(conns.buffered_bytes),
            size(conns.buffered_most),
            size(conns.max_buffered_bytes),
            conns.slow,
            conns.dropped_events
        ),
    );
    let queue = |name: &str| page.queues.get(name).copied().unwrap_or_default();
    let calls = format!("{} in flight", queue("calls"));
    sheet.line("Calls", rate(&page.calls, &calls));
    let waiting = format!("{} waiting", queue("commits"));
    sheet.line("Store", rate(&page.store, &waiting));
    let runs = format!(
        "{} under way, {} waiting",
        queue("runs_under_way"),
        queue("runs_waiting")
    );
    sheet.line("Runs", rate(&page.runs, &runs));
    let invokes = format!("{} under way", queue("node_invokes"));
    sheet.line("Node calls", rate(&page.node_invokes, &invokes));
    sheet.line(
        "Work",
        format!(
            "{} jobs under way of {} started; {} other pieces of work, {} HTTP requests",
            queue("jobs"),
            page.jobs_started,
            queue("effects"),
            queue("http_posts")
        ),
    );
    sheet
}

fn methods(page: &Page) -> Table {
    let mut table = Table::new(&[
        "METHOD",
        "CALLS",
        "PER SECOND",
        "ERRORS",
        "P50",
        "P95",
        "P99",
    ]);
    for row in &page.methods {
        let rate = &row.rate;
        table.row([
            row.method.clone(),
            rate.count.to_string(),
            format!("{:.1}", rate.per_second),
            rate.errors.to_string(),
            time(rate.p50_ms),
            time(rate.p95_ms),
            time(rate.p99_ms),
        ]);
    }
    table
}

fn connections(clients: &[Client], budget: u64) -> Table {
    let mut table = Table::new(&[
        "CONNECTION",
        "CLIENT",
        "ROLE",
        "FROM",
        "CALLS",
        "PENDING",
        "OF BUDGET",
        "PEAK",
        "IN",
        "OUT",
        "DROPPED",
        "FOR",
    ]);
    for client in clients {
        let share = client.buffered_bytes.saturating_mul(100) / budget.max(1);
        let role = match client.state.as_str() {
            "open" => client.role.clone().unwrap_or_default(),
            state => state.to_owned(),
        };
        table.row([
            client.conn.clone(),
            short(client.client.as_deref().unwrap_or_default(), NAME),
            role,
            client.ip.clone().unwrap_or_default(),
            client.calls.to_string(),
            size(client.buffered_bytes),
            format!("{share} %"),
            size(client.peak_buffered_bytes),
            size(client.bytes_in),
            size(client.bytes_out),
            client.dropped_events.to_string(),
            client.connected_ms.map(millis).unwrap_or_default(),
        ]);
    }
    table
}

fn nodes(page: &Page) -> Table {
    let mut table = Table::new(&["NODE", "ID", "CALLS", "FOR"]);
    for node in &page.nodes {
        table.row([
            short(node.name.as_deref().unwrap_or_default(), NAME),
            short(&node.node_id, 16),
            node.invokes.to_string(),
            node.connected_ms.map(millis).unwrap_or_default(),
        ]);
    }
    table
}

fn channels(page: &Page) -> Table {
    let mut table = Table::new(&[
        "CHANNEL",
        "ACCOUNT",
        "STATE",
        "IN",
        "RUNNING",
        "OUT",
        "UNCERTAIN",
        "RESTARTS",
    ]);
    for account in &page.channels {
        let count = |name: &str| {
            let found = account.messages.get(name).copied();
            found.unwrap_or_default().to_string()
        };
        table.row([
            account.channel.clone(),
            short(&account.account, NAME),
            account.state.clone(),
            count("in"),
            count("running"),
            count("out"),
            count("uncertain"),
            account.restarts.to_string(),
        ]);
    }
    table
}

fn open(open: &Counts) -> String {
    let named = [
        ("operator", "operator", "operators"),
        ("node", "node", "nodes"),
        ("none", "not let in yet", "not let in yet"),
        ("leaving", "leaving", "leaving"),
    ];
    let shown = named.iter().filter_map(|(name, one, many)| {
        let count = open.get(*name).copied().filter(|count| *count > 0)?;
        Some(counted(count, one, many))
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() {
        "none".to_owned()
    } else {
        shown.join(", ")
    }
}

fn rate(rate: &Rate, now: &str) -> String {
    let times = match rate.p50_ms {
        None => String::new(),
        Some(_) => format!(
            "; p50 {}, p95 {}, p99 {}",
            time(rate.p50_ms),
            time(rate.p95_ms),
            time(rate.p99_ms)
        ),
    };
    format!(
        "{} ({:.1} a second), {}; {now}{times}",
        rate.count,
        rate.per_second,
        counted(rate.errors, "error", "errors")
    )
}

fn counted(count: u64, one: &str, many: &str) -> String {
    let words = if count == 1 { one } else { many };
    format!("{count} {words}")
}

fn time(millis: Option<f64>) -> String {
    let time = millis.map(|millis| Duration::from_secs_f64((millis / 1e3).max(0.0)));
    time.map(duration).unwrap_or_default()
}

fn millis(millis: u64) -> String {
    duration(Duration::from_millis(millis))
}

/// Bytes in a unit that keeps the number short.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut number = bytes as f64;
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut unit = "B";
    for next in UNITS {
        if number < 1_023.5 {
            break;
        }
        number /= 1_024.0;
        unit = next;
    }
    if number < 9.95 {
        format!("{number:.1} {unit}")
    } else {
        format!("{number:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (52_428_800, "50 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}

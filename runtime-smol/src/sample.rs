//! What only the host can count, for the metrics.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clawgate_core::{
    ids::ConnId,
    metrics::{ConnSample, HostSample},
};

use crate::hub::Line;

/// Sockets that ended before the gateway heard of them.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    heads: AtomicU64,
    tls: AtomicU64,
}

impl Turned {
    /// Too many sockets of one address had not sent their request.
    pub(crate) fn for_heads(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    /// The TLS handshake failed.
    pub(crate) fn for_tls(&self) {
        self.tls.fetch_add(1, Ordering::Relaxed);
    }

    /// All numbers of the host at this moment.
    pub(crate) fn sample(&self, lines: &HashMap<ConnId, Arc<Line>>) -> HostSample {
        let conns = lines.iter().map(|(id, line)| {
            let conn = line.conn();
            ConnSample {
                id: *id,
                counts: conn.counts(),
                buffered: conn.buffered(),
            }
        });
        HostSample {
            conns: conns.collect(),
            refused_heads: self.heads.load(Ordering::Relaxed),
            failed_tls: self.tls.load(Ordering::Relaxed),
            rss_bytes: rss_bytes(),
        }
    }
}

/// Resident memory, from the kernel's own count; 0 where the system has no such file.
pub(crate) fn rss_bytes() -> u64 {
    const PAGE: u64 = 4096;
    fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * PAGE)
}

//! What Tailscale said about addresses, for a while (spec hostpolicy §5).

use core::net::IpAddr;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::policy::Whois;

/// How long an answer counts.
const KNOWN: Duration = Duration::from_secs(60);

/// How long it counts that there was none.
const UNKNOWN: Duration = Duration::from_secs(5);

/// Addresses that are remembered at most.
const MAX: usize = 1_000;

/// Answers and when they end.
#[derive(Debug, Default)]
pub(super) struct WhoisCache(BTreeMap<IpAddr, (Instant, Whois)>);

impl WhoisCache {
    pub(super) fn get(&self, now: Instant, ip: IpAddr) -> Option<Whois> {
        let (end, whois) = self.0.get(&ip)?;
        (*end > now).then(|| whois.clone())
    }

    pub(super) fn keep(&mut self, now: Instant, ip: IpAddr, whois: Whois) {
        self.0.retain(|_, (end, _)| *end > now);
        if self.0.len() >= MAX {
            let next = self.0.iter().min_by_key(|(_, (end, _))| *end);
            if let Some(ip) = next.map(|(ip, _)| *ip) {
                self.0.remove(&ip);
            }
        }
        let life = match whois {
            Whois::Unknown => UNKNOWN,
            Whois::Login(_) => KNOWN,
        };
        self.0.insert(ip, (now + life, whois));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_a_minute_and_silence_for_five_seconds() {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        let now = Instant::now();
        let ip = |last: u8| IpAddr::from([100, 64, 0, last]);
        let mut cache = WhoisCache::default();
        let login = Whois::Login("a@example.org".into());
        cache.keep(now, ip(1), login.clone());
        cache.keep(now, ip(2), Whois::Unknown);
        let almost = |life: Duration| now + life - Duration::from_millis(1);
        assert_eq!(cache.get(almost(KNOWN), ip(1)), Some(login));
        assert_eq!(cache.get(now + KNOWN, ip(1)), None);
        assert_eq!(cache.get(almost(UNKNOWN), ip(2)), Some(Whois::Unknown));
        assert_eq!(cache.get(now + UNKNOWN, ip(2)), None);
    }
}

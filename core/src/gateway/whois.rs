//! Whom Tailscale is asked about, who waits for the answer, and what it said, for a while (spec
//! hostpolicy §5).

use core::net::IpAddr;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    ids::{ConnId, EffectId},
    policy::Whois,
    server::ConnectRequest,
};

/// How long an answer counts.
const KNOWN: Duration = Duration::from_secs(60);

/// How long it counts that there was none.
const UNKNOWN: Duration = Duration::from_secs(5);

/// Addresses that are remembered at most.
const MAX: usize = 1_000;

/// A client that waits.
pub(super) type Waiting = (ConnId, Box<ConnectRequest>);

/// The questions that are open, and the answers. One address is asked about once at a time,
/// however many of its clients wait.
#[derive(Debug, Default)]
pub(super) struct WhoisDesk {
    open: BTreeMap<IpAddr, Question>,
    cache: Cache,
}

#[derive(Debug)]
struct Question {
    effect: EffectId,
    deadline: Instant,
    waiting: Vec<Waiting>,
}

impl WhoisDesk {
    /// What is known, if it still counts.
    pub(super) fn known(&self, now: Instant, ip: IpAddr) -> Option<Whois> {
        self.cache.get(now, ip)
    }

    /// A client waits for the answer. It begins with `ask`, unless the question is open already.
    pub(super) fn wait(
        &mut self,
        ip: IpAddr,
        waiting: Waiting,
        ask: impl FnOnce() -> (EffectId, Instant),
    ) {
        self.open
            .entry(ip)
            .or_insert_with(|| {
                let (effect, deadline) = ask();
                Question {
                    effect,
                    deadline,
                    waiting: Vec::new(),
                }
            })
            .waiting
            .push(waiting);
    }

    /// The answer to an effect, if it was a question of here. Gives who waited for it.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        effect: EffectId,
        whois: &Whois,
    ) -> Option<Vec<Waiting>> {
        let (ip, _) = self.open.iter().find(|(_, open)| open.effect == effect)?;
        let ip = *ip;
        self.cache.keep(now, ip, whois.clone());
        self.open.remove(&ip).map(|open| open.waiting)
    }

    /// Questions that were not answered in time.
    pub(super) fn late(&self, now: Instant) -> Vec<EffectId> {
        self.open
            .values()
            .filter(|open| open.deadline <= now)
            .map(|open| open.effect)
            .collect()
    }

    /// When the first question is late.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|open| open.deadline).min()
    }

    /// A connection is gone. The answer may serve the next one.
    pub(super) fn forget(&mut self, conn: ConnId) {
        for open in self.open.values_mut() {
            open.waiting.retain(|(waiting, _)| *waiting != conn);
        }
    }
}

/// Answers and when they end.
#[derive(Debug, Default)]
struct Cache(BTreeMap<IpAddr, (Instant, Whois)>);

impl Cache {
    fn get(&self, now: Instant, ip: IpAddr) -> Option<Whois> {
        let (end, whois) = self.0.get(&ip)?;
        (*end > now).then(|| whois.clone())
    }

    fn keep(&mut self, now: Instant, ip: IpAddr, whois: Whois) {
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

    fn now() -> Instant {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        Instant::now()
    }

    const fn ip(last: u8) -> IpAddr {
        IpAddr::V4(core::net::Ipv4Addr::new(100, 64, 0, last))
    }

    #[test]
    fn answers_count_for_a_minute_and_silence_for_five_seconds() {
        let now = now();
        let mut cache = Cache::default();
        let login = Whois::Login("a@example.org".into());
        cache.keep(now, ip(1), login.clone());
        cache.keep(now, ip(2), Whois::Unknown);
        let almost = |life: Duration| now + life - Duration::from_millis(1);
        assert_eq!(cache.get(almost(KNOWN), ip(1)), Some(login));
        assert_eq!(cache.get(now + KNOWN, ip(1)), None);
        assert_eq!(cache.get(almost(UNKNOWN), ip(2)), Some(Whois::Unknown));
        assert_eq!(cache.get(now + UNKNOWN, ip(2)), None);
    }

    #[test]
    fn the_cache_is_bounded() {
        let now = now();
        let mut cache = Cache::default();
        for n in 0..2 * MAX as u32 {
            cache.keep(now, IpAddr::V4((0x6440_0000 + n).into()), Whois::Unknown);
        }
        assert_eq!(cache.0.len(), MAX);
    }
}

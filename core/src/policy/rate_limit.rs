//! Limits on failed logins (spec hostpolicy §5, rate limit).

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// How many entries are remembered at most.
pub const MAX_ENTRIES: usize = 10_000;

/// The largest `max_attempts` that is honoured: every counted failure is remembered.
pub const MAX_ATTEMPTS: u32 = 1_000;

const PRUNE_EVERY: Duration = Duration::from_secs(60);
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Whether loopback clients are spared from lockouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopbackRule {
    /// They are never locked out; their failures are answered later and later instead.
    #[default]
    Exempt,
    /// They are treated as everybody else.
    Limited,
}

/// The settings of `gateway.auth.rateLimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// The failure that locks, counted within the window. At least 1, at most [`MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// How long a failure counts.
    pub window: Duration,
    /// How long a lockout lasts.
    pub lockout: Duration,
    /// What holds for loopback clients.
    pub loopback: LoopbackRule,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(300),
            loopback: LoopbackRule::Exempt,
        }
    }
}

/// The kind of credential that is guessed at. Each kind is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitScope {
    /// The gateway's token or password.
    SharedSecret,
    /// A token that was given to a device.
    DeviceToken,
    /// A token for joining.
    BootstrapToken,
    /// The token of webhooks.
    HookAuth,
}

impl LimitScope {
    /// The name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SharedSecret => "shared-secret",
            Self::DeviceToken => "device-token",
            Self::BootstrapToken => "bootstrap-token",
            Self::HookAuth => "hook-auth",
        }
    }
}

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitSubject(Subject);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Subject {
    Address(IpAddr),
    Origin([u8; 32]),
    Unknown,
}

impl LimitSubject {
    /// A client by its address. IPv4-mapped addresses count as IPv4, and the addresses of one IPv6
    /// /64 count as one, for whoever has one of them has them all. `None` is the one client that
    /// stands for all whose address nobody knows.
    pub fn address(ip: Option<IpAddr>) -> Self {
        Self(match ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V6(ip)) if !ip.is_loopback() => {
                Subject::Address(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into())
            }
            Some(ip) => Subject::Address(ip),
            None => Subject::Unknown,
        })
    }

    /// A web page on this machine, by its origin. Pages are never exempt: any site that a local
    /// browser has open can try to log in.
    pub fn browser_origin(origin: &str) -> Self {
        Self(Subject::Origin(
            Sha256::digest(origin.trim().to_ascii_lowercase()).into(),
        ))
    }

    fn is_loopback(self) -> bool {
        match self.0 {
            Subject::Address(ip) => ip.is_loopback(),
            Subject::Origin(_) | Subject::Unknown => false,
        }
    }
}

/// Whether a login may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateVerdict {
    /// Yes.
    Allowed {
        /// How many failures are left before the lockout.
        remaining: u32,
    },
    /// No.
    Locked {
        /// When the lockout ends, from now on.
        retry_after: Duration,
    },
}

impl RateVerdict {
    /// Whether the login may be tried.
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// The time to wait, zero when there is none.
    pub const fn retry_after(self) -> Duration {
        match self {
            Self::Allowed { .. } => Duration::ZERO,
            Self::Locked { retry_after } => retry_after,
        }
    }

    /// The value of a `Retry-After` header: seconds, rounded up.
    pub const fn retry_after_secs(self) -> u64 {
        let wait = self.retry_after();
        wait.as_secs() + (wait.subsec_nanos() > 0) as u64
    }
}

/// Counts failed logins and locks out who guesses.
///
/// Only wrong credentials belong here; missing ones are no guess. Time is an argument, and an
/// earlier `now` than before is harmless.
///
/// ```
/// use std::time::{Duration, Instant};
/// use clawgate_core::policy::{LimitScope, LimitSubject, RateLimitConfig, RateLimiter, RateVerdict};
///
/// let mut limiter = RateLimiter::new(RateLimitConfig::default());
/// let client = LimitSubject::address(Some("203.0.113.1".parse()?));
/// let now = Instant::now();
/// for _ in 0..10 {
///     limiter.record_failure(LimitScope::SharedSecret, client, now);
/// }
/// let verdict = limiter.check(LimitScope::SharedSecret, client, now);
/// assert_eq!(verdict, RateVerdict::Locked { retry_after: Duration::from_secs(300) });
/// assert!(limiter.check(LimitScope::DeviceToken, client, now).is_allowed());
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    config: RateLimitConfig,
    entries: BTreeMap<Key, Entry>,
    /// The same keys in the order in which they may be forgotten.
    order: BTreeSet<(Rank, Key)>,
    next_prune: Option<Instant>,
}

type Key = (LimitScope, LimitSubject);

/// Unlocked entries come before locked ones, so that a flood of new addresses cannot end a lockout
/// while anything else can go; among equals the earliest time goes first.
type Rank = (bool, Instant);

#[derive(Debug)]
struct Entry {
    failures: VecDeque<Instant>,
    locked_until: Option<Instant>,
}

impl Entry {
    fn rank(&self) -> Option<Rank> {
        match self.locked_until {
            Some(until) => Some((true, until)),
            None => self.failures.back().map(|last| (false, *last)),
        }
    }

    /// Forgets what no longer counts. Gives whether anything is left.
    fn slide(&mut self, now: Instant, window: Duration) -> bool {
        if self.locked_until.is_some_and(|until| until <= now) {
            self.locked_until = None;
            self.failures.clear();
        }
        while self
            .failures
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= window)
        {
            self.failures.pop_front();
        }
        self.locked_until.is_some() || !self.failures.is_empty()
    }

    fn count(&self) -> u32 {
        u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }
}

impl RateLimiter {
    /// A limiter that has seen nothing yet.
    pub fn new(config: RateLimitConfig) -> Self {
        let max_attempts = config.max_attempts.clamp(1, MAX_ATTEMPTS);
        Self {
            config: RateLimitConfig {
                max_attempts,
                ..config
            },
            entries: BTreeMap::new(),
            order: BTreeSet::new(),
            next_prune: None,
        }
    }

    /// Goes by other limits from now on. What was counted stays, and a lockout lasts as long as it was
    /// given.
    pub fn take_up(&mut self, config: RateLimitConfig) {
        self.config = Self::new(config).config;
    }

    /// Whether the client may try to log in now.
    pub fn check(&self, scope: LimitScope, client: LimitSubject, now: Instant) -> RateVerdict {
        let all = RateVerdict::Allowed {
            remaining: self.config.max_attempts,
        };
        if self.is_exempt(client) {
            return all;
        }
        let Some(entry) = self.entries.get(&(scope, client)) else {
            return all;
        };
        match entry.locked_until {
            Some(until) if until > now => RateVerdict::Locked {
                retry_after: until.saturating_duration_since(now),
            },
            Some(_) => all,
            None => {
                let recent = entry
                    .failures
                    .iter()
                    .filter(|at| now.saturating_duration_since(**at) < self.config.window)
                    .count();
                let recent = u32::try_from(recent).unwrap_or(u32::MAX);
                RateVerdict::Allowed {
                    remaining: self.config.max_attempts.saturating_sub(recent),
                }
            }
        }
    }

    /// Counts a wrong credential, and gives how long to hold back the answer: zero, except for
    /// exempt loopback clients, where it is 250 ms, doubling up to 5 s. Correct credentials are
    /// never delayed.
    pub fn record_failure(
        &mut self,
        scope: LimitScope,
        client: LimitSubject,
        now: Instant,
    ) -> Duration {
        if self.next_prune.is_none_or(|at| at <= now) {
            self.prune(now);
        }
        let key = (scope, client);
        let mut entry = self.take(key).unwrap_or_else(|| Entry {
            failures: VecDeque::new(),
            locked_until: None,
        });
        entry.slide(now, self.config.window);
        let mut delay = Duration::ZERO;
        if entry.locked_until.is_none() {
            // A clock that steps back must not put an older time behind a newer one.
            let at = entry.failures.back().map_or(now, |last| now.max(*last));
            entry.failures.push_back(at);
            if self.is_exempt(client) {
                let doublings = entry.count().saturating_sub(1).min(5);
                delay = (FIRST_DELAY * (1 << doublings)).min(LONGEST_DELAY);
                // More than these make no difference to the delay.
                while entry.failures.len() > 6 {
                    entry.failures.pop_front();
                }
            } else if entry.count() >= self.config.max_attempts {
                entry.locked_until = Some(now + self.config.lockout);
                entry.failures.clear();
            }
        }
        self.make_room();
        self.put(key, entry);
        delay
    }

    /// Forgets the failures of a client that has logged in.
    pub fn record_success(&mut self, scope: LimitScope, client: LimitSubject) {
        self.take((scope, client));
    }

    /// Drops what no longer counts. Happens by itself, at most once a minute, as failures come in.
    pub fn prune(&mut self, now: Instant) {
        self.next_prune = Some(now + PRUNE_EVERY);
        let window = self.config.window;
        self.entries.retain(|key, entry| {
            let before = entry.rank();
            if entry.slide(now, window) {
                return true;
            }
            if let Some(rank) = before {
                self.order.remove(&(rank, *key));
            }
            false
        });
    }

    /// How many entries are remembered: never more than [`MAX_ENTRIES`].
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn is_exempt(&self, client: LimitSubject) -> bool {
        self.config.loopback == LoopbackRule::Exempt && client.is_loopback()
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        if let Some(rank) = entry.rank() {
            self.order.remove(&(rank, key));
        }
        Some(entry)
    }

    fn put(&mut self, key: Key, entry: Entry) {
        if let Some(rank) = entry.rank() {
            self.order.insert((rank, key));
            self.entries.insert(key, entry);
        }
    }

    fn make_room(&mut self) {
        while self.entries.len() >= MAX_ENTRIES {
            let Some((_, key)) = self.order.pop_first() else {
                return;
            };
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCOPE: LimitScope = LimitScope::SharedSecret;

    fn client(ip: &str) -> LimitSubject {
        LimitSubject::address(Some(ip.parse().unwrap()))
    }

    fn limiter() -> RateLimiter {
        RateLimiter::new(RateLimitConfig::default())
    }

    fn start() -> Instant {
        // The one clock reading that a test may make: all other times are derived from it.
        #[allow(clippy::disallowed_methods)]
        Instant::now()
    }

    #[test]
    fn the_tenth_failure_locks_until_the_lockout_ends() {
        let (mut limiter, now, who) = (limiter(), start(), client("203.0.113.1"));
        for left in (1..10).rev() {
            limiter.record_failure(SCOPE, who, now);
            assert_eq!(
                limiter.check(SCOPE, who, now),
                RateVerdict::Allowed { remaining: left }
            );
        }
        limiter.record_failure(SCOPE, who, now);
        let later = now + Duration::from_millis(500);
        assert_eq!(limiter.check(SCOPE, who, later).retry_after_secs(), 300);
        assert!(limiter.check(LimitScope::HookAuth, who, later).is_allowed());
        let end = now + Duration::from_secs(300);
        assert_eq!(
            limiter.check(SCOPE, who, end),
            RateVerdict::Allowed { remaining: 10 }
        );
    }

    #[test]
    fn failures_leave_the_window_one_by_one() {
        let (mut limiter, now, who) = (limiter(), start(), client("203.0.113.1"));
        for second in 0..9 {
            limiter.record_failure(SCOPE, who, now + Duration::from_secs(second));
        }
        let later = now + Duration::from_secs(64);
        assert_eq!(
            limiter.check(SCOPE, who, later),
            RateVerdict::Allowed { remaining: 6 }
        );
    }

    #[test]
    fn success_resets_the_count() {
        let (mut limiter, now, who) = (limiter(), start(), client("203.0.113.1"));
        for _ in 0..9 {
            limiter.record_failure(SCOPE, who, now);
        }
        limiter.record_success(SCOPE, who);
        assert_eq!(
            limiter.check(SCOPE, who, now),
            RateVerdict::Allowed { remaining: 10 }
        );
        assert!(limiter.is_empty());
    }

    #[test]
    fn loopback_is_slowed_down_and_never_locked() {
        let (mut limiter, now, who) = (limiter(), start(), client("127.0.0.1"));
        let delays: Vec<u128> = (0..7)
            .map(|_| limiter.record_failure(SCOPE, who, now).as_millis())
            .collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(
            limiter.check(SCOPE, who, now),
            RateVerdict::Allowed { remaining: 10 }
        );
        limiter.record_success(SCOPE, who);
        assert_eq!(limiter.record_failure(SCOPE, who, now).as_millis(), 250);
    }

    #[test]
    fn pages_on_this_machine_are_not_exempt() {
        let (mut limiter, now) = (limiter(), start());
        let page = LimitSubject::browser_origin("http://localhost:5173");
        for _ in 0..10 {
            assert_eq!(limiter.record_failure(SCOPE, page, now), Duration::ZERO);
        }
        assert!(!limiter.check(SCOPE, page, now).is_allowed());
        let other = LimitSubject::browser_origin("http://localhost:5174");
        assert!(limiter.check(SCOPE, other, now).is_allowed());
    }

    #[test]
    fn one_client_has_one_count() {
        assert_eq!(client("::ffff:203.0.113.1"), client("203.0.113.1"));
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert!(client("::1").is_loopback() && !client("::2").is_loopback());
    }

    #[test]
    fn a_flood_of_addresses_does_not_end_a_lockout() {
        let (mut limiter, now, who) = (limiter(), start(), client("203.0.113.1"));
        for _ in 0..10 {
            limiter.record_failure(SCOPE, who, now);
        }
        for n in 0..2 * MAX_ENTRIES as u32 {
            let address = IpAddr::V4((0x0100_0000 + n).into());
            limiter.record_failure(SCOPE, LimitSubject::address(Some(address)), now);
        }
        assert_eq!(limiter.len(), MAX_ENTRIES);
        assert_eq!(limiter.order.len(), MAX_ENTRIES);
        assert!(!limiter.check(SCOPE, who, now).is_allowed());
    }

    #[test]
    fn a_config_that_makes_no_sense_is_bent_into_shape() {
        let config = RateLimitConfig {
            max_attempts: 0,
            ..RateLimitConfig::default()
        };
        let (mut limiter, now, who) = (RateLimiter::new(config), start(), client("203.0.113.1"));
        assert!(limiter.check(SCOPE, who, now).is_allowed());
        limiter.record_failure(SCOPE, who, now);
        assert!(!limiter.check(SCOPE, who, now).is_allowed());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Fail(u8),
        Succeed(u8),
        Prune,
        Wait(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u8..8).prop_map(Step::Fail),
            1 => (0_u8..8).prop_map(Step::Succeed),
            1 => Just(Step::Prune),
            2 => (0_u16..400).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// The limiter agrees with a naive model that keeps every failure for ever.
        #[test]
        fn the_limiter_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 0..200)) {
            let config = RateLimitConfig { max_attempts: 3, ..RateLimitConfig::default() };
            let mut limiter = RateLimiter::new(config);
            let mut now = start();
            let mut failures: Vec<Vec<Instant>> = vec![Vec::new(); 9];
            let mut locks: Vec<Option<Instant>> = vec![None; 9];
            let who = |n: u8| client(&format!("203.0.113.{n}"));
            for step in steps {
                match step {
                    Step::Fail(n) => {
                        limiter.record_failure(SCOPE, who(n), now);
                        let n = usize::from(n);
                        if locks[n].is_none_or(|until| until <= now) {
                            if locks[n].take().is_some() {
                                failures[n].clear();
                            }
                            failures[n].push(now);
                            let recent = failures[n]
                                .iter()
                                .filter(|at| now - **at < config.window)
                                .count();
                            if recent >= 3 {
                                locks[n] = Some(now + config.lockout);
                            }
                        }
                    }
                    Step::Succeed(n) => {
                        limiter.record_success(SCOPE, who(n));
                        failures[usize::from(n)].clear();
                        locks[usize::from(n)] = None;
                    }
                    Step::Prune => limiter.prune(now),
                    Step::Wait(seconds) => now += Duration::from_secs(u64::from(seconds)),
                }
                for n in 0..9 {
                    let locked = locks[usize::from(n)].is_some_and(|until| until > now);
                    prop_assert_eq!(!limiter.check(SCOPE, who(n), now).is_allowed(), locked);
                }
                // Nobody who has not failed is ever locked: client 8 never fails.
                prop_assert!(limiter.check(SCOPE, who(8), now).is_allowed());
                prop_assert_eq!(limiter.entries.len(), limiter.order.len());
            }
        }
    }
}

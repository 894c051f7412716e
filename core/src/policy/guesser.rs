//! Whom failed logins are counted against (spec hostpolicy §5, rate limit).

use std::time::{Duration, Instant};

use super::{Ingress, LimitScope, LimitSubject, RateLimiter, RateVerdict};

/// A client that may be guessing: its address, and the page that runs in it.
///
/// A page on this machine is counted by its origin, because any site that a local browser has open
/// can try to log in, and loopback may be exempt. It is counted by its address as well: a program
/// can write what it likes into `Origin`, and would be somebody new each time.
///
/// ```
/// use clawgate_core::policy::{Guesser, Ingress, LimitScope, RateLimitConfig, RateLimiter};
///
/// let mut limiter = RateLimiter::new(RateLimitConfig::default());
/// let ingress = Ingress::DirectLocal("127.0.0.1".parse()?);
/// let page = Guesser::new(ingress, Some("http://localhost:5173"));
/// let now = std::time::Instant::now();
/// for _ in 0..10 {
///     page.record_failure(&mut limiter, LimitScope::SharedSecret, now);
/// }
/// assert!(!page.check(&limiter, LimitScope::SharedSecret, now).is_allowed());
/// // The command line on the same machine is not locked out by it.
/// let cli = Guesser::new(ingress, None);
/// assert!(cli.check(&limiter, LimitScope::SharedSecret, now).is_allowed());
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guesser {
    address: LimitSubject,
    page: Option<LimitSubject>,
}

impl Guesser {
    /// The client of a request, and the `Origin` that it sent.
    pub fn new(ingress: Ingress, origin: Option<&str>) -> Self {
        let ip = ingress.client_ip();
        Self {
            address: LimitSubject::address(ip),
            page: origin
                .filter(|_| ip.is_some_and(|ip| ip.is_loopback()))
                .map(LimitSubject::browser_origin),
        }
    }

    /// Whether it may try now: the stricter of its counts.
    pub fn check(self, limiter: &RateLimiter, scope: LimitScope, now: Instant) -> RateVerdict {
        let address = limiter.check(scope, self.address, now);
        let Some(page) = self.page.map(|page| limiter.check(scope, page, now)) else {
            return address;
        };
        match (address, page) {
            (RateVerdict::Allowed { remaining: a }, RateVerdict::Allowed { remaining: b }) => {
                RateVerdict::Allowed {
                    remaining: a.min(b),
                }
            }
            (RateVerdict::Locked { retry_after: a }, RateVerdict::Locked { retry_after: b }) => {
                RateVerdict::Locked {
                    retry_after: a.max(b),
                }
            }
            (locked @ RateVerdict::Locked { .. }, RateVerdict::Allowed { .. })
            | (RateVerdict::Allowed { .. }, locked @ RateVerdict::Locked { .. }) => locked,
        }
    }

    /// Counts a wrong credential, and gives how long to hold back the answer.
    pub fn record_failure(
        self,
        limiter: &mut RateLimiter,
        scope: LimitScope,
        now: Instant,
    ) -> Duration {
        self.subjects()
            .map(|subject| limiter.record_failure(scope, subject, now))
            .max()
            .unwrap_or_default()
    }

    /// Forgets its failures: it has logged in.
    pub fn record_success(self, limiter: &mut RateLimiter, scope: LimitScope) {
        for subject in self.subjects() {
            limiter.record_success(scope, subject);
        }
    }

    fn subjects(self) -> impl Iterator<Item = LimitSubject> {
        [Some(self.address), self.page].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{LoopbackRule, RateLimitConfig};

    const SCOPE: LimitScope = LimitScope::SharedSecret;

    fn page(origin: &str) -> Guesser {
        Guesser::new(Ingress::DirectLocal([127, 0, 0, 1].into()), Some(origin))
    }

    fn limiter(loopback: LoopbackRule) -> RateLimiter {
        RateLimiter::new(RateLimitConfig {
            loopback,
            ..RateLimitConfig::default()
        })
    }

    #[test]
    fn a_new_origin_for_each_guess_does_not_help() {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        let now = Instant::now();
        let mut exempt = limiter(LoopbackRule::Exempt);
        let mut limited = limiter(LoopbackRule::Limited);
        let mut delays = Vec::new();
        for n in 0..10 {
            let page = page(&format!("http://localhost:{n}"));
            delays.push(page.record_failure(&mut exempt, SCOPE, now).as_millis());
            page.record_failure(&mut limited, SCOPE, now);
        }
        assert_eq!(delays[..3], [250, 500, 1_000]);
        let next = page("http://localhost:99");
        assert!(!next.check(&limited, SCOPE, now).is_allowed());
    }

    #[test]
    fn a_page_elsewhere_is_counted_by_its_address_alone() {
        let remote = Ingress::DirectRemote([203, 0, 113, 1].into());
        assert_eq!(
            Guesser::new(remote, Some("http://gw.local")),
            Guesser::new(remote, None)
        );
    }

    #[test]
    fn success_forgets_both_counts() {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        let now = Instant::now();
        let mut limiter = limiter(LoopbackRule::Limited);
        let page = page("http://localhost:1");
        for _ in 0..9 {
            page.record_failure(&mut limiter, SCOPE, now);
        }
        page.record_success(&mut limiter, SCOPE);
        assert!(limiter.is_empty());
    }
}

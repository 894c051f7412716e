//! Credentials of providers: which is used, and which is left alone for how long.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    agent::{ProfileState, ProfileStatus},
    config::CooldownConfig,
    secret::Secret,
    time::{Now, WallTime, millis},
};

/// A named credential, as the config and its references give it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileSetup {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub provider: String,
    /// The key, or why there is none, for people: such a profile is never used.
    pub key: Result<Secret, String>,
}

/// A profile by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProfileNo(usize);

/// All profiles, those of one provider in the order in which they are used.
#[derive(Debug)]
pub(super) struct Profiles {
    all: Vec<Profile>,
    rules: CooldownConfig,
}

#[derive(Debug)]
struct Profile {
    setup: ProfileSetup,
    failures: u32,
    failed_at: Option<Instant>,
    cooling: Option<Cooling>,
}

#[derive(Clone, Debug)]
struct Cooling {
    until: Instant,
    why: &'static str,
}

/// Why a profile is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProfileFault {
    /// 429, and how long the provider asks to wait.
    RateLimit(Option<Duration>),
    /// 401 or 403.
    Refused,
}

/// What there is for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The provider has no profiles: it is asked without a key.
    Open,
    Use(ProfileNo),
    /// All that could be used are cooling down; the first is ready then.
    Cooling(Instant),
    /// None can be used at all.
    Unusable {
        why: String,
    },
}

impl Profiles {
    pub(super) fn new(setups: Vec<ProfileSetup>, rules: CooldownConfig) -> Self {
        let profile = |setup| Profile {
            setup,
            failures: 0,
            failed_at: None,
            cooling: None,
        };
        Self {
            all: setups.into_iter().map(profile).collect(),
            rules,
        }
    }

    /// The first that is ready, without those that were tried.
    pub(super) fn pick(&self, provider: &str, now: Instant, tried: &BTreeSet<ProfileNo>) -> Pick {
        let own = || {
            self.all
                .iter()
                .enumerate()
                .filter(|(_, profile)| profile.setup.provider == provider)
        };
        if own().next().is_none() {
            return Pick::Open;
        }
        let mut soonest: Option<Instant> = None;
        let mut why = None;
        for (at, profile) in own() {
            match (&profile.setup.key, profile.cooling_until(now)) {
                (Err(fault), _) => {
                    why.get_or_insert_with(|| format!("{}: {fault}", profile.setup.name));
                }
                (Ok(_), _) if tried.contains(&ProfileNo(at)) => {}
                (Ok(_), None) => return Pick::Use(ProfileNo(at)),
                (Ok(_), Some(until)) => {
                    soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                }
            }
        }
        match (soonest, why) {
            (Some(until), _) => Pick::Cooling(until),
            (None, why) => Pick::Unusable {
                why: why.unwrap_or_else(|| "every key was refused".to_owned()),
            },
        }
    }

    pub(super) fn key(&self, no: ProfileNo) -> Option<&Secret> {
        self.all.get(no.0)?.setup.key.as_ref().ok()
    }

    /// It works.
    pub(super) fn succeeded(&mut self, no: ProfileNo) {
        if let Some(profile) = self.all.get_mut(no.0) {
            profile.failures = 0;
            profile.failed_at = None;
            profile.cooling = None;
        }
    }

    /// It is left alone: each time twice as long. What fails while it is left alone, since several
    /// runs had it in use, counts once.
    pub(super) fn failed(&mut self, no: ProfileNo, now: Instant, fault: ProfileFault) {
        let rules = self.rules;
        let Some(profile) = self.all.get_mut(no.0) else {
            return;
        };
        let (first, longest, asked, why) = match fault {
            ProfileFault::RateLimit(asked) => (
                rules.rate_limit,
                rules.rate_limit_max,
                asked,
                "the provider wants fewer requests",
            ),
            ProfileFault::Refused => (
                rules.refused,
                rules.refused_max,
                None,
                "the provider refused the key",
            ),
        };
        let cooling = profile.cooling_until(now);
        if cooling.is_none() {
            let lapsed = profile
                .failed_at
                .is_none_or(|at| now.saturating_duration_since(at) >= rules.window);
            profile.failures = if lapsed {
                1
            } else {
                profile.failures.saturating_add(1)
            };
        }
        profile.failed_at = Some(now);
        let doubled = 1u32
            .checked_shl(profile.failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let pause = first.saturating_mul(doubled).min(longest);
        let pause = pause.max(asked.unwrap_or_default()).min(MAX_PAUSE);
        let until = now + pause;
        profile.cooling = Some(Cooling {
            until: cooling.map_or(until, |earlier| earlier.max(until)),
            why,
        });
    }

    pub(super) fn status(&self, now: Now) -> Vec<ProfileStatus> {
        self.all
            .iter()
            .map(|profile| ProfileStatus {
                name: profile.setup.name.clone(),
                provider: profile.setup.provider.clone(),
                state: profile.state(now),
            })
            .collect()
    }
}

/// No provider can ask for a longer pause: 30 days.
const MAX_PAUSE: Duration = Duration::from_secs(30 * 86_400);

impl Profile {
    fn cooling_until(&self, now: Instant) -> Option<Instant> {
        let cooling = self.cooling.as_ref()?;
        (cooling.until > now).then_some(cooling.until)
    }

    fn state(&self, now: Now) -> ProfileState {
        match (&self.setup.key, &self.cooling) {
            (Err(why), _) => ProfileState::Unresolved { why: why.clone() },
            (Ok(_), Some(cooling)) if cooling.until > now.mono => ProfileState::CoolingDown {
                until: wall(now, cooling.until),
                why: cooling.why.to_owned(),
            },
            (Ok(_), _) => ProfileState::Ready,
        }
    }
}

/// When an instant will be on the calendar.
pub(super) fn wall(now: Now, at: Instant) -> WallTime {
    WallTime(
        now.wall
            .0
            .saturating_add(millis(at.saturating_duration_since(now.mono))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn profiles() -> Profiles {
        let setup = |name: &str, key: Result<Secret, String>| ProfileSetup {
            name: name.into(),
            provider: "p".into(),
            key,
        };
        Profiles::new(
            vec![
                setup("broken", Err("the variable A is not set".into())),
                setup("one", Ok(Secret::new("k1"))),
                setup("two", Ok(Secret::new("k2"))),
            ],
            CooldownConfig::default(),
        )
    }

    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Now {
        Now {
            mono: Instant::now(),
            wall: WallTime(0),
        }
    }

    const NONE: BTreeSet<ProfileNo> = BTreeSet::new();
    const ONE: ProfileNo = ProfileNo(1);
    const TWO: ProfileNo = ProfileNo(2);

    #[test]
    fn the_first_that_is_ready_is_used_and_broken_ones_never() {
        let (mut profiles, now) = (profiles(), now().mono);
        assert_eq!(profiles.pick("other", now, &NONE), Pick::Open);
        assert_eq!(profiles.pick("p", now, &NONE), Pick::Use(ONE));
        assert_eq!(profiles.pick("p", now, &[ONE].into()), Pick::Use(TWO));
        profiles.failed(ONE, now, ProfileFault::RateLimit(None));
        assert_eq!(profiles.pick("p", now, &NONE), Pick::Use(TWO));
        profiles.failed(TWO, now, ProfileFault::Refused);
        assert_eq!(
            profiles.pick("p", now, &NONE),
            Pick::Cooling(now + 30 * SECOND)
        );
        assert_eq!(profiles.pick("p", now + 30 * SECOND, &NONE), Pick::Use(ONE));
        let Pick::Unusable { why } = profiles.pick("p", now, &[ONE, TWO].into()) else {
            panic!();
        };
        assert_eq!(why, "broken: the variable A is not set");
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_success_or_a_day() {
        let (mut profiles, mut now) = (profiles(), now().mono);
        for seconds in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            profiles.failed(ONE, now, ProfileFault::RateLimit(None));
            // Another run had it in use too.
            profiles.failed(ONE, now, ProfileFault::RateLimit(None));
            profiles.failed(TWO, now, ProfileFault::RateLimit(Some(7_200 * SECOND)));
            assert_eq!(
                profiles.pick("p", now, &NONE),
                Pick::Cooling(now + seconds * SECOND)
            );
            now += seconds * SECOND;
        }
        profiles.succeeded(ONE);
        profiles.failed(ONE, now, ProfileFault::RateLimit(None));
        assert_eq!(
            profiles.pick("p", now, &[TWO].into()),
            Pick::Cooling(now + 30 * SECOND)
        );
        now += 86_400 * SECOND;
        profiles.failed(ONE, now, ProfileFault::Refused);
        assert_eq!(
            profiles.pick("p", now, &[TWO].into()),
            Pick::Cooling(now + 600 * SECOND)
        );
    }

    #[test]
    fn the_provider_can_ask_for_a_longer_pause_but_not_for_ever() {
        let (mut profiles, now) = (profiles(), now());
        profiles.failed(ONE, now.mono, ProfileFault::RateLimit(Some(Duration::MAX)));
        let states: Vec<ProfileState> = profiles
            .status(now)
            .into_iter()
            .map(|it| it.state)
            .collect();
        assert_eq!(
            states,
            [
                ProfileState::Unresolved {
                    why: "the variable A is not set".into()
                },
                ProfileState::CoolingDown {
                    until: WallTime(millis(MAX_PAUSE)),
                    why: "the provider wants fewer requests".into()
                },
                ProfileState::Ready,
            ]
        );
        assert!(!format!("{profiles:?}").contains("k1"));
    }

    proptest! {
        #[test]
        fn whatever_happens_only_ready_profiles_are_picked_and_the_first_of_them(
            steps in prop::collection::vec((1usize..3, 0u8..3, 0u64..5_000), 0..40),
        ) {
            let (mut profiles, mut now) = (profiles(), now());
            for (no, what, seconds) in steps {
                match what {
                    0 => profiles.failed(ProfileNo(no), now.mono, ProfileFault::Refused),
                    1 => profiles.failed(ProfileNo(no), now.mono, ProfileFault::RateLimit(Some(Duration::from_secs(seconds / 10)))),
                    _ => profiles.succeeded(ProfileNo(no)),
                }
                now = now.after(Duration::from_secs(seconds));
                let ready: Vec<usize> = profiles
                    .status(now)
                    .iter()
                    .enumerate()
                    .filter(|(_, it)| it.state == ProfileState::Ready)
                    .map(|(at, _)| at)
                    .collect();
                match (profiles.pick("p", now.mono, &NONE), ready.first()) {
                    (Pick::Use(picked), Some(first)) => prop_assert_eq!(picked.0, *first),
                    (Pick::Cooling(until), None) => prop_assert!(until > now.mono),
                    (picked, first) => prop_assert!(false, "{:?} {:?}", picked, first),
                }
            }
        }
    }
}

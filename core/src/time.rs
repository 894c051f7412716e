//! The two kinds of time that a rule may need, and named timers.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, as every `ts` on the wire counts. It may jump; deadlines
/// never use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub u64);

impl WallTime {
    /// As text in UTC, to the millisecond.
    ///
    /// ```
    /// use clawgate_core::time::WallTime;
    ///
    /// assert_eq!(WallTime(1_737_264_000_007).to_rfc3339(), "2025-01-19T05:20:00.007Z");
    /// ```
    pub fn to_rfc3339(self) -> String {
        const DAY: u64 = 86_400_000;
        let (days, rest) = (self.0 / DAY, self.0 % DAY);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
        format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            rest % 1_000
        )
    }

    /// Reads a date as HTTP writes it today (RFC 9110 §5.6.7); its two older forms are not read.
    ///
    /// ```
    /// use clawgate_core::time::WallTime;
    ///
    /// let date = WallTime::from_http_date("Sun, 19 Jan 2025 05:20:00 GMT").unwrap();
    /// assert_eq!(date.to_rfc3339(), "2025-01-19T05:20:00.000Z");
    /// ```
    pub fn from_http_date(text: &str) -> Option<Self> {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let (_, rest) = text.split_once(", ")?;
        let mut parts = rest.split(' ');
        let number = |text: &str, most: u64| text.parse::<u64>().ok().filter(|n| *n <= most);
        let day = number(parts.next()?, 31)?;
        let name = parts.next()?;
        let month = MONTHS.iter().position(|month| *month == name)?;
        let year = number(parts.next()?, 9_999).filter(|year| *year >= 1_970)?;
        let mut clock = parts.next()?.split(':');
        let hour = number(clock.next()?, 23)?;
        let minute = number(clock.next()?, 59)?;
        let second = number(clock.next()?, 60)?;
        if (parts.next(), parts.next(), clock.next()) != (Some("GMT"), None, None) {
            return None;
        }
        let days = days_before(year, month as u64 + 1) + day.checked_sub(1)?;
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(Self(seconds * 1_000))
    }
}

/// Days from 1970-01-01 to the first of a month. Years are taken to begin in March, as in [`civil`].
const fn days_before(year: u64, month: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - 719_468
}

/// Year, month and day of a day counted from 1970-01-01. Years are taken to begin in March, so that
/// the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    const ERA: u64 = 146_097;
    let days = days.saturating_add(FROM_MARCH_OF_YEAR_0);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (year, month) = if month < 10 {
        (year, month + 3)
    } else {
        (year + 1, month - 9)
    };
    (era * 400 + year, month, day - first + 1)
}

/// Both clocks, read by the host at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time: deadlines and intervals.
    pub mono: Instant,
    /// Calendar time: timestamps on the wire and signatures.
    pub wall: WallTime,
}

impl Now {
    /// The same moment, `by` later on both clocks. For tests and simulations.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self {
            mono: self.mono + by,
            wall: WallTime(self.wall.0.saturating_add(millis(by))),
        }
    }
}

/// A duration in whole milliseconds, saturating.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A handful of deadlines, each under a name that says what it is for.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    armed: Vec<(T, Instant)>,
}

impl<T: Copy + PartialEq> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { armed: Vec::new() }
    }

    pub(crate) fn arm(&mut self, timer: T, at: Instant) {
        self.disarm(timer);
        self.armed.push((timer, at));
    }

    pub(crate) fn disarm(&mut self, timer: T) {
        self.armed.retain(|(armed, _)| *armed != timer);
    }

    pub(crate) fn is_armed(&self, timer: T) -> bool {
        self.armed.iter().any(|(armed, _)| *armed == timer)
    }

    pub(crate) fn disarm_all(&mut self) {
        self.armed = Vec::new();
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, T)> {
        self.armed
            .iter()
            .map(|(timer, at)| (*at, *timer))
            .min_by_key(|(at, _)| *at)
    }

    /// Removes and gives one timer that is due, the earliest first.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<T> {
        let (at, timer) = self.next()?;
        (at <= now).then(|| {
            self.disarm(timer);
            timer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read_as_they_are_written() {
        for (text, shown) in [
            (
                "Thu, 01 Jan 1970 00:00:00 GMT",
                Some("1970-01-01T00:00:00.000Z"),
            ),
            (
                "Tue, 29 Feb 2000 23:59:59 GMT",
                Some("2000-02-29T23:59:59.000Z"),
            ),
            (
                "Sat, 21 Nov 2026 16:00:00 GMT",
                Some("2026-11-21T16:00:00.000Z"),
            ),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1794 08:49:37 GMT", None),
            ("soon", None),
        ] {
            let read = WallTime::from_http_date(text).map(WallTime::to_rfc3339);
            assert_eq!(read.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn dates_around_leap_days_are_right() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_795_276_800_000, "2026-11-21T16:00:00.000Z"),
        ] {
            assert_eq!(WallTime(millis).to_rfc3339(), text);
        }
    }
}

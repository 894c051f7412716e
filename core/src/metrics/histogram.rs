//! How long something took, by size.

use std::time::Duration;

/// The upper ends of the buckets: in microseconds, and in seconds as the text form has them. What takes
/// longer than the last one is in a bucket of its own.
pub const BOUNDS: [(u64, &str); 18] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
    (30_000_000, "30.0"),
    (60_000_000, "60.0"),
];

/// Times, counted by size.
///
/// ```
/// use std::time::Duration;
/// use clawgate_core::metrics::Histogram;
///
/// let mut times = Histogram::default();
/// times.observe(Duration::from_millis(3));
/// times.observe(Duration::from_secs(600));
/// assert_eq!((times.count(), times.sum()), (2, Duration::from_millis(600_003)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS.len()],
    longer: u64,
    sum: Duration,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&mut self, time: Duration) {
        let micros = time.as_micros();
        let place = BOUNDS.partition_point(|(bound, _)| u128::from(*bound) < micros);
        let count = self.counts.get_mut(place).unwrap_or(&mut self.longer);
        *count = count.wrapping_add(1);
        self.sum = self.sum.saturating_add(time);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.longer
    }

    /// What they took together.
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// How many there were in each bucket, the last one for what took longer than all bounds.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.counts.iter().copied().chain([self.longer])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (index, (micros, text)) in BOUNDS.iter().enumerate() {
            let mut times = Histogram::default();
            times.observe(Duration::from_micros(*micros));
            times.observe(Duration::from_micros(*micros) + Duration::from_nanos(1));
            times.observe(Duration::from_micros(*micros + 1));
            let counts: Vec<u64> = times.counts().collect();
            assert_eq!((counts[index], counts[index + 1]), (2, 1), "{text}");
            let seconds: f64 = text.parse().unwrap();
            assert!((seconds * 1e6 - *micros as f64).abs() < 1e-6, "{text}");
        }
    }
}

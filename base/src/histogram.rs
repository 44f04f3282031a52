//! Histogram of durations, kept without locks.
//!
//! Guarantees: an observation is a search in a short list and two atomic additions, and never waits; memory is that of
//! the bounds. A snapshot that is taken while others observe may lack the sum of the newest observations.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counts of durations by upper bound, and their sum, since the start.
#[derive(Debug)]
pub struct DurationHistogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for durations above all of them.
    counts: Box<[AtomicU64]>,
    /// Sum in nanoseconds: enough for five hundred years.
    nanos: AtomicU64,
}

/// The state of a [`DurationHistogram`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationSnapshot {
    /// Upper bounds, inclusive, ascending.
    pub bounds: &'static [Duration],
    /// Durations by bound, each counted once; the last one counts those above all bounds.
    pub counts: Vec<u64>,
    /// Sum of all durations.
    pub sum: Duration,
}

impl DurationHistogram {
    /// An empty histogram. `bounds` ascend, and are few: they are searched with each observation.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, nanos: AtomicU64::new(0) }
    }

    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts and sum until now.
    pub fn snapshot(&self) -> DurationSnapshot {
        DurationSnapshot {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

impl DurationSnapshot {
    /// Number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_below_the_first_bound_that_is_not_shorter() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(10)];
        let histogram = DurationHistogram::new(BOUNDS);
        for millis in [0, 1, 2, 10, 11, 5000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.counts.as_slice(), snapshot.count()), (&[2, 2, 2][..], 6));
        assert_eq!(snapshot.sum, Duration::from_millis(5024));
    }
}

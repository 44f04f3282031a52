//! Histogram of durations, counted without locks, with one exemplar for each bucket.
//!
//! Guarantees: an observation is a search in a short list and two atomic additions, and never waits for another one or
//! a reader; memory is that of the bounds. Only an observation of a recorded trace touches exemplars: it replaces that
//! of its bucket, or leaves it as it is while another one or a reader has it. A snapshot that is taken while others
//! observe may lack the sum of the newest observations.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::TraceContext;

/// Counts of durations by upper bound, and their sum, since the start.
#[derive(Debug)]
pub struct DurationHistogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for durations above all of them.
    counts: Box<[AtomicU64]>,
    /// Sum in nanoseconds: enough for five hundred years.
    nanos: AtomicU64,
    /// One slot for each count; made with the first exemplar.
    exemplars: OnceLock<Box<[ExemplarSlot]>>,
}

/// The newest exemplar of a bucket.
type ExemplarSlot = Mutex<Option<Exemplar>>;

/// A duration that was measured in a recorded trace: an example of its bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace, which a collector of traces has by its id.
    pub trace: TraceContext,
    /// The duration.
    pub duration: Duration,
    /// When it was observed.
    pub at: Timestamp,
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
    /// The newest exemplar of each count; empty where no trace is recorded.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl DurationHistogram {
    /// An empty histogram. `bounds` ascend, and are few: they are searched with each observation.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, nanos: AtomicU64::new(0), exemplars: OnceLock::new() }
    }

    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        self.count(duration);
    }

    /// Counts a duration and, where it was measured in a recorded trace, keeps that with the present time as the
    /// exemplar of its bucket.
    pub fn observe_traced(&self, duration: Duration, trace: Option<(&TraceContext, Timestamp)>) {
        let bucket = self.count(duration);
        let Some((trace, at)) = trace else { return };
        let slots = self.exemplars.get_or_init(|| self.counts.iter().map(|_| Mutex::default()).collect());
        if let Some(mut slot) = slots[bucket].try_lock() {
            *slot = Some(Exemplar { trace: trace.clone(), duration, at });
        }
    }

    /// Returns the position of the count.
    fn count(&self, duration: Duration) -> usize {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        bucket
    }

    /// Counts, sum and exemplars until now.
    pub fn snapshot(&self) -> DurationSnapshot {
        // Before the counts: each of these is counted.
        let exemplars =
            self.exemplars.get().map(|slots| slots.iter().map(|slot| slot.lock().clone()).collect());
        DurationSnapshot {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            exemplars: exemplars.unwrap_or_default(),
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
    use crate::{Ambient, time::later};

    const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(10)];

    #[test]
    fn a_duration_counts_below_the_first_bound_that_is_not_shorter() {
        let histogram = DurationHistogram::new(BOUNDS);
        for millis in [0, 1, 2, 10, 11, 5000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.counts.as_slice(), snapshot.count()), (&[2, 2, 2][..], 6));
        assert_eq!(snapshot.sum, Duration::from_millis(5024));
        assert!(snapshot.exemplars.is_empty());
    }

    /// An exemplar of a new trace, observed so many milliseconds after 1970.
    fn exemplar(duration: Duration, at: u64) -> Exemplar {
        let at = later(Timestamp::UNIX_EPOCH, Duration::from_millis(at));
        Exemplar { trace: TraceContext::fresh(&Ambient::system()), duration, at }
    }

    fn observe(histogram: &DurationHistogram, seen: &Exemplar) {
        histogram.observe_traced(seen.duration, Some((&seen.trace, seen.at)));
    }

    #[test]
    fn a_bucket_keeps_the_newest_duration_of_a_recorded_trace() {
        let histogram = DurationHistogram::new(BOUNDS);
        let seen = [(2, 1), (7, 2), (11, 3)].map(|(ms, at)| exemplar(Duration::from_millis(ms), at));
        for seen in &seen {
            observe(&histogram, seen);
        }
        histogram.observe(Duration::from_millis(3));
        histogram.observe_traced(Duration::from_millis(12), None);
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [0, 3, 2]);
        let [_, newer, above] = seen;
        assert_eq!(snapshot.exemplars, [None, Some(newer), Some(above)]);
    }

    #[test]
    fn an_exemplar_whose_slot_is_taken_is_left_out_and_its_duration_counted() {
        let histogram = DurationHistogram::new(BOUNDS);
        let seen = [1, 2].map(|at| exemplar(Duration::from_millis(5), at));
        observe(&histogram, &seen[0]);
        let slots = histogram.exemplars.get().expect("was made");
        let taken = slots[1].lock();
        observe(&histogram, &seen[1]);
        drop(taken);
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [0, 2, 0]);
        assert_eq!(snapshot.exemplars, [None, Some(seen[0].clone()), None]);
    }
}

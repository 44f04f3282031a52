//! Counts of what the jobs of a process did, by a few labels.
//!
//! Guarantees: counting is a search in a short list and an atomic addition, and never waits; the list is fixed, so its
//! series are bounded. Counts start at zero with the process: metrics add those of all processes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use store::domain::Decision;

/// Counts by as many labels.
#[derive(Debug)]
pub struct Counts<const LABELS: usize>(Vec<([&'static str; LABELS], AtomicU64)>);

impl<const LABELS: usize> Counts<LABELS> {
    /// A count of zero for each of these series.
    pub fn new(series: impl IntoIterator<Item = [&'static str; LABELS]>) -> Self {
        Self(series.into_iter().map(|labels| (labels, AtomicU64::new(0))).collect())
    }

    /// Counts one of a series that was given at the start; ignores any other.
    pub fn add(&self, labels: [&str; LABELS]) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == labels) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All series with their counts.
    pub fn all(&self) -> impl Iterator<Item = ([&'static str; LABELS], u64)> {
        self.0.iter().map(|(labels, count)| (*labels, count.load(Ordering::Relaxed)))
    }
}

/// Payments and refunds by the outcome that this process recorded; clones share the counts. Payments of nothing, which
/// are at no provider, are not counted.
#[derive(Debug, Clone)]
pub struct PaymentCounts(Arc<Counts<1>>);

impl Default for PaymentCounts {
    fn default() -> Self {
        let outcomes = ["captured", "declined", "refunded", "refund_rejected"];
        Self(Arc::new(Counts::new(outcomes.map(|outcome| [outcome]))))
    }
}

impl PaymentCounts {
    pub(crate) fn decided(&self, decision: &Decision) {
        self.0.add([match decision {
            Decision::Captured { .. } => "captured",
            Decision::Declined { .. } => "declined",
        }]);
    }

    pub(crate) fn refund_ended(&self, done: bool) {
        self.0.add([if done { "refunded" } else { "refund_rejected" }]);
    }

    /// All outcomes with their counts.
    pub fn all(&self) -> impl Iterator<Item = ([&'static str; 1], u64)> {
        self.0.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_series_are_counted() {
        let counts = Counts::new([["a", "x"], ["a", "y"]]);
        counts.add(["a", "y"]);
        counts.add(["b", "y"]);
        let all: Vec<_> = counts.all().collect();
        assert_eq!(all, [(["a", "x"], 0), (["a", "y"], 1)]);
    }
}

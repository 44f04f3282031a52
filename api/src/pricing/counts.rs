//! Counts of calls to merchants' hooks, by kind and outcome, and their durations.
//!
//! Guarantees: every call is counted once, also one that ends with its request, as the client has left; counting is a
//! few atomic additions and never waits; kinds and outcomes are fixed, so the series are bounded. Does not tell
//! merchants apart: the log line `hook not answered` names the merchant and the error.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use base::{DurationHistogram, DurationSnapshot};
use store::domain::AdjustmentKind;

/// Upper bounds of durations; the longest deadline that can be set is five seconds.
const BOUNDS: &[Duration] = &[
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookOutcome {
    /// The answer was used.
    Answered,
    /// A status other than 2xx.
    Rejected,
    /// An answer that is too long or not valid.
    Invalid,
    /// The deadline ended the call.
    Timeout,
    /// No answer for any other reason.
    Unreachable,
    /// Not made: the merchant's calls had used up their slots.
    Busy,
    /// The request ended before the call did.
    Abandoned,
}

impl HookOutcome {
    const ALL: [Self; 7] = [
        Self::Answered,
        Self::Rejected,
        Self::Invalid,
        Self::Timeout,
        Self::Unreachable,
        Self::Busy,
        Self::Abandoned,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Busy => "busy",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Calls of the hooks of one kind in this process since its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCalls {
    /// `discount`, `shipping` or `tax`.
    pub hook: &'static str,
    /// Number of calls by outcome; every outcome is there.
    pub outcomes: Vec<(&'static str, u64)>,
    /// How long calls took that were made.
    pub durations: DurationSnapshot,
}

/// The calls of a process, by kind.
#[derive(Debug)]
pub(super) struct HookCounts {
    discount: KindCounts,
    shipping: KindCounts,
    tax: KindCounts,
}

#[derive(Debug)]
struct KindCounts {
    outcomes: [(HookOutcome, AtomicU64); HookOutcome::ALL.len()],
    durations: DurationHistogram,
}

/// A call in progress; counted when it is dropped.
pub(super) struct CountedCall<'a> {
    counts: &'a KindCounts,
    began: Instant,
    outcome: HookOutcome,
}

impl HookCounts {
    pub(super) fn new() -> Self {
        let kind = || KindCounts {
            outcomes: HookOutcome::ALL.map(|outcome| (outcome, AtomicU64::new(0))),
            durations: DurationHistogram::new(BOUNDS),
        };
        Self { discount: kind(), shipping: kind(), tax: kind() }
    }

    /// Begins a call of this kind.
    pub(super) fn begin(&self, kind: AdjustmentKind) -> CountedCall<'_> {
        CountedCall { counts: self.of(kind), began: Instant::now(), outcome: HookOutcome::Abandoned }
    }

    /// The counts until now, by kind.
    pub(super) fn all(&self) -> impl Iterator<Item = HookCalls> {
        AdjustmentKind::ALL.into_iter().map(|kind| {
            let counts = self.of(kind);
            let read = |(outcome, count): &(HookOutcome, AtomicU64)| {
                (outcome.as_str(), count.load(Ordering::Relaxed))
            };
            HookCalls {
                hook: kind.as_str(),
                outcomes: counts.outcomes.iter().map(read).collect(),
                durations: counts.durations.snapshot(),
            }
        })
    }

    const fn of(&self, kind: AdjustmentKind) -> &KindCounts {
        match kind {
            AdjustmentKind::Discount => &self.discount,
            AdjustmentKind::Shipping => &self.shipping,
            AdjustmentKind::Tax => &self.tax,
        }
    }
}

impl CountedCall<'_> {
    pub(super) fn end(mut self, outcome: HookOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for CountedCall<'_> {
    fn drop(&mut self) {
        let Self { counts, began, outcome } = self;
        let known = counts.outcomes.iter().find(|(known, _)| *known == *outcome);
        if let Some((_, count)) = known {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if *outcome != HookOutcome::Busy {
            counts.durations.observe(began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_once_and_takes_time_if_it_was_made() {
        let counts = HookCounts::new();
        counts.begin(AdjustmentKind::Tax).end(HookOutcome::Answered);
        counts.begin(AdjustmentKind::Tax).end(HookOutcome::Busy);
        // The client has left: the future of the request is dropped.
        drop(counts.begin(AdjustmentKind::Tax));
        for HookCalls { hook, outcomes, durations } in counts.all() {
            let called: Vec<_> = outcomes.iter().filter(|(_, count)| *count > 0).copied().collect();
            if hook == "tax" {
                assert_eq!(called, [("answered", 1), ("busy", 1), ("abandoned", 1)]);
                assert_eq!(durations.count(), 2, "all but the one that was not made");
            } else {
                assert_eq!((called, durations.count()), (Vec::new(), 0), "{hook}");
            }
            assert_eq!(outcomes.len(), HookOutcome::ALL.len(), "every outcome begins at zero");
        }
    }
}

//! Durations of calls to a payment provider.
//!
//! Guarantees: every call that was let through is counted once, also one whose future is dropped at its deadline: it
//! counts as failed, with the time until then. Waiting for the rate limit is not part of a call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base::{DurationHistogram, DurationSnapshot};

/// Operations of a provider.
const OPERATIONS: [&str; 6] = ["create", "capture", "find", "abandon", "refund", "report"];
const ANSWERED: &str = "answered";
const FAILED: &str = "failed";
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
    Duration::from_secs(30),
];

/// The calls of a process to its provider; clones share them.
#[derive(Debug, Clone)]
pub struct ProviderCalls(Arc<[OperationCalls]>);

#[derive(Debug)]
struct OperationCalls {
    operation: &'static str,
    answered: DurationHistogram,
    failed: DurationHistogram,
}

/// A call in progress; counted when it is dropped.
pub(super) struct TimedCall<'a> {
    calls: Option<&'a OperationCalls>,
    began: Instant,
    is_answered: bool,
}

impl Default for ProviderCalls {
    fn default() -> Self {
        let calls = |operation| OperationCalls {
            operation,
            answered: DurationHistogram::new(BOUNDS),
            failed: DurationHistogram::new(BOUNDS),
        };
        Self(OPERATIONS.into_iter().map(calls).collect())
    }
}

impl ProviderCalls {
    /// Begins a call of one of [`OPERATIONS`].
    pub(super) fn begin(&self, operation: &str) -> TimedCall<'_> {
        let calls = self.0.iter().find(|calls| calls.operation == operation);
        TimedCall { calls, began: Instant::now(), is_answered: false }
    }

    /// Durations by operation and result: `answered`, also with a decline, or `failed`.
    pub fn all(&self) -> impl Iterator<Item = ([&'static str; 2], DurationSnapshot)> {
        self.0.iter().flat_map(|calls| {
            [
                ([calls.operation, ANSWERED], calls.answered.snapshot()),
                ([calls.operation, FAILED], calls.failed.snapshot()),
            ]
        })
    }
}

impl TimedCall<'_> {
    pub(super) fn end(mut self, is_answered: bool) {
        self.is_answered = is_answered;
    }
}

impl Drop for TimedCall<'_> {
    fn drop(&mut self) {
        let Some(calls) = self.calls else { return };
        let durations = if self.is_answered { &calls.answered } else { &calls.failed };
        durations.observe(self.began.elapsed());
    }
}

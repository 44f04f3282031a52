//! Counts of the ended runs of one queue, by kind and outcome, with their durations and waits.
//!
//! Guarantees: counting is one look-up and a few atomic additions, and never waits; the number of counts is bounded by
//! the registry, as runs of other kinds are counted together as [`OTHER_KIND`].

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base::{DurationHistogram, DurationSnapshot, Timestamp, TraceContext, time::between};

use crate::{envelope::Envelope, records::AttemptOutcome};

/// Kind under which runs are counted whose kind is not registered.
pub const OTHER_KIND: &str = "other";
/// Outcome of a run that was dropped by a stop: it is no attempt and runs again.
pub const RELEASED: &str = "released";

const OUTCOMES: usize = AttemptOutcome::ALL.len();
/// Upper bounds of the durations of runs.
const DURATIONS: &[Duration] = &[
    Duration::from_millis(1),
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
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
];
/// Upper bounds of the waits of jobs before their first run.
const WAITS: &[Duration] = &[
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
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
    Duration::from_hours(24),
];

/// Ended runs of a kind in a queue, since the workers were made.
#[derive(Debug, Clone)]
pub struct KindRuns {
    /// The queue of the workers.
    pub queue: String,
    /// A registered kind, or [`OTHER_KIND`].
    pub kind: &'static str,
    /// Numbers by outcome: those of [`AttemptOutcome`], and [`RELEASED`].
    pub ended: Vec<(&'static str, u64)>,
    /// How long runs took, without released ones. Recorded runs are its exemplars.
    pub duration: DurationSnapshot,
    /// How long jobs waited for their first run, from their publishing or, later, from their earliest start.
    pub wait: DurationSnapshot,
}

/// The counts of a queue.
#[derive(Debug)]
pub(super) struct RunCounts(HashMap<&'static str, KindCounts>);

#[derive(Debug)]
struct KindCounts {
    /// Whether jobs of this kind are published to this queue, so that their counts are shown from the start.
    is_own: bool,
    /// In the order of [`AttemptOutcome::ALL`].
    ended: [AtomicU64; OUTCOMES],
    released: AtomicU64,
    duration: DurationHistogram,
    wait: DurationHistogram,
}

impl RunCounts {
    /// Counts of all registered kinds, in a queue that `own` of them are published to.
    pub(super) fn new(kinds: impl IntoIterator<Item = &'static str>, own: &[&'static str]) -> Self {
        let kinds = kinds.into_iter().chain([OTHER_KIND]);
        Self(kinds.map(|kind| (kind, KindCounts::new(own.contains(&kind)))).collect())
    }

    /// Counts a run that ended; without an outcome, one that was released. `recorded` are its trace and the present
    /// time, where its span is recorded.
    pub(super) fn count(
        &self,
        envelope: &Envelope,
        started_at: Timestamp,
        outcome: Option<AttemptOutcome>,
        duration: Duration,
        recorded: Option<(&TraceContext, Timestamp)>,
    ) {
        let counts = self.0.get(envelope.kind.as_str()).or_else(|| self.0.get(OTHER_KIND));
        let Some(counts) = counts else { return };
        let Some(outcome) = outcome else {
            counts.released.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let all = AttemptOutcome::ALL.into_iter().zip(&counts.ended);
        for (_, count) in all.filter(|(its, _)| *its == outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        counts.duration.observe_traced(duration, recorded);
        if envelope.attempt == 0 {
            let ready_at = envelope.run_at.map_or(envelope.created_at, |at| at.max(envelope.created_at));
            counts.wait.observe(between(ready_at, started_at));
        }
    }

    /// Ended runs of all kinds, without released ones, and the time that they took together.
    pub(super) fn totals(&self) -> (u64, Duration) {
        self.0.values().fold((0, Duration::ZERO), |(ended, busy), counts| {
            let duration = counts.duration.snapshot();
            (ended + duration.count(), busy.saturating_add(duration.sum))
        })
    }

    /// The kinds of this queue, and others of which a run has ended, by name.
    pub(super) fn kinds(&self, queue: &str) -> Vec<KindRuns> {
        let runs = self.0.iter().filter_map(|(kind, counts)| counts.shown(queue, kind));
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable_by_key(|runs| runs.kind);
        runs
    }
}

impl KindCounts {
    fn new(is_own: bool) -> Self {
        Self {
            is_own,
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
            released: AtomicU64::new(0),
            duration: DurationHistogram::new(DURATIONS),
            wait: DurationHistogram::new(WAITS),
        }
    }

    fn shown(&self, queue: &str, kind: &'static str) -> Option<KindRuns> {
        let ended = AttemptOutcome::ALL.into_iter().map(AttemptOutcome::as_str).zip(&self.ended);
        let ended: Vec<_> = ended
            .chain([(RELEASED, &self.released)])
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
            .collect();
        (self.is_own || ended.iter().any(|(_, count)| *count > 0)).then(|| KindRuns {
            queue: queue.to_owned(),
            kind,
            ended,
            duration: self.duration.snapshot(),
            wait: self.wait.snapshot(),
        })
    }
}

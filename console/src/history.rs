//! The last hour of each queue, for charts, as this process has sampled it.
//!
//! Guarantees: one sample a minute, [`SAMPLES_MAX`] of each of [`QUEUES_MAX`] queues, less than 2 MiB; a sample is made
//! of the figures that pages share, so it costs what one page a minute would. Not stored: a process that starts has no
//! past, and where a sample was not to be had is a gap.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use base::{Timestamp, time::between};
use parking_lot::Mutex;
use serde::Serialize;

use crate::figures::{Figures, QueueFigures};

/// Time from one sample to the next.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_mins(1);
/// Samples of a queue: an hour of them.
pub(crate) const SAMPLES_MAX: usize = 60;
/// Queues with a history; further ones have none.
const QUEUES_MAX: usize = 200;

/// A queue at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct QueueSample {
    pub(crate) at: Timestamp,
    pub(crate) ready: u64,
    pub(crate) oldest_age_ms: u64,
    pub(crate) completed_per_minute: Option<f64>,
    pub(crate) wait_p95_ms: Option<u64>,
}

/// Samples by queue, oldest first.
pub(crate) type SamplesByQueue = BTreeMap<String, Vec<QueueSample>>;

/// Samples of all queues, oldest first.
#[derive(Default)]
pub(crate) struct History(Mutex<BTreeMap<String, VecDeque<QueueSample>>>);

impl History {
    /// Adds a sample of each queue. A queue that is gone has no history.
    pub(crate) fn add(&self, figures: &Figures) {
        let mut queues = self.0.lock();
        queues.retain(|name, _| figures.queues.iter().any(|queue| queue.name() == name));
        for queue in &figures.queues {
            if queues.len() >= QUEUES_MAX && !queues.contains_key(queue.name()) {
                continue;
            }
            let samples = queues.entry(queue.name().to_owned()).or_default();
            if samples.len() >= SAMPLES_MAX {
                samples.pop_front();
            }
            samples.push_back(QueueSample::of(queue, figures.at));
        }
    }

    pub(crate) fn all(&self) -> SamplesByQueue {
        let queues = self.0.lock();
        queues.iter().map(|(name, samples)| (name.clone(), samples.iter().copied().collect())).collect()
    }

    /// Samples of a queue; none of a queue that is not known.
    pub(crate) fn of(&self, queue: &str) -> Vec<QueueSample> {
        self.0.lock().get(queue).map(|samples| samples.iter().copied().collect()).unwrap_or_default()
    }
}

impl QueueSample {
    fn of(queue: &QueueFigures, at: Timestamp) -> Self {
        let depth = &queue.status.depth;
        let age = depth.oldest_ready_at.map(|since| between(since, at)).unwrap_or_default();
        Self {
            at,
            ready: depth.ready,
            oldest_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            completed_per_minute: queue.completed_per_minute,
            wait_p95_ms: queue.wait_p95_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use jobs::{engine::Depth, inspection::QueueStatus};

    use super::*;

    fn figures(minute: i64, queues: &[&str]) -> Figures {
        let at = Timestamp::from_second(minute * 60).expect("a time");
        let of = |name: &&str| {
            let depth = Depth {
                queue: (*name).to_owned(),
                ready: minute.unsigned_abs(),
                delayed: 0,
                running: 0,
                dead: 0,
                oldest_ready_at: None,
                paused: false,
            };
            QueueFigures {
                status: QueueStatus { depth, consumers: 1, slots: 1, fair: None },
                desired_workers: None,
                completed_per_minute: None,
                failed_per_minute: None,
                wait_p95_ms: None,
            }
        };
        Figures {
            at,
            engine: "test",
            queues: queues.iter().map(of).collect(),
            short_delays: 0,
            outbox: None,
            workers: 0,
            latest: Vec::new(),
            consumers: Vec::new(),
            lost: Vec::new(),
        }
    }

    #[test]
    fn a_queue_has_an_hour_of_samples() {
        let history = History::default();
        for minute in 0..100 {
            history.add(&figures(minute, &["email", "payments"]));
        }
        let ready: Vec<u64> = history.of("email").iter().map(|sample| sample.ready).collect();
        assert_eq!(ready, (40..100).collect::<Vec<u64>>());
        history.add(&figures(100, &["payments"]));
        assert!(history.of("email").is_empty(), "a queue that is gone");
        assert_eq!(history.of("payments").len(), SAMPLES_MAX);
    }

    #[test]
    fn the_number_of_queues_is_bounded() {
        let names: Vec<String> = (0..QUEUES_MAX + 50).map(|number| format!("q{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let history = History::default();
        for minute in 0..2 {
            history.add(&figures(minute, &names));
        }
        assert_eq!(history.0.lock().len(), QUEUES_MAX);
        assert_eq!(history.of("q0").len(), 2, "those that are known stay known");
    }
}

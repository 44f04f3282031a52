//! Metrics of the workers of a process: ended runs, and the consumers of their queues.
//!
//! Guarantees: queues are those of the configuration, kinds those of the registry and `other`, so the series are
//! bounded; counting is the jobs crate's own, without a lock, see [`jobs::worker::KindRuns`].

use std::sync::Arc;

use base::{Ambient, time::between};
use jobs::worker::{KindRuns, QueueHealth, WorkersHealth};
use parking_lot::Mutex;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, gauge, histogram},
};

pub(super) const JOBS: Metric = counter(
    "orderworks_jobs_total",
    &["queue", "kind", "outcome"],
    "Runs of jobs that ended in this process; a job that is retried or snoozed has several",
);
pub(super) const DURATION: Metric = histogram(
    "orderworks_job_duration_seconds",
    &["queue", "kind"],
    "How long runs took, without those that a stop released",
);
pub(super) const WAIT: Metric = histogram(
    "orderworks_job_wait_seconds",
    &["queue", "kind"],
    "How long jobs waited for the start of their first attempt, from their publishing or, if later, their earliest start",
);
pub(super) const SLOTS: Metric =
    gauge("orderworks_worker_slots", &["queue"], "Jobs that this process may run at a time");
pub(super) const RUNNING: Metric =
    gauge("orderworks_worker_running", &["queue"], "Jobs that this process runs now");
pub(super) const RESTARTS: Metric = counter(
    "orderworks_worker_restarts_total",
    &["queue"],
    "Times that the consumer of a queue, or its worker, was started again after it was lost",
);
pub(super) const STALE: Metric = counter(
    "orderworks_stale_settlements_total",
    &["queue"],
    "Settlements that the present consumer dropped, as their lease was lost: the jobs run again",
);
pub(super) const CONTACT: Metric = gauge(
    "orderworks_consumer_last_contact_seconds",
    &["queue"],
    "Time since the last contact of the consumer with the broker or file; without a consumer there is none",
);

/// The workers of a process.
#[derive(Clone, Default)]
pub(crate) struct WorkerMetrics(Arc<Mutex<Vec<WorkersHealth>>>);

impl WorkerMetrics {
    /// Adds workers, whose queues no earlier ones have; the first ones register the metrics.
    pub(crate) fn add(&self, metrics: &Metrics, health: WorkersHealth, ambient: &Ambient) {
        let is_first = {
            let mut all = self.0.lock();
            all.push(health);
            all.len() == 1
        };
        if is_first {
            self.register(metrics, ambient);
        }
    }

    fn register(&self, metrics: &Metrics, ambient: &Ambient) {
        let all = self.clone();
        metrics.show(&JOBS, move || all.runs().iter().flat_map(ended).collect());
        let all = self.clone();
        metrics.show(&DURATION, move || {
            let runs = all.runs().into_iter().filter(|runs| runs.duration.count() > 0);
            runs.map(|runs| Sample::of(&[&runs.queue, runs.kind], runs.duration)).collect()
        });
        let all = self.clone();
        metrics.show(&WAIT, move || {
            let runs = all.runs().into_iter().filter(|runs| runs.wait.count() > 0);
            runs.map(|runs| Sample::of(&[&runs.queue, runs.kind], runs.wait)).collect()
        });
        let of_queues = |metric: &'static Metric, read: fn(&QueueHealth) -> Option<u64>| {
            let all = self.clone();
            metrics.show(metric, move || {
                let queues = all.queues();
                let samples =
                    queues.iter().filter_map(|queue| Some(Sample::of(&[&queue.queue], read(queue)?)));
                samples.collect()
            });
        };
        of_queues(&SLOTS, |queue| u64::try_from(queue.concurrency).ok());
        of_queues(&RUNNING, |queue| u64::try_from(queue.running).ok());
        of_queues(&RESTARTS, |queue| Some(queue.restarts));
        of_queues(&STALE, |queue| Some(queue.consumer.as_ref()?.stale_settlements));
        let (all, clock) = (self.clone(), ambient.clone());
        metrics.show(&CONTACT, move || {
            let now = clock.now();
            let queues = all.queues().into_iter().filter_map(|queue| Some((queue.queue, queue.consumer?)));
            let since = queues.map(|(queue, consumer)| (queue, between(consumer.last_contact, now)));
            since.map(|(queue, since)| Sample::of(&[&queue], since.as_secs_f64())).collect()
        });
    }

    fn runs(&self) -> Vec<KindRuns> {
        self.0.lock().iter().flat_map(WorkersHealth::runs).collect()
    }

    fn queues(&self) -> Vec<QueueHealth> {
        self.0.lock().iter().flat_map(WorkersHealth::queues).collect()
    }
}

fn ended(runs: &KindRuns) -> Vec<Sample> {
    let sample = |(outcome, count): &(&str, u64)| Sample::of(&[&runs.queue, runs.kind, outcome], *count);
    runs.ended.iter().map(sample).collect()
}

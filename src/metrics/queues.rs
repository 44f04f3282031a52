//! Metrics of the queues, as their engine tells them: depths by state, ages, consumers of all processes.
//!
//! Guarantees: any number of processes may be read at any rate, as each asks the engine at most once in some seconds;
//! at most [`QUEUES_MAX`] queues are shown.

use std::sync::Arc;

use base::{Ambient, Timestamp, time::between};
use jobs::{
    Engine,
    engine::{Depth, EngineError},
    error::describe,
};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, gauge},
};

pub(super) const JOBS: Metric = gauge(
    "orderworks_queue_jobs",
    &["queue", "state"],
    "Jobs that the queue holds: ready, delayed, running or dead",
);
pub(super) const OLDEST_AGE: Metric = gauge(
    "orderworks_queue_oldest_age_seconds",
    &["queue"],
    "Time since the oldest ready job became ready; 0 where none is ready",
);
pub(super) const CONSUMERS: Metric =
    gauge("orderworks_queue_consumers", &["queue"], "Consumers of the queue in all processes");
pub(super) const PAUSED: Metric =
    gauge("orderworks_queue_paused", &["queue"], "1 while an operator has paused the queue, else 0");
pub(super) const SHORT_DELAYS: Metric = gauge(
    "orderworks_queue_short_delays",
    &[],
    "Jobs of all queues in delays of up to a minute, for engines that cannot tell the queue of such a job",
);

/// Queues shown at most, the first ones by the engine's list: a deployment has five.
const QUEUES_MAX: usize = 100;

/// What the engine tells.
struct QueueFigures {
    depths: Vec<Depth>,
    /// Queues of the consumers.
    consumed: Vec<String>,
    /// `None` where every delay is counted with its queue.
    short_delays: Option<u64>,
    /// When it was asked.
    at: Timestamp,
}

/// Registers the metrics of the queues of an engine.
pub(crate) fn register(metrics: &Metrics, engine: Arc<dyn Engine>, ambient: &Ambient) {
    let clock = ambient.clone();
    let asked = metrics.ask("queue", move || {
        let (engine, at) = (Arc::clone(&engine), clock.now());
        async move { figures(engine.as_ref(), at).await.map_err(|error| describe(&error)) }
    });
    let of_queues = |metric: &'static Metric, read: fn(&QueueFigures, &Depth) -> Vec<Sample>| {
        let asked = Arc::clone(&asked);
        metrics.show(metric, move || {
            asked.shown(|figures| figures.depths.iter().flat_map(|depth| read(figures, depth)).collect())
        });
    };
    of_queues(&JOBS, |_, depth| by_state(depth));
    of_queues(&OLDEST_AGE, |figures, depth| {
        let age = depth.oldest_ready_at.map(|since| between(since, figures.at)).unwrap_or_default();
        vec![Sample::of(&[&depth.queue], age.as_secs_f64())]
    });
    of_queues(&CONSUMERS, |figures, depth| {
        let consumers = figures.consumed.iter().filter(|queue| **queue == depth.queue).count();
        vec![Sample::of(&[&depth.queue], consumers as u64)]
    });
    of_queues(&PAUSED, |_, depth| vec![Sample::of(&[&depth.queue], u64::from(depth.paused))]);
    metrics.show(&SHORT_DELAYS, move || {
        asked.shown(|figures| figures.short_delays.map(Sample::only).unwrap_or_default())
    });
}

async fn figures(engine: &dyn Engine, at: Timestamp) -> Result<QueueFigures, EngineError> {
    let mut depths = Vec::new();
    for queue in engine.queues().await?.iter().take(QUEUES_MAX) {
        match engine.depth(queue).await {
            Ok(depth) => depths.push(depth),
            // Deleted meanwhile: the others are shown.
            Err(EngineError::NoSuchQueue(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let consumed = engine.consumers().await?.into_iter().map(|consumer| consumer.queue).collect();
    let short_delays =
        if engine.capabilities().lists_delayed { None } else { Some(engine.short_delays().await?) };
    Ok(QueueFigures { depths, consumed, short_delays, at })
}

fn by_state(depth: &Depth) -> Vec<Sample> {
    let Depth { queue, ready, delayed, running, dead, .. } = depth;
    let states = [("ready", ready), ("delayed", delayed), ("running", running), ("dead", dead)];
    states.into_iter().map(|(state, jobs)| Sample::of(&[queue, state], *jobs)).collect()
}

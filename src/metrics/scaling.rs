//! The scaling signal: as a metric, and as JSON at `/scaling`.
//!
//! Guarantees: both show the same reading, made when one of them is asked for and at most once in some seconds; without
//! a reading the metric is missing and `/scaling` answers 503, so that its reader keeps the workers that run.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use jobs::{
    error::describe,
    scaling::{QueueSignal, Scaling},
};

use super::{
    asked::{Asked, Question},
    exposition::Metrics,
    metric::{Metric, Sample, gauge},
};

pub(super) const DESIRED: Metric = gauge(
    "orderworks_queue_desired_workers",
    &["queue"],
    "Worker processes that the queue needs, as `/scaling` tells",
);

/// Registers the signal; returns the route `GET /scaling`.
pub(crate) fn register(metrics: &Metrics, scaling: Scaling) -> Router {
    let scaling = Arc::new(scaling);
    let asked = metrics.ask("scaling", move || {
        let scaling = Arc::clone(&scaling);
        async move { scaling.read().await.map_err(|error| describe(&error)) }
    });
    let shown = Arc::clone(&asked);
    metrics.show(&DESIRED, move || {
        let sample = |signal: &QueueSignal| Sample::of(&[&signal.queue], u64::from(signal.desired_workers));
        shown.shown(|signals: &Vec<QueueSignal>| signals.iter().map(sample).collect())
    });
    Router::new().route("/scaling", get(async move || answer(&asked).await))
}

/// The signal by queue.
async fn answer(asked: &Arc<Asked<Vec<QueueSignal>>>) -> Response {
    Arc::clone(asked).refresh().await;
    let by_queue = |signals: &Vec<QueueSignal>| {
        let signals = signals.iter().map(|signal| (signal.queue.clone(), signal.clone()));
        Some(signals.collect::<BTreeMap<_, _>>())
    };
    match asked.shown(by_queue) {
        Some(signals) => Json(signals).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

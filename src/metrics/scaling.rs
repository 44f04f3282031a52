//! The scaling signal: as a metric, as JSON at `/scaling`, and on the pages of the console.
//!
//! Guarantees: all of them show the same reading, made when one of them is asked for and at most once in some seconds;
//! without a reading, and while no queue is declared, the metric is missing and `/scaling` answers 503, so that its
//! reader keeps the workers that run.

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

/// The signal of a process. Clones share its readings.
#[derive(Clone)]
pub(crate) struct ScalingView(Arc<Asked<Vec<QueueSignal>>>);

impl ScalingView {
    /// The route `GET /scaling`.
    pub(crate) fn routes(&self) -> Router {
        let view = self.clone();
        Router::new().route("/scaling", get(async move || view.answer().await))
    }

    /// The last reading, made now where that one is too old; `None` where it failed.
    pub(crate) async fn read(&self) -> Option<Vec<QueueSignal>> {
        Arc::clone(&self.0).refresh().await;
        self.0.shown(|signals| Some(signals.clone()))
    }

    /// The signal by queue.
    async fn answer(&self) -> Response {
        // Before the first worker of a deployment no queue is declared, and an engine that knows none may be away.
        match self.read().await.filter(|signals| !signals.is_empty()) {
            Some(signals) => {
                let by_queue = signals.into_iter().map(|signal| (signal.queue.clone(), signal));
                Json(by_queue.collect::<BTreeMap<_, _>>()).into_response()
            }
            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

/// Registers the signal as a metric.
pub(crate) fn register(metrics: &Metrics, scaling: Scaling) -> ScalingView {
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
    ScalingView(asked)
}

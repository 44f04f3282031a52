//! The metrics of a process and their route.
//!
//! Guarantees: each part of a process registers its metrics once. What is read when metrics are encoded are counters
//! and views in memory; questions to servers are asked before, see [`super::asked`].

use std::{fmt, sync::Arc};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    registry::Registry,
};
use tokio::task::JoinSet;

use super::{
    asked::{Asked, Question},
    metric::{Metric, Sample, counter},
    text::{OPEN_METRICS, PROMETHEUS, prefers_open_metrics, prometheus_text},
};

pub(super) const SCRAPE_ERRORS: Metric = counter(
    "orderworks_scrape_errors_total",
    &["source"],
    "Questions for figures of these metrics that got no answer in time; the figures are left out",
);

/// All metrics of a process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Metrics(Arc<MetricsParts>);

#[derive(Default)]
struct MetricsParts {
    registry: Mutex<Registry>,
    questions: Mutex<Vec<Arc<dyn Question>>>,
}

impl Metrics {
    /// Registers a metric, whose samples `read` gives when metrics are encoded; it must not wait.
    pub(super) fn show(
        &self,
        metric: &'static Metric,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.0.registry.lock().register_collector(Box::new(Shown { metric, read }));
    }

    /// Registers a question that is asked before metrics are encoded; `ask` fails with the reason.
    pub(super) fn ask<T: Send + 'static, F: Future<Output = Result<T, String>> + Send + 'static>(
        &self,
        source: &'static str,
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Arc<Asked<T>> {
        let asked = Arc::new(Asked::new(source, ask));
        let is_first = {
            let mut questions = self.0.questions.lock();
            questions.push(Arc::<Asked<T>>::clone(&asked));
            questions.len() == 1
        };
        if is_first {
            let parts = Arc::downgrade(&self.0);
            self.show(&SCRAPE_ERRORS, move || {
                let Some(parts) = parts.upgrade() else { return Vec::new() };
                let questions = parts.questions.lock();
                questions.iter().map(|asked| Sample::of(&[asked.source()], asked.errors())).collect()
            });
        }
        asked
    }

    /// The route `GET /metrics`.
    pub(crate) fn routes(&self) -> Router {
        let metrics = self.clone();
        let route = get(async move |headers: HeaderMap| {
            metrics.refresh().await;
            metrics.encoded(&headers)
        });
        Router::new().route("/metrics", route)
    }

    async fn refresh(&self) {
        let questions = self.0.questions.lock().clone();
        let mut asking = JoinSet::new();
        for question in questions {
            asking.spawn(question.refresh());
        }
        while asking.join_next().await.is_some() {}
    }

    fn encoded(&self, headers: &HeaderMap) -> Response {
        let mut text = String::new();
        if encode(&mut text, &self.0.registry.lock()).is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let (content_type, text) = if prefers_open_metrics(headers) {
            (OPEN_METRICS, text)
        } else {
            (PROMETHEUS, prometheus_text(&text))
        };
        ([(header::CONTENT_TYPE, content_type), (header::VARY, "accept")], text).into_response()
    }
}

/// A metric that is read when it is encoded.
struct Shown<F> {
    metric: &'static Metric,
    read: F,
}

impl<F> fmt::Debug for Shown<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric.name)
    }
}

impl<F: Fn() -> Vec<Sample> + Send + Sync + 'static> Collector for Shown<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.metric.encode(&(self.read)(), encoder)
    }
}

//! The metrics of a process and their route.
//!
//! Guarantees: each part of a process registers its metrics once. What is read when metrics are written are counters
//! and views in memory; questions to servers are asked before, see [`super::asked`].

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{
    asked::{Asked, Question},
    metric::{Metric, Sample, counter},
    text::TextForm,
    writer::TextWriter,
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
    /// In the order of their registration.
    shown: Mutex<Vec<Shown>>,
    questions: Mutex<Vec<Arc<dyn Question>>>,
}

impl Metrics {
    /// Registers a metric, whose samples `read` gives when metrics are written; it must not wait.
    pub(super) fn show(
        &self,
        metric: &'static Metric,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.0.shown.lock().push(Shown { metric, read: Box::new(read) });
    }

    /// Registers a question that is asked before metrics are written; `ask` fails with the reason.
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
            metrics.written(&headers)
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

    fn written(&self, headers: &HeaderMap) -> Response {
        let form = TextForm::preferred(headers);
        let mut writer = TextWriter::new(form);
        for Shown { metric, read } in &*self.0.shown.lock() {
            writer.write(metric, &read());
        }
        let headers = [(header::CONTENT_TYPE, form.content_type()), (header::VARY, "accept")];
        (headers, writer.finish()).into_response()
    }
}

/// A metric with what gives its samples.
struct Shown {
    metric: &'static Metric,
    read: Box<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

//! Metrics at `/metrics`, in the text form of `OpenMetrics`.
//!
//! Guarantees: each part of a process registers its metrics once, before it runs, and keeps the handles it sets.
//! Setting a metric never waits longer than one encoding takes. Names begin with `orderworks_` and end in their unit.
//! Labels have few values, known in advance: never an id.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, text::encode},
    metrics::MetricType,
    registry::Registry,
};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a process. Clones share them.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("orderworks"))))
    }
}

impl Metrics {
    /// Registers the metrics of a part of the process; names get the prefix.
    pub(crate) fn register<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        // Registration appends to a list: a panic in between leaves the list intact.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Registers a counter that another part of the process keeps; `encode` reads it when metrics are encoded.
    pub(crate) fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        encode: impl Fn(MetricEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
    ) {
        self.register(|registry| registry.register_collector(Box::new(KeptCounter { name, help, encode })));
    }

    /// The route `GET /metrics`.
    pub(crate) fn routes(&self) -> Router {
        let metrics = self.clone();
        Router::new().route("/metrics", get(async move || metrics.encoded()))
    }

    fn encoded(&self) -> Response {
        let mut text = String::new();
        match self.register(|registry| encode(&mut text, registry)) {
            Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// A counter that another part of the process keeps.
struct KeptCounter<F> {
    name: &'static str,
    help: &'static str,
    encode: F,
}

impl<F> fmt::Debug for KeptCounter<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn(MetricEncoder<'_>) -> fmt::Result + Send + Sync + 'static> Collector for KeptCounter<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.encode)(encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?)
    }
}

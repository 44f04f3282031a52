//! Metrics at `/metrics`, in the text form of Prometheus or, where that is preferred, of `OpenMetrics`.
//!
//! Guarantees: each part of a process registers its metrics once, before it runs, and keeps the handles it sets.
//! Setting a metric never waits longer than one encoding takes. Names begin with `orderworks_` and end in their unit.
//! Labels have few values, known in advance: never an id.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, text::encode},
    metrics::MetricType,
    registry::Registry,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

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
        Router::new().route("/metrics", get(async move |headers: HeaderMap| metrics.encoded(&headers)))
    }

    fn encoded(&self, headers: &HeaderMap) -> Response {
        let mut text = String::new();
        if self.register(|registry| encode(&mut text, registry)).is_err() {
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

/// Whether `Accept` names `OpenMetrics`, and plain text not before it (RFC 9110, section 12.5.1).
fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let values = || headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let quality = |wanted: &str| {
        let ranges = values().flat_map(|value| value.split(','));
        let qualities = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_wanted = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            is_wanted.then(|| weight.and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(1.0))
        });
        qualities.fold(0.0, f32::max)
    };
    let open = quality("application/openmetrics-text");
    open > 0.0 && open >= quality("text/plain")
}

/// The same metrics in version 0.0.4 of the text form: counters are named as their samples are.
fn prometheus_text(open: &str) -> String {
    let counters: HashSet<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                text.extend(["# ", what, " ", name, "_total ", rest]);
            }
            (Some("#"), Some("TYPE"), Some(name), Some("unknown")) => {
                text.extend(["# TYPE ", name, " untyped"]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
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

#[cfg(test)]
mod tests {
    use super::prometheus_text;

    #[test]
    fn counters_are_named_as_their_samples() {
        let open = "# HELP a_jobs Jobs done.\n# TYPE a_jobs counter\na_jobs_total{queue=\"x\"} 1\n\
            # HELP a_age_seconds Age.\n# TYPE a_age_seconds gauge\n# UNIT a_age_seconds seconds\n\
            a_age_seconds 2\n# TYPE b unknown\nb 3\n# EOF\n";
        let expected = "# HELP a_jobs_total Jobs done.\n# TYPE a_jobs_total counter\na_jobs_total{queue=\"x\"} 1\n\
            # HELP a_age_seconds Age.\n# TYPE a_age_seconds gauge\na_age_seconds 2\n# TYPE b untyped\nb 3\n";
        assert_eq!(prometheus_text(open), expected);
    }
}

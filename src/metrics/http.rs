//! Metrics of the API's HTTP requests.
//!
//! Guarantees: labels are bounded whatever clients send: a route is a path template of the router or [`UNMATCHED`], a
//! method one of HTTP's own or [`OTHER`], a status one that the API answers. A request whose client leaves before the
//! answer is not counted; of an event stream the time until its head counts. Requests whose spans are recorded are
//! exemplars of the durations.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use api::RecordedTrace;
use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use base::{Ambient, DurationHistogram, Timestamp, TraceContext};
use parking_lot::RwLock;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, histogram},
};

pub(super) const REQUESTS: Metric = counter(
    "orderworks_http_requests_total",
    &["route", "method", "status"],
    "Requests to the API by path template, `unmatched` for paths that no route has",
);
pub(super) const DURATION: Metric = histogram(
    "orderworks_http_request_duration_seconds",
    &["route", "method"],
    "Time from the head of a request until that of its answer",
);

/// Route of a path that matches none.
const UNMATCHED: &str = "unmatched";
/// Method that is none of [`METHODS`].
const OTHER: &str = "other";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const BOUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_micros(2500),
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
];

/// Requests by route and method. Locked to write only when a pair, or a status of it, occurs for the first time.
struct HttpRequests {
    routes: RwLock<HashMap<Box<str>, RouteRequests>>,
    ambient: Ambient,
}

/// Requests to a route, by method.
type RouteRequests = BTreeMap<&'static str, Arc<MethodRequests>>;

struct MethodRequests {
    statuses: RwLock<BTreeMap<u16, AtomicU64>>,
    durations: DurationHistogram,
}

/// Registers the metrics of an API and counts the requests to it.
pub(crate) fn observed(metrics: &Metrics, api: Router, ambient: &Ambient) -> Router {
    let requests = Arc::new(HttpRequests::new(ambient));
    let counted = Arc::clone(&requests);
    metrics.show(&REQUESTS, move || counted.totals());
    let counted = Arc::clone(&requests);
    metrics.show(&DURATION, move || counted.durations());
    api.layer(from_fn_with_state(requests, observe))
}

async fn observe(State(requests): State<Arc<HttpRequests>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method_label(request.method());
    let began = Instant::now();
    let response = next.run(request).await;
    let duration = began.elapsed();
    let recorded = response.extensions().get::<RecordedTrace>();
    let recorded = recorded.map(|RecordedTrace(trace)| (trace, requests.ambient.now()));
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    requests.of(route, method).count(response.status().as_u16(), duration, recorded);
    response
}

fn method_label(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}

impl HttpRequests {
    fn new(ambient: &Ambient) -> Self {
        Self { routes: RwLock::default(), ambient: ambient.clone() }
    }

    fn of(&self, route: &str, method: &'static str) -> Arc<MethodRequests> {
        if let Some(known) = self.routes.read().get(route).and_then(|methods| methods.get(method)) {
            return Arc::clone(known);
        }
        let mut routes = self.routes.write();
        let methods = routes.entry(route.into()).or_default();
        Arc::clone(methods.entry(method).or_insert_with(|| Arc::new(MethodRequests::new())))
    }

    fn totals(&self) -> Vec<Sample> {
        self.samples(|labels, requests, samples| {
            for (status, count) in requests.statuses.read().iter() {
                let labels = [labels[0], labels[1], &status.to_string()];
                samples.push(Sample::of(&labels, count.load(Ordering::Relaxed)));
            }
        })
    }

    fn durations(&self) -> Vec<Sample> {
        self.samples(|labels, requests, samples| {
            samples.push(Sample::of(&labels, requests.durations.snapshot()));
        })
    }

    /// The samples of all routes and methods, in an order that stays the same.
    fn samples(&self, add: impl Fn([&str; 2], &MethodRequests, &mut Vec<Sample>)) -> Vec<Sample> {
        let routes = self.routes.read();
        let mut sorted: Vec<_> = routes.iter().collect();
        sorted.sort_unstable_by_key(|(route, _)| *route);
        let mut samples = Vec::new();
        for (route, methods) in sorted {
            for (method, requests) in methods {
                add([route, method], requests, &mut samples);
            }
        }
        samples
    }
}

impl MethodRequests {
    fn new() -> Self {
        Self { statuses: RwLock::default(), durations: DurationHistogram::new(BOUNDS) }
    }

    /// `recorded` are the trace of the request and the present time, where its span is recorded.
    fn count(&self, status: u16, duration: Duration, recorded: Option<(&TraceContext, Timestamp)>) {
        self.durations.observe_traced(duration, recorded);
        if let Some(known) = self.statuses.read().get(&status) {
            known.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.statuses.write().entry(status).or_default().fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_statuses_are_counted_apart_and_unknown_methods_together() {
        let requests = HttpRequests::new(&Ambient::system());
        for method in ["GET", "BREW", "STEEP", "POST"] {
            let method = method_label(&Method::from_bytes(method.as_bytes()).expect("a method"));
            requests.of("/v1/orders/{id}", method).count(200, Duration::from_millis(3), None);
        }
        requests.of("/v1/orders/{id}", "GET").count(404, Duration::ZERO, None);
        // GET with two statuses, POST, and two methods as one.
        assert_eq!((requests.totals().len(), requests.durations().len()), (4, 3));
    }
}

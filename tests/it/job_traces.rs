//! Jobs of a recorded trace: the log lines of their runs name trace and span, and those that are sent again begin a
//! trace of their own that links to that of their order.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use base::Ambient;
use jobs::{
    records::{AttemptOutcome, AttemptRecord, RecordStore},
    sqlite::SqliteEngine,
};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::util::{CollectedSpan, Collector, Dev, PATIENCE, order, run};

/// A caller's trace, which is recorded, and its header.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A deployment with an order of that trace whose only webhook was answered with 410.
struct Refused {
    dev: Dev,
    order: String,
    /// Path of the endpoint.
    endpoint: String,
    /// Whether the receiver takes webhooks.
    takes: Arc<AtomicBool>,
    /// Spans of the runs that gave up the webhook, and that sent the mail.
    webhook: CollectedSpan,
    mail: CollectedSpan,
}

/// A receiver that answers 410, until it takes webhooks.
async fn receiver() -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let takes = Arc::new(AtomicBool::new(false));
    let answer = |State(takes): State<Arc<AtomicBool>>| async move {
        if takes.load(Ordering::SeqCst) { StatusCode::NO_CONTENT } else { StatusCode::GONE }
    };
    let app = Router::new().route("/hook", post(answer)).with_state(takes.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, takes)
}

fn attribute<'a>(span: &'a CollectedSpan, name: &str) -> &'a str {
    span.attributes.get(name).map_or("", String::as_str)
}

/// The run of the order's trace on this queue that ended so.
fn ended<'a>(spans: &'a [CollectedSpan], queue: &str, outcome: &str) -> Option<&'a CollectedSpan> {
    let name = format!("process {queue}");
    let mut runs = spans.iter().filter(|span| span.name == name && span.trace == TRACE);
    runs.find(|span| attribute(span, "orderworks.job.outcome") == outcome)
}

async fn refused(data: &Path, collector: &Collector) -> Refused {
    let dev = Dev::start_with(data, &[("ORDERWORKS_TRACES_ENDPOINT", collector.url.as_str())]).await;
    let (merchant, (url, takes)) = (dev.merchant(), receiver().await);
    let wanted = json!({ "url": url, "events": ["order.placed"] });
    let (status, endpoint) = merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&wanted)).await;
    assert_eq!(status, StatusCode::CREATED, "{endpoint}");
    let headers = [("idempotency-key", "traced"), ("traceparent", PARENT)];
    let body = order("CUP-ENAMEL", 1, "pm_card_visa");
    let (status, placed) = merchant.send_with(Method::POST, "/v1/orders", &headers, Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    let has_both = |spans: &[CollectedSpan]| {
        ended(spans, "webhooks", "cancelled").is_some() && ended(spans, "email", "completed").is_some()
    };
    let spans = collector.until(has_both).await;
    let of = |queue, outcome| ended(&spans, queue, outcome).expect("has ended").clone();
    Refused {
        dev,
        order: placed["id"].as_str().expect("an id").to_owned(),
        endpoint: format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().expect("an id")),
        takes,
        webhook: of("webhooks", "cancelled"),
        mail: of("email", "completed"),
    }
}

#[tokio::test]
async fn log_lines_of_a_run_and_of_its_end_name_its_trace_and_span() {
    let (data, collector) = (tempfile::tempdir().expect("a folder"), Collector::start().await);
    let Refused { dev, webhook, .. } = refused(data.path(), &collector).await;
    let job = attribute(&webhook, "messaging.message.id");
    assert!(job.starts_with("job_"), "{webhook:#?}");
    let log = std::fs::read_to_string(data.path().join("log")).expect("a log");
    for text in ["webhook endpoint disabled", "job cancelled"] {
        let line = log.lines().find(|line| line.contains(text) && line.contains(job));
        let line = line.unwrap_or_else(|| panic!("`{text}` of {job}: {log}"));
        assert!(line.contains(TRACE) && line.contains(&webhook.id), "span {}: {line}", webhook.id);
    }
    assert!(dev.stop().await.success());
}

/// Adds an attempt to the log that ends the job of this run as refused, after it.
async fn refuse(data: &Path, run: &CollectedSpan, order: &str) {
    let ambient = Ambient::system();
    let engine = SqliteEngine::open(&data.join("queue.db"), ambient.clone()).await.expect("opens");
    let now = ambient.now();
    let record = AttemptRecord {
        job: attribute(run, "messaging.message.id").parse().expect("the id of a job"),
        kind: attribute(run, "orderworks.job.kind").to_owned(),
        queue: attribute(run, "messaging.destination.name").to_owned(),
        subject: Some(order.to_owned()),
        attempt: 2,
        worker: "test".to_owned(),
        created_at: now,
        started_at: now,
        duration: Duration::from_millis(1),
        outcome: AttemptOutcome::Cancelled,
        error: Some("smtp_refused_550".to_owned()),
        trace: None,
    };
    engine.records().append([record].into()).await.expect("records");
}

/// Has items of an order sent again, and checks that the new run of this one's job links to the order's request.
async fn is_linked(data: &Path, collector: &Collector, items: &str, order: &str, first: &CollectedSpan) {
    let retry = ["control", "bulk", "retry", "--items", items, "--subject", order, "--why", "a test"];
    let args = [&retry[..], &["--yes", "--wait"]].concat();
    let sent = async {
        // Its span may arrive before its attempt is in the log.
        while !run(data, &args).await.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, sent).await.expect("is in the log in time");
    let job = attribute(first, "messaging.message.id");
    let is_again = |span: &CollectedSpan| {
        span.name == first.name && span.trace != TRACE && attribute(span, "messaging.message.id") == job
    };
    let spans = collector.until(|spans| spans.iter().any(is_again)).await;
    let again = spans.iter().find(|span| is_again(span)).expect("has come");
    let request = spans.iter().find(|span| span.name == "POST /v1/orders" && span.trace == TRACE);
    let request = request.expect("the request of the order");
    assert_eq!((again.parent.as_str(), attribute(again, "orderworks.job.outcome")), ("", "completed"));
    assert_eq!(again.links, [(TRACE.to_owned(), request.id.clone())], "{items}: {again:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_and_mails_that_are_sent_again_link_to_the_trace_of_their_order() {
    let (data, collector) = (tempfile::tempdir().expect("a folder"), Collector::start().await);
    let Refused { dev, order, endpoint, takes, webhook, mail } = refused(data.path(), &collector).await;
    takes.store(true, Ordering::SeqCst);
    let enabled = json!({ "enabled": true });
    let (status, told) = dev.merchant().send(Method::PATCH, &endpoint, Some(&enabled)).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    is_linked(data.path(), &collector, "webhooks", &order, &webhook).await;
    refuse(data.path(), &mail, &order).await;
    is_linked(data.path(), &collector, "mails", &order, &mail).await;
    assert!(dev.stop().await.success());
}

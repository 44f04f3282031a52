//! Recorded traces of the real binary, as a collector gets them: one trace from the request to the webhooks, links of
//! redrives and schedules, sampling by the caller, exemplars of metrics, and a collector that is away.

use std::{path::Path, time::Duration};

use axum::http::HeaderMap;
use base::{Ambient, TraceContext};
use jobs::{Envelope, Job, Publish, envelope::EnqueueOptions, sqlite::SqliteEngine};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use crate::util::{
    Client, CollectedSpan, Collector, Dev, PATIENCE, Receiver, TestMerchant, TestServers, Unknown, Vhost,
    alone,
    exemplars::{self, ShownExemplar},
    fetch, free_port, missing_broker, order, run, run_with,
};

/// A caller's trace and span.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// A trace that its caller does not record.
const UNRECORDED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const STATE: &str = "congo=t61rcWkgMzE";
/// Longest time for an order and a stop while the collector is away or slow: far above what they take, and below the
/// time that any wait for the collector, one after the other, would take.
const IN_TIME: Duration = Duration::from_secs(30);

/// Spans from the request down, of all the work that an order causes; each is the parent of the next.
const CHAINS: [&[&str]; 4] = [
    &["POST /v1/orders", "publish payments", "process payments", "capture sandbox", "POST"],
    &["POST /v1/orders", "publish fulfilment", "process fulfilment"],
    &["POST /v1/orders", "publish email", "process email"],
    &["POST /v1/orders", "publish webhooks", "process webhooks", "POST"],
];

fn recorded_parent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// The spans from the first below the caller to those with the last name, for each of them.
fn paths<'a>(spans: &'a [CollectedSpan], last: &str) -> Vec<Vec<&'a CollectedSpan>> {
    let above = |span: &CollectedSpan| spans.iter().find(|parent| parent.id == span.parent);
    let path = |span: &'a CollectedSpan| {
        let mut path: Vec<_> = std::iter::successors(Some(span), |span| above(span)).collect();
        path.reverse();
        path
    };
    spans.iter().filter(|span| span.trace == TRACE && span.name == last).map(path).collect()
}

fn names<'a>(path: &[&'a CollectedSpan]) -> Vec<&'a str> {
    path.iter().map(|span| span.name.as_str()).collect()
}

/// Whether all that an order causes has ended, with its four webhooks.
fn is_whole(spans: &[CollectedSpan]) -> bool {
    let count = |chain: &[&str]| {
        let last = chain.last().expect("a name");
        paths(spans, last).iter().filter(|path| names(path) == chain).count()
    };
    let [others @ .., webhooks] = CHAINS;
    others.into_iter().all(|chain| count(chain) > 0) && count(webhooks) >= 4
}

/// Places an order with this trace; returns its id.
async fn place(client: &Client, key: &str, parent: Option<&str>, body: &Value) -> String {
    let mut headers = vec![("idempotency-key", key)];
    if let Some(parent) = parent {
        headers.extend([("traceparent", parent), ("tracestate", STATE)]);
    }
    let (status, placed) = client.send_with(Method::POST, "/v1/orders", &headers, Some(body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    placed["id"].as_str().expect("an id").to_owned()
}

async fn receiver_of(merchant: &Client) -> Receiver {
    let receiver = Receiver::start().await;
    let wanted = json!({ "url": receiver.url, "events": ["*"] });
    let (status, _) = merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&wanted)).await;
    assert_eq!(status, StatusCode::CREATED);
    receiver
}

/// Trace headers of the four webhooks of an order.
async fn webhooks_of(receiver: &Receiver, order: &str) -> Vec<(String, Option<String>)> {
    let is_ours = |body: &[u8]| {
        let data = serde_json::from_slice::<Value>(body).expect("is JSON")["data"].take();
        data["id"] == order || data["order_id"] == order
    };
    let taken = receiver.until(|taken| taken.iter().filter(|(_, body)| is_ours(body)).count() >= 4).await;
    let text = |headers: &HeaderMap, name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let ours = taken.iter().filter(|(_, body)| is_ours(body));
    ours.map(|(headers, _)| (text(headers, "traceparent").expect("a trace"), text(headers, "tracestate")))
        .collect()
}

/// An order of a caller that records its trace is one trace, and its webhooks tell the receiver of it.
async fn an_order_is_one_trace(merchant: &Client, collector: &Collector, body: &Value, system: &str) {
    let receiver = receiver_of(merchant).await;
    let id = place(merchant, "one-trace", Some(&recorded_parent()), body).await;
    assert_eq!(merchant.ended(&id).await["status"], "fulfilled");
    let webhooks = webhooks_of(&receiver, &id).await;
    let is_of = |span: &CollectedSpan, parent: &str| parent == format!("00-{TRACE}-{}-01", span.id);
    let has_all = |spans: &[CollectedSpan]| {
        webhooks.iter().all(|(parent, _)| spans.iter().any(|span| is_of(span, parent)))
    };
    let spans = collector.until(|spans| is_whole(spans) && has_all(spans)).await;

    let requests = paths(&spans, "POST /v1/orders");
    assert_eq!((requests.len(), requests[0].len()), (1, 1), "{requests:#?}");
    let request = requests[0][0];
    assert_eq!((request.kind, request.parent.as_str()), (SpanKind::Server, CALLER));
    let attribute = |span: &CollectedSpan, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!(attribute(request, "http.route"), "/v1/orders");
    assert_eq!(attribute(request, "http.response.status_code"), "202");
    for chain in CHAINS {
        let all = paths(&spans, chain[chain.len() - 1]);
        let path = all.into_iter().find(|path| names(path) == chain).expect("is whole");
        let (published, run) = (path[1], path[2]);
        assert_eq!((published.kind, run.kind), (SpanKind::Producer, SpanKind::Consumer));
        for (span, operation) in [(published, "send"), (run, "process")] {
            assert_eq!(attribute(span, "messaging.system"), system);
            assert_eq!(attribute(span, "messaging.operation.type"), operation);
            assert!(span.links.is_empty() && !span.has_failed, "{span:#?}");
        }
        assert_eq!(attribute(run, "orderworks.job.outcome"), "completed");
        assert_eq!(attribute(run, "messaging.message.id"), attribute(published, "messaging.message.id"));
    }
    for (parent, state) in &webhooks {
        let sent = spans.iter().find(|span| is_of(span, parent)).expect("the span of a webhook");
        assert_eq!((sent.name.as_str(), sent.kind), ("POST", SpanKind::Client));
        assert_eq!(attribute(sent, "http.response.status_code"), "204");
        assert_eq!(state.as_deref(), Some(STATE));
    }
    let told = format!("{spans:?}");
    for personal in [body["customer"]["email"].as_str(), body["customer"]["name"].as_str(), Some("owk_")] {
        assert!(!told.contains(personal.expect("a text")), "{told}");
    }
}

#[tokio::test]
async fn an_order_is_one_trace_from_request_to_webhook() {
    let (data, collector) = (tempfile::tempdir().expect("a folder"), Collector::start().await);
    let began = Ambient::system().now();
    let dev = Dev::start_with(data.path(), &[("ORDERWORKS_TRACES_ENDPOINT", collector.url.as_str())]).await;
    let body = order("CUP-ENAMEL", 1, "pm_card_visa");
    an_order_is_one_trace(&dev.merchant(), &collector, &body, "sqlite").await;
    let series = [
        ("orderworks_http_request_duration_seconds_bucket", r#"route="/v1/orders",method="POST""#),
        ("orderworks_job_duration_seconds_bucket", r#"queue="payments",kind="charge_payment""#),
    ];
    let shown = exemplars::since(&dev.ready.url, began).await;
    for (name, labels) in series {
        let of_order = |its: &ShownExemplar| its.is_of(name, labels) && its.trace == TRACE;
        assert!(shown.iter().any(of_order), "{name}: {shown:#?}");
    }
    let is_known =
        |its: &ShownExemplar, spans: &[CollectedSpan]| spans.iter().any(|of| of.trace == its.trace);
    collector.until(|spans| shown.iter().all(|its| is_known(its, spans))).await;
    assert!(dev.stop().await.success());
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.service == "orderworks"), "{spans:#?}");
    let request = paths(&spans, "POST /v1/orders")[0][0];
    let log = std::fs::read_to_string(data.path().join("log")).expect("a log");
    let mut lines = log.lines().filter(|line| line.contains("request answered"));
    assert!(lines.any(|line| line.contains(TRACE) && line.contains(&request.id)), "{log}");
}

#[tokio::test]
async fn an_order_is_one_trace_over_a_broker() {
    if let Some(why) = missing_broker() {
        eprintln!("skipped: {why}");
        return;
    }
    let (data, collector) = (tempfile::tempdir().expect("a folder"), Collector::start().await);
    let vhost = Vhost::create().await;
    let settings = [
        ("ORDERWORKS_ENGINES_QUEUE", "rabbitmq"),
        ("ORDERWORKS_RABBITMQ_URL", vhost.url()),
        ("ORDERWORKS_TRACES_ENDPOINT", collector.url.as_str()),
    ];
    let dev = Dev::start_with(data.path(), &settings).await;
    let body = order("CUP-ENAMEL", 1, "pm_card_visa");
    an_order_is_one_trace(&dev.merchant(), &collector, &body, "rabbitmq").await;
    assert!(dev.stop().await.success());
    vhost.delete().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_one_trace_over_all_servers_and_processes() {
    let _alone = alone().await;
    let Some(mut stage) = TestServers::open().await else { return };
    let collector = Collector::start().await;
    stage.set("TRACES_ENDPOINT", &collector.url);
    let (api, base) = stage.api(&[]).await;
    let roles = [&["relay"][..], &["worker"], &["scheduler"]].map(|args| stage.role(args));
    let shop = TestMerchant::open(&stage, &base, &["CUP"], 10).await;
    let body = shop.order("CUP", 1, "pm_card_visa");
    an_order_is_one_trace(&shop.client, &collector, &body, "rabbitmq").await;
    let spans = collector.spans();
    for (name, service) in [
        ("POST /v1/orders", "orderworks-api"),
        ("publish payments", "orderworks-relay"),
        ("process payments", "orderworks-worker"),
    ] {
        let of_name = spans.iter().filter(|span| span.trace == TRACE && span.name == name);
        assert!(of_name.map(|span| span.service.as_str()).all(|its| its == service), "{name}: {spans:#?}");
    }
    for role in roles {
        role.stop().await;
    }
    api.stop().await;
    stage.close().await;
}

#[tokio::test]
async fn the_caller_decides_what_is_recorded_and_the_rest_passes_unchanged() {
    let (data, collector) = (tempfile::tempdir().expect("a folder"), Collector::start().await);
    // Of the traces that begin here none is recorded.
    let settings = [("ORDERWORKS_TRACES_ENDPOINT", collector.url.as_str()), ("ORDERWORKS_TRACES_RATIO", "0")];
    let began = Ambient::system().now();
    let dev = Dev::start_with(data.path(), &settings).await;
    let (merchant, body) = (dev.merchant(), order("CUP-ENAMEL", 1, "pm_card_visa"));
    let receiver = receiver_of(&merchant).await;
    let unrecorded = place(&merchant, "unrecorded", Some(UNRECORDED), &body).await;
    for told in webhooks_of(&receiver, &unrecorded).await {
        assert_eq!(told, (UNRECORDED.to_owned(), Some(STATE.to_owned())));
    }
    let new = place(&merchant, "new", None, &body).await;
    for (parent, state) in webhooks_of(&receiver, &new).await {
        let trace: TraceContext = parent.parse().expect("a trace");
        assert_eq!((trace.is_sampled(), state), (false, None), "{parent}");
    }
    let shown = exemplars::since(&dev.ready.url, began).await;
    assert!(shown.is_empty(), "{shown:#?}");
    place(&merchant, "recorded", Some(&recorded_parent()), &body).await;
    collector.until(is_whole).await;
    assert!(dev.stop().await.success());
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
}

/// Publishes a job that dies in its first run, with a caller's trace.
async fn bury(data: &Path) {
    let ambient = Ambient::system();
    let engine = SqliteEngine::open(&data.join("queue.db"), ambient.clone()).await.expect("opens");
    let trace: TraceContext = recorded_parent().parse().expect("a trace");
    let options = EnqueueOptions { trace: Some(trace), ..EnqueueOptions::default() };
    let envelope = Envelope::new(&Unknown, options, &ambient).expect("a job");
    let last = Envelope { attempt: Unknown::MAX_ATTEMPTS, ..envelope };
    engine.publish(vec![last]).await.expect("publishes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redrives_and_schedules_link_to_the_trace_before() {
    let (data, collector) = (tempfile::tempdir().expect("a folder"), Collector::start().await);
    let settings = [("ORDERWORKS_TRACES_ENDPOINT", collector.url.as_str())];
    let dev = Dev::start_with(data.path(), &settings).await;
    bury(data.path()).await;
    let runs = |spans: &[CollectedSpan], queue: &str| -> Vec<CollectedSpan> {
        let name = format!("process {queue}");
        spans.iter().filter(|span| span.name == name).cloned().collect()
    };
    let spans = collector.until(|spans| !runs(spans, "email").is_empty()).await;
    let died = runs(&spans, "email").remove(0);
    assert_eq!((died.trace.as_str(), died.parent.as_str(), died.has_failed), (TRACE, CALLER, true));
    // Its span may arrive before its death is stored.
    let redriven = async {
        while !run(data.path(), &["--json", "redrive", "--queue", "email"]).await.1.contains("job_") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, redriven).await.expect("is dead in time");
    let spans = collector.until(|spans| runs(spans, "email").len() > 1).await;
    let redriven = runs(&spans, "email").remove(1);
    assert_ne!(redriven.trace, TRACE);
    assert_eq!((redriven.parent.as_str(), redriven.links.len()), ("", 1), "{redriven:#?}");
    assert_eq!(redriven.links, [(TRACE.to_owned(), CALLER.to_owned())]);

    let scheduled = async {
        // The schedules are stored once the scheduler leads.
        while !run_with(data.path(), &settings, &["control", "run-schedule", "delete_expired"]).await.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, scheduled).await.expect("runs in time");
    let pair = |spans: &[CollectedSpan]| {
        let published: Vec<_> = spans.iter().filter(|span| span.name == "publish housekeeping").collect();
        let links = |run: &CollectedSpan| {
            let to = |span: &&CollectedSpan| run.links == [(span.trace.clone(), span.id.clone())];
            run.parent.is_empty() && published.iter().any(to)
        };
        runs(spans, "housekeeping").iter().any(links)
    };
    collector.until(pair).await;
    assert!(dev.stop().await.success());
}

/// A series of the metrics, once it is above zero.
async fn counted(base: &str, series: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fetch(format!("{base}/metrics")).await.text().await.expect("a text");
        let count = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
        if count.is_some_and(|count| count > 0.0) {
            return;
        }
        assert!(Instant::now() < deadline, "{series} stays at {count:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_delays_nothing_and_is_counted() {
    // Accepts connections, by the system's backlog, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let silent_port = silent.local_addr().expect("an address").port();
    for port in [free_port(), silent_port] {
        let data = tempfile::tempdir().expect("a folder");
        let endpoint = format!("http://127.0.0.1:{port}");
        let dev = Dev::start_with(data.path(), &[("ORDERWORKS_TRACES_ENDPOINT", endpoint.as_str())]).await;
        let (merchant, url) = (dev.merchant(), dev.ready.url.clone());
        let began = Instant::now();
        for n in 0..5 {
            let id = merchant.accepted(&format!("order-{n}"), "pm_card_visa").await;
            assert_eq!(merchant.ended(&id).await["status"], "fulfilled");
        }
        assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
        counted(&url, r#"orderworks_trace_spans_total{result="failed"}"#).await;
        let stopping = Instant::now();
        assert!(dev.stop().await.success());
        assert!(stopping.elapsed() < IN_TIME, "{:?}", stopping.elapsed());
    }
}

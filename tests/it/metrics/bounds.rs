//! Bounds of the series: neither requests, nor jobs, nor queues that others make add any without end.

use std::{collections::BTreeSet, time::Duration};

use base::Ambient;
use jobs::{
    Consume, Envelope, Job, Publish, engine::QueueSpec, envelope::EnqueueOptions, sqlite::SqliteEngine,
};
use reqwest::Method;
use tokio::time::Instant;

use super::{check_documented, metrics_of, showing, value};
use crate::util::{Dev, PATIENCE, Unknown, http};

/// Requests by route, method and status.
fn request_series(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("orderworks_http_requests_total{")).collect()
}

#[tokio::test]
async fn clients_cannot_add_series() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let (client, base) = (http(), &dev.ready.url);
    let flood = async |round: u32| {
        for n in 0..50 {
            let paths = [format!("/flood/{round}/{n}"), format!("/v1/orders/flood-{round}-{n}")];
            for path in paths {
                let call = client.get(format!("{base}{path}")).bearer_auth(&dev.ready.secret_key);
                call.send().await.expect("answers");
            }
            let method = Method::from_bytes(format!("FLOOD{round}X{n}").as_bytes()).expect("a method");
            client.request(method, format!("{base}/v1/orders")).send().await.expect("answers");
        }
        metrics_of(base).await
    };
    let first = flood(1).await;
    let second = flood(2).await;
    let series = request_series(&second);
    assert_eq!(series.len(), request_series(&first).len(), "{series:#?}");
    let unmatched = r#"orderworks_http_requests_total{route="unmatched",method="GET",status="404"}"#;
    assert_eq!(value(&second, unmatched), Some(100.0), "{series:#?}");
    let other = r#"orderworks_http_requests_total{route="/v1/orders",method="other",status="405"}"#;
    assert_eq!(value(&second, other), Some(100.0), "{series:#?}");
    assert!(!second.to_lowercase().contains("flood"), "{series:#?}");
    assert!(dev.stop().await.success());
}

/// Publishes jobs of as many kinds as no program knows, each of which dies in its first run.
async fn publish_unknown_kinds(engine: &SqliteEngine, round: u32) {
    let jobs = (0..20).map(|n| {
        let envelope = Envelope::new(&Unknown, EnqueueOptions::default(), &Ambient::system());
        let kind = format!("flood_{round}_{n}");
        Envelope { kind, attempt: Unknown::MAX_ATTEMPTS, ..envelope.expect("a job") }
    });
    engine.publish(jobs.collect()).await.expect("publishes");
}

#[tokio::test]
async fn jobs_of_unknown_kinds_cannot_add_series() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let engine = SqliteEngine::open(&data.path().join("queue.db"), Ambient::system()).await.expect("opens");
    let other = r#"orderworks_jobs_total{queue="email",kind="other",outcome="dead"}"#;
    let duration = r#"orderworks_job_duration_seconds_count{queue="email",kind="other"}"#;
    let mut series = Vec::new();
    for (round, dead) in [(1, 20.0), (2, 40.0)] {
        publish_unknown_kinds(&engine, round).await;
        let text = showing(&dev.ready.url, &[(other, dead), (duration, dead)]).await;
        let of_email = |line: &&str| line.starts_with("orderworks_job") && line.contains(r#"queue="email""#);
        series.push(text.lines().filter(of_email).count());
        assert!(!text.contains("flood"), "{text}");
        check_documented(&text, None);
    }
    assert_eq!(series[0], series[1], "of the queue, after the first and the second flood");
    assert!(dev.stop().await.success());
}

/// Queues with figures of this metric.
fn queues_of<'a>(text: &'a str, metric: &str) -> BTreeSet<&'a str> {
    let labels = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix("{queue=\""));
    labels.filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn a_hundred_queues_are_shown_at_most() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let engine = SqliteEngine::open(&data.path().join("queue.db"), Ambient::system()).await.expect("opens");
    let names: Vec<String> = (0..120).map(|n| format!("a_queue_{n:03}")).collect();
    let specs: Vec<QueueSpec> = names.iter().map(QueueSpec::new).collect();
    engine.declare(&specs).await.expect("declares");
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        let text = metrics_of(&dev.ready.url).await;
        // Before, the figures are those of a look that is a few seconds old.
        if text.contains("a_queue_000") {
            break text;
        }
        assert!(Instant::now() < deadline, "no new queue is shown: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for metric in ["jobs", "oldest_age_seconds", "consumers", "paused"] {
        let shown = queues_of(&text, &format!("orderworks_queue_{metric}"));
        assert_eq!(shown.len(), 100, "orderworks_queue_{metric}: {shown:?}");
        assert!(
            shown.iter().all(|queue| names.iter().any(|name| name == queue)),
            "the first ones: {shown:?}"
        );
    }
    check_documented(&text, None);
    assert!(dev.stop().await.success());
}

//! Separate roles over a real broker: the main flow, an unavailable broker, and a broker that rejects the login.

use std::{path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::util::{
    Dev, PATIENCE, Receiver, Role, Vhost, fetch, free_port, missing_broker, orderworks, ready, run,
    traced::trace_reaches_webhooks,
};

/// Ends the test with a printed reason if there is no broker.
macro_rules! needs_broker {
    () => {
        if let Some(why) = missing_broker() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

fn on(broker: &str) -> [(&str, &str); 2] {
    [("ORDERWORKS_ENGINES_QUEUE", "rabbitmq"), ("ORDERWORKS_RABBITMQ_URL", broker)]
}

fn log(data: &Path) -> String {
    std::fs::read_to_string(data.join("log")).unwrap_or_default()
}

#[tokio::test]
async fn the_main_job_runs_over_the_broker() {
    needs_broker!();
    let (data, vhost) = (tempfile::tempdir().expect("a folder"), Vhost::create().await);
    let dev = Dev::start_with(data.path(), &on(vhost.url())).await;
    let (merchant, receiver) = (dev.merchant(), Receiver::start().await);
    let wanted = json!({ "url": receiver.url, "events": ["*"] });
    merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&wanted)).await;
    let id = merchant.accepted("first", "pm_card_visa").await;
    assert_eq!(merchant.ended(&id).await["status"], "fulfilled");
    receiver.until(|taken| taken.len() >= 4).await;
    let flaky = merchant.accepted("flaky", "pm_sandbox_flaky").await;
    assert_eq!(merchant.ended(&flaky).await["status"], "fulfilled", "retries go through the delay ladder");
    trace_reaches_webhooks(&dev).await;
    assert!(dev.stop().await.success());
    vhost.delete().await;
}

#[tokio::test]
async fn workers_apart_are_killed_and_others_go_on() {
    needs_broker!();
    let (data, vhost) = (tempfile::tempdir().expect("a folder"), Vhost::create().await);
    // Only `dev` has the demo shop and a sandbox; its own workers are one of three pools.
    let dev = Dev::start_with(data.path(), &on(vhost.url())).await;
    let provider = dev.ready.ledger_url.trim_end_matches("v1/ledger").to_owned();
    let [queue, url] = on(vhost.url());
    let settings = [
        queue,
        url,
        ("ORDERWORKS_PAYMENTS_PROVIDER_URL", provider.as_str()),
        ("ORDERWORKS_PAYMENTS_PROVIDER_KEY", dev.ready.provider_key.as_str()),
    ];
    let worker = |queues| Role::start(data.path(), &settings, &["worker", "--queues", queues]);
    let (killed, kept) =
        (worker("payments=8,fulfilment=4"), worker("payments=8,fulfilment=4,email=4,webhooks=4"));
    let merchant = dev.merchant();
    let place = |n: usize| {
        let merchant = merchant.clone();
        async move { merchant.accepted(&format!("order-{n}"), "pm_card_visa").await }
    };
    let ids = futures::future::join_all((0..200).map(place)).await;
    // Dropping kills the process: its fetched jobs go to the others.
    drop(killed);
    for id in &ids {
        assert_eq!(merchant.ended(id).await["status"], "fulfilled");
    }
    let summary: Value = fetch(format!("{}/summary", dev.ready.ledger_url)).await.json().await.expect("JSON");
    assert_eq!(summary["charges"], 200, "one capture each: {summary}");
    kept.stop().await;
    assert!(dev.stop().await.success());
    vhost.delete().await;
}

#[tokio::test]
async fn a_worker_waits_for_a_broker_that_is_not_up_and_says_why() {
    let data = tempfile::tempdir().expect("a folder");
    let absent = format!("amqp://user:canary@127.0.0.1:{}/%2f", free_port());
    let health = format!("127.0.0.1:{}", free_port());
    let [queue, url] = on(&absent);
    let settings = [queue, url, ("ORDERWORKS_PAYMENTS_PROVIDER_URL", "http://127.0.0.1:9/")];
    let worker = Role::start(data.path(), &settings, &["worker", "--health", &health]);
    let report = ready(&health, |report| report["status"] == "down").await;
    assert!(report.to_string().contains("cannot consume"), "{report}");
    // Long enough for several attempts; the wait itself is tested.
    tokio::time::sleep(Duration::from_secs(2)).await;
    worker.stop().await;
    let log = log(data.path());
    assert!(!log.contains("canary"), "no password in the log");
    assert_eq!(log.matches("consume failed, retrying").count(), 4, "once per queue: {log}");
}

#[tokio::test]
async fn a_wrong_password_ends_a_worker_with_a_clear_error() {
    needs_broker!();
    let (data, vhost) = (tempfile::tempdir().expect("a folder"), Vhost::create().await);
    let refused = async |url: &str| {
        let mut command = orderworks(data.path());
        command.arg("worker").envs(on(url)).env("ORDERWORKS_PAYMENTS_PROVIDER_URL", "http://127.0.0.1:9/");
        let done =
            tokio::time::timeout(PATIENCE, command.output()).await.expect("ends in time").expect("runs");
        assert!(!done.status.success());
        String::from_utf8(done.stderr).expect("UTF-8")
    };
    let error = refused(&vhost.url_with_password("canary-wrong")).await;
    assert!(error.contains("not allowed in") && !error.contains("canary-wrong"), "{error}");
    let error = refused(&format!("{}-missing", vhost.url())).await;
    assert!(error.contains("-missing"), "the virtual host is named: {error}");
    vhost.delete().await;
}

#[tokio::test]
async fn a_broker_without_an_address_is_a_mistake_of_the_configuration() {
    let data = tempfile::tempdir().expect("a folder");
    let (ok, _, error) = run(data.path(), &["config", "show"]).await;
    assert!(ok, "{error}");
    let mut command = orderworks(data.path());
    let done =
        command.arg("worker").env("ORDERWORKS_ENGINES_QUEUE", "rabbitmq").output().await.expect("runs");
    let error = String::from_utf8(done.stderr).expect("UTF-8");
    assert!(!done.status.success() && error.contains("rabbitmq.url"), "{error}");
}

//! The scaling signal of real processes, and `ops/autoscale`, which starts and stops workers by it.

use std::{path::Path, sync::Arc, time::Duration};

use base::Ambient;
use jobs::{
    Envelope, JobId, Publish,
    envelope::EnqueueOptions,
    job_store::PostgresJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
};
use serde_json::{Value, json};
use store::domain::OrderId;
use tokio::{process::Command, time::Instant};
use workers::{jobs::SendEmail, mail::Template};

use crate::util::{
    Dev, PATIENCE, Role, TestMerchant, TestServers, alone, audit, fetch, free_port, orderworks, ready,
};

const QUEUES: [&str; 4] = ["email", "fulfilment", "payments", "webhooks"];
/// One slot a queue, so that a few orders need several workers.
const SMALL: &str = "payments=1,fulfilment=1,email=1,webhooks=1";
const WORKERS_MAX: usize = 4;
const ORDERS: usize = 24;
/// Jobs published at once, so many that one worker is too few for the wait that is aimed at.
const BACKLOG: usize = 20_000;
const PUBLISHED_AT_ONCE: usize = 1_000;
/// Longest time until the number of workers has followed the load.
const FOLLOWS_WITHIN: Duration = Duration::from_mins(4);

/// The signal, once there is one: a busy server may take longer than a question waits.
async fn scaling_of(address: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = fetch(format!("http://{address}/scaling")).await;
        if answer.status() == 200 {
            return answer.json().await.expect("JSON");
        }
        assert!(answer.status() == 503 && Instant::now() < deadline, "{}", answer.status());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn dev_tells_what_each_queue_needs() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let signal = scaling_of(&dev.address().to_string()).await;
    let queues: Vec<_> = signal.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(queues, QUEUES, "neither the scheduler's nor others");
    for queue in QUEUES {
        let told = signal[queue].as_object().expect("an object");
        let mut names: Vec<_> = told.keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = [
            "arrival_per_second",
            "backlog",
            "desired_workers",
            "limited_by",
            "oldest_age_seconds",
            "service_seconds",
        ];
        assert_eq!(names, expected);
        assert_eq!((&told["desired_workers"], &told["backlog"]), (&json!(1), &json!(0)), "{signal}");
    }
    assert!(dev.stop().await.success());
}

/// The numbers of workers that `ops/autoscale` has told in the log so far.
fn told(stage: &TestServers) -> Vec<usize> {
    let log = stage.log();
    let changes = log.lines().filter_map(|line| line.strip_prefix("autoscale: workers ")?.split_once(" -> "));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number: {text:?}"));
    changes.map(|(_, text)| number(text)).collect()
}

/// Waits until `ops/autoscale` has last told this number.
async fn follows(stage: &TestServers, workers: usize) {
    let deadline = Instant::now() + FOLLOWS_WITHIN;
    while told(stage).last() != Some(&workers) {
        assert!(Instant::now() < deadline, "not {workers}: {:?}", told(stage));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Publishes mails of an order that have been sent already, so that each job asks the order store and ends.
async fn publish_backlog(stage: &TestServers, order: OrderId) -> Vec<JobId> {
    let ambient = Ambient::system();
    let store = PostgresJobStore::open(&stage.database.config(), ambient.clone()).await.expect("opens");
    let server = RabbitServer::at(stage.vhost.url());
    let engine =
        RabbitEngine::new(server, "backlog", Arc::new(store), ambient.clone()).expect("a good address");
    let job = SendEmail { order, template: Template::OrderConfirmation, domain: None };
    let envelope = |_| Envelope::new(&job, EnqueueOptions::default(), &ambient).expect("a job");
    let envelopes: Vec<Envelope> = (0..BACKLOG).map(envelope).collect();
    for some in envelopes.chunks(PUBLISHED_AT_ONCE) {
        engine.publish(some.to_vec()).await.expect("publishes");
    }
    envelopes.into_iter().map(|envelope| envelope.id).collect()
}

/// Waits until the log of attempts knows each of these jobs as completed.
async fn all_completed(stage: &TestServers, jobs: &[JobId]) {
    let ids: Vec<_> = jobs.iter().map(|id| id.0).collect();
    let (database, deadline) = (stage.database.pool().await, Instant::now() + PATIENCE);
    let count = "SELECT count(DISTINCT job) FROM jobs.attempts WHERE job = ANY($1) AND outcome = 'completed'";
    loop {
        let known: i64 = sqlx::query_scalar(count).bind(&ids).fetch_one(&database).await.expect("counts");
        if usize::try_from(known) == Ok(jobs.len()) {
            return;
        }
        assert!(Instant::now() < deadline, "{known} of {} have run", jobs.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `ops/autoscale` over workers of this deployment.
fn autoscale(stage: &TestServers, scaling: &str) -> Role {
    let worker = orderworks(stage.data.path());
    let worker = worker.as_std();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/autoscale"));
    command.args(["--from", scaling, "--every", "1", "--max", &WORKERS_MAX.to_string(), "--"]);
    command.arg(worker.get_program()).args(worker.get_args()).args(["worker", "--queues", SMALL]);
    command.env_remove("ORDERWORKS_CONFIG").envs(stage.settings());
    Role::spawn(command, stage.data.path())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_follow_a_backlog_up_and_down_and_nothing_is_lost() {
    let _alone = alone().await;
    let Some(mut stage) = TestServers::open().await else { return };
    for (key, value) in [
        ("SCALING_TARGET_WAIT_SECONDS", "{ payments = 1, email = 1 }"),
        ("SCALING_SHRINK_AFTER_SECONDS", "5"),
        ("SCALING_STEP_SECONDS", "1"),
    ] {
        stage.set(key, value);
    }
    let (api, base) = stage.api(&[]).await;
    let health = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let relay = stage.role(&["relay", "--health", &health[0]]);
    let scheduler = stage.role(&["scheduler", "--health", &health[1]]);
    for address in &health {
        ready(address, |report| report["status"] == "ok").await;
        let signal = scaling_of(address).await;
        assert_eq!(signal["payments"]["desired_workers"], 1, "without any worker: {signal}");
    }
    let autoscale = autoscale(&stage, &format!("http://{}/scaling", health[1]));
    follows(&stage, 1).await;

    let shop = TestMerchant::open(&stage, &base, &["CUP"], 1_000).await;
    let mut orders = Vec::new();
    for n in 0..ORDERS {
        // Each charge takes two seconds.
        let order = shop.order("CUP", 1, "pm_sandbox_slow");
        let (status, order) = shop.client.place(&format!("order-{n}"), &order).await.expect("answers");
        assert!(status.is_success(), "{order}");
        orders.push(order["id"].as_str().expect("an id").to_owned());
    }
    follows(&stage, WORKERS_MAX).await;
    for order in &orders {
        assert_eq!(shop.client.ended(order).await["status"], "fulfilled");
    }
    follows(&stage, 1).await;

    let jobs = publish_backlog(&stage, orders[0].parse().expect("an id")).await;
    follows(&stage, WORKERS_MAX).await;
    follows(&stage, 1).await;
    all_completed(&stage, &jobs).await;
    let numbers = told(&stage);
    assert!(numbers.iter().all(|number| (1..=WORKERS_MAX).contains(number)), "{numbers:?}");
    audit::right(async || stage.verify(&audit::FULL).await).await;
    for role in [autoscale, api, relay, scheduler] {
        role.stop().await;
    }
    assert_eq!(told(&stage).last(), Some(&0), "a stop leaves no worker");
    stage.close().await;
}

//! Listings over a broker that can be searched for nothing: counts, and short delays by the log of attempts.

use std::time::Duration;

use base::testing::Proxy;
use orderworks_jobs::{
    Admin, Consume, Envelope, Publish, Timestamp,
    conformance::Harness,
    engine::{JobFilter, JobState, QueueSpec},
    inspection,
    records::{AttemptOutcome, AttemptRecord, RecordStore},
    sqlite::SqliteRecords,
};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};

use super::{PATIENCE, QUEUE, RECOVERY, RabbitHarness, consume, envelope, publish, take, until};
use crate::util::broker::{self, needs_broker};

fn attempt(of: &Envelope, started_at: Timestamp, outcome: AttemptOutcome) -> AttemptRecord {
    AttemptRecord {
        job: of.id,
        kind: of.kind.clone(),
        queue: of.queue.clone(),
        subject: None,
        attempt: 1,
        worker: "w".to_owned(),
        created_at: of.created_at,
        started_at,
        duration: Duration::from_millis(5),
        outcome,
        error: Some("no paper".to_owned()),
        trace: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_delay_is_counted_and_named_by_the_log_of_attempts() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let (engine, now) = (&harness.engine, harness.ambient.now());
    let records = SqliteRecords::open(&harness.folder.path().join("records.db")).await.expect("opens");
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let minute = Envelope { run_at: Some(now + Duration::from_mins(1)), ..envelope() };
    let hour = Envelope { run_at: Some(now + Duration::from_hours(1)), ..envelope() };
    let (in_broker, in_store) = (minute.id, hour.id);
    engine.publish(vec![envelope(), minute.clone(), hour]).await.expect("publishes");
    let list = async |state| {
        let filter = JobFilter { state, limit: 10, ..JobFilter::default() };
        let listing =
            inspection::list(engine, &records, &filter, harness.ambient.now()).await.expect("lists");
        let jobs: Vec<_> = listing.jobs.iter().map(|job| job.envelope.id).collect();
        let logged: Vec<_> = listing.logged.iter().map(|last| last.job).collect();
        (jobs, logged, (listing.unlisted, listing.short_delays))
    };
    let ready = vec![(QUEUE.to_owned(), 1)];
    let both = (ready, 1);
    until("both are counted", PATIENCE, || async { list(None).await.2 == both }).await;
    assert_eq!(list(None).await, (vec![in_store], vec![], both));
    assert_eq!(list(Some(JobState::Delayed)).await, (vec![in_store], vec![], (vec![], 1)));
    assert_eq!(list(Some(JobState::Dead)).await, (vec![], vec![], (vec![], 0)));

    let started = now + Duration::from_millis(1);
    records.append([attempt(&minute, started, AttemptOutcome::Retried)].into()).await.expect("appends");
    assert_eq!(list(Some(JobState::Delayed)).await, (vec![in_store], vec![in_broker], (vec![], 0)));
    // It has ended since: what the broker counts is another job.
    let later = started + Duration::from_millis(1);
    records.append([attempt(&minute, later, AttemptOutcome::Completed)].into()).await.expect("appends");
    assert_eq!(list(Some(JobState::Delayed)).await, (vec![in_store], vec![], (vec![], 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_store_restored_from_a_backup_is_followed() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let mut consumer = consume(engine, 1).await;
    for _ in 0..3 {
        engine.pause(QUEUE).await.expect("pauses");
    }
    let id = publish(engine, 1).await.into_iter().next().expect("one");
    let ready = || async { engine.depth(QUEUE).await.expect("depth").ready == 1 };
    until("it waits", PATIENCE, ready).await;
    // As before the pauses.
    let file = SqliteConnectOptions::new().filename(harness.folder.path().join("jobs.db"));
    let mut store = file.connect().await.expect("connects");
    for statement in ["UPDATE queues SET paused = 0", "UPDATE control SET version = 1"] {
        store.execute(statement).await.expect("restores");
    }
    assert_eq!(take(&mut consumer).await.envelope.id, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_contact_is_the_last_answer_of_the_broker() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    let engine = harness.by(proxy.port).await;
    let consumer = consume(&engine, 1).await;
    let contact = || consumer.settler.health().last_contact;
    let began = contact();
    until("it is in contact", PATIENCE, || async { contact() > began }).await;
    proxy.set_held(true);
    // Longer than between two questions, and shorter than the silence that ends a consumer.
    let silent = Duration::from_secs(8);
    until("the silence shows", RECOVERY, || async { harness.ambient.now() > contact() + silent }).await;
    let last = contact();
    proxy.set_held(false);
    until("it is in contact again", RECOVERY, || async { contact() > last }).await;
    assert_eq!(consumer.settler.health().trouble, None);
}

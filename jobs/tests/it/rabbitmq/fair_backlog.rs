//! Fair queues over a broker: the backlog in the job store, and what becomes of it while broker or store are away.

use std::{collections::HashSet, time::Duration};

use orderworks_jobs::{
    Consume, Envelope, JobId, Publish,
    conformance::Harness,
    engine::{QueueSpec, Settlement, Weights},
};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use tokio::time::timeout;

use super::{
    QUEUE, RECOVERY, RabbitHarness, Renewed, consume, envelope, open, take, until, until_empty, work_off,
};
use crate::{
    util::broker::{Afterwards, Vhost, ctl, needs_broker},
    worker::fair_flood::{a_flood_delays_no_other_key, publish_flood},
};

/// More jobs than the broker's queue gets before others are held in the store.
const SHORT: usize = 64;

async fn declare(harness: &RabbitHarness) {
    let spec = QueueSpec::new(QUEUE).fair(Weights::equal().with("a", 2));
    harness.engine.declare(&[spec]).await.expect("declares");
}

fn keyed(key: &str, count: usize) -> Vec<Envelope> {
    (0..count).map(|_| Envelope { fair_key: Some(key.to_owned()), ..envelope() }).collect()
}

fn ids(jobs: &[Envelope]) -> HashSet<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// Runs what comes until no further job of these does.
async fn run_those_that_come(consumer: &mut Renewed, left: &mut HashSet<JobId>) {
    while let Ok(Some(delivery)) = timeout(Duration::from_secs(2), consumer.consumer.deliveries.recv()).await
    {
        left.remove(&delivery.envelope.id);
        consumer.settler.settle(delivery.receipt, Settlement::Done);
    }
}

/// The store is broken, not away, so that its answers come at once.
pub(super) async fn alter_store(harness: &RabbitHarness, statement: &'static str) {
    let file = SqliteConnectOptions::new().filename(harness.folder.path().join("jobs.db"));
    let mut other = file.connect().await.expect("connects");
    other.execute(statement).await.expect("alters");
}

/// Jobs of a long backlog pass a flood of another key: at most those start before that the broker has already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_of_one_key_delay_no_other() {
    const WAITING: usize = 10_000;
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = harness.engine();
    let sizes = (WAITING as u64 - 1, 3 * SHORT as u64);
    a_flood_delays_no_other_key(engine.clone(), sizes, publish_flood(&*engine, WAITING)).await;
}

/// A relay publishes, and two processes consume: each job of both keys arrives, none waits for another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consuming_processes_share_the_backlog() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    declare(&harness).await;
    let relay = open(&harness.vhost.url(), harness.folder.path()).await;
    let jobs = [keyed("a", 300), keyed("b", 300)].concat();
    let mut left = ids(&jobs);
    relay.publish(jobs).await.expect("publishes");
    let second = open(&harness.vhost.url(), harness.folder.path()).await;
    let (mut here, mut there) = (consume(&harness.engine, 8).await, consume(&second, 8).await);
    while !left.is_empty() {
        let delivery = tokio::select! {
            Some(delivery) = here.consumer.deliveries.recv() => {
                here.settler.settle(delivery.receipt, Settlement::Done);
                delivery
            }
            Some(delivery) = there.consumer.deliveries.recv() => {
                there.settler.settle(delivery.receipt, Settlement::Done);
                delivery
            }
            () = tokio::time::sleep(RECOVERY) => panic!("{} jobs wait", left.len()),
        };
        assert!(left.remove(&delivery.envelope.id), "each arrives once");
    }
    until_empty(&harness.engine).await;
}

/// While the store takes nothing, jobs go straight to the broker; what waits in it comes once it works again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_jobs_go_straight_to_the_broker() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    declare(&harness).await;
    let (first, more) = (keyed("a", 200), keyed("b", 100));
    let mut left: HashSet<JobId> = ids(&first).union(&ids(&more)).copied().collect();
    harness.engine.publish(first).await.expect("publishes");
    alter_store(&harness, "ALTER TABLE scheduled RENAME COLUMN due_at TO due").await;
    harness.engine.publish(more).await.expect("the broker takes them");
    let mut consumer = consume(&harness.engine, 8).await;
    run_those_that_come(&mut consumer, &mut left).await;
    assert_eq!(left.len(), 200 - SHORT, "those in the store wait");
    alter_store(&harness, "ALTER TABLE scheduled RENAME COLUMN due TO due_at").await;
    work_off(&mut consumer, left).await;
    let again = keyed("b", 2 * SHORT);
    let left = ids(&again);
    harness.engine.publish(again).await.expect("publishes");
    work_off(&mut consumer, left).await;
}

/// A restart of the broker loses no job of the backlog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_outlives_a_restart_of_the_broker() {
    needs_broker!();
    let harness = RabbitHarness::at(Vhost::alone().await).await;
    declare(&harness).await;
    let jobs = [keyed("a", 300), keyed("b", 100)].concat();
    let mut left = ids(&jobs);
    harness.engine.publish(jobs).await.expect("publishes");
    let mut consumer = consume(&harness.engine, 8).await;
    for _ in 0..50 {
        let delivery = take(&mut consumer).await;
        left.remove(&delivery.envelope.id);
        consumer.settler.settle(delivery.receipt, Settlement::Done);
    }
    let up_again = Afterwards(&["start_app"]);
    ctl("stop_app").await;
    drop(up_again);
    work_off(&mut consumer, left).await;
    // The publisher has a connection of its own, which reconnects by itself.
    let one = keyed("b", 1);
    let left = ids(&one);
    until("it publishes again", RECOVERY, || async { harness.engine.publish(one.clone()).await.is_ok() })
        .await;
    work_off(&mut consumer, left).await;
}

//! The ways of dead jobs into the job store: around its outages, from an earlier release, from the broker itself.

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use orderworks_jobs::{
    Admin, Consume, Envelope, Publish,
    conformance::Harness,
    engine::{DeadFilter, DeadReason, InspectedJob, JobFilter, JobState, Published, QueueSpec, Settlement},
};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};

use super::{PATIENCE, QUEUE, RECOVERY, RabbitHarness, consume, envelope, publish, take, until, work_queue};
use crate::util::broker::needs_broker;

const DEAD_QUEUE: &str = "ow.parcels.dead";

/// A connection beside the engine, and a channel with confirms.
async fn beside(harness: &RabbitHarness) -> (Connection, Channel) {
    let url = harness.vhost.url();
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    (connection, channel)
}

/// Messages in the broker's dead queue.
async fn in_mailbox(channel: &Channel) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(DEAD_QUEUE.into(), passive, FieldTable::default()).await;
    queue.expect("exists").message_count()
}

async fn dead(harness: &RabbitHarness) -> Vec<InspectedJob> {
    let filter = JobFilter { state: Some(JobState::Dead), limit: 100, ..JobFilter::default() };
    harness.engine.list(&filter).await.expect("lists")
}

/// Changes the job store from beside.
pub(super) async fn alter(harness: &RabbitHarness, statement: &'static str) {
    let file = harness.folder.path().join("jobs.db");
    let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("connects");
    other.execute(statement).await.expect("alters");
}

/// A job dies while the job store cannot be written: it is durable in the broker, and listed afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_dies_while_the_store_is_away_waits_in_the_broker() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let (_connection, channel) = beside(&harness).await;
    let job = Envelope { unique_key: Some("pack_parcel/p-1".to_owned()), ..envelope() };
    let id = job.id;
    engine.publish(vec![job.clone()]).await.expect("publishes");
    let mut consumer = consume(engine, 5).await;
    let delivery = take(&mut consumer).await;
    alter(&harness, "ALTER TABLE dead_jobs RENAME TO away").await;
    let error = "no paper".to_owned();
    consumer.settler.settle(delivery.receipt, Settlement::Dead { reason: DeadReason::Exhausted, error });
    until("it is in the mailbox", PATIENCE, || async { in_mailbox(&channel).await == 1 }).await;
    alter(&harness, "ALTER TABLE away RENAME TO dead_jobs").await;
    until("it is in the store", RECOVERY, || async { dead(&harness).await.len() == 1 }).await;
    let listed = dead(&harness).await.remove(0);
    assert_eq!((listed.envelope.id, listed.envelope.attempt), (id, 1));
    assert_eq!(listed.last_error.as_deref(), Some("no paper"));
    assert_eq!(in_mailbox(&channel).await, 0);
    let next = Envelope { unique_key: job.unique_key, ..envelope() };
    assert_eq!(
        engine.publish(vec![next]).await.expect("publishes"),
        [Published::Accepted],
        "its key is free"
    );
}

/// Dead messages that an earlier release left in the broker are taken over and can be redriven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_messages_of_an_earlier_release_are_taken_over() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let (_connection, channel) = beside(&harness).await;
    let mut ids = Vec::new();
    for _ in 0..150 {
        let job = envelope();
        let mut headers = FieldTable::default();
        let time = AMQPValue::LongLongInt(job.created_at.as_millisecond());
        for name in ["ow-created-at", "ow-died-at", "ow-first-failed-at"] {
            headers.insert(name.into(), time.clone());
        }
        headers.insert("ow-dead-reason".into(), AMQPValue::LongString("exhausted".into()));
        headers.insert("ow-attempt".into(), AMQPValue::LongLongInt(5));
        let properties = BasicProperties::default()
            .with_message_id(job.id.to_string().as_str().into())
            .with_type("pack_parcel".into())
            .with_app_id("orderworks/1".into())
            .with_headers(headers);
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), DEAD_QUEUE.into(), options, b"\"p-1\"", properties);
        sent.await.expect("sends").await.expect("is confirmed");
        ids.push(job.id);
    }
    ids.sort_unstable();
    let counted = || async { engine.depth(QUEUE).await.is_ok_and(|depth| depth.dead == 150) };
    until("all are counted, here or there", PATIENCE, counted).await;
    let all = DeadFilter { limit: 200, reason: Some(DeadReason::Exhausted), ..DeadFilter::default() };
    // Redriving does not wait for the next turn of the background task.
    assert_eq!(engine.redrive(&all).await.expect("redrives"), ids);
    let mut consumer = consume(engine, 5).await;
    assert_eq!(take(&mut consumer).await.envelope.attempt, 0);
    assert_eq!((in_mailbox(&channel).await, dead(&harness).await.len()), (0, 0));
}

/// A message that the broker parks after too many returns is taken over as crashed, and its unique key is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_parked_by_the_broker_is_taken_over_and_frees_its_unique_key() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let engine = &harness.engine;
    publish(engine, 0).await;
    let job = Envelope { unique_key: Some("pack_parcel/p-1".to_owned()), ..envelope() };
    engine.publish(vec![job.clone()]).await.expect("publishes");
    let (_connection, channel) = beside(&harness).await;
    // Once more than the limit; the queue counts a return after a moment.
    let waiting = work_queue(QUEUE, "default");
    let give_back = async {
        let mut returns = 0;
        while returns <= 20 {
            let got = channel.basic_get(waiting.as_str().into(), BasicGetOptions::default()).await;
            if let Some(got) = got.expect("asks") {
                let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                channel.basic_nack(got.delivery.delivery_tag, back).await.expect("returns");
                returns += 1;
            }
        }
    };
    tokio::time::timeout(PATIENCE, give_back).await.expect("is parked in time");
    until("it is in the store", RECOVERY, || async { dead(&harness).await.len() == 1 }).await;
    let listed = dead(&harness).await.remove(0);
    assert_eq!(listed.envelope.id, job.id);
    assert!(listed.dead.is_some_and(|dead| dead.reason == DeadReason::Crashed));
    assert!(listed.last_error.is_some_and(|error| error.contains("lost its consumer")));
    let next = Envelope { id: envelope().id, ..job };
    assert_eq!(
        engine.publish(vec![next]).await.expect("publishes"),
        [Published::Accepted],
        "its key is free"
    );
}

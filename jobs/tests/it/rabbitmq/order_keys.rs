//! Order keys over a broker: copies of a message, and a job store that is away.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use orderworks_jobs::{
    Consume, Envelope, JobId, Publish,
    conformance::Harness,
    engine::{QueueSpec, Settlement},
};

use super::{
    QUEUE, RabbitHarness, Renewed, consume, envelope, fair_backlog::alter_store, inject, take, until_empty,
    work_off,
};
use crate::util::broker::needs_broker;

/// Publishes jobs of one key.
async fn publish_keyed<const JOBS: usize>(harness: &RabbitHarness) -> [JobId; JOBS] {
    harness.engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let jobs = [(); JOBS].map(|()| Envelope { order_key: Some("a".to_owned()), ..envelope() });
    let ids = jobs.each_ref().map(|job| job.id);
    harness.engine.publish(jobs.to_vec()).await.expect("publishes");
    ids
}

async fn publish_plain(harness: &RabbitHarness) -> JobId {
    let plain = envelope();
    let id = plain.id;
    harness.engine.publish(vec![plain]).await.expect("publishes");
    id
}

/// Puts a copy of a job into the broker's queue, as a crash between publishing and noting it leaves one.
async fn inject_copy(harness: &RabbitHarness, job: &Envelope) {
    let mut headers = FieldTable::default();
    headers.insert("ow-created-at".into(), AMQPValue::LongLongInt(job.created_at.as_millisecond()));
    headers.insert("ow-order-key".into(), AMQPValue::LongString("a".into()));
    let properties = lapin::BasicProperties::default()
        .with_message_id(job.id.to_string().as_str().into())
        .with_type(job.kind.as_str().into())
        .with_app_id("orderworks/1".into())
        .with_headers(headers);
    inject(&harness.vhost, &job.queue, job.payload.get().as_bytes(), properties).await;
}

async fn run(consumer: &mut Renewed, id: JobId) {
    let delivery = take(consumer).await;
    assert_eq!(delivery.envelope.id, id);
    consumer.settler.settle(delivery.receipt, Settlement::Done);
}

/// A second copy of a job that has ended is dropped while another job holds the key: it would undo what that one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_an_ended_job_is_dropped() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let [first, second, third] = publish_keyed(&harness).await;
    let mut consumer = consume(&harness.engine, 8).await;
    let ended = take(&mut consumer).await;
    assert_eq!(ended.envelope.id, first);
    consumer.settler.settle(ended.receipt, Settlement::Done);
    let running = take(&mut consumer).await;
    assert_eq!(running.envelope.id, second);
    inject_copy(&harness, &ended.envelope).await;
    let plain = publish_plain(&harness).await;
    run(&mut consumer, plain).await;
    consumer.settler.settle(running.receipt, Settlement::Done);
    run(&mut consumer, third).await;
    until_empty(&harness.engine).await;
}

/// While the store is away a job that ended does not let the next one start; other jobs run, and all comes afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_a_key_waits() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let [first, second] = publish_keyed(&harness).await;
    let mut consumer = consume(&harness.engine, 8).await;
    let running = take(&mut consumer).await;
    assert_eq!(running.envelope.id, first);
    alter_store(&harness, "ALTER TABLE order_keys RENAME TO away").await;
    consumer.settler.settle(running.receipt, Settlement::Done);
    let plain = publish_plain(&harness).await;
    run(&mut consumer, plain).await;
    let came = tokio::time::timeout(Duration::from_secs(2), consumer.consumer.deliveries.recv()).await;
    assert!(came.is_err(), "{came:?}");
    alter_store(&harness, "ALTER TABLE away RENAME TO order_keys").await;
    run(&mut consumer, second).await;
    until_empty(&harness.engine).await;
}

/// A worker that dies keeps the key of its job, which comes first in another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_goes_on_in_another_process() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let jobs: [JobId; 20] = publish_keyed(&harness).await;
    let mut lost = consume(&harness.engine, 8).await;
    for id in &jobs[..5] {
        run(&mut lost, *id).await;
    }
    assert_eq!(take(&mut lost).await.envelope.id, jobs[5]);
    drop(lost);
    let second = super::open(&harness.vhost.url(), harness.folder.path()).await;
    let mut consumer = consume(&second, 8).await;
    for id in &jobs[5..] {
        run(&mut consumer, *id).await;
    }
    assert_eq!(work_off(&mut consumer, [publish_plain(&harness).await].into()).await, 1);
}

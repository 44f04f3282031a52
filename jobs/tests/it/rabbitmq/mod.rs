//! The RabbitMQ engine on a real broker: the conformance suite, and faults of broker and connections.

mod consuming;
mod dead_letters;
mod events;
mod fair_backlog;
mod faults;
mod inspection;
mod keys;
mod messages;
mod missing;
mod order_keys;
mod outage;
mod over_postgres;
mod workers;

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Ambient;
use orderworks_jobs::{
    Admin, Consume, Engine, Envelope, JobId, Publish,
    conformance::{Harness, plain_job},
    engine::{
        CRASHES_MAX, ConsumeOptions, Consumer, Delivery, EngineError, Published, QueueSpec, Settlement,
    },
    job_store::SqliteJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
};
use tokio::time::{Instant, timeout};

use crate::util::broker::{self, Vhost};

struct RabbitHarness {
    engine: RabbitEngine,
    ambient: Ambient,
    folder: tempfile::TempDir,
    vhost: Vhost,
}

#[async_trait]
impl Harness for RabbitHarness {
    fn skipped() -> Option<String> {
        broker::skipped()
    }

    async fn start() -> Self {
        Self::at(Vhost::create().await).await
    }

    fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    async fn second(&self) -> Arc<dyn Engine> {
        Arc::new(open(&self.vhost.url(), self.folder.path()).await)
    }

    async fn publish_worn(&self, envelope: Envelope) -> bool {
        let mut headers = lapin::types::FieldTable::default();
        let count = |count| lapin::types::AMQPValue::LongLongInt(count);
        headers.insert("ow-created-at".into(), count(envelope.created_at.as_millisecond()));
        headers.insert("ow-alone".into(), count(i64::from(CRASHES_MAX)));
        let properties = lapin::BasicProperties::default()
            .with_message_id(envelope.id.to_string().as_str().into())
            .with_type(envelope.kind.as_str().into())
            .with_app_id("orderworks/1".into())
            .with_headers(headers);
        inject(&self.vhost, &envelope.queue, envelope.payload.get().as_bytes(), properties).await;
        true
    }

    async fn break_storage(&self) {
        self.vhost.forbid_writing().await;
    }

    async fn inject_undecodable(&self, queue: &str, body: &str) {
        inject(&self.vhost, queue, body.as_bytes(), lapin::BasicProperties::default()).await;
    }
}

orderworks_jobs::conformance_tests!(RabbitHarness);

#[tokio::test(flavor = "multi_thread")]
async fn a_shut_gate_hands_over_to_another_process() {
    broker::needs_broker!();
    let harness = RabbitHarness::start().await;
    let second = harness.second().await;
    crate::worker::gate::hands_over_to_another_process(harness.engine(), second).await;
}

impl RabbitHarness {
    async fn at(vhost: Vhost) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let engine = open(&vhost.url(), folder.path()).await;
        Self { engine, ambient: Ambient::system(), folder, vhost }
    }

    /// An engine with all connections through this port.
    async fn by(&self, port: u16) -> RabbitEngine {
        open(&self.vhost.url_by(port), self.folder.path()).await
    }
}

const QUEUE: &str = "parcels";
/// Longest wait for an expected event.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for consuming to resume after a fault.
const RECOVERY: Duration = Duration::from_secs(15);

async fn open(url: &str, folder: &Path) -> RabbitEngine {
    open_at(RabbitServer::at(url), folder).await
}

async fn open_at(server: RabbitServer<'_>, folder: &Path) -> RabbitEngine {
    open_with(server, folder, Ambient::system()).await
}

async fn open_with(server: RabbitServer<'_>, folder: &Path, ambient: Ambient) -> RabbitEngine {
    let store = SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await.expect("opens");
    RabbitEngine::new(server, "test", Arc::new(store), ambient).expect("a good address")
}

/// The broker queue of a job queue's ready jobs.
fn work_queue(queue: &str, class: &str) -> String {
    format!("ow.{queue}.{class}.v2")
}

async fn inject(vhost: &Vhost, queue: &str, body: &[u8], properties: lapin::BasicProperties) {
    inject_into(vhost, &work_queue(queue, "default"), body, properties).await;
}

async fn inject_into(vhost: &Vhost, key: &str, body: &[u8], properties: lapin::BasicProperties) {
    let url = vhost.url();
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
    let connection = connection.await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.expect("confirms");
    let options = lapin::options::BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), key.into(), options, body, properties);
    sent.await.expect("sends").await.expect("is confirmed");
    connection.close(200, "injected".into()).await.expect("closes");
}

fn envelope() -> Envelope {
    Envelope { max_attempts: 50, ..plain_job(QUEUE, &Ambient::system()) }
}

async fn publish(engine: &RabbitEngine, count: usize) -> HashSet<JobId> {
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let envelopes: Vec<Envelope> = (0..count).map(|_| envelope()).collect();
    let ids = envelopes.iter().map(|e| e.id).collect();
    let answers = engine.publish(envelopes).await.expect("publishes");
    assert!(answers.iter().all(|&a| a == Published::Accepted));
    ids
}

async fn try_consume(engine: &RabbitEngine, prefetch: usize) -> Result<Consumer, EngineError> {
    let options = ConsumeOptions { name: "test".to_owned(), prefetch, lease: Duration::from_secs(30) };
    engine.consume(QUEUE, options).await
}

/// A consumer that is started again when it is lost, as workers do.
struct Renewed {
    engine: RabbitEngine,
    prefetch: usize,
    consumer: Consumer,
}

impl std::ops::Deref for Renewed {
    type Target = Consumer;

    fn deref(&self) -> &Consumer {
        &self.consumer
    }
}

impl Renewed {
    /// Waits for the end of the current consumer and starts the next one.
    async fn renew(&mut self) {
        let ended = timeout(RECOVERY, &mut self.consumer.ended).await.expect("ends in time");
        ended.expect("the engine is not closed");
        self.start().await;
    }

    async fn start(&mut self) {
        let deadline = Instant::now() + RECOVERY;
        self.consumer = loop {
            match try_consume(&self.engine, self.prefetch).await {
                Ok(consumer) => break consumer,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
    }
}

async fn consume(engine: &RabbitEngine, prefetch: usize) -> Renewed {
    let consumer = try_consume(engine, prefetch).await.expect("consumes");
    Renewed { engine: engine.clone(), prefetch, consumer }
}

async fn take(consumer: &mut Renewed) -> Delivery {
    let next = async {
        loop {
            let Consumer { deliveries, ended, .. } = &mut consumer.consumer;
            tokio::select! {
                biased;
                // Deliveries of a lost consumer are those of the next one, too.
                reason = ended => drop(reason.expect("the engine is not closed")),
                Some(delivery) = deliveries.recv() => return delivery,
            }
            consumer.start().await;
        }
    };
    timeout(RECOVERY, next).await.expect("a delivery in time")
}

/// Runs deliveries until each of these jobs has taken effect once by its key; returns the number of runs.
async fn work_off(consumer: &mut Renewed, mut ids: HashSet<JobId>) -> usize {
    let mut runs = 0;
    while !ids.is_empty() {
        let delivery = take(consumer).await;
        ids.remove(&delivery.envelope.id);
        runs += 1;
        consumer.settler.settle(delivery.receipt, Settlement::Done);
    }
    runs
}

/// Polls until the condition holds; the broker has no events for its counts.
async fn until<F: Future<Output = bool>>(what: &str, within: Duration, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_empty(engine: &RabbitEngine) {
    until("the queue is empty", RECOVERY, || async {
        engine.depth(QUEUE).await.is_ok_and(|depth| depth.ready + depth.delayed + depth.running == 0)
    })
    .await;
}

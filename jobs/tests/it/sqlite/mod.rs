//! The SQLite engine: the conformance suite, and features of its own: files, processes, leases in rows.

mod lease;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Ambient;
use orderworks_jobs::{
    Admin, Consume, Engine, Envelope, JobId, Publish,
    conformance::{Harness, plain_job},
    engine::{CRASHES_MAX, ConsumeOptions, Consumer, DeadReason, Delivery, Interrupt, QueueSpec, Settlement},
    envelope::PAYLOAD_BYTES_MAX,
    job_store::SqliteJobStore,
    sqlite::SqliteEngine,
};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

struct SqliteHarness {
    folder: tempfile::TempDir,
    ambient: Ambient,
    engine: SqliteEngine,
}

#[async_trait]
impl Harness for SqliteHarness {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ambient = Ambient::system();
        let engine = open(folder.path()).await;
        Self { folder, ambient, engine }
    }

    fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    async fn second(&self) -> Arc<dyn Engine> {
        Arc::new(open(self.folder.path()).await)
    }

    async fn publish_worn(&self, envelope: Envelope) -> bool {
        let id = envelope.id.to_string();
        self.engine.publish(vec![envelope]).await.expect("publishes");
        let worn =
            sqlx::query("UPDATE jobs SET crashes = 23, lost = 23, alone = ?2, blocked = 2 WHERE id = ?1");
        let worn = worn.bind(id).bind(CRASHES_MAX).execute(&mut raw(self.folder.path()).await).await;
        worn.expect("writes").rows_affected() == 1
    }

    async fn break_storage(&self) {
        let mut raw = raw(self.folder.path()).await;
        sqlx::query("ALTER TABLE jobs RENAME COLUMN payload TO body")
            .execute(&mut raw)
            .await
            .expect("renames");
    }

    async fn inject_undecodable(&self, queue: &str, body: &str) {
        let mut raw = raw(self.folder.path()).await;
        sqlx::query(
            "INSERT INTO jobs (id, queue, state, priority, kind, version, max_attempts, created_at, ready_at, payload)
             VALUES ('no id', ?1, 'ready', 1, 'pack_parcel', 1, 5, 0, 0, ?2)",
        )
        .bind(queue)
        .bind(body)
        .execute(&mut raw)
        .await
        .expect("injects");
    }
}

orderworks_jobs::conformance_tests!(SqliteHarness);

#[tokio::test]
async fn a_shut_gate_hands_over_to_another_process() {
    let harness = SqliteHarness::start().await;
    let second = harness.second().await;
    crate::worker::gate::hands_over_to_another_process(harness.engine(), second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_resized_while_it_runs() {
    let harness = SqliteHarness::start().await;
    let store = SqliteJobStore::open(&harness.folder.path().join("jobs.db"), Ambient::system()).await;
    let (second, store) = (harness.second().await, Arc::new(store.expect("opens")));
    crate::worker::resize::resizes_while_it_runs(harness.engine(), second, store).await;
}

const QUEUE: &str = "parcels";

async fn open(folder: &Path) -> SqliteEngine {
    open_with(folder, Ambient::system()).await
}

async fn open_with(folder: &Path, ambient: Ambient) -> SqliteEngine {
    SqliteEngine::open(&folder.join("queue.db"), ambient).await.expect("opens")
}

async fn raw(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.join("queue.db"));
    SqliteConnection::connect_with(&options).await.expect("connects")
}

fn envelope() -> Envelope {
    plain_job(QUEUE, &Ambient::system())
}

async fn publish(engine: &SqliteEngine, count: usize) -> Vec<JobId> {
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let envelopes: Vec<Envelope> = (0..count).map(|_| envelope()).collect();
    let ids = envelopes.iter().map(|e| e.id).collect();
    engine.publish(envelopes).await.expect("publishes");
    ids
}

async fn consume(engine: &SqliteEngine, prefetch: usize, lease: Duration) -> Consumer {
    let options = ConsumeOptions { name: "test".to_owned(), prefetch, lease };
    engine.consume(QUEUE, options).await.expect("consumes")
}

async fn take(consumer: &mut Consumer) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(10), consumer.deliveries.recv());
    next.await.expect("a delivery in time").expect("an open stream")
}

/// Runs a future on a runtime that then vanishes with all its tasks, as a killed process does.
fn killed_process<T: Send>(run: impl Future<Output = T> + Send) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let result = runtime.block_on(run);
    runtime.shutdown_background();
    result
}

const LONG: Duration = Duration::from_mins(10);

#[test]
fn after_a_kill_the_owner_of_the_folder_takes_the_jobs_back_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let (ids, orphan) = killed_process(async {
        let engine = open(path).await;
        let ids = publish(&engine, 20).await;
        let mut consumer = consume(&engine, 10, LONG).await;
        let delivery = take(&mut consumer).await;
        // Nothing is dropped before the runtime, so that no destructor can help.
        (ids, (engine, consumer, delivery))
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = open(path).await;
        let depth = engine.depth(QUEUE).await.expect("depth");
        assert_eq!((depth.ready, depth.running), (10, 10), "the lease would have lasted long");
        assert_eq!(engine.recover_orphans().await.expect("recovers"), 10);
        assert_eq!(engine.recover_orphans().await.expect("recovers"), 0);
        let mut consumer = consume(&engine, 20, LONG).await;
        for (nth, id) in ids.into_iter().enumerate() {
            let delivery = take(&mut consumer).await;
            assert_eq!((delivery.envelope.id, delivery.crashes), (id, u32::from(nth < 10)));
            consumer.settler.settle(delivery.receipt, Settlement::Done);
        }
        consumer.settler.close().await.expect("closes");
    });
    drop(orphan);
}

#[tokio::test]
async fn recovering_orphans_leaves_the_handles_own_consumers_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path()).await;
    publish(&engine, 1).await;
    let mut consumer = consume(&engine, 1, LONG).await;
    let delivery = take(&mut consumer).await;
    assert_eq!(engine.recover_orphans().await.expect("recovers"), 0);
    consumer.settler.settle(delivery.receipt, Settlement::Done);
    consumer.settler.close().await.expect("closes");
    assert_eq!(consumer.settler.health().stale_settlements, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_hung_past_its_lease_loses_its_job_and_its_say() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path()).await;
    let ids = publish(&engine, 2).await;
    let lease = Duration::from_millis(300);
    let (to_thread, unfreeze) = std::sync::mpsc::channel::<()>();
    let (taken, was_taken) = tokio::sync::oneshot::channel();
    let path = folder.path().to_owned();
    let hung = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let engine = open(&path).await;
            let mut consumer = consume(&engine, 2, lease).await;
            let (finished, running) = (take(&mut consumer).await, take(&mut consumer).await);
            taken.send(()).expect("the test waits");
            // Blocks this runtime's only thread, the heartbeat included.
            unfreeze.recv().expect("the test goes on");
            // Before this consumer can learn of its lost lease: only the row's fencing token rejects the settlement.
            consumer.settler.settle(finished.receipt, Settlement::Done);
            let why = tokio::time::timeout(Duration::from_secs(10), running.signal.fired()).await;
            consumer.settler.settle(running.receipt, Settlement::Done);
            consumer.settler.close().await.expect("closes");
            (why.expect("fires"), consumer.settler.health().stale_settlements)
        })
    });
    was_taken.await.expect("taken");
    let mut rival = consume(&engine, 2, lease).await;
    let taken = [take(&mut rival).await, take(&mut rival).await];
    assert_eq!(taken.each_ref().map(|d| (d.envelope.id, d.crashes)), [(ids[0], 1), (ids[1], 1)]);
    to_thread.send(()).expect("the thread waits");
    let joined = tokio::task::spawn_blocking(|| hung.join().expect("joins")).await;
    assert_eq!(joined.expect("joins"), (Interrupt::LeaseLost, 2));
    assert_eq!(engine.depth(QUEUE).await.expect("depth").running, 2, "its outcomes had no effect");
    for delivery in taken {
        rival.settler.settle(delivery.receipt, Settlement::Done);
    }
    rival.settler.close().await.expect("closes");
    assert_eq!(rival.settler.health().stale_settlements, 0);
    assert_eq!(engine.depth(QUEUE).await.expect("depth").running, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_file_is_reported_and_survived() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path()).await;
    let ids = publish(&engine, 2).await;
    let mut consumer = consume(&engine, 1, Duration::from_secs(2)).await;
    let first = take(&mut consumer).await;
    let mut raw = raw(folder.path()).await;
    sqlx::query("ALTER TABLE jobs RENAME TO jobs_away").execute(&mut raw).await.expect("breaks");
    assert!(engine.publish(vec![envelope()]).await.is_err());
    consumer.settler.settle(first.receipt, Settlement::Done);
    let troubled = async |wanted: bool| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while consumer.settler.health().trouble.is_some() != wanted {
            assert!(tokio::time::Instant::now() < deadline, "trouble {wanted} in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    troubled(true).await;
    sqlx::query("ALTER TABLE jobs_away RENAME TO jobs").execute(&mut raw).await.expect("repairs");
    troubled(false).await;
    let second = take(&mut consumer).await;
    assert_eq!(second.envelope.id, ids[1]);
    consumer.settler.settle(second.receipt, Settlement::Done);
    consumer.settler.close().await.expect("closes");
    assert_eq!(consumer.settler.health().stale_settlements, 0);
    assert_eq!(engine.depth(QUEUE).await.expect("depth").running, 0);
}

#[tokio::test]
async fn a_listing_of_large_jobs_ends_its_pages_early_and_is_complete() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path()).await;
    let mut ids = publish(&engine, 1).await;
    let payload = serde_json::value::to_raw_value(&"x".repeat(PAYLOAD_BYTES_MAX - 2)).expect("a payload");
    for _ in 0..10 {
        let large: Vec<Envelope> =
            (0..60).map(|_| Envelope { payload: payload.clone(), ..envelope() }).collect();
        ids.extend(large.iter().map(|e| e.id));
        engine.publish(large).await.expect("publishes");
    }
    ids.sort_unstable();
    let mut filter = orderworks_jobs::engine::JobFilter { limit: 1000, ..Default::default() };
    let mut listed = Vec::new();
    loop {
        let page = engine.list(&filter).await.expect("lists");
        assert!(page.len() * PAYLOAD_BYTES_MAX < 32 * 1024 * 1024, "{} jobs in a page", page.len());
        let Some(last) = page.last() else { break };
        filter.after = Some(last.envelope.id);
        listed.extend(page.iter().map(|job| job.envelope.id));
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn every_corrupt_row_becomes_a_dead_letter_that_names_the_column() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path()).await;
    let corruptions = [
        ("priority", "9"),
        ("payload", "'{'"),
        ("id", "'x'"),
        ("version", "70000"),
        ("attempt", "-1"),
        ("trace", "'00-zz'"),
        ("created_at", "9223372036854775807"),
        ("subject", "CAST(x'ff' AS TEXT)"),
    ];
    let ids = publish(&engine, corruptions.len() + 1).await;
    let mut raw = raw(folder.path()).await;
    for ((column, value), id) in corruptions.iter().zip(&ids) {
        let corrupt = format!("UPDATE jobs SET {column} = {value} WHERE id = '{id}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(corrupt)).execute(&mut raw).await.expect("corrupts");
    }
    let mut consumer = consume(&engine, 4, LONG).await;
    assert_eq!(take(&mut consumer).await.envelope.id, ids[corruptions.len()]);
    let filter = orderworks_jobs::engine::JobFilter { limit: 100, ..Default::default() };
    let listed = engine.list(&filter).await.expect("lists");
    assert_eq!(listed.len(), corruptions.len() + 1);
    for (column, _) in corruptions {
        let named = listed.iter().find(|job| {
            let error = job.last_error.as_deref().unwrap_or_default();
            job.dead.as_ref().is_some_and(|dead| dead.reason == DeadReason::Undecodable)
                && error.contains(&format!(" {column}: "))
        });
        assert!(named.is_some(), "{column}: {listed:?}");
    }
}

#[tokio::test]
async fn a_long_line_behind_one_busy_key_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path()).await;
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let keyed = |_| Envelope { concurrency_key: Some("one".to_owned()), ..envelope() };
    engine.publish((0..500).map(keyed).collect()).await.expect("publishes");
    let free = publish(&engine, 1).await[0];
    let mut consumer = consume(&engine, 2, LONG).await;
    let first = take(&mut consumer).await;
    let other = take(&mut consumer).await;
    assert_eq!(other.envelope.id, free, "found behind the blocked ones");
    consumer.settler.settle(other.receipt, Settlement::Done);
    // The key becomes free when its job is cancelled, too.
    consumer.settler.settle(first.receipt, Settlement::Cancelled { error: "no".to_owned() });
    for _ in 0..499 {
        let delivery = take(&mut consumer).await;
        consumer.settler.settle(delivery.receipt, Settlement::Done);
    }
    consumer.settler.close().await.expect("closes");
    assert_eq!(engine.depth(QUEUE).await.expect("depth").ready, 0);
}

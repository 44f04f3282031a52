//! A key beside another one with a hundred thousand jobs waiting: how many of these start before one of its own.
//!
//! Probes of an idle queue and of a flooded one are taken in one run. Starts are counted, as they do not depend on how
//! busy the machine is; times are compared as medians, with a floor far above what any machine needs, and far below
//! what first come, first served would take.

use std::{path::Path, sync::Arc, time::Duration};

use base::Ambient;
use orderworks_jobs::{
    CancellationToken, Engine, Envelope, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::{QueueSpec, Weights},
    envelope::EnqueueOptions,
    sqlite::SqliteEngine,
};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

const QUEUE: &str = "works";
const FLOOD: &str = "flood";
const SLOTS: usize = 4;
/// Length of a job of the flood: a hundred thousand of them are most of a minute.
const RUN: Duration = Duration::from_millis(2);
const PROBES: usize = 9;
/// Median below which an idle queue does not count as faster.
const FLOOR: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_mins(1);

/// Jobs of the flood in the file, and how many of them each statement adds.
const WAITING: u64 = 100_000;
const AT_ONCE: u64 = 10_000;

/// Copies of a ready job, each with an id of its own, as publishing would add them.
const COPY: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?3)
    INSERT INTO jobs (id, queue, state, priority, kind, version, max_attempts, created_at, ready_at, fair_key, payload)
    SELECT substr(id, 1, length(id) - 12) || printf('%012x', ?2 + i), queue, state, priority, kind, version,
      max_attempts, created_at, ready_at, fair_key, payload
    FROM jobs AS one JOIN n WHERE one.id = ?1";

#[derive(serde::Serialize, serde::Deserialize)]
struct Work {
    owner: String,
}

/// What the jobs report.
#[derive(Clone)]
struct Starts {
    /// Jobs of the flood that have started.
    flood: Arc<watch::Sender<u64>>,
    /// Start of each probe, with the number of the flood's before it.
    probes: mpsc::UnboundedSender<(u64, Instant)>,
}

impl Job for Work {
    type Env = Starts;
    const KIND: &'static str = "work";
    const QUEUE: &'static str = QUEUE;

    fn fair_key(&self) -> Option<String> {
        Some(self.owner.clone())
    }

    async fn run(&self, ctx: &JobContext<Starts>) -> Result<(), JobError> {
        if self.owner == FLOOD {
            ctx.env.flood.send_modify(|started| *started += 1);
            sleep(RUN).await;
        } else {
            let started = *ctx.env.flood.borrow();
            ctx.env.probes.send((started, Instant::now()))?;
        }
        Ok(())
    }
}

/// Publishes probes one after the other; returns the medians of the flood's starts in between and of the latency.
async fn probes(
    producer: &Producer,
    flood: &watch::Sender<u64>,
    started: &mut mpsc::UnboundedReceiver<(u64, Instant)>,
) -> (u64, Duration) {
    let (mut between, mut latencies) = (Vec::new(), Vec::new());
    for _ in 0..PROBES {
        let began = Instant::now();
        producer.enqueue(&Work { owner: "other".to_owned() }).await.unwrap();
        let published = *flood.borrow();
        let (at_start, at) = timeout(PATIENCE, started.recv()).await.unwrap().unwrap();
        between.push(at_start.saturating_sub(published));
        latencies.push(at.duration_since(began));
    }
    between.sort_unstable();
    latencies.sort_unstable();
    (between[PROBES / 2], latencies[PROBES / 2])
}

/// Probes an idle queue, has it flooded with at least so many jobs by this future, and probes it again: at most this
/// many of the flood start before a probe.
pub(crate) async fn a_flood_delays_no_other_key(
    engine: Arc<dyn Engine>,
    (waiting, most): (u64, u64),
    flood: impl Future<Output = ()>,
) {
    engine.declare(&[QueueSpec::new(QUEUE).fair(Weights::equal())]).await.unwrap();
    let producer = Producer::new(engine.clone(), Ambient::system());
    let (reports, mut started) = mpsc::unbounded_channel();
    let flood_starts = Arc::new(watch::Sender::new(0));
    let env = Starts { flood: flood_starts.clone(), probes: reports };
    let registry = Arc::new(Registry::new().register::<Work>().unwrap());
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let workers = Workers::new(engine.clone(), registry, env, Ambient::system()).queue(QUEUE, SLOTS);
    let running = tokio::spawn(workers.abort(abort.clone()).run(stop.clone()));
    let (_, idle) = probes(&producer, &flood_starts, &mut started).await;

    // Nothing of the flood runs before all of it waits.
    engine.pause(QUEUE).await.unwrap();
    flood.await;
    assert!(engine.depth(QUEUE).await.unwrap().ready >= waiting);
    engine.resume(QUEUE).await.unwrap();
    let mut flowing = flood_starts.subscribe();
    timeout(PATIENCE, flowing.wait_for(|started| *started > 100)).await.unwrap().unwrap();
    let (between, flooded) = probes(&producer, &flood_starts, &mut started).await;
    assert!(engine.depth(QUEUE).await.unwrap().ready > 0, "the flood waits still");
    assert!(between <= most, "{between} of the flood started before a probe, at most {most} may");
    assert!(flooded < 2 * idle.max(FLOOR), "{flooded:?} beside the flood, {idle:?} without it");
    stop.cancel();
    abort.cancel();
    running.await.unwrap().unwrap();
}

/// A flood published in calls of a thousand.
pub(crate) async fn publish_flood(engine: &dyn Engine, count: usize) {
    let (ambient, work) = (Ambient::system(), Work { owner: FLOOD.to_owned() });
    for _ in 0..count / 1000 {
        let one = || Envelope::new(&work, EnqueueOptions::default(), &ambient).unwrap();
        engine.publish((0..1000).map(|_| one()).collect()).await.unwrap();
    }
}

/// One job of the flood, and the others copied from it: publishing as many would take longer than all the rest.
async fn copy_flood(engine: &Arc<dyn Engine>, file: &Path) {
    let producer = Producer::new(engine.clone(), Ambient::system());
    let one = producer.enqueue(&Work { owner: FLOOD.to_owned() }).await.unwrap().id;
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(PATIENCE);
    let mut writer = options.connect().await.unwrap();
    for first in (0..WAITING).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let copy = sqlx::query(COPY).bind(one.to_string()).bind(i64::try_from(first).unwrap());
        copy.bind(i64::try_from(AT_ONCE).unwrap()).execute(&mut writer).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_jobs_of_one_key_delay_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    let engine: Arc<dyn Engine> = Arc::new(SqliteEngine::open(&file, Ambient::system()).await.unwrap());
    // Those in the slots, those fetched ahead, and as many that were claimed while the probe was published.
    let most = 4 * SLOTS as u64;
    a_flood_delays_no_other_key(engine.clone(), (WAITING, most), copy_flood(&engine, &file)).await;
}

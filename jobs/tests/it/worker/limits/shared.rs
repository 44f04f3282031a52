//! Limits as processes share them: two engines on one file or broker, and one store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base::Ambient;
use orderworks_jobs::{
    Engine, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::QueueSpec,
    job_store::{JobStore, LimitFilter, SqliteJobStore},
    limits::Limit,
    sqlite::SqliteEngine,
    worker::WorkerError,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "drives";
/// Longest wait for jobs; far less than the snooze of a parked one.
const PATIENCE: Duration = Duration::from_mins(1);
/// Lease of slots: the time after which those of a dead process are free.
const TTL: Duration = Duration::from_secs(2);

/// Counts runs by road, over all processes of a test.
#[derive(Clone, Default)]
struct Meter(Arc<(Mutex<Counts>, Notify)>);

#[derive(Default)]
struct Counts {
    running: HashMap<String, u32>,
    most: HashMap<String, u32>,
    done: u32,
    /// Whether jobs that may hang do.
    hang: bool,
}

impl Meter {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.0.lock().unwrap()
    }

    /// Waits until the counts are as wanted.
    async fn when(&self, what: &str, wanted: impl Fn(&Counts) -> bool) {
        let seen = async {
            loop {
                let mut changed = std::pin::pin!(self.0.1.notified());
                changed.as_mut().enable();
                if wanted(&self.counts()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, seen).await.expect(what);
    }
}

/// A run that is counted until it is dropped.
struct OnRoad<'a>(&'a Meter, &'a str);

impl<'a> OnRoad<'a> {
    fn enter(meter: &'a Meter, road: &'a str) -> Self {
        {
            let mut counts = meter.counts();
            let running = counts.running.entry(road.to_owned()).or_default();
            *running += 1;
            let running = *running;
            let most = counts.most.entry(road.to_owned()).or_default();
            *most = running.max(*most);
        }
        meter.0.1.notify_waiters();
        Self(meter, road)
    }
}

impl Drop for OnRoad<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.0.counts().running.get_mut(self.1) {
            *running -= 1;
        }
        self.0.0.1.notify_waiters();
    }
}

#[derive(Serialize, Deserialize)]
struct Drive {
    road: String,
    may_hang: bool,
}

impl Job for Drive {
    type Env = Meter;
    const KIND: &'static str = "drive";
    const QUEUE: &'static str = QUEUE;
    const TIMEOUT: Duration = Duration::from_mins(10);

    async fn run(&self, ctx: &JobContext<Meter>) -> Result<(), JobError> {
        let _on_road = OnRoad::enter(&ctx.env, &self.road);
        if self.may_hang && ctx.env.counts().hang {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_millis(5)).await;
        ctx.env.counts().done += 1;
        Ok(())
    }
}

/// A worker process with this many slots.
struct Process {
    stop: CancellationToken,
    abort: CancellationToken,
    running: JoinHandle<Result<(), WorkerError>>,
}

impl Process {
    fn start(
        engine: &Arc<dyn Engine>,
        store: &Arc<dyn JobStore>,
        meter: &Meter,
        slots: usize,
        most: u32,
    ) -> Self {
        let limit = Limit::concurrent("roads", most).unwrap();
        let road = |drive: &Drive| Some(drive.road.clone()).filter(|road| road != "free");
        let registry = Registry::new().register::<Drive>().unwrap().limit(limit, road).unwrap();
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let workers = Workers::new(engine.clone(), Arc::new(registry), meter.clone(), Ambient::system())
            .queue(QUEUE, slots)
            .limiter(store.clone(), engine.clone())
            .limit_lease(TTL)
            .lease(Duration::from_secs(3))
            .abort(abort.clone());
        Self { running: tokio::spawn(workers.run(stop.clone())), stop, abort }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.abort.cancel();
        self.running.await.unwrap().unwrap();
    }
}

async fn enqueue(engine: &Arc<dyn Engine>, road: &str, may_hang: bool, count: usize) {
    engine.declare(&[QueueSpec::new(QUEUE)]).await.unwrap();
    let producer = Producer::new(engine.clone(), Ambient::system());
    for _ in 0..count {
        producer.enqueue(&Drive { road: road.to_owned(), may_hang }).await.unwrap();
    }
}

/// Two processes with more slots than the limit never run more jobs of a road together, and run all of them without
/// waiting for a snooze to end; jobs of other roads and of none go on.
pub(crate) async fn holds_over_two_processes(
    mine: Arc<dyn Engine>,
    theirs: Arc<dyn Engine>,
    store: Arc<dyn JobStore>,
) {
    let meter = Meter::default();
    for (road, count) in [("a", 60), ("b", 10), ("free", 10)] {
        enqueue(&mine, road, false, count).await;
    }
    let here = Process::start(&mine, &store, &meter, 8, 3);
    let there = Process::start(&theirs, &store, &meter, 8, 3);
    meter.when("all jobs are done", |counts| counts.done == 80).await;
    let most = |road: &str| meter.counts().most.get(road).copied().unwrap_or_default();
    assert!((1..=3).contains(&most("a")) && (1..=3).contains(&most("b")), "{} {}", most("a"), most("b"));
    here.stop().await;
    there.stop().await;
    let used = store.limits_in_use(&LimitFilter { most: 10, ..LimitFilter::default() }).await.unwrap();
    assert!(used.iter().all(|used| used.leased == 0), "an orderly stop gives all slots back: {used:?}");
}

/// Jobs of a road that hangs hold no slot of the queue but those of its limit.
pub(crate) async fn a_hanging_key_holds_up_no_other(engine: Arc<dyn Engine>, store: Arc<dyn JobStore>) {
    let meter = Meter::default();
    meter.counts().hang = true;
    enqueue(&engine, "stuck", true, 12).await;
    let process = Process::start(&engine, &store, &meter, 2, 1);
    meter.when("one hangs", |counts| counts.running.get("stuck") == Some(&1)).await;
    for road in ["open", "free"] {
        enqueue(&engine, road, false, 10).await;
    }
    meter.when("the others are done", |counts| counts.done == 20).await;
    assert_eq!(meter.counts().most["stuck"], 1);
    process.stop().await;
}

/// A process that dies with all slots of a road keeps them for the rest of their lease; then its jobs and those parked
/// run elsewhere.
pub(crate) async fn slots_of_a_dead_process_go_to_others(
    mine: Arc<dyn Engine>,
    theirs: Arc<dyn Engine>,
    store: Arc<dyn JobStore>,
) {
    let meter = Meter::default();
    meter.counts().hang = true;
    enqueue(&mine, "a", true, 2).await;
    let dying = Process::start(&mine, &store, &meter, 4, 1);
    meter.when("one hangs", |counts| counts.running.get("a") == Some(&1)).await;
    let other = Process::start(&theirs, &store, &meter, 4, 1);
    meter.counts().hang = false;
    dying.running.abort();
    meter.when("both are done elsewhere", |counts| counts.done == 2).await;
    assert_eq!(meter.counts().most["a"], 1);
    other.stop().await;
}

async fn open(folder: &std::path::Path) -> Arc<dyn Engine> {
    Arc::new(SqliteEngine::open(&folder.join("queue.db"), Ambient::system()).await.unwrap())
}

async fn open_store(folder: &std::path::Path) -> Arc<dyn JobStore> {
    Arc::new(SqliteJobStore::open(&folder.join("jobs.db"), Ambient::system()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_over_two_processes() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, theirs) = (open(folder.path()).await, open(folder.path()).await);
    holds_over_two_processes(mine, theirs, open_store(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_key_leaves_the_queue_to_others() {
    let folder = tempfile::tempdir().unwrap();
    a_hanging_key_holds_up_no_other(open(folder.path()).await, open_store(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_a_killed_process_are_free_after_their_lease() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, theirs) = (open(folder.path()).await, open(folder.path()).await);
    slots_of_a_dead_process_go_to_others(mine, theirs, open_store(folder.path()).await).await;
}

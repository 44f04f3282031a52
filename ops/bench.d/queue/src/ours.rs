//! The Orderworks pieces: the engine as the product uses it, with [`Producer`] for publishing and [`Workers`] with
//! registry, recorder, deadlines, panic guard, spans and log for running.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use base::Ambient;
use bench_report::{kib_to_mib, peak_kib};
use clap::ValueEnum;
use jobs::{
    Consume, Engine, Envelope, Job, JobContext, JobError, Producer, Workers,
    engine::QueueSpec,
    envelope::EnqueueOptions,
    job_store::SqliteJobStore,
    limits::{CONCURRENT_MAX, Limit},
    rabbitmq::{RabbitEngine, RabbitServer},
    recorder::{Recorder, RecorderConfig},
    registry::Registry,
    sqlite::SqliteRecords,
    worker::prefetch_for,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{Layer, filter::LevelFilter, fmt, prelude::*};

use crate::{
    figures::{BODY_BYTES, Figures},
    raw,
};

/// Jobs run at a time. The resulting prefetch is that of the bare client, see [`raw::PREFETCH`].
const CONCURRENCY: usize = 2048;
const _: () = assert!(prefetch_for(CONCURRENCY) == raw::PREFETCH as usize);
/// Jobs per call while filling a queue, and concurrent calls.
const FILL_BULK: usize = 500;
const FILL_CALLERS: usize = 4;

/// Queues by their content.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Queue {
    Noop,
    Small,
    Million,
    /// As the first, and each job has one of [`KEYS`] keys of a limit that is never reached.
    Limited,
}

const NAMES: [&str; 4] = ["noop", "small", "million", "limited"];
/// Keys of the jobs of a limited queue.
const KEYS: u64 = 16;

impl Queue {
    pub(crate) fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// Name of the queue on the broker.
    pub(crate) fn on_broker(self) -> String {
        on_broker(self.name())
    }

    /// Registry of this queue's job type only, as a worker registers.
    pub(crate) fn registry(self) -> anyhow::Result<Registry<Arc<Progress>>> {
        Ok(match self {
            Self::Noop => Registry::new().register::<Noop<0>>()?,
            Self::Small => Registry::new().register::<Noop<1>>()?,
            Self::Million => Registry::new().register::<Noop<2>>()?,
            Self::Limited => {
                let limit = Limit::concurrent("bench", CONCURRENT_MAX)?;
                Registry::new()
                    .register::<Noop<3>>()?
                    .limit(limit, |job: &Noop<3>| Some((job.at % KEYS).to_string()))?
            }
        })
    }
}

/// Name on the broker of the work queue in which jobs without a priority wait.
fn on_broker(queue: &str) -> String {
    format!("ow.{queue}.default.v2")
}

/// A job that counts its runs, one type per queue number.
#[derive(Serialize, Deserialize)]
pub(crate) struct Noop<const QUEUE: usize> {
    /// Time of publishing, for latencies; any number else, for the key of a limit.
    at: u64,
    filler: String,
}

impl<const QUEUE: usize> Noop<QUEUE> {
    pub(crate) fn new(at: u64) -> Self {
        let mut job = Self { at, filler: String::new() };
        let bytes = serde_json::to_string(&job).map_or(0, |text| text.len());
        job.filler = "x".repeat(BODY_BYTES.saturating_sub(bytes));
        job
    }
}

/// Runs of jobs: a warm-up, then those measured, `wanted` together.
pub(crate) struct Progress {
    done: AtomicUsize,
    warm_up: usize,
    wanted: usize,
    began: OnceLock<Instant>,
    ended: OnceLock<Instant>,
    pub(crate) all: Notify,
    origin: Instant,
    /// Latencies; `None` unless they are measured.
    taken: Option<Mutex<Vec<Duration>>>,
}

impl Progress {
    pub(crate) fn new(warm_up: usize, wanted: usize, latencies: bool) -> Arc<Self> {
        Arc::new(Self {
            done: AtomicUsize::new(0),
            warm_up,
            wanted,
            began: OnceLock::new(),
            ended: OnceLock::new(),
            all: Notify::new(),
            origin: Instant::now(),
            taken: latencies.then(Mutex::default),
        })
    }

    /// Counts a run that has ended.
    pub(crate) fn count(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done == self.warm_up {
            self.began.get_or_init(Instant::now);
        }
        if done == self.wanted {
            self.ended.get_or_init(Instant::now);
            self.all.notify_one();
        }
    }

    /// Runs that have ended.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Measured runs a second.
    pub(crate) fn per_second(&self) -> anyhow::Result<f64> {
        let (began, ended) = self.began.get().zip(self.ended.get()).context("nothing was run")?;
        Ok((self.wanted - self.warm_up) as f64 / ended.duration_since(*began).as_secs_f64())
    }
}

impl<const QUEUE: usize> Job for Noop<QUEUE> {
    type Env = Arc<Progress>;
    const KIND: &'static str = "bench_noop";
    const QUEUE: &'static str = NAMES[QUEUE];

    async fn run(&self, ctx: &JobContext<Arc<Progress>>) -> Result<(), JobError> {
        let progress = &*ctx.env;
        if let Some(taken) = &progress.taken {
            let since = progress.origin.elapsed().saturating_sub(Duration::from_nanos(self.at));
            taken.lock().unwrap_or_else(PoisonError::into_inner).push(since);
        }
        progress.count();
        Ok(())
    }
}

/// Opens the engine over a job store in this folder, and declares the queues.
pub(crate) async fn open(url: &str, folder: &Path, queues: &[&str]) -> anyhow::Result<Arc<dyn Engine>> {
    let ambient = Ambient::system();
    let store = Arc::new(SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await?);
    let engine = RabbitEngine::new(RabbitServer::at(url), "bench", store, ambient)?;
    let queues: Vec<_> = queues.iter().map(|queue| QueueSpec::new(*queue)).collect();
    engine.declare(&queues).await?;
    Ok(Arc::new(engine))
}

/// Deletes the broker queue with the messages; the others of the job queue are empty.
pub(crate) async fn clear(url: &str, queue: &str) -> anyhow::Result<()> {
    let connection = raw::connect(url).await?;
    raw::delete(&connection.create_channel().await?, &on_broker(queue)).await
}

/// Publishes `count` jobs from callers that each wait for the confirms of one call before the next.
async fn send(
    engine: &Arc<dyn Engine>,
    queue: &str,
    callers: usize,
    bulk: usize,
    count: usize,
) -> anyhow::Result<()> {
    let ambient = Ambient::system();
    let left = Arc::new(AtomicUsize::new(count));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (engine, ambient, left, queue) =
            (engine.clone(), ambient.clone(), left.clone(), queue.to_owned());
        running.spawn(async move {
            let producer = Producer::new(engine, ambient.clone());
            let jobs: Vec<_> = (0..KEYS).map(Noop::<0>::new).collect();
            let options = EnqueueOptions::default;
            let take = |left| Some(usize::saturating_sub(left, bulk));
            while let Ok(before) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                if before == 0 {
                    break;
                }
                let envelopes = (0..before.min(bulk)).map(|n| {
                    let envelope = Envelope::new(&jobs[n % jobs.len()], options(), &ambient)?;
                    Ok(Envelope { queue: queue.clone(), ..envelope })
                });
                producer.publish(envelopes.collect::<Result<_, jobs::engine::EngineError>>()?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

pub(crate) async fn publish(url: &str, callers: usize, bulk: usize, count: usize) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let engine = open(url, folder.path(), &[Queue::Noop.name()]).await?;
    send(&engine, Queue::Noop.name(), callers, bulk, count / 10).await?;
    let began = Instant::now();
    send(&engine, Queue::Noop.name(), callers, bulk, count).await?;
    let taken = began.elapsed();
    clear(url, Queue::Noop.name()).await?;
    Ok(Figures::from([("per_second".to_owned(), count as f64 / taken.as_secs_f64())]))
}

/// Fills a queue for [`process`]: the jobs to count, the warm-up, and a remainder, so that the queue does not run
/// empty.
pub(crate) async fn fill(url: &str, queue: Queue, count: usize) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let engine = open(url, folder.path(), &[queue.name()]).await?;
    send(&engine, queue.name(), FILL_CALLERS, FILL_BULK, count).await?;
    Ok(Figures::from([("stored".to_owned(), count as f64)]))
}

/// Jobs a queue must hold for `count` of them to be measured.
pub(crate) fn needed(count: usize) -> usize {
    count + count / 10 + 2 * usize::from(raw::PREFETCH)
}

/// Measures a worker process: its only publisher is the one that settlements need.
pub(crate) async fn process(url: &str, queue: Queue, count: usize, keep: bool) -> anyhow::Result<Figures> {
    log();
    let folder = tempfile::tempdir()?;
    let engine = open(url, folder.path(), &[queue.name()]).await?;
    let progress = Progress::new(count / 10, count + count / 10, false);
    let queues = [(queue.name(), CONCURRENCY)];
    let worker = Worker::start(engine, folder.path(), queue.registry()?, progress.clone(), &queues).await?;
    progress.all.notified().await;
    let dropped = worker.stop().await?;
    if !keep {
        clear(url, queue.name()).await?;
    }
    Ok(Figures::from([
        ("per_second".to_owned(), progress.per_second()?),
        ("peak_mib".to_owned(), kib_to_mib(peak_kib(std::process::id()))),
        ("records_dropped".to_owned(), dropped as f64),
    ]))
}

pub(crate) async fn latency(url: &str, rate: u32, count: usize) -> anyhow::Result<Figures> {
    log();
    let folder = tempfile::tempdir()?;
    let engine = open(url, folder.path(), &[Queue::Noop.name()]).await?;
    let progress = Progress::new(count, count, true);
    let (registry, queues) = (Queue::Noop.registry()?, [(Queue::Noop.name(), CONCURRENCY)]);
    let worker = Worker::start(engine.clone(), folder.path(), registry, progress.clone(), &queues).await?;
    let producer = Producer::new(engine, Ambient::system());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..count {
        ticks.tick().await;
        let (producer, origin) = (producer.clone(), progress.origin);
        callers.spawn(async move { producer.enqueue(&Noop::<0>::new(raw::nanos(origin))).await });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    progress.all.notified().await;
    worker.stop().await?;
    clear(url, Queue::Noop.name()).await?;
    let taken = progress.taken.as_ref().context("latencies were asked for")?;
    raw::percentiles(std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Installs the product's log at its default level, written to a sink.
pub(crate) fn log() {
    let lines = fmt::layer().with_writer(io::sink).with_ansi(false).with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(lines).init();
}

/// A worker process with its attempt records.
pub(crate) struct Worker {
    running: tokio::task::JoinHandle<Result<(), jobs::worker::WorkerError>>,
    recorder: Recorder,
    stop: CancellationToken,
}

impl Worker {
    /// Starts a worker on these queues, with so many jobs at a time in each.
    pub(crate) async fn start<E: Clone + Send + Sync + 'static>(
        engine: Arc<dyn Engine>,
        folder: &Path,
        registry: Registry<E>,
        env: E,
        queues: &[(&str, usize)],
    ) -> anyhow::Result<Self> {
        let records = SqliteRecords::open(&folder.join("records.db")).await?;
        let recorder = Recorder::spawn(Arc::new(records), RecorderConfig::default());
        let stop = CancellationToken::new();
        let store = Arc::new(SqliteJobStore::open(&folder.join("jobs.db"), Ambient::system()).await?);
        let mut workers =
            Workers::new(engine.clone(), Arc::new(registry), env, Ambient::system()).limiter(store, engine);
        for (queue, concurrency) in queues {
            workers = workers.queue(*queue, *concurrency);
        }
        let running = tokio::spawn(workers.recorder(recorder.clone()).run(stop.clone()));
        Ok(Self { running, recorder, stop })
    }

    /// Stops the worker and returns the number of dropped records.
    pub(crate) async fn stop(self) -> anyhow::Result<u64> {
        self.stop.cancel();
        self.running.await??;
        self.recorder.close().await;
        Ok(self.recorder.dropped())
    }
}

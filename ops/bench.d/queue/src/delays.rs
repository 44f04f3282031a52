//! The delay piece: how late a short delay ends while other jobs wait in the same work queue.
//!
//! The promise measured: a delay that starts ends within a quarter late, or 250 ms, whatever the backlog. A delay has
//! ended when its job waits for a worker like any other; how long it then waits is the backlog's. The start of the job
//! tells both together, so each delayed job has a twin, published without a delay when the delay should end. Both join
//! the end of the same queue, which is kept at its length: its input is as fast as its output, and the delayed job
//! starts later than its twin by as much as it joined later. That is the lateness, and it needs no look into the
//! broker. An engine that sends a delayed job through its work queue before the delay has ended makes it wait there
//! once more, which counts.
//!
//! Delayed jobs, twins and backlog have one queue and one priority, and all slots of the worker are taken by the
//! backlog. The runs of the backlog blur a lateness by some ten milliseconds. Without a backlog a twin starts at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use base::Ambient;
use jobs::{
    Envelope, Job, JobContext, JobError, Producer, envelope::EnqueueOptions, registry::Registry,
    worker::prefetch_for,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{interval, sleep, sleep_until},
};

use crate::{
    figures::{Figures, filler},
    ours::{self, Worker},
};

const DELAYS: &str = "delays";
/// Jobs run at a time: with their 100 ms, some 5,000 jobs of a backlog a second.
const CONCURRENCY: usize = 512;
/// Jobs that the worker has fetched and not started, which no longer wait in the broker.
const FETCHED: usize = prefetch_for(CONCURRENCY) - CONCURRENCY;
/// Delayed jobs published a second.
const RATE: u32 = 20;
/// Interval of refilling the backlog, and most jobs of one call.
const REFILL_EVERY: Duration = Duration::from_millis(20);
const REFILL_BULK: usize = 500;

/// A job of the backlog. It takes 50 to 150 ms, so that slots become free one after the other.
#[derive(Serialize, Deserialize)]
struct Waiting {
    filler: String,
}

impl Job for Waiting {
    type Env = Arc<Starts>;
    const KIND: &'static str = "bench_waiting";
    const QUEUE: &'static str = DELAYS;

    async fn run(&self, ctx: &JobContext<Arc<Starts>>) -> Result<(), JobError> {
        let number = ctx.env.backlog.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(50 + number as u64 * 37 % 101)).await;
        Ok(())
    }
}

/// A delayed job, or its twin.
#[derive(Serialize, Deserialize)]
struct Sample {
    number: usize,
    delayed: bool,
}

impl Job for Sample {
    type Env = Arc<Starts>;
    const KIND: &'static str = "bench_delayed";
    const QUEUE: &'static str = DELAYS;

    async fn run(&self, ctx: &JobContext<Arc<Starts>>) -> Result<(), JobError> {
        ctx.env.note(self.number, self.delayed);
        Ok(())
    }
}

/// Starts of jobs.
struct Starts {
    /// Number of starts of the backlog.
    backlog: AtomicUsize,
    /// First start of each twin and of its delayed job, by number.
    samples: Mutex<Vec<[Option<Instant>; 2]>>,
    /// A permit for each of these.
    noted: Semaphore,
}

impl Starts {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            backlog: AtomicUsize::new(0),
            samples: Mutex::new(vec![[None; 2]; count]),
            noted: Semaphore::new(0),
        })
    }

    fn note(&self, number: usize, delayed: bool) {
        let now = Instant::now();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let start = &mut samples[number][usize::from(delayed)];
        if start.is_none() {
            *start = Some(now);
            self.noted.add_permits(1);
        }
    }
}

/// The jobs that wait before and behind the delayed ones.
struct Backlog {
    size: usize,
    producer: Producer,
    ambient: Ambient,
    starts: Arc<Starts>,
    published: usize,
    /// Fewest jobs that waited in the broker at a refill.
    least: usize,
}

impl Backlog {
    /// Jobs published and not started.
    fn waiting(&self) -> usize {
        self.published.saturating_sub(self.starts.backlog.load(Ordering::Relaxed))
    }

    async fn refill(&mut self) -> anyhow::Result<()> {
        let wanted = if self.size == 0 { 0 } else { self.size + FETCHED };
        let mut missing = wanted.saturating_sub(self.waiting());
        let job = Waiting { filler: filler() };
        while missing > 0 {
            let bulk = missing.min(REFILL_BULK);
            let envelopes = (0..bulk).map(|_| Envelope::new(&job, EnqueueOptions::default(), &self.ambient));
            let envelopes = envelopes.collect::<Result<Vec<_>, jobs::engine::EngineError>>()?;
            self.producer.publish(envelopes).await?;
            self.published += bulk;
            missing -= bulk;
        }
        Ok(())
    }

    /// Keeps the backlog at its size; returns only with an error.
    async fn keep(&mut self) -> anyhow::Error {
        let mut ticks = interval(REFILL_EVERY);
        loop {
            ticks.tick().await;
            self.least = self.least.min(self.waiting().saturating_sub(FETCHED));
            if let Err(error) = self.refill().await {
                return error;
            }
        }
    }
}

/// A delayed job and its twin.
struct Pair {
    number: usize,
    /// When the delay should end.
    due: Instant,
    /// When the twin was published.
    twin: Instant,
}

impl Pair {
    async fn publish(producer: Producer, number: usize, delay: Duration) -> anyhow::Result<Self> {
        let (at, due) = (Ambient::system().now() + delay, Instant::now() + delay);
        let options = EnqueueOptions { run_at: Some(at), ..EnqueueOptions::default() };
        producer.enqueue_with(&Sample { number, delayed: true }, options).await?;
        sleep_until(due.into()).await;
        let twin = Instant::now();
        producer.enqueue(&Sample { number, delayed: false }).await?;
        Ok(Self { number, due, twin })
    }

    /// What the delayed job waited from its due time on, less what its twin waited.
    fn lateness(&self, samples: &[[Option<Instant>; 2]]) -> Option<Duration> {
        let [twin, delayed] = *samples.get(self.number)?;
        Some(delayed?.duration_since(self.due).saturating_sub(twin?.duration_since(self.twin)))
    }
}

/// Publishes the delayed jobs and their twins.
async fn publish(producer: &Producer, delay: Duration, count: usize) -> anyhow::Result<Vec<Pair>> {
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    let mut publishing = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        publishing.spawn(Pair::publish(producer.clone(), number, delay));
    }
    let mut pairs = Vec::with_capacity(count);
    while let Some(ended) = publishing.join_next().await {
        pairs.push(ended??);
    }
    Ok(pairs)
}

/// Measures `count` delays of one length while at least about `backlog` jobs wait. The limit in the figures is the
/// promise: a quarter of the delay, or 250 ms.
pub(crate) async fn accuracy(
    url: &str,
    backlog: usize,
    delay: Duration,
    count: usize,
) -> anyhow::Result<Figures> {
    ours::log();
    let folder = tempfile::tempdir()?;
    let engine = ours::open(url, folder.path(), &[DELAYS]).await?;
    let (ambient, starts) = (Ambient::system(), Starts::new(count));
    let producer = Producer::new(engine.clone(), ambient.clone());
    let mut backlog = Backlog {
        size: backlog,
        producer: producer.clone(),
        ambient,
        starts: starts.clone(),
        published: 0,
        least: backlog,
    };
    backlog.refill().await?;
    let registry = Registry::new().register::<Waiting>()?.register::<Sample>()?;
    let worker =
        Worker::start(engine, folder.path(), registry, starts.clone(), &[(DELAYS, CONCURRENCY)]).await?;
    let measured = async {
        let pairs = publish(&producer, delay, count).await?;
        starts.noted.acquire_many(u32::try_from(2 * count)?).await?.forget();
        anyhow::Ok(pairs)
    };
    let pairs = tokio::select! {
        pairs = measured => pairs?,
        error = backlog.keep() => return Err(error),
    };
    worker.stop().await?;
    ours::clear(url, DELAYS).await?;
    let samples = starts.samples.lock().unwrap_or_else(PoisonError::into_inner);
    let late: Option<Vec<Duration>> = pairs.iter().map(|pair| pair.lateness(&samples)).collect();
    figures(late.context("a job was not started")?, delay, backlog.least)
}

fn figures(late: Vec<Duration>, delay: Duration, waiting: usize) -> anyhow::Result<Figures> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let longest = late.iter().copied().max().unwrap_or_default();
    let [p50, p99] = bench_report::percentiles(late).context("nothing was measured")?;
    Ok(Figures::from([
        ("p50_ms".to_owned(), p50),
        ("p99_ms".to_owned(), p99),
        ("max_ms".to_owned(), ms(longest)),
        ("limit_ms".to_owned(), ms((delay / 4).max(Duration::from_millis(250)))),
        ("waiting".to_owned(), waiting as f64),
    ]))
}

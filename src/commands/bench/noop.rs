//! Throughput of no-op jobs through the SQLite engine with every layer enabled: the cost of the platform itself.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use base::Ambient;
use bench_report::Report;
use jobs::{
    Consume, Envelope, Job, JobContext, JobError, Publish,
    engine::QueueSpec,
    envelope::EnqueueOptions,
    recorder::{Recorder, RecorderConfig},
    registry::Registry,
    sqlite::SqliteEngine,
    worker::Workers,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cli::BenchArgs;

const QUEUE: &str = "bench";
/// Jobs run concurrently: enough for full batches of claims and settlements.
const CONCURRENCY: usize = 512;
/// Jobs per publish call in the bulk figure.
const BULK: u32 = 500;
/// Longest run.
const RUN_MAX: Duration = Duration::from_mins(10);

/// A job that only counts itself.
#[derive(Serialize, Deserialize)]
struct Noop {
    filler: String,
}

#[derive(Clone)]
struct Progress(Arc<(AtomicU32, u32, Notify)>);

impl Job for Noop {
    type Env = Progress;
    const KIND: &'static str = "bench_noop";
    const QUEUE: &'static str = QUEUE;

    async fn run(&self, ctx: &JobContext<Progress>) -> Result<(), JobError> {
        let (done, wanted, all) = &*ctx.env.0;
        if done.fetch_add(1, Ordering::Relaxed) + 1 == *wanted {
            all.notify_one();
        }
        Ok(())
    }
}

pub(super) async fn measure(args: &BenchArgs, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let ambient = Ambient::system();
    let engine = SqliteEngine::open(&folder.join("bench.db"), ambient.clone()).await?;
    engine.declare(&[QueueSpec::new(QUEUE)]).await?;
    let began = Instant::now();
    publish(&engine, args.jobs, &ambient).await?;
    report.add("publish_bulk", f64::from(args.jobs) / began.elapsed().as_secs_f64(), "jobs/s", None);

    let progress = Progress(Arc::new((AtomicU32::new(0), args.jobs, Notify::new())));
    let registry = Registry::new().register::<Noop>()?;
    let recorder = Recorder::spawn(Arc::new(engine.records()), RecorderConfig::default());
    let stop = CancellationToken::new();
    let workers = Workers::new(Arc::new(engine), Arc::new(registry), progress.clone(), ambient)
        .queue(QUEUE, CONCURRENCY)
        .recorder(recorder.clone());
    let began = Instant::now();
    let running = tokio::spawn(workers.run(stop.clone()));
    tokio::time::timeout(RUN_MAX, progress.0.2.notified()).await.context("the jobs do not end")?;
    stop.cancel();
    running.await??;
    // The stop waits until every outcome is durable, so that time is part of the figure.
    report.add("process_noop", f64::from(args.jobs) / began.elapsed().as_secs_f64(), "jobs/s", None);
    recorder.close().await;
    Ok(())
}

async fn publish(engine: &SqliteEngine, jobs: u32, ambient: &Ambient) -> anyhow::Result<()> {
    let job = Noop { filler: "x".repeat(200) };
    let mut left = jobs;
    while left > 0 {
        let slice = left.min(BULK);
        let envelopes = (0..slice).map(|_| Envelope::new(&job, EnqueueOptions::default(), ambient));
        engine.publish(envelopes.collect::<Result<_, _>>()?).await?;
        left -= slice;
    }
    Ok(())
}

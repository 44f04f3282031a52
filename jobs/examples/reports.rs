//! Progress, log lines and results, seen while jobs run: `cargo run -p orderworks-jobs --example reports`.
//!
//! Two imports report how far they are; the second one passes its soft time-out and ends in order with what it has.
//! Another process would read the same reports from the job store, as this program does. In Celery these are custom
//! states in a result backend, and a soft time limit.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{error::Error, sync::Arc, time::Duration};

use orderworks_jobs::{
    Ambient, CancellationToken, Consume, Engine, Job, JobContext, JobError, Producer, Registry, Reporter,
    Workers,
    engine::QueueSpec,
    job_store::{RunReport, RunReports, SqliteJobStore},
    sqlite::SqliteEngine,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Import {
    rows: u32,
}

#[derive(Serialize)]
struct Imported {
    rows: u32,
    whole: bool,
}

impl Job for Import {
    type Env = ();
    const KIND: &'static str = "import";
    const TIMEOUT: Duration = Duration::from_secs(10);
    /// Time to save what there is.
    const SOFT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(2));

    async fn run(&self, ctx: &JobContext<()>) -> Result<(), JobError> {
        for row in 1..=self.rows {
            if let Some(why) = ctx.signal.interrupt() {
                ctx.log(format_args!("{why:?} before row {row}"));
                ctx.set_result(&Imported { rows: row - 1, whole: false })?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // the work
            ctx.progress(u8::try_from(row * 100 / self.rows)?, format_args!("row {row} of {}", self.rows));
        }
        ctx.set_result(&Imported { rows: self.rows, whole: true })?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (folder, ambient, stop) = (tempfile::tempdir()?, Ambient::system(), CancellationToken::new());
    let engine = SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await?;
    engine.declare(&[QueueSpec::new(Import::QUEUE)]).await?;
    let engine: Arc<dyn Engine> = Arc::new(engine);
    // A file of its own, or the job store of the RabbitMQ engine.
    let store = Arc::new(SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await?);

    let month = Duration::from_hours(30 * 24);
    let reporter = Reporter::spawn(store.clone(), "example", month, ambient.clone());
    let registry = Arc::new(Registry::new().register::<Import>()?);
    let workers = Workers::new(engine.clone(), registry, (), ambient.clone());
    let workers = workers.queue(Import::QUEUE, 4).reporter(reporter.clone());
    let running = tokio::spawn(workers.run(stop.clone()));

    let producer = Producer::new(engine, ambient);
    let small = producer.enqueue(&Import { rows: 50 }).await?.id;
    let large = producer.enqueue(&Import { rows: 1000 }).await?.id;
    let reports = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let reports = store.reports(&[small, large]).await?;
        for RunReport { job, progress, .. } in &reports {
            let progress = progress.as_ref().map(|progress| (progress.percent, progress.message.as_str()));
            println!("{job}: {progress:?}");
        }
        if reports.len() == 2 && reports.iter().all(|report| report.ended_at.is_some()) {
            break reports;
        }
    };
    for RunReport { job, result, log, .. } in reports {
        let lines: Vec<String> = log.into_iter().map(|line| line.text).collect();
        println!(
            "{job} has ended: {} {lines:?}",
            result.map_or_else(String::new, |json| json.get().to_owned())
        );
    }
    stop.cancel();
    running.await??;
    reporter.close().await; // the last reports are stored
    Ok(())
}

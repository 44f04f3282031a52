//! All queues of a program in one SQLite file, without a server: `cargo run -p orderworks-jobs --example embedded`.
//!
//! Two queues with their own numbers of slots, retries, a unique key with a period, a delayed job, a dead job that is
//! redriven, and the log of attempts. For a reader of Celery or Sidekiq:
//! - a queue with slots is a worker process of Celery with `-Q mail -c 4`; here both run in one process, as tasks;
//! - acknowledgement is always late (`acks_late`), and a lost worker's jobs are delivered again;
//! - a dead job is one in Sidekiq's morgue; it is kept until it is redriven or purged.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use orderworks_jobs::{
    Admin, Ambient, Backoff, CancellationToken, Consume, Job, JobContext, JobError, Priority, Producer,
    Registry, Unique, Workers,
    engine::{DeadFilter, EngineError, JobFilter, JobState, QueueSpec},
    envelope::EnqueueOptions,
    recorder::{Recorder, RecorderConfig},
    records::{RecordFilter, RecordStore},
    sqlite::SqliteEngine,
};
use serde::{Deserialize, Serialize};

const MAIL: &str = "mail";
const REPORTS: &str = "reports";

/// Collaborators of the runs, cheap to clone.
#[derive(Clone)]
struct App {
    printer_has_paper: Arc<AtomicBool>,
}

#[derive(Serialize, Deserialize)]
struct SendWelcome {
    customer: String,
}

impl Job for SendWelcome {
    type Env = App;
    const KIND: &'static str = "send_welcome";
    const QUEUE: &'static str = MAIL;
    const PRIORITY: Priority = Priority::Critical;
    /// The default is full jitter from one second up to an hour; an example has no time for that.
    const BACKOFF: Backoff = Backoff::Table(&[Duration::from_millis(100)]);
    const UNIQUE: Unique = Unique::WHILE_ACTIVE.within(Duration::from_hours(1));

    /// While one such job waits or runs, and for an hour after it was published, a second one is not accepted. It saves
    /// work and guards nothing: against a second mail, guard the effect itself by a key of your own.
    fn unique_key(&self) -> Option<String> {
        Some(self.customer.clone())
    }

    async fn run(&self, ctx: &JobContext<App>) -> Result<(), JobError> {
        if ctx.attempt == 1 {
            println!("  {}: the mail server is busy, attempt 1 of {}", self.customer, ctx.max_attempts);
            return Err(JobError::retry("greylisted"));
        }
        println!("  {}: welcome sent in attempt {}", self.customer, ctx.attempt);
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct PrintReport {
    month: u8,
}

impl Job for PrintReport {
    type Env = App;
    const KIND: &'static str = "print_report";
    const QUEUE: &'static str = REPORTS;
    /// The first run counts: this job is dead after its first failure.
    const MAX_ATTEMPTS: u32 = 1;

    async fn run(&self, ctx: &JobContext<App>) -> Result<(), JobError> {
        if !ctx.env.printer_has_paper.load(Ordering::Relaxed) {
            return Err(JobError::retry("the printer is out of paper"));
        }
        println!("  report of month {} printed", self.month);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // Clock, ids and randomness, which a test replaces.
    let ambient = Ambient::system();
    let engine = SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await?;
    engine.declare(&[QueueSpec::new(MAIL), QueueSpec::new(REPORTS)]).await?;

    println!("publishing, while no worker runs");
    let producer = Producer::new(Arc::new(engine.clone()), ambient.clone());
    publish(&producer, &ambient).await?;
    for job in engine.list(&JobFilter { limit: 10, ..JobFilter::default() }).await? {
        println!("  {} {:?} {}", job.envelope.kind, job.state, job.envelope.payload);
    }

    println!("running");
    let app = App { printer_has_paper: Arc::default() };
    let recorder = Recorder::spawn(Arc::new(engine.records()), RecorderConfig::default());
    let registry = Registry::new().register::<SendWelcome>()?.register::<PrintReport>()?;
    let stop = CancellationToken::new();
    let workers = Workers::new(Arc::new(engine.clone()), Arc::new(registry), app.clone(), ambient)
        .queue(MAIL, 4)
        .queue(REPORTS, 1)
        .recorder(recorder.clone());
    // In a server, `stop` is cancelled by SIGTERM: jobs that run may finish, those only fetched go back.
    let workers = tokio::spawn(workers.run(stop.clone()));
    until_idle(&engine).await?;
    // Its holder has ended; its period lasts.
    let third = producer.enqueue(&SendWelcome { customer: "cus_1".into() }).await?;
    println!("  third welcome: {:?}", third.published);

    let dead = JobFilter { state: Some(JobState::Dead), limit: 10, ..JobFilter::default() };
    for job in engine.list(&dead).await? {
        println!("  dead: {}, {}", job.envelope.kind, job.last_error.unwrap_or_default());
    }
    println!("paper is refilled, the dead job is redriven");
    app.printer_has_paper.store(true, Ordering::Relaxed);
    engine.redrive(&DeadFilter { queue: Some(REPORTS.into()), limit: 10, ..DeadFilter::default() }).await?;
    until_idle(&engine).await?;

    stop.cancel();
    workers.await??;
    recorder.close().await;
    println!("attempts, newest first");
    for record in engine.records().list(&RecordFilter { limit: 10, ..RecordFilter::default() }).await? {
        println!("  {} attempt {}: {:?}", record.kind, record.attempt, record.outcome);
    }
    Ok(())
}

async fn publish(producer: &Producer, ambient: &Ambient) -> Result<(), EngineError> {
    let welcome = SendWelcome { customer: "cus_1".into() };
    println!("  first welcome: {:?}", producer.enqueue(&welcome).await?.published);
    println!("  second welcome: {:?}", producer.enqueue(&welcome).await?.published);
    // `countdown` and `eta` in Celery, `perform_in` in Sidekiq.
    let soon = EnqueueOptions {
        run_at: Some(ambient.now() + Duration::from_millis(500)),
        ..EnqueueOptions::default()
    };
    producer.enqueue_with(&PrintReport { month: 11 }, soon).await?;
    Ok(())
}

/// Waits until both queues hold at most dead jobs.
async fn until_idle(engine: &SqliteEngine) -> Result<(), EngineError> {
    loop {
        let mut left = 0;
        for queue in [MAIL, REPORTS] {
            let depth = engine.depth(queue).await?;
            left += depth.ready + depth.delayed + depth.running;
        }
        if left == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

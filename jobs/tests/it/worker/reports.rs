//! Reports of runs: one write a second at most, the last state always, nothing for runs that report nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use base::{Ambient, Timestamp};
use orderworks_jobs::{
    CancellationToken, Consume, Engine, Job, JobContext, JobError, JobId, Producer, Registry, Reporter,
    Workers,
    engine::{Cancelled, EngineError, JobFilter, JobState, QueueSpec, Settlement},
    inspection,
    job_store::{JobStore, RunReport, RunReports, SqliteJobStore},
    reporter::{
        WRITE_EVERY,
        run::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX, MESSAGE_CHARS_MAX, RESULT_BYTES_MAX},
    },
    sqlite::SqliteEngine,
    testing::{MemoryEngine, run_one, virtual_time},
    worker::WorkerError,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Longest wait for a report of a run that goes on.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Serialize, Deserialize)]
enum Import {
    Quiet,
    /// Reports this many times, with a pause before each.
    Steps(u32, Duration),
    /// Reports more than is kept.
    Floods,
    Hangs,
    Panics,
    /// Reports, waits for the gate, and has a result.
    Waits,
    /// Reports the reason for which it is to stop.
    Listens,
}

impl Job for Import {
    type Env = Arc<Semaphore>;
    const KIND: &'static str = "import";
    const MAX_ATTEMPTS: u32 = 1;
    const TIMEOUT: Duration = Duration::from_mins(1);

    async fn run(&self, ctx: &JobContext<Arc<Semaphore>>) -> Result<(), JobError> {
        match self {
            Self::Quiet => {}
            Self::Steps(count, pause) => {
                for step in 1..=*count {
                    sleep(*pause).await;
                    ctx.progress(u8::try_from(step * 100 / *count)?, format_args!("step {step}"));
                }
            }
            Self::Floods => {
                for line in 0..LOG_LINES_MAX + 49 {
                    ctx.log(format_args!("{line} {}", "ä".repeat(300)));
                }
                ctx.progress(250, "x".repeat(300));
                ctx.set_result("small")?;
                let refused = ctx.set_result(&"y".repeat(RESULT_BYTES_MAX)).unwrap_err();
                ctx.log(refused);
            }
            Self::Hangs => {
                ctx.progress(10, "hangs");
                std::future::pending::<()>().await;
            }
            Self::Panics => {
                ctx.progress(20, "panics");
                panic!("boom");
            }
            Self::Waits => {
                ctx.progress(30, "waits");
                ctx.log("one");
                ctx.env.acquire().await?.forget();
                ctx.set_result(&json!({ "rows": 7 }))?;
            }
            Self::Listens => {
                ctx.progress(40, "listens");
                let why = ctx.signal.stopped().await;
                ctx.log(format_args!("{why:?}"));
                return Err(JobError::retry("stopped"));
            }
        }
        Ok(())
    }
}

/// Tells of every write; the first ones fail.
struct Shelf {
    writes: mpsc::UnboundedSender<(Instant, Vec<RunReport>)>,
    failures: Mutex<u32>,
}

#[async_trait]
impl RunReports for Shelf {
    async fn put_reports(&self, reports: Vec<RunReport>) -> Result<(), EngineError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(EngineError::Closed);
        }
        self.writes.send((Instant::now(), reports)).map_err(|_| EngineError::Closed)
    }

    async fn reports(&self, _jobs: &[JobId]) -> Result<Vec<RunReport>, EngineError> {
        Ok(Vec::new())
    }

    async fn expire_reports(&self, _before: Timestamp) -> Result<u64, EngineError> {
        Ok(0)
    }
}

/// Workers with a reporter.
struct Office {
    engine: MemoryEngine,
    producer: Producer,
    reporter: Reporter,
    writes: mpsc::UnboundedReceiver<(Instant, Vec<RunReport>)>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), WorkerError>>,
}

impl Office {
    async fn open(failures: u32) -> Self {
        let ambient = virtual_time(9);
        let engine = MemoryEngine::new(ambient.clone());
        engine.declare(&[QueueSpec::new(Import::QUEUE)]).await.unwrap();
        let (told, writes) = mpsc::unbounded_channel();
        let shelf = Arc::new(Shelf { writes: told, failures: Mutex::new(failures) });
        let reporter = Reporter::spawn(shelf, "office", Duration::from_hours(1), ambient.clone());
        let shared: Arc<dyn Engine> = Arc::new(engine.clone());
        let (running, shutdown) = start(&shared, &reporter, &Arc::new(Semaphore::new(0)), ambient.clone());
        let producer = Producer::new(shared, ambient);
        Self { engine, producer, reporter, writes, shutdown, running }
    }

    /// Runs a job to its end, good or bad.
    async fn run(&self, job: &Import) -> JobId {
        let id = self.producer.enqueue(job).await.unwrap().id;
        self.engine.when(id, |held| held.is_none_or(|held| held.state == JobState::Dead)).await;
        id
    }

    /// All writes, with their times, and the number of reports dropped.
    async fn close(mut self) -> (Vec<(Instant, Vec<RunReport>)>, u64) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.reporter.close().await;
        let mut writes = Vec::new();
        while let Ok(write) = self.writes.try_recv() {
            writes.push(write);
        }
        (writes, self.reporter.dropped())
    }
}

fn start(
    engine: &Arc<dyn Engine>,
    reporter: &Reporter,
    gate: &Arc<Semaphore>,
    ambient: Ambient,
) -> (JoinHandle<Result<(), WorkerError>>, CancellationToken) {
    let registry = Arc::new(Registry::new().register::<Import>().unwrap());
    let workers = Workers::new(engine.clone(), registry, Arc::clone(gate), ambient);
    let workers = workers.queue(Import::QUEUE, 2).reporter(reporter.clone());
    let shutdown = CancellationToken::new();
    (tokio::spawn(workers.run(shutdown.clone())), shutdown)
}

/// Runs one job; returns its last report.
async fn last_report(job: Import) -> RunReport {
    let office = Office::open(0).await;
    let id = office.run(&job).await;
    let (mut writes, dropped) = office.close().await;
    assert_eq!(dropped, 0);
    let report = writes.pop().unwrap().1.pop().unwrap();
    assert_eq!((report.job, report.attempt, report.worker.as_str()), (id, 1, "office"));
    assert!(report.started_at <= report.reported_at);
    report
}

#[tokio::test(start_paused = true)]
async fn a_thousand_reports_are_a_write_a_second_and_the_last_one() {
    let office = Office::open(0).await;
    let id = office.run(&Import::Steps(1000, Duration::from_millis(10))).await;
    let (writes, dropped) = office.close().await;
    assert!((10..=13).contains(&writes.len()), "{} writes in ten seconds", writes.len());
    assert!(writes.iter().all(|(_, reports)| reports.len() == 1 && reports[0].job == id));
    // The last one may be that of the orderly stop, which does not wait.
    let mut pauses = writes[..writes.len() - 1].windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(pauses.all(|pause| pause >= WRITE_EVERY));
    let percents: Vec<u8> =
        writes.iter().map(|(_, reports)| reports[0].progress.clone().unwrap().percent).collect();
    assert!(percents.is_sorted(), "{percents:?}");
    let last = &writes.last().unwrap().1[0];
    assert_eq!(last.progress.clone().unwrap().message, "step 1000");
    assert!(last.ended_at.is_some());
    assert_eq!(dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn runs_that_report_nothing_cost_no_write() {
    let office = Office::open(0).await;
    for _ in 0..20 {
        office.run(&Import::Quiet).await;
    }
    let (writes, dropped) = office.close().await;
    assert_eq!((writes.len(), dropped), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_run_reports_is_bounded() {
    let report = last_report(Import::Floods).await;
    let progress = report.progress.unwrap();
    assert_eq!((progress.percent, progress.message.chars().count()), (100, MESSAGE_CHARS_MAX));
    assert_eq!((report.log.len(), report.lines_dropped), (LOG_LINES_MAX, 50));
    assert!(report.log[0].text.starts_with("50 ä"), "{}", report.log[0].text);
    assert!(report.log.iter().all(|line| line.text.len() <= LOG_LINE_BYTES_MAX));
    let refused = &report.log.last().unwrap().text;
    assert!(refused.contains("16386 bytes") && refused.contains("at most 16384"), "{refused}");
    assert_eq!(report.result.unwrap().get(), "\"small\"", "the one before is kept");
}

#[tokio::test(start_paused = true)]
async fn without_a_reporter_a_job_runs_as_with_one() {
    let gate = Arc::new(Semaphore::new(1));
    for job in [Import::Floods, Import::Waits] {
        assert_eq!(run_one(&job, Arc::clone(&gate)).await, Settlement::Done);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_or_panics_is_stored_as_far_as_it_came() {
    for (job, percent) in [(Import::Hangs, 10), (Import::Panics, 20)] {
        let report = last_report(job).await;
        assert_eq!(report.progress.unwrap().percent, percent);
        assert!(report.ended_at.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_returns_gets_the_last_state_and_one_that_stays_away_is_counted() {
    let office = Office::open(5).await;
    let began = Instant::now();
    let id = office.run(&Import::Steps(2, Duration::from_millis(10))).await;
    assert!(began.elapsed() < Duration::from_secs(1), "the run did not wait");
    sleep(WRITE_EVERY * 6).await;
    let (writes, dropped) = office.close().await;
    assert_eq!((writes.len(), dropped), (1, 0));
    let report = &writes[0].1[0];
    assert!(report.job == id && report.ended_at.is_some());

    let office = Office::open(u32::MAX).await;
    office.run(&Import::Steps(2, Duration::from_millis(10))).await;
    let (writes, dropped) = office.close().await;
    assert_eq!((writes.len(), dropped), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_seen_live_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue.db");
    let engine = SqliteEngine::open(&queue, Ambient::system()).await.unwrap();
    let operator = SqliteEngine::open(&queue, Ambient::system()).await.unwrap();
    let store = SqliteJobStore::open(&folder.path().join("jobs.db"), Ambient::system()).await.unwrap();
    are_seen_live(Arc::new(engine), Arc::new(operator), Arc::new(store)).await;
}

/// Reports are seen while their run goes on, and its result after it; a cancel request by another handle reaches the
/// code, which reports it.
pub(crate) async fn are_seen_live(
    engine: Arc<dyn Engine>,
    operator: Arc<dyn Engine>,
    store: Arc<dyn JobStore>,
) {
    engine.declare(&[QueueSpec::new(Import::QUEUE)]).await.unwrap();
    let (ambient, gate) = (Ambient::system(), Arc::new(Semaphore::new(0)));
    let reporter = Reporter::spawn(store.clone(), "here", Duration::from_hours(1), ambient.clone());
    let (running, shutdown) = start(&engine, &reporter, &gate, ambient.clone());
    let producer = Producer::new(engine.clone(), ambient);

    let waits = producer.enqueue(&Import::Waits).await.unwrap().id;
    let report = reported(store.as_ref(), waits, |report| !report.log.is_empty()).await;
    assert_eq!(report.progress.unwrap().percent, 30);
    assert_eq!((report.log[0].text.as_str(), report.worker.as_str()), ("one", "here"));
    assert!(report.ended_at.is_none() && report.result.is_none());
    let any = JobFilter { limit: 10, ..JobFilter::default() };
    let listed = inspection::running(&*engine, Some(&*store), &any).await.unwrap();
    assert_eq!((listed.len(), listed[0].job.envelope.id), (1, waits));
    assert!(listed[0].report.as_ref().is_some_and(|report| report.progress.is_some()));
    gate.add_permits(1);
    let report = reported(store.as_ref(), waits, |report| report.ended_at.is_some()).await;
    assert_eq!(report.result.unwrap().get(), r#"{"rows":7}"#);

    let listens = producer.enqueue(&Import::Listens).await.unwrap().id;
    reported(store.as_ref(), listens, |report| report.progress.is_some()).await;
    let cancelled = operator.cancel(listens, "changed our mind").await.unwrap();
    assert_eq!(cancelled, Cancelled::Requested);
    let report = reported(store.as_ref(), listens, |report| report.ended_at.is_some()).await;
    assert_eq!(report.log.last().unwrap().text, "Cancelled");

    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert!(operator.find(listens).await.unwrap().is_none(), "a failure after the request is final");
    reporter.close().await;
    assert_eq!(reporter.dropped(), 0);
}

async fn reported(store: &dyn JobStore, job: JobId, wanted: impl Fn(&RunReport) -> bool) -> RunReport {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(report) = store.report(job).await.unwrap()
            && wanted(&report)
        {
            return report;
        }
        assert!(Instant::now() < deadline, "never reported");
        sleep(Duration::from_millis(20)).await;
    }
}

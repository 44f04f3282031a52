//! The reporter: takes what runs report (progress, log lines, a result) and stores it, never delaying a run.
//!
//! Guarantees: reporting never waits, and never fails because of the store; a run is written at most once a second,
//! whatever it reports, and once more after its end; a run that reports nothing costs no write. While the store is away
//! the last state of each run waits for it. Memory is bounded: above [`RUNS_MAX`] runs that wait, reports of ended
//! runs are dropped and counted. A run that is dropped at a time-out or a stop is stored as far as it came; one whose
//! process dies, as it was up to a second before.
//!
//! Deletes old reports, too. Decides nothing about the job. What a run may report is in [`run`].

pub mod run;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Ambient, Timestamp, time::earlier};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::run::{ReportedRun, RunQueue};
pub use self::run::{ResultError, RunReporter};
use crate::{
    envelope::JobId,
    error::describe,
    job_store::{REPORTS_EXPIRED_MAX, RunReport, RunReports},
};

/// Pause between two writes of a process, which is the least time between two writes of a run.
pub const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Most runs with changes that wait for the writer, and as many again for a store that is away.
pub const RUNS_MAX: usize = 512;
/// Runs per write: each may take about 70 KiB.
const RUNS_PER_WRITE: usize = 64;
/// Longest wait for a write; later it counts as failed, and is repeated.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Pause before old reports are deleted first, and between two times.
const EXPIRE_FIRST: Duration = Duration::from_mins(1);
const EXPIRE_EVERY: Duration = Duration::from_mins(10);

/// Handle for the runs of a process; clones share one writer task.
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<ReporterShared>,
}

struct ReporterShared {
    queue: Arc<RunQueue>,
    closing: CancellationToken,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Reporter {
    /// Starts the writer task on the current tokio runtime. `worker` names the process in reports, as
    /// [`Workers::name`](crate::Workers::name) does elsewhere; reports of runs that started longer ago than `keep` are
    /// deleted.
    pub fn spawn(
        store: Arc<dyn RunReports>,
        worker: impl Into<String>,
        keep: Duration,
        ambient: Ambient,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(RUNS_MAX);
        let (closing, dropped) = (CancellationToken::new(), Arc::<AtomicU64>::default());
        let writer = Writer {
            store,
            receiver,
            closing: closing.clone(),
            dropped: Arc::clone(&dropped),
            ambient: ambient.clone(),
            keep,
            expire_at: Instant::now() + EXPIRE_FIRST,
            waiting: Vec::new(),
            failing: false,
        };
        let writer = Mutex::new(Some(tokio::spawn(writer.run())));
        let queue = Arc::new(RunQueue { sender, worker: worker.into(), ambient, dropped });
        Self { shared: Arc::new(ReporterShared { queue, closing, writer }) }
    }

    /// Number of runs whose last reports were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.queue.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits, once, and ends the writer task; later reports are dropped. Idempotent.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let writer = self.shared.writer.lock().take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "run report writer failed");
        }
    }

    /// The reports of a run that starts.
    pub(crate) fn of_run(&self, job: JobId, attempt: u32, started_at: Timestamp) -> RunReporter {
        RunReporter::new(&self.shared.queue, job, attempt, started_at)
    }
}

struct Writer {
    store: Arc<dyn RunReports>,
    receiver: mpsc::Receiver<Arc<ReportedRun>>,
    closing: CancellationToken,
    dropped: Arc<AtomicU64>,
    ambient: Ambient,
    keep: Duration,
    expire_at: Instant,
    /// Runs to write next, at most [`RUNS_MAX`]; after a failed write those that it left.
    waiting: Vec<Arc<ReportedRun>>,
    /// Whether the last write failed, which is logged once.
    failing: bool,
}

impl Writer {
    async fn run(mut self) {
        let closing = self.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = sleep_until(self.expire_at) => self.expire().await,
                open = self.receive() => {
                    if !open {
                        return;
                    }
                    self.write().await;
                    tokio::select! {
                        biased;
                        () = closing.cancelled() => break,
                        () = sleep(WRITE_EVERY) => {}
                    }
                }
            }
        }
        self.receiver.close();
        while let Ok(run) = self.receiver.try_recv() {
            self.waiting.push(run);
        }
        self.write().await;
        self.dropped.fetch_add(self.waiting.len() as u64, Ordering::Relaxed);
    }

    /// Takes runs with changes, and waits for one unless some are left of a failed write. Returns false when no handle
    /// is left.
    async fn receive(&mut self) -> bool {
        if self.waiting.is_empty() {
            return self.receiver.recv_many(&mut self.waiting, RUNS_MAX).await > 0;
        }
        while self.waiting.len() < RUNS_MAX
            && let Ok(run) = self.receiver.try_recv()
        {
            self.waiting.push(run);
        }
        true
    }

    /// Writes the runs that wait. After a failure the rest stays for the next time.
    async fn write(&mut self) {
        let runs = std::mem::take(&mut self.waiting);
        for (index, part) in runs.chunks(RUNS_PER_WRITE).enumerate() {
            let reports: Vec<RunReport> = part.iter().filter_map(|run| run.take_report()).collect();
            let Err(error) = self.put(reports).await else {
                self.failing = false;
                continue;
            };
            if !self.failing {
                tracing::warn!(error, "run reports not stored, retrying");
            }
            self.failing = true;
            let left = &runs[index * RUNS_PER_WRITE + part.len()..];
            self.waiting = part.iter().filter(|run| run.queue_again()).chain(left).cloned().collect();
            return;
        }
    }

    /// The error of a failed write.
    async fn put(&self, reports: Vec<RunReport>) -> Result<(), String> {
        match timeout(WRITE_MAX, self.store.put_reports(reports)).await {
            Ok(stored) => stored.map_err(|error| describe(&error)),
            Err(_) => Err("no result in time".to_owned()),
        }
    }

    /// Deletes old reports, a slice at a time.
    async fn expire(&mut self) {
        let before = earlier(self.ambient.now(), self.keep);
        let expired = self.store.expire_reports(before).await;
        let is_more = matches!(&expired, Ok(count) if *count >= u64::from(REPORTS_EXPIRED_MAX));
        if let Err(error) = expired {
            tracing::warn!(error = describe(&error), "expired run reports not deleted; retrying later");
        }
        self.expire_at = Instant::now() + if is_more { WRITE_EVERY } else { EXPIRE_EVERY };
    }
}

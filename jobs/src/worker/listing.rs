//! The place of this process in the list of workers: its notes, and the sizes that operators give its queues.
//!
//! Guarantees: a size counts from the first job on, if the store answers within [`BEGIN_MAX`] of the start, and is
//! followed within [`LOOK_EVERY`] and a call to the store. While the store is away, sizes stay as they are, jobs run
//! on, and the process is listed for [`crate::job_store::WORKER_NOTE_VALID_FOR`]. An orderly stop deletes the notes.
//! Nothing waits for this task but the end of the stop, for [`FORGET_MAX`].

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{Ambient, Timestamp, time::earlier};
use tokio::time::{Instant, error::Elapsed, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::health::QueueState;
use crate::{
    engine::EngineError,
    envelope::JobId,
    error::{bounded, describe},
    job_store::{NOTED_JOBS_MAX, NotedRun, QueueSize, WORKER_NOTE_KEPT_FOR, WorkerNote, WorkerNotes},
};

/// Interval of reading sizes, and least time between two notes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two notes.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for sizes before the first job.
const BEGIN_MAX: Duration = Duration::from_secs(2);
/// Longest wait for any other call, after which it has failed.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the deletion of the notes at a stop.
const FORGET_MAX: Duration = Duration::from_secs(2);
/// Interval of deleting old notes of dead processes.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

/// Store of the list, and the version that this program has in it.
pub(super) struct Listing {
    pub(super) store: Arc<dyn WorkerNotes>,
    pub(super) release: String,
}

pub(super) struct Lister {
    listing: Listing,
    worker: String,
    queues: Vec<Arc<QueueState>>,
    ambient: Ambient,
    started_at: Timestamp,
    /// Jobs that run, with the time at which each was noticed. Bounded by the slots.
    seen: HashMap<JobId, Timestamp>,
    /// The notes as they were last written.
    noted: Vec<WorkerNote>,
    note_at: Instant,
    expire_at: Instant,
    /// Whether the last turn failed, which is logged once.
    failing: bool,
}

impl Lister {
    /// Applies the sizes in force.
    pub(super) async fn begin(
        listing: Listing,
        worker: &str,
        queues: &[Arc<QueueState>],
        ambient: &Ambient,
    ) -> Self {
        let now = Instant::now();
        let mut lister = Self {
            listing,
            worker: worker.to_owned(),
            queues: queues.to_vec(),
            ambient: ambient.clone(),
            started_at: ambient.now(),
            seen: HashMap::new(),
            noted: Vec::new(),
            note_at: now,
            expire_at: now + EXPIRE_EVERY,
            failing: false,
        };
        let sized = timeout(BEGIN_MAX, lister.follow_sizes()).await;
        lister.tell(sized);
        lister
    }

    /// Notes and follows until `ended` is cancelled, then leaves the list.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        loop {
            let turned = timeout(CALL_MAX, self.turn());
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                turned = turned => self.tell(turned),
            }
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                () = sleep(LOOK_EVERY) => {}
            }
        }
        let queues: Vec<String> = self.queues.iter().map(|queue| queue.name.clone()).collect();
        // What is left is not listed for long.
        let _ = timeout(FORGET_MAX, self.listing.store.forget_worker(&self.worker, &queues)).await;
    }

    async fn turn(&mut self) -> Result<(), EngineError> {
        self.follow_sizes().await?;
        let notes = self.notes();
        let changed = notes.len() != self.noted.len()
            || notes.iter().zip(&self.noted).any(|(note, noted)| differs(note, noted));
        if changed || Instant::now() >= self.note_at {
            self.listing.store.note_workers(notes.clone()).await?;
            (self.noted, self.note_at) = (notes, Instant::now() + NOTE_EVERY);
        }
        if Instant::now() >= self.expire_at {
            self.listing.store.expire_workers(earlier(self.ambient.now(), WORKER_NOTE_KEPT_FOR)).await?;
            self.expire_at = Instant::now() + EXPIRE_EVERY;
        }
        Ok(())
    }

    async fn follow_sizes(&self) -> Result<(), EngineError> {
        let sizes = self.listing.store.sizes().await?;
        for queue in &self.queues {
            let slots = size_of(&sizes, &self.worker, &queue.name);
            queue.resize(slots.map_or(queue.configured, |slots| slots as usize));
        }
        Ok(())
    }

    fn notes(&mut self) -> Vec<WorkerNote> {
        let noted_at = self.ambient.now();
        let before = std::mem::take(&mut self.seen);
        let mut notes = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let since = |job: JobId| NotedRun { job, since: before.get(&job).copied().unwrap_or(noted_at) };
            let mut runs: Vec<NotedRun> = queue.running_jobs().into_iter().map(since).collect();
            self.seen.extend(runs.iter().map(|run| (run.job, run.since)));
            runs.sort_unstable_by_key(|run| (run.since, run.job));
            runs.truncate(NOTED_JOBS_MAX);
            notes.push(self.note(queue, noted_at, runs));
        }
        notes
    }

    fn note(&self, queue: &QueueState, noted_at: Timestamp, runs: Vec<NotedRun>) -> WorkerNote {
        let health = queue.health();
        let number = |slots: usize| u32::try_from(slots).unwrap_or(u32::MAX);
        let (ended, busy) = queue.runs.totals();
        let (contact_at, consumer_trouble) =
            health.consumer.map(|consumer| (consumer.last_contact, consumer.trouble)).unzip();
        WorkerNote {
            worker: self.worker.clone(),
            queue: health.queue,
            release: self.listing.release.clone(),
            started_at: self.started_at,
            noted_at,
            slots: number(health.concurrency),
            used: number(health.running),
            configured: number(health.configured),
            contact_at,
            trouble: health.trouble.or(consumer_trouble.flatten()).map(|trouble| bounded(&trouble)),
            runs,
            ended,
            busy_ms: u64::try_from(busy.as_millis()).unwrap_or(u64::MAX),
            held_back: health.held_back,
        }
    }

    fn tell(&mut self, done: Result<Result<(), EngineError>, Elapsed>) {
        let error = match done {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("list of workers updated again");
                }
                return;
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => "no result in time".to_owned(),
        };
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error, "list of workers not updated, retrying");
        }
    }
}

/// The size of a queue in this process: its own one, or else that of all.
fn size_of(sizes: &[QueueSize], worker: &str, queue: &str) -> Option<u32> {
    let of = |worker: Option<&str>| {
        let found = sizes.iter().find(|size| size.queue == queue && size.worker.as_deref() == worker);
        found.map(|size| size.slots)
    };
    of(Some(worker)).or_else(|| of(None))
}

/// Whether a note tells something else than the time.
fn differs(note: &WorkerNote, noted: &WorkerNote) -> bool {
    let facts = |note: &WorkerNote| (note.slots, note.used, note.contact_at.is_some());
    facts(note) != facts(noted) || note.trouble != noted.trouble || note.runs != noted.runs
}

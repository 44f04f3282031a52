//! Queues and the processes that work on them, from the engine's consumers and from the notes that worker processes
//! write into the job store.

use std::cmp::Reverse;

use base::{Ambient, Timestamp, time::earlier};
use serde::Serialize;

use crate::{
    engine::{Admin, ConsumerInfo, Depth, EngineError, FairKey},
    job_store::{WORKER_NOTE_KEPT_FOR, WORKER_NOTE_VALID_FOR, WorkerNote, WorkerNotes},
};

/// Keys told of a fair queue, those with most jobs waiting.
const FAIR_KEYS_TOLD: u32 = 5;

/// A queue with the number of its live consumers.
#[derive(Debug, Clone, Serialize)]
pub struct QueueStatus {
    /// Numbers of its jobs.
    #[serde(flatten)]
    pub depth: Depth,
    /// Consumers whose lease lasts; a queue without one stands still.
    pub consumers: usize,
    /// Jobs that its listed processes run at a time, all together.
    pub slots: u32,
    /// Of a [fair](crate::engine::QueueSpec::fair()) queue, the keys with most jobs waiting for their turn, at most
    /// five; none in [`queues_up_to`].
    pub fair: Option<Vec<FairKey>>,
}

impl QueueStatus {
    /// Whether nothing takes its jobs: they wait until a worker of it starts.
    pub const fn is_unconsumed(&self) -> bool {
        self.consumers == 0
    }

    /// Rank in a list that begins with what needs a person, from 0: ready jobs without a consumer, no
    /// consumer, paused, dead jobs, the rest.
    pub const fn rank(&self) -> u8 {
        let Depth { ready, dead, paused, .. } = &self.depth;
        match (self.is_unconsumed(), *paused) {
            (true, _) if *ready > 0 => 0,
            (true, _) => 1,
            (false, true) => 2,
            (false, false) if *dead > 0 => 3,
            (false, false) => 4,
        }
    }
}

/// A consumer with the note of its process, or a process without a consumer.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerStatus {
    /// Process and queue.
    pub name: String,
    /// The queue.
    pub queue: String,
    /// Jobs that the consumer holds.
    pub jobs: u64,
    /// End of its lease; `None` without a consumer.
    pub alive_until: Option<Timestamp>,
    /// `None` for a process that has none: of a release before, or just started.
    pub note: Option<WorkerNote>,
}

/// Notes of the processes that live.
pub async fn live_notes(store: &dyn WorkerNotes, ambient: &Ambient) -> Result<Vec<WorkerNote>, EngineError> {
    store.worker_notes(earlier(ambient.now(), WORKER_NOTE_VALID_FOR)).await
}

/// The last notes of processes that gave no sign of life for [`WORKER_NOTE_VALID_FOR`] and did not stop in order, of
/// the last [`WORKER_NOTE_KEPT_FOR`], newest first. One that is cut off from the store is among them until it returns.
pub async fn lost_notes(store: &dyn WorkerNotes, ambient: &Ambient) -> Result<Vec<WorkerNote>, EngineError> {
    let now = ambient.now();
    let mut notes = store.worker_notes(earlier(now, WORKER_NOTE_KEPT_FOR)).await?;
    notes.retain(|note| note.noted_at < earlier(now, WORKER_NOTE_VALID_FOR));
    notes.sort_by_key(|note| Reverse(note.noted_at));
    Ok(notes)
}

/// All declared queues, in the order of the engine; one that is deleted meanwhile is left out.
pub async fn queues(
    engine: &dyn Admin,
    notes: &[WorkerNote],
    now: Timestamp,
) -> Result<Vec<QueueStatus>, EngineError> {
    statuses(engine, notes, now, u64::MAX, FAIR_KEYS_TOLD).await
}

/// [`queues`] with delayed and dead jobs counted up to `most`, as by [`Admin::depth_up_to`], and without the keys of
/// fair queues: these are counted from the jobs themselves, which costs more than everything else together.
pub async fn queues_up_to(
    engine: &dyn Admin,
    notes: &[WorkerNote],
    now: Timestamp,
    most: u64,
) -> Result<Vec<QueueStatus>, EngineError> {
    statuses(engine, notes, now, most, 0).await
}

async fn statuses(
    engine: &dyn Admin,
    notes: &[WorkerNote],
    now: Timestamp,
    most: u64,
    keys_max: u32,
) -> Result<Vec<QueueStatus>, EngineError> {
    let mut depths = Vec::new();
    for queue in engine.queues().await? {
        match engine.depth_up_to(&queue, most).await {
            Ok(depth) => depths.push((depth, engine.fair_keys(&queue, keys_max).await?)),
            Err(EngineError::NoSuchQueue(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let consumers = engine.consumers().await?;
    let count = |queue: &str| consumers.iter().filter(|c| c.queue == queue && c.alive_until >= now).count();
    let slots =
        |queue: &str| notes.iter().filter(|note| note.queue == queue).map(|note| note.slots).sum::<u32>();
    let status = |(depth, fair): (Depth, _)| {
        let (consumers, slots) = (count(&depth.queue), slots(&depth.queue));
        QueueStatus { depth, consumers, slots, fair }
    };
    Ok(depths.into_iter().map(status).collect())
}

/// Each consumer, and each process and queue without one, by queue and name.
pub fn workers(consumers: Vec<ConsumerInfo>, notes: Vec<WorkerNote>) -> Vec<WorkerStatus> {
    let name_of = |note: &WorkerNote| format!("{}/{}", note.worker, note.queue);
    let mut workers: Vec<_> = consumers
        .into_iter()
        .map(|ConsumerInfo { name, queue, jobs, alive_until }| {
            let note = notes.iter().find(|note| name_of(note) == name).cloned();
            WorkerStatus { name, queue, jobs, alive_until: Some(alive_until), note }
        })
        .collect();
    for note in notes {
        let name = name_of(&note);
        if workers.iter().all(|worker| worker.name != name) {
            let queue = note.queue.clone();
            workers.push(WorkerStatus { name, queue, jobs: 0, alive_until: None, note: Some(note) });
        }
    }
    workers.sort_by(|one, other| (&one.queue, &one.name).cmp(&(&other.queue, &other.name)));
    workers
}

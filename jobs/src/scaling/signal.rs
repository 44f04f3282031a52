//! The signal of all queues, from the engine and the workers' notes.

use std::{sync::Arc, time::Duration};

use base::{
    Ambient, Timestamp,
    time::{between, earlier},
};
use parking_lot::Mutex;
use serde::Serialize;

use super::{
    ended::{EndedRuns, RunTotals},
    meter::Meter,
    rule::{Bounds, LimitedBy, Load, Pace, Scaler},
};
use crate::{
    engine::{Admin, Depth, EngineError},
    job_store::{WORKER_NOTE_VALID_FOR, WorkerNote, WorkerNotes},
};

/// Time of a run before one has ended, in seconds: the first runs correct it.
const SERVICE_ASSUMED: f64 = 1.0;

/// A queue to scale.
#[derive(Debug, Clone)]
pub struct QueuePlan {
    /// Name of the queue.
    pub queue: String,
    /// Jobs that a worker of it runs at a time, until a worker tells.
    pub slots: u32,
    /// Bounds that an operator sets.
    pub bounds: Bounds,
    /// How fast the number of its workers changes.
    pub pace: Pace,
    /// Jobs at once that what they call takes, over all workers; `None` without such a limit.
    pub concurrent_max: Option<u32>,
}

/// What a queue needs now, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueSignal {
    /// Name of the queue, which is the key in JSON.
    #[serde(skip)]
    pub queue: String,
    /// Worker processes to run.
    pub desired_workers: u32,
    /// Jobs that may start and wait for a slot, those among them that workers have fetched ahead.
    pub backlog: u64,
    /// Time since the oldest ready job became ready; 0 where none is ready.
    pub oldest_age_seconds: f64,
    /// Jobs that become ready in a second, retries among them.
    pub arrival_per_second: f64,
    /// Mean time of a run, lately; a second before one has ended.
    pub service_seconds: f64,
    /// What caps the number, beside the bounds.
    pub limited_by: Option<LimitedBy>,
}

/// The signal of the queues, as this process reads it.
pub struct Scaling {
    engine: Arc<dyn Admin>,
    notes: Arc<dyn WorkerNotes>,
    ambient: Ambient,
    /// Zero of all times of rule and measures.
    began: Timestamp,
    queues: Mutex<Vec<ScaledQueue>>,
    plans: Vec<QueuePlan>,
}

/// What is known of a queue from one reading to the next.
struct ScaledQueue {
    meter: Meter,
    scaler: Scaler,
    /// Since the last sample that the meter took.
    ended: EndedRuns,
    slots: f64,
}

impl Scaling {
    /// A signal for these queues.
    pub fn new(
        engine: Arc<dyn Admin>,
        notes: Arc<dyn WorkerNotes>,
        plans: Vec<QueuePlan>,
        ambient: Ambient,
    ) -> Self {
        let began = ambient.now();
        let queues = plans.iter().map(|plan| ScaledQueue::new(plan, began)).collect();
        Self { engine, notes, ambient, began, queues: Mutex::new(queues), plans }
    }

    /// The signal now. Each reading is a step of the rule, and its rates are those since the reading before: ask every
    /// few seconds up to a minute.
    ///
    /// # Errors
    /// Those of the engine and of the job store; nothing is known of any queue then.
    pub async fn read(&self) -> Result<Vec<QueueSignal>, EngineError> {
        let now = self.ambient.now();
        let notes = self.notes.worker_notes(earlier(now, WORKER_NOTE_VALID_FOR)).await?;
        let mut depths = Vec::with_capacity(self.plans.len());
        for plan in &self.plans {
            depths.push(self.depth(&plan.queue).await?);
        }
        let at = between(self.began, now);
        let mut queues = self.queues.lock();
        let known = self.plans.iter().zip(queues.iter_mut()).zip(depths);
        Ok(known
            .filter_map(|((plan, queue), depth)| {
                let notes: Vec<_> = notes.iter().filter(|note| note.queue == plan.queue).collect();
                Some(queue.step(plan, &depth?, &notes, (now, at)))
            })
            .collect())
    }

    /// `None` for a queue that is not declared.
    async fn depth(&self, queue: &str) -> Result<Option<Depth>, EngineError> {
        // The rule asks for ready and running jobs only.
        match self.engine.depth_up_to(queue, 0).await {
            Ok(depth) => Ok(Some(depth)),
            Err(EngineError::NoSuchQueue(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ScaledQueue {
    fn new(plan: &QueuePlan, began: Timestamp) -> Self {
        Self {
            meter: Meter::default(),
            scaler: Scaler::new(plan.bounds, plan.pace),
            ended: EndedRuns::new(began),
            slots: f64::from(plan.slots),
        }
    }

    /// `notes` are those of the live workers of the queue, `at` is `now` on the clock of rule and measures.
    fn step(
        &mut self,
        plan: &QueuePlan,
        depth: &Depth,
        notes: &[&WorkerNote],
        (now, at): (Timestamp, Duration),
    ) -> QueueSignal {
        self.sample(depth, notes, now, at);
        let workers = u32::try_from(notes.len()).unwrap_or(u32::MAX);
        let slots: u64 = notes.iter().map(|note| u64::from(note.slots)).sum();
        if workers > 0 {
            self.slots = number(slots) / f64::from(workers);
        }
        let used: u64 = notes.iter().map(|note| u64::from(note.used)).sum();
        let backlog = depth.ready.saturating_add(depth.running.saturating_sub(used));
        let oldest_age = depth.oldest_ready_at.map(|since| between(since, now)).unwrap_or_default();
        let service = self.meter.service_seconds().unwrap_or(SERVICE_ASSUMED);
        let load = Load {
            backlog: number(backlog),
            oldest_age,
            arrival_per_second: self.meter.arrival_per_second(),
            service_seconds: service,
            usual_service_seconds: self.meter.usual_service_seconds().unwrap_or(service),
            slots_per_worker: self.slots,
            is_paused: depth.paused,
            is_refusing: workers > 0 && notes.iter().all(|note| note.held_back),
            concurrent_max: plan.concurrent_max,
        };
        let desired = self.scaler.step(at, &load, workers);
        QueueSignal {
            queue: plan.queue.clone(),
            desired_workers: desired.workers,
            backlog,
            oldest_age_seconds: oldest_age.as_secs_f64(),
            arrival_per_second: load.arrival_per_second,
            service_seconds: service,
            limited_by: desired.limited_by,
        }
    }

    fn sample(&mut self, depth: &Depth, notes: &[&WorkerNote], now: Timestamp, at: Duration) {
        let RunTotals { ended, busy_ms } = self.ended.since_last_look(notes);
        let present = number(depth.ready.saturating_add(depth.running));
        if self.meter.take(at, present, number(ended), number(busy_ms) / 1000.0) {
            self.ended.look(notes, now);
        }
    }
}

/// A count, of four billion at most.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

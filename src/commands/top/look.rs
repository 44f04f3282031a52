//! One look at queues, outbox, workers and running jobs, by the same views as `inspect` and the console.
//!
//! Guarantees: ends within [`LOOK_MAX`], whatever is away. Without the order store all but the outbox is told, as it
//! needs nothing of it. Rates are those since the look before; the first look has none.

use std::{collections::HashMap, time::Duration};

use anyhow::Result;
use base::{Ambient, Timestamp, time::between};
use jobs::{
    engine::{EngineError, JobFilter},
    error::describe,
    inspection::{self, QueueStatus, WorkerStatus, live_notes},
    job_store::{RunReports, WorkerNote},
    scaling::{EndedRuns, QueueSignal, Scaling, rule::LimitedBy},
};
use serde::Serialize;
use store::outbox::Backlog;
use tokio::time::timeout;

use crate::{
    commands::running::RunningRow,
    config::Config,
    roles::plans,
    wiring::{WatchedStores, Wiring},
};

/// Running jobs of a look at most, those first that the engine lists first, which are the oldest.
pub(super) const RUNNING_MAX: u32 = 100;
/// Worker processes and queues of a look at most.
const WORKERS_MAX: usize = 200;
/// Longest look.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the figures of the outbox, a part of a look.
const OUTBOX_MAX: Duration = Duration::from_secs(4);

/// What a look has found; a line of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Snapshot {
    pub(super) at: Timestamp,
    pub(super) engine: &'static str,
    /// In the order of the engine.
    pub(super) queues: Vec<QueueSnapshot>,
    /// Jobs of any queue in delays that the engine cannot assign to one.
    pub(super) short_delays: u64,
    /// `None` while the order store is away.
    pub(super) outbox: Option<Backlog>,
    /// The first [`WORKERS_MAX`].
    pub(super) workers: Vec<WorkerStatus>,
    /// The first [`RUNNING_MAX`].
    pub(super) running: Vec<RunningRow>,
    /// The part that could not be asked, and why.
    pub(super) away: Option<String>,
}

/// A queue.
#[derive(Debug, Serialize)]
pub(super) struct QueueSnapshot {
    #[serde(flatten)]
    pub(super) status: QueueStatus,
    /// `None` for a queue that the configuration does not scale.
    pub(super) desired_workers: Option<u32>,
    /// What caps that number, beside its bounds.
    pub(super) limited_by: Option<LimitedBy>,
    /// Jobs that become ready in a second, over half a minute.
    pub(super) arrivals_per_second: Option<f64>,
    /// Runs that ended in a second since the last look, as the notes of the workers tell.
    pub(super) ended_per_second: Option<f64>,
}

impl QueueSnapshot {
    pub(super) fn name(&self) -> &str {
        &self.status.depth.queue
    }
}

/// What is looked at.
pub(super) struct Watched {
    stores: WatchedStores,
    scaling: Scaling,
    ambient: Ambient,
    /// By queue.
    ended: HashMap<String, EndedRuns>,
    looked_at: Option<Timestamp>,
}

impl Watched {
    /// Opens the stores beside running servers. A server that is unavailable is none of its errors.
    pub(super) async fn open(config: &Config) -> Result<Self> {
        let ambient = Ambient::system();
        let name = format!("orderworks top {}", std::process::id());
        let stores = Wiring::beside(config, name, &ambient).watched().await?;
        let (engine, store) = (stores.queue.clone(), stores.store.clone());
        let scaling = Scaling::new(engine, store, plans(config), ambient.clone());
        Ok(Self { stores, scaling, ambient, ended: HashMap::new(), looked_at: None })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    /// Looks once, at the running jobs of one queue or of all; or tells in one line what is away.
    pub(super) async fn look(&mut self, queue: Option<&str>) -> Result<Snapshot, String> {
        match timeout(LOOK_MAX, Box::pin(self.ask(queue))).await {
            Ok(asked) => asked.map_err(|error| describe(&error)),
            Err(_) => Err(format!("no answer within {} s", LOOK_MAX.as_secs())),
        }
    }

    async fn ask(&mut self, queue: Option<&str>) -> Result<Snapshot, EngineError> {
        let WatchedStores { queue: engine, store, .. } = &self.stores;
        let (engine, at) = (engine.as_ref(), self.ambient.now());
        let notes = live_notes(store.as_ref(), &self.ambient).await?;
        let statuses = inspection::queues(engine, &notes, at).await?;
        let signals = self.scaling.read().await?;
        let filter =
            JobFilter { queue: queue.map(str::to_owned), limit: RUNNING_MAX, ..JobFilter::default() };
        let reports: &dyn RunReports = store.as_ref();
        let running = inspection::running(engine, Some(reports), &filter).await?;
        let running = running.iter().map(|job| RunningRow::new(job, &notes)).collect();
        let mut workers = inspection::workers(engine.consumers().await?, notes.clone());
        workers.truncate(WORKERS_MAX);
        let (engine, short_delays) = (engine.name(), engine.short_delays().await?);
        let (outbox, away) = self.outbox().await;
        let queues = statuses.into_iter().map(|status| self.queue(status, &signals, &notes, at)).collect();
        self.looked_at = Some(at);
        Ok(Snapshot { at, engine, queues, short_delays, outbox, workers, running, away })
    }

    /// The backlog of the outbox, or why it is not known.
    async fn outbox(&self) -> (Option<Backlog>, Option<String>) {
        let asked = timeout(OUTBOX_MAX, self.stores.orders.backlog()).await;
        let away = match asked {
            Ok(Ok(backlog)) => return (Some(backlog), None),
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no answer within {} s", OUTBOX_MAX.as_secs()),
        };
        (None, Some(format!("order store: {away}")))
    }

    fn queue(
        &mut self,
        status: QueueStatus,
        signals: &[QueueSignal],
        notes: &[WorkerNote],
        at: Timestamp,
    ) -> QueueSnapshot {
        let name = &status.depth.queue;
        let signal = signals.iter().find(|signal| signal.queue == *name);
        let arrivals = signal.filter(|_| self.looked_at.is_some());
        QueueSnapshot {
            desired_workers: signal.map(|signal| signal.desired_workers),
            limited_by: signal.and_then(|signal| signal.limited_by),
            arrivals_per_second: arrivals.map(|signal| signal.arrival_per_second),
            ended_per_second: self.ended_per_second(name, notes, at),
            status,
        }
    }

    fn ended_per_second(&mut self, queue: &str, notes: &[WorkerNote], at: Timestamp) -> Option<f64> {
        let its: Vec<_> = notes.iter().filter(|note| note.queue == queue).collect();
        let runs = self.ended.entry(queue.to_owned()).or_insert_with(|| EndedRuns::new(at));
        let ended = u32::try_from(runs.since_last_look(&its).ended).unwrap_or(u32::MAX);
        runs.look(&its, at);
        let passed = between(self.looked_at?, at);
        (!passed.is_zero()).then(|| f64::from(ended) / passed.as_secs_f64())
    }
}

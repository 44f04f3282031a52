//! Bulk operations over a job store in a file, on a clock that the tests move.

mod boxes;
mod jobs;
mod runners;
mod single;

use std::{sync::Arc, time::Duration};

use orderworks_jobs::{
    Ambient, Consume, Envelope, JobId, ManualClock, Publish, Timestamp,
    bulk::{Items, JOBS, JobItems, Operation, OperationAdmin, OperationId, OperationRunner, Plan, Verb},
    conformance::plain_job,
    engine::QueueSpec,
    job_store::{Operations, SqliteJobStore},
    testing::MemoryEngine,
};

const QUEUE: &str = "parcels";

/// An engine with one queue, and a job store.
struct Rig {
    _folder: tempfile::TempDir,
    store: SqliteJobStore,
    engine: MemoryEngine,
    ambient: Ambient,
    clock: ManualClock,
    items: Vec<Arc<dyn Items>>,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let start: Timestamp = "2026-11-29T12:00:00Z".parse().expect("a time");
        let (ambient, clock) = Ambient::steered(1, start);
        let store = SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await;
        let engine = MemoryEngine::new(ambient.clone());
        engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
        let items: Vec<Arc<dyn Items>> = vec![Arc::new(JobItems::new(Arc::new(engine.clone())))];
        Self { _folder: folder, store: store.expect("opens"), engine, ambient, clock, items }
    }

    fn admin(&self) -> OperationAdmin<'_> {
        OperationAdmin { store: &self.store, items: &self.items, ambient: &self.ambient }
    }

    fn runner(&self, name: &str) -> OperationRunner {
        let store: Arc<dyn Operations> = Arc::new(self.store.clone());
        OperationRunner::new(store, self.items.clone(), name, self.ambient.clone())
    }

    /// Previews and confirms.
    async fn begun(&self, plan: Plan) -> OperationId {
        self.clock.advance(Duration::from_millis(1));
        let id = self.admin().preview(plan).await.expect("previews").id;
        self.admin().confirm(id, None).await.expect("confirms").id
    }

    async fn found(&self, id: OperationId) -> Operation {
        self.admin().find(id).await.expect("is kept")
    }

    /// Numbers of items done, skipped and failed.
    async fn counts(&self, id: OperationId) -> [u64; 3] {
        let counts = self.found(id).await.counts;
        [counts.done, counts.skipped, counts.failed]
    }

    /// Publishes jobs of a kind that are due in an hour.
    async fn delayed(&self, kind: &str, number: usize) -> Vec<JobId> {
        let run_at = Some(self.ambient.now() + Duration::from_hours(1));
        let job = || Envelope { kind: kind.to_owned(), run_at, ..plain_job(QUEUE, &self.ambient) };
        let jobs: Vec<Envelope> = std::iter::repeat_with(job).take(number).collect();
        let ids = jobs.iter().map(|job| job.id).collect();
        self.engine.publish(jobs).await.expect("publishes");
        ids
    }
}

fn plan(verb: Verb) -> Plan {
    Plan::new(JOBS, verb, "ada", "a test")
}

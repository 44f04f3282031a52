//! The apalis worker of a queue, which starts each job on a task of its own.
//!
//! It outlives the consumers of its queue: a run continues when the consumer of its delivery is lost, only its outcome
//! is dropped then. [`Runner::end`] returns when no job runs any more; a job that computes is waited for.

use std::sync::Arc;

use apalis_core::{
    error::WorkerError as ApalisError,
    worker::{
        builder::WorkerBuilder,
        ext::{ack::AcknowledgementExt, parallelize::ParallelizeExt},
    },
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{
    ack::Ack,
    backend::{DeliveryBackend, Feed},
    health::QueueState,
    layers::job_layers,
    run::Work,
    shared::WorkerShared,
};

pub(super) struct Runner {
    /// Ends only by a panic outside of all jobs.
    pub(super) task: AbortOnDropHandle<Result<(), ApalisError>>,
    pub(super) feed: Arc<Feed>,
    jobs: TaskTracker,
}

impl Runner {
    pub(super) fn start<E: Clone + Send + Sync + 'static>(
        shared: &Arc<WorkerShared<E>>,
        queue: &Arc<QueueState>,
    ) -> Self {
        let running = Arc::clone(&shared.running);
        let (limiter, engine) = (shared.limiter.clone(), shared.engine.name());
        let feed = Arc::new(Feed::new(shared.stop.clone(), Arc::clone(queue), running, limiter, engine));
        let jobs = TaskTracker::new();
        let worker = WorkerBuilder::new(format!("{}/{}", shared.name, queue.name).as_str())
            .backend(DeliveryBackend { feed: Arc::clone(&feed), shared: Arc::clone(shared) })
            .ack_with(Ack::new(shared, queue))
            .parallelize(on_own_task(jobs.clone()))
            .layer(job_layers())
            .build(Work::execute);
        Self { task: AbortOnDropHandle::new(tokio::spawn(worker.run())), feed, jobs }
    }

    /// Drops the jobs that run, each at its next await point, and waits until all have ended.
    pub(super) async fn end(&mut self) {
        self.task.abort();
        if !self.task.is_finished() {
            // With its error: it was aborted.
            let _ = (&mut self.task).await;
        }
        self.jobs.close();
        self.jobs.wait().await;
    }
}

/// The executor of jobs. Dropping the handle, with the worker or by its abort, aborts the job.
fn on_own_task<F>(jobs: TaskTracker) -> impl Fn(F) -> AbortOnDropHandle<F::Output> + Clone
where
    F: Future<Output: Send> + Send + 'static,
{
    move |run| AbortOnDropHandle::new(jobs.spawn(run))
}

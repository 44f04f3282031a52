//! Restart of a worker that panics outside of any job.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use orderworks_jobs::{
    Consume, Engine, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::QueueSpec,
    testing::{MemoryEngine, virtual_time},
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// An environment whose clones panic as often as told: it is cloned outside the panic guard of a job.
struct Brittle {
    fails: Arc<AtomicU32>,
    attempts: mpsc::UnboundedSender<u32>,
}

impl Clone for Brittle {
    fn clone(&self) -> Self {
        let left = self.fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "brittle");
        Self { fails: Arc::clone(&self.fails), attempts: self.attempts.clone() }
    }
}

#[derive(Serialize, Deserialize)]
struct Tell;

impl Job for Tell {
    type Env = Brittle;
    const KIND: &'static str = "tell";

    async fn run(&self, ctx: &JobContext<Brittle>) -> Result<(), JobError> {
        ctx.env.attempts.send(ctx.attempt)?;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_is_started_again_and_the_job_charged_a_crash_only() {
    let ambient = virtual_time(11);
    let engine = MemoryEngine::new(ambient.clone());
    engine.declare(&[QueueSpec::new("default")]).await.unwrap();
    let shared: Arc<dyn Engine> = Arc::new(engine.clone());
    let registry = Arc::new(Registry::new().register::<Tell>().unwrap());
    let (attempts, mut told) = mpsc::unbounded_channel();
    let fails = Arc::new(AtomicU32::new(0));
    let env = Brittle { fails: Arc::clone(&fails), attempts };
    let workers = Workers::new(shared.clone(), registry, env, ambient.clone()).queue("default", 1);
    let (health, shutdown) = (workers.health(), CancellationToken::new());
    let running = tokio::spawn(workers.run(shutdown.clone()));
    let producer = Producer::new(shared, ambient);
    producer.enqueue(&Tell).await.unwrap();
    assert_eq!(told.recv().await, Some(1));

    fails.store(1, Ordering::SeqCst);
    let id = producer.enqueue(&Tell).await.unwrap().id;
    let lost = engine.when(id, |held| held.is_none_or(|held| held.crashes > 0)).await.unwrap();
    assert_eq!((lost.crashes, lost.envelope.attempt), (1, 0));
    assert_eq!(told.recv().await, Some(1));
    engine.when(id, |held| held.is_none()).await;
    assert_eq!(health.queues()[0].restarts, 1);
    assert!(health.is_ready());
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

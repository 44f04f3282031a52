//! A queue that its workers declare as fair.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use orderworks_jobs::{
    CancellationToken, Consume, Envelope, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::{QueueSpec, Weights},
    envelope::EnqueueOptions,
    sqlite::SqliteEngine,
};
use tokio::{sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(serde::Serialize, serde::Deserialize)]
struct Export {
    tenant: String,
}

impl Job for Export {
    type Env = mpsc::UnboundedSender<String>;
    const KIND: &'static str = "export";
    const QUEUE: &'static str = "exports";

    fn fair_key(&self) -> Option<String> {
        Some(self.tenant.clone())
    }

    async fn run(&self, ctx: &JobContext<Self::Env>) -> Result<(), JobError> {
        ctx.env.send(self.tenant.clone())?;
        Ok(())
    }
}

/// The job of another tenant, published last, is among the next few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_make_their_queue_fair() {
    let (folder, ambient, stop) = (tempfile::tempdir().unwrap(), Ambient::system(), CancellationToken::new());
    let file = folder.path().join("queue.db");
    let engine = Arc::new(SqliteEngine::open(&file, ambient.clone()).await.unwrap());
    engine.declare(&[QueueSpec::new(Export::QUEUE)]).await.unwrap();
    let producer = Producer::new(engine.clone(), ambient.clone());
    let of = |tenant: &str| Export { tenant: tenant.to_owned() };
    let (started, mut starts) = mpsc::unbounded_channel();
    let registry = Arc::new(Registry::new().register::<Export>().unwrap());
    let workers = Workers::new(engine, registry, started, ambient.clone()).queue(Export::QUEUE, 1);
    let running = tokio::spawn(workers.fair(Export::QUEUE, Weights::equal()).run(stop.clone()));
    // The first run tells that the queue is declared.
    producer.enqueue(&of("first")).await.unwrap();
    timeout(PATIENCE, starts.recv()).await.unwrap().unwrap();

    let all = (0..200).map(|_| of("flood")).chain([of("other")]);
    let all = all.map(|job| Envelope::new(&job, EnqueueOptions::default(), &ambient).unwrap());
    producer.publish(all.collect()).await.unwrap();
    let mut next = Vec::new();
    for _ in 0..10 {
        next.push(timeout(PATIENCE, starts.recv()).await.unwrap().unwrap());
    }
    assert!(next.contains(&"other".to_owned()), "{next:?}");
    stop.cancel();
    running.await.unwrap().unwrap();
}

//! Jobs in a `RabbitMQ` server: `AMQP_URL=amqp://guest:guest@127.0.0.1:5672/%2f cargo run -p orderworks-jobs --features
//! rabbitmq --example rabbitmq`.
//!
//! What a broker cannot keep (long delays, unique keys, cancel requests, pauses) stands in a job store beside it:
//! SQLite on one machine, PostgreSQL for several. For a reader of Celery: there is no result backend, and no
//! `visibility timeout` either; a delivery belongs to its connection and is returned when that is lost. Retries wait in
//! queues of the broker, not in the memory of a worker as with `eta`.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use orderworks_jobs::{
    Admin, Ambient, Backoff, CancellationToken, Consume, Envelope, Job, JobContext, JobError, Producer,
    Registry, Workers,
    engine::QueueSpec,
    envelope::EnqueueOptions,
    job_store::SqliteJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
};
use serde::{Deserialize, Serialize};

const JOBS: usize = 1000;

/// Counts down and ends the program with the last job.
#[derive(Clone)]
struct Countdown {
    left: Arc<AtomicUsize>,
    stop: CancellationToken,
}

#[derive(Serialize, Deserialize)]
struct Resize {
    image: usize,
}

impl Job for Resize {
    type Env = Countdown;
    const KIND: &'static str = "resize";
    const QUEUE: &'static str = "example";
    const BACKOFF: Backoff = Backoff::Table(&[Duration::from_millis(250)]);

    async fn run(&self, ctx: &JobContext<Countdown>) -> Result<(), JobError> {
        // Every hundredth job fails once and comes back by a delay queue of the broker.
        if self.image.is_multiple_of(100) && ctx.attempt == 1 {
            return Err(JobError::retry("the disk was full"));
        }
        // Counts runs that end well: a repeated delivery of one job would be counted twice. A program that must not do
        // so keeps the ids of what is done, and checks them in the same transaction.
        if ctx.env.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            ctx.env.stop.cancel();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Ok(url) = env::var("ORDERWORKS_TEST_RABBITMQ_URL").or_else(|_| env::var("AMQP_URL")) else {
        println!("Set AMQP_URL to the address of a RabbitMQ server. One to try:");
        println!("  docker run --rm -p 5672:5672 rabbitmq:4");
        println!("  export AMQP_URL=amqp://guest:guest@127.0.0.1:5672/%2f");
        return Ok(());
    };
    let (folder, ambient) = (tempfile::tempdir()?, Ambient::system());
    let store = SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await?;
    // Does not wait for the server: each use reconnects by itself. "example" is the name in `rabbitmqctl
    // list_connections`.
    let engine = RabbitEngine::new(RabbitServer::at(&url), "example", Arc::new(store), ambient.clone())?;
    engine.declare(&[QueueSpec::new(Resize::QUEUE)]).await?;

    // One call for many jobs: confirmed by the server when it returns. `send_task` in a loop would wait for each.
    let jobs = (0..JOBS).map(|image| Envelope::new(&Resize { image }, EnqueueOptions::default(), &ambient));
    let producer = Producer::new(Arc::new(engine.clone()), ambient.clone());
    producer.publish(jobs.collect::<Result<_, _>>()?).await?;
    println!("{JOBS} jobs are confirmed: {:?}", engine.depth(Resize::QUEUE).await?);

    let stop = CancellationToken::new();
    let countdown = Countdown { left: Arc::new(AtomicUsize::new(JOBS)), stop: stop.clone() };
    let registry = Arc::new(Registry::new().register::<Resize>()?);
    // 64 jobs at a time; the prefetch follows from it.
    let workers =
        Workers::new(Arc::new(engine.clone()), registry, countdown, ambient).queue(Resize::QUEUE, 64);
    workers.run(stop).await?;
    println!("all are done");
    Ok(())
}

//! Jobs with order keys in a worker with more slots than keys.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::Ambient;
use orderworks_jobs::{
    Backoff, CancellationToken, Consume, Envelope, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::QueueSpec, envelope::EnqueueOptions, sqlite::SqliteEngine,
};
use tokio::{sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_secs(20);
const KEYS: usize = 3;
const STEPS: usize = 20;

#[derive(Debug)]
enum Event {
    Started { key: usize, step: usize },
    Ended { key: usize, step: usize },
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Step {
    key: usize,
    step: usize,
}

impl Job for Step {
    type Env = mpsc::UnboundedSender<Event>;
    const KIND: &'static str = "step";
    const QUEUE: &'static str = "steps";
    const MAX_ATTEMPTS: u32 = 2;
    const BACKOFF: Backoff = Backoff::Table(&[Duration::from_millis(20)]);

    fn order_key(&self) -> Option<String> {
        Some(format!("key {}", self.key))
    }

    /// Every seventh step fails once, and every tenth for good.
    async fn run(&self, ctx: &JobContext<Self::Env>) -> Result<(), JobError> {
        let Self { key, step } = *self;
        ctx.env.send(Event::Started { key, step })?;
        tokio::task::yield_now().await;
        if step % 10 == 9 || (step % 7 == 3 && ctx.attempt == 1) {
            if ctx.is_last_attempt() {
                ctx.env.send(Event::Ended { key, step })?;
            }
            return Err(JobError::retry("not yet"));
        }
        ctx.env.send(Event::Ended { key, step })?;
        Ok(())
    }
}

/// With eight slots, no step of a key starts before the one before has ended, done or dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_slots_keep_the_sequence_of_each_key() {
    let (folder, ambient, stop) = (tempfile::tempdir().unwrap(), Ambient::system(), CancellationToken::new());
    let file = folder.path().join("queue.db");
    let engine = Arc::new(SqliteEngine::open(&file, ambient.clone()).await.unwrap());
    engine.declare(&[QueueSpec::new(Step::QUEUE)]).await.unwrap();
    let producer = Producer::new(engine.clone(), ambient.clone());
    let steps = (0..STEPS * KEYS).map(|n| Step { key: n % KEYS, step: n / KEYS });
    let steps = steps.map(|job| Envelope::new(&job, EnqueueOptions::default(), &ambient).unwrap());
    producer.publish(steps.collect()).await.unwrap();
    let (sender, mut events) = mpsc::unbounded_channel();
    let registry = Arc::new(Registry::new().register::<Step>().unwrap());
    let workers = Workers::new(engine, registry, sender, ambient).queue(Step::QUEUE, 8);
    let running = tokio::spawn(workers.run(stop.clone()));

    let mut ended: HashMap<usize, usize> = HashMap::new();
    while ended.values().sum::<usize>() < STEPS * KEYS {
        match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            Event::Started { key, step } => {
                assert_eq!(step, ended.get(&key).copied().unwrap_or_default(), "key {key}");
            }
            Event::Ended { key, step } => {
                assert_eq!(ended.insert(key, step + 1).unwrap_or_default(), step, "key {key}");
            }
        }
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}

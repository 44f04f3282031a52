//! Cases of workers on an engine: promises that consumer and worker keep together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Harness,
    kit::{PATIENCE, QUEUE, declared, until, until_empty},
};
use crate::{
    CancellationToken, Job, JobContext, JobError, JobId, Producer, Registry, Workers,
    engine::{Cancelled, Engine, Interrupt},
    envelope::EnqueueOptions,
    worker::WorkerError,
};

/// Event reported by [`Parcel`].
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Started(JobId),
    Interrupted(JobId, Interrupt),
}

#[derive(Clone)]
struct Belt {
    events: mpsc::UnboundedSender<Event>,
    open: Arc<Semaphore>,
}

/// A job that reports its start and its signal, and then waits until the belt is open.
#[derive(Serialize, Deserialize)]
struct Parcel;

impl Job for Parcel {
    type Env = Belt;
    const KIND: &'static str = "parcel";
    const QUEUE: &'static str = QUEUE;

    async fn run(&self, ctx: &JobContext<Belt>) -> Result<(), JobError> {
        ctx.env.events.send(Event::Started(ctx.id))?;
        tokio::select! {
            opened = ctx.env.open.acquire() => {
                opened?.forget();
                return Ok(());
            }
            why = ctx.signal.fired() => ctx.env.events.send(Event::Interrupted(ctx.id, why))?,
        }
        ctx.env.open.acquire().await?.forget();
        Ok(())
    }
}

/// Workers with a few slots, which hold one further job.
struct Process {
    producer: Producer,
    open: Arc<Semaphore>,
    events: mpsc::UnboundedReceiver<Event>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), WorkerError>>,
}

impl Process {
    fn start(h: &impl Harness, engine: &Arc<dyn Engine>, slots: usize) -> Self {
        let (events, told) = mpsc::unbounded_channel();
        let open = Arc::new(Semaphore::new(0));
        let registry = Registry::new().register::<Parcel>().expect("registers");
        let belt = Belt { events, open: Arc::clone(&open) };
        let (engine, ambient) = (Arc::clone(engine), h.ambient().clone());
        let producer = Producer::new(engine.clone(), ambient.clone());
        let workers = Workers::new(engine, Arc::new(registry), belt, ambient).queue(QUEUE, slots);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(workers.run(shutdown.clone()));
        Self { producer, open, events: told, shutdown, running }
    }

    async fn enqueue(&self) -> JobId {
        self.enqueue_as(None).await
    }

    async fn enqueue_as(&self, id: Option<JobId>) -> JobId {
        let options = EnqueueOptions { id, ..EnqueueOptions::default() };
        self.producer.enqueue_with(&Parcel, options).await.expect("publishes").id
    }

    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("workers run")
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.expect("no panic").expect("stops in order");
    }
}

/// A job that is cancelled after its delivery, while it waits for a free slot, ends as cancelled without a run.
pub async fn cancelled_before_its_start_never_runs(h: &impl Harness) {
    let engine = declared(h).await;
    let mut process = Process::start(h, &engine, 1);
    let first = process.enqueue().await;
    assert_eq!(process.event().await, Event::Started(first));
    let second = process.enqueue().await;
    until("both are delivered", || async { engine.depth(QUEUE).await.expect("depth").running == 2 }).await;
    // In this order: when the first hears of its request, that of the second has arrived, too.
    for id in [second, first] {
        assert_eq!(engine.cancel(id, "changed our mind").await.expect("cancels"), Cancelled::Requested);
    }
    assert_eq!(process.event().await, Event::Interrupted(first, Interrupt::Cancelled));
    process.open.add_permits(2);
    until_empty(&*engine).await;
    let last = process.enqueue().await;
    assert_eq!(process.event().await, Event::Started(last), "the second was not started");
    process.open.add_permits(1);
    until_empty(&*engine).await;
    process.stop().await;
}

/// A cancel request of another handle reaches the code of a run, and the job is gone after it.
pub async fn a_cancel_request_reaches_the_code(h: &impl Harness) {
    let (engine, second) = (declared(h).await, h.second().await);
    let mut process = Process::start(h, &engine, 1);
    let id = process.enqueue().await;
    assert_eq!(process.event().await, Event::Started(id));
    assert_eq!(second.cancel(id, "changed our mind").await.expect("cancels"), Cancelled::Requested);
    assert_eq!(process.event().await, Event::Interrupted(id, Interrupt::Cancelled));
    process.open.add_permits(1);
    until_empty(&*engine).await;
    until("the job is gone", || async { second.find(id).await.expect("finds").is_none() }).await;
    process.stop().await;
}

/// Of two copies of a job, where an engine keeps both, one runs after the other in a process; other jobs do not wait.
pub async fn an_id_runs_once_at_a_time(h: &impl Harness) {
    let engine = declared(h).await;
    if engine.capabilities().dedupes_ids {
        return;
    }
    let mut process = Process::start(h, &engine, 2);
    let id = process.enqueue().await;
    assert_eq!(process.event().await, Event::Started(id));
    process.enqueue_as(Some(id)).await;
    until("both are delivered", || async { engine.depth(QUEUE).await.expect("depth").running == 2 }).await;
    let other = process.enqueue().await;
    assert_eq!(process.event().await, Event::Started(other), "the second copy waits, its slot does not");
    process.open.add_permits(1);
    assert_eq!(process.event().await, Event::Started(id), "the first has ended");
    process.open.add_permits(2);
    until_empty(&*engine).await;
    process.stop().await;
}

//! The test rig: engine, workers and scripted jobs.

use std::{sync::Arc, time::Duration};

use base::{Ambient, ErrorClass};
use orderworks_jobs::{
    Consume, Engine, Job, JobContext, JobError, JobId, Producer, Registry, Workers,
    engine::{DeadReason, InspectedJob, JobState, QueueSpec},
    envelope::EnqueueOptions,
    job::Backoff,
    registry::RegisterError,
    testing::{MemoryEngine, virtual_time},
    worker::WorkerError,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const QUEUE: &str = "scripts";

/// Event reported by a scripted job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Started { name: String, attempt: u32 },
    Finished { name: String },
}

/// Environment of scripted jobs.
#[derive(Clone)]
pub(crate) struct Probe {
    events: mpsc::UnboundedSender<Event>,
    /// Jobs with [`Act::Gate`] wait here.
    pub(crate) gate: Arc<Semaphore>,
}

impl Probe {
    /// A closed gate, and the events of the jobs with this environment.
    pub(crate) fn new(
        (events, reports): (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
    ) -> (Self, mpsc::UnboundedReceiver<Event>) {
        (Self { events, gate: Arc::new(Semaphore::new(0)) }, reports)
    }
}

/// Behaviour of a scripted job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Act {
    Finish,
    /// Fails until this attempt.
    FailUntil(u32),
    RetryAfter(Duration),
    CancelItself,
    /// Snoozes for this long, unless that time has passed since its creation.
    SnoozeOnce(Duration),
    /// Fails with an outage, for this long after its creation.
    Away(Duration),
    /// Fails with a defect of a store at each attempt.
    Broken,
    Panic,
    /// Waits for the gate, ignoring its signal.
    Gate,
    /// Computes without awaiting until the gate opens, at most 20 s.
    Compute,
    /// Awaits twice.
    Yield,
    /// Waits for its signal, then fails.
    ObeySignal,
    /// Never returns.
    Hang,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) act: Act,
}

impl Job for Script {
    type Env = Probe;
    const KIND: &'static str = "script";
    const QUEUE: &'static str = QUEUE;
    const MAX_ATTEMPTS: u32 = 4;
    const TIMEOUT: Duration = Duration::from_mins(10);
    const BACKOFF: Backoff =
        Backoff::FullJitter { base: Duration::from_secs(10), cap: Duration::from_mins(1) };

    fn subject(&self) -> Option<String> {
        Some(self.name.clone())
    }

    async fn run(&self, ctx: &JobContext<Probe>) -> Result<(), JobError> {
        let name = self.name.clone();
        let _ = ctx.env.events.send(Event::Started { name: name.clone(), attempt: ctx.attempt });
        match &self.act {
            Act::FailUntil(attempt) if ctx.attempt < *attempt => {
                return Err(JobError::retry(format!("failure {}", ctx.attempt)));
            }
            Act::RetryAfter(delay) if ctx.attempt == 1 => return Err(JobError::retry_after(*delay, "busy")),
            Act::Finish | Act::FailUntil(_) | Act::RetryAfter(_) => {}
            Act::CancelItself => return Err(JobError::cancel("pointless")),
            Act::SnoozeOnce(delay) => {
                let age = ctx.ambient.now().duration_since(ctx.created_at);
                if Duration::try_from(age)? < *delay {
                    return Err(JobError::Snooze(*delay));
                }
            }
            Act::Away(duration) => {
                if Duration::try_from(ctx.ambient.now().duration_since(ctx.created_at))? < *duration {
                    return Err(Away.into());
                }
            }
            Act::Broken => return Err(Broken.into()),
            Act::Panic => panic!("boom in {name}"),
            Act::Gate => ctx.env.gate.acquire().await?.forget(),
            Act::Compute => {
                let began = std::time::Instant::now();
                while ctx.env.gate.available_permits() == 0 && began.elapsed() < Duration::from_secs(20) {
                    std::hint::spin_loop();
                }
            }
            Act::Yield => {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            Act::ObeySignal => {
                let why = ctx.signal.fired().await;
                return Err(JobError::retry(format!("interrupted: {why:?}")));
            }
            Act::Hang => std::future::pending().await,
        }
        let _ = ctx.env.events.send(Event::Finished { name });
        Ok(())
    }
}

/// Started workers; stop them with [`Rig::stop`].
pub(crate) struct Rig {
    pub(crate) engine: MemoryEngine,
    pub(crate) producer: Producer,
    pub(crate) ambient: Ambient,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) abort: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), WorkerError>>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Rig {
    pub(crate) async fn start(concurrency: usize) -> Self {
        Self::configured(concurrency, |workers| workers).await
    }

    /// Starts workers with a gate for the queue.
    pub(crate) async fn behind(concurrency: usize, open: watch::Receiver<bool>) -> Self {
        Self::build(|workers| workers.queue_behind(QUEUE, concurrency, open)).await
    }

    pub(crate) async fn configured(
        concurrency: usize,
        configure: impl FnOnce(Workers<Probe>) -> Workers<Probe>,
    ) -> Self {
        Self::build(|workers| configure(workers.queue(QUEUE, concurrency))).await
    }

    async fn build(configure: impl FnOnce(Workers<Probe>) -> Workers<Probe>) -> Self {
        Self::of(registry().unwrap(), |workers, _| configure(workers)).await
    }

    /// Starts workers with this registry, which may be configured with their engine.
    pub(crate) async fn of(
        registry: Arc<Registry<Probe>>,
        configure: impl FnOnce(Workers<Probe>, Arc<dyn Engine>) -> Workers<Probe>,
    ) -> Self {
        let ambient = virtual_time(7);
        let engine = MemoryEngine::new(ambient.clone());
        engine.declare(&[QueueSpec::new(QUEUE)]).await.unwrap();
        let shared: Arc<dyn Engine> = Arc::new(engine.clone());
        let (probe, events) = Probe::new(mpsc::unbounded_channel());
        let gate = Arc::clone(&probe.gate);
        let (shutdown, abort) = (CancellationToken::new(), CancellationToken::new());
        let workers =
            Workers::new(shared.clone(), registry, probe, ambient.clone()).name("rig").abort(abort.clone());
        let running = tokio::spawn(configure(workers, shared.clone()).run(shutdown.clone()));
        let producer = Producer::new(shared, ambient.clone());
        Self { engine, producer, ambient, gate, shutdown, abort, running, events }
    }

    pub(crate) async fn enqueue(&self, name: &str, act: Act) -> JobId {
        self.enqueue_with(name, act, EnqueueOptions::default()).await
    }

    pub(crate) async fn enqueue_with(&self, name: &str, act: Act, options: EnqueueOptions) -> JobId {
        let script = Script { name: name.to_owned(), act };
        self.producer.enqueue_with(&script, options).await.unwrap().id
    }

    pub(crate) async fn event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_hours(1), self.events.recv()).await.expect("an event").unwrap()
    }

    /// Waits until the job has started, and returns its attempt.
    pub(crate) async fn started(&mut self, wanted: &str) -> u32 {
        loop {
            if let Event::Started { name, attempt } = self.event().await
                && name == wanted
            {
                return attempt;
            }
        }
    }

    /// Waits until the engine no longer holds the job.
    pub(crate) async fn gone(&self, id: JobId) {
        self.engine.when(id, |held| held.is_none()).await;
    }

    /// Waits until the job is dead, and returns reason and error.
    pub(crate) async fn dead(&self, id: JobId) -> (DeadReason, String) {
        let held = self.in_state(id, JobState::Dead).await;
        (held.dead.unwrap().reason, held.last_error.unwrap())
    }

    pub(crate) async fn in_state(&self, id: JobId, state: JobState) -> InspectedJob {
        self.engine.when(id, |held| held.is_some_and(|held| held.state == state)).await.unwrap()
    }

    pub(crate) async fn stop(self) -> Result<(), WorkerError> {
        self.shutdown.cancel();
        self.running.await.unwrap()
    }
}

pub(crate) fn registry() -> Result<Arc<Registry<Probe>>, RegisterError> {
    Ok(Arc::new(Registry::new().classify_errors(classify).register::<Script>()?.register::<Brief>()?))
}

fn classify(error: &(dyn std::error::Error + 'static)) -> Option<ErrorClass> {
    let away = error.is::<Away>().then_some(ErrorClass::Unavailable);
    away.or_else(|| error.is::<Broken>().then_some(ErrorClass::Defect))
}

/// A defect of a store.
#[derive(Debug, thiserror::Error)]
#[error("the shelf has no such column")]
struct Broken;

/// An outage of a store.
#[derive(Debug, thiserror::Error)]
#[error("the shelf is away")]
struct Away;

/// A job that hangs, with a timeout.
#[derive(Serialize, Deserialize)]
pub(crate) struct Brief;

impl Job for Brief {
    type Env = Probe;
    const KIND: &'static str = "brief";
    const QUEUE: &'static str = QUEUE;
    const MAX_ATTEMPTS: u32 = 1;
    const TIMEOUT: Duration = Duration::from_secs(5);

    async fn run(&self, _ctx: &JobContext<Probe>) -> Result<(), JobError> {
        std::future::pending().await
    }
}

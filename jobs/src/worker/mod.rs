//! Runs jobs: one apalis worker per queue, each in its own task, watched by us.
//!
//! Guarantees: at most `concurrency` jobs of a queue run at a time in this process; a panic, a timeout or a message
//! nobody understands ends that one run and nothing else; a worker that ends unasked is started again after a
//! capped, jittered delay; every delivery is settled or given back.
//!
//! # Stop order
//! Fired by the token given to [`Workers::run`]; firing it again changes nothing.
//! 1. The consumer stops fetching ([`Settler::stop`]), the worker starts no further job.
//! 2. Running jobs may finish, for up to [`Workers::drain_timeout`].
//! 3. [`Interrupt::Shutdown`] is fired at the rest, which then has [`SHUTDOWN_GRACE`].
//! 4. What still runs is dropped at its await point and settled with [`Settlement::Release`].
//! 5. [`Settler::close`] makes the outcomes durable and hands back what was fetched and never started, charging no
//!    attempt and no crash; bounded by [`CLOSE_MAX`].
//!
//! The token given to [`Workers::abort`] skips to step 4. Dropping the future of [`Workers::run`] is a crash: jobs
//! come back with their crash counter raised.
//!
//! # Gates
//! A queue given to [`Workers::queue_behind`] is worked on only while its gate is open. When it shuts, the consumer
//! stops fetching, what was fetched and not started goes back at once (no attempt, no crash), running jobs end in
//! their own time, and the consumer leaves; when it opens, another one comes.
//!
//! # Lease and timeout
//! A job may run longer than [`Workers::lease`]: an engine renews leases while the consumer lives, so the lease only
//! says how soon the jobs of a dead process are taken over. How long a run may take is [`crate::Job::TIMEOUT`].
//!
//! # What jobs of one queue share
//! One task, as apalis polls them: a job that computes for long without awaiting holds up its neighbours. Give such
//! work to `tokio::task::spawn_blocking`.
//!
//! Does not handle signals of the operating system and does not use apalis' `Monitor`, which reports success when
//! its workers have died. Read on in `session` and `supervise`.

mod ack;
mod backend;
pub(crate) mod failure;
mod gate;
pub(crate) mod handler;
mod health;
pub(crate) mod layers;
pub(crate) mod run;
mod session;
mod supervise;

use std::{sync::Arc, time::Duration};

use base::Ambient;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::health::{QueueHealth, WorkersHealth};
use self::{
    gate::Gate,
    health::QueueState,
    supervise::{Stop, WorkerShared},
};
#[cfg(doc)]
use crate::engine::{Interrupt, Settlement, Settler};
use crate::{
    engine::{Engine, EngineError},
    recorder::Recorder,
    registry::Registry,
};

/// What a job has left after [`Interrupt::Shutdown`] was fired at it.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Longest wait for the last outcomes to become durable; those that do not are delivered again.
pub const CLOSE_MAX: Duration = Duration::from_secs(10);

/// The workers of one process, to be configured and then run.
pub struct Workers<E> {
    engine: Arc<dyn Engine>,
    registry: Arc<Registry<E>>,
    env: E,
    ambient: Ambient,
    queues: Vec<(String, usize)>,
    states: Vec<Arc<QueueState>>,
    health: WorkersHealth,
    recorder: Option<Recorder>,
    lease: Duration,
    drain_timeout: Duration,
    name: String,
    abort: CancellationToken,
}

/// Why workers could not start, or had to give up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Nothing to do.
    #[error("no queue to work on; name at least one")]
    NoQueues,
    /// A queue was asked for twice; which concurrency is meant?
    #[error("queue `{0}` is named twice")]
    DuplicateQueue(String),
    /// A queue with no slot would never run a job.
    #[error("queue `{0}` needs a concurrency of at least 1")]
    NoSlots(String),
    /// Jobs of this queue would all be parked as unknown.
    #[error("no job kind is registered for queue `{queue}`; queues with jobs: {known}")]
    NothingRegistered {
        /// The queue.
        queue: String,
        /// The queues that would make sense.
        known: String,
    },
    /// The engine refuses for good; waiting would not help.
    #[error("cannot consume queue `{queue}`")]
    Engine {
        /// The queue.
        queue: String,
        /// What the engine said.
        #[source]
        source: EngineError,
    },
    /// A job computed without awaiting until long after the last deadline, so its thread could not be stopped.
    #[error("queue `{queue}` did not stop: a job blocks its thread")]
    Blocked {
        /// The queue.
        queue: String,
    },
}

impl<E: Clone + Send + Sync + 'static> Workers<E> {
    /// Workers that run the jobs of `registry` in `env`, with a lease of 60 s and 30 s to drain.
    pub fn new(engine: Arc<dyn Engine>, registry: Arc<Registry<E>>, env: E, ambient: Ambient) -> Self {
        Self {
            engine,
            registry,
            env,
            ambient,
            queues: Vec::new(),
            states: Vec::new(),
            health: WorkersHealth::default(),
            recorder: None,
            lease: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(30),
            name: format!("worker-{}", std::process::id()),
            abort: CancellationToken::new(),
        }
    }

    /// Works on this queue with up to `concurrency` jobs at a time; see [`prefetch_for`] for what is fetched ahead.
    #[must_use]
    pub fn queue(self, name: impl Into<String>, concurrency: usize) -> Self {
        self.with(name.into(), concurrency, Gate::default())
    }

    /// The same while `open` is true; see the module's text on gates. Once its sender is gone the gate is open.
    #[must_use]
    pub fn queue_behind(
        self,
        name: impl Into<String>,
        concurrency: usize,
        open: watch::Receiver<bool>,
    ) -> Self {
        self.with(name.into(), concurrency, Gate::watching(open))
    }

    fn with(mut self, name: String, concurrency: usize, gate: Gate) -> Self {
        let state = Arc::new(QueueState::new(name.clone(), concurrency, gate));
        self.health.add(&state);
        self.states.push(state);
        self.queues.push((name, concurrency));
        self
    }

    /// Records attempts. The caller closes the recorder after [`Workers::run`] has returned.
    #[must_use]
    pub fn recorder(self, recorder: Recorder) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// How soon the jobs of this process are taken over when it dies.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// How long running jobs may go on after a shutdown was asked for.
    #[must_use]
    pub fn drain_timeout(self, drain_timeout: Duration) -> Self {
        Self { drain_timeout, ..self }
    }

    /// Names this process in leases, connections and records: host and pid are a good choice.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// A second token, that stops without waiting for jobs.
    #[must_use]
    pub fn abort(self, abort: CancellationToken) -> Self {
        Self { abort, ..self }
    }

    /// A view that stays valid while the workers run.
    pub fn health(&self) -> WorkersHealth {
        self.health.clone()
    }

    /// Declares the queues and runs jobs until `shutdown` fires and the stop order is through.
    ///
    /// An engine that cannot be reached is waited for, at boot too; [`WorkersHealth`] shows it. An error of one
    /// queue that waiting cannot mend stops the others in order and is returned.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        self.check()?;
        let stop = Stop {
            // A child, so that one failed queue can stop its siblings without firing the caller's token.
            shutdown: shutdown.child_token(),
            abort: self.abort.clone(),
            drain: self.drain_timeout,
        };
        let states = self.states.clone();
        let shared = Arc::new(WorkerShared {
            engine: self.engine,
            registry: self.registry,
            env: self.env,
            ambient: self.ambient,
            recorder: self.recorder,
            lease: self.lease,
            name: self.name,
            stop: stop.clone(),
        });
        let mut tasks = JoinSet::new();
        for queue in states {
            tasks.spawn(supervise::run(Arc::clone(&shared), queue));
        }
        let mut first_error = None;
        while let Some(ended) = tasks.join_next().await {
            let error = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                // The supervisor itself holds no job code; a panic there is a bug of ours, not to be survived.
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            tracing::error!(error = %crate::error::describe(&error), "a queue failed, all workers stop");
            stop.shutdown.cancel();
            first_error.get_or_insert(error);
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Refuses what could not work, and warns of what may surprise.
    fn check(&self) -> Result<(), WorkerError> {
        if self.queues.is_empty() {
            return Err(WorkerError::NoQueues);
        }
        let known = self.registry.queues();
        for (index, (queue, concurrency)) in self.queues.iter().enumerate() {
            if *concurrency == 0 {
                return Err(WorkerError::NoSlots(queue.clone()));
            }
            if self.queues[..index].iter().any(|(earlier, _)| earlier == queue) {
                return Err(WorkerError::DuplicateQueue(queue.clone()));
            }
            if !known.contains(&queue.as_str()) {
                return Err(WorkerError::NothingRegistered { queue: queue.clone(), known: known.join(", ") });
            }
            for (kind, timeout) in self.registry.timeouts(queue).filter(|(_, t)| *t > self.drain_timeout) {
                // No warning: jobs usually end long before their timeout, and a repetition is harmless by contract.
                tracing::debug!(
                    job.kind = kind,
                    timeout_ms = timeout.as_millis(),
                    drain_ms = self.drain_timeout.as_millis(),
                    "this kind may run longer than the drain: a stop can interrupt and repeat it"
                );
            }
        }
        Ok(())
    }
}

/// Unsettled deliveries per consumer: the concurrency and a quarter of it, at least one more.
///
/// The reserve covers the time in which an outcome is on its way to becoming durable, so that a free slot finds a
/// job at hand. It is kept small because a job fetched ahead waits behind whatever runs here, even when another
/// process is idle.
pub const fn prefetch_for(concurrency: usize) -> usize {
    let reserve = concurrency / 4;
    concurrency.saturating_add(if reserve == 0 { 1 } else { reserve })
}

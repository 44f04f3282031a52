//! Workers: one supervised apalis worker per queue, each in its own task.
//!
//! Guarantees: no job of a queue starts in this process while as many as it has slots run, and each runs once at a
//! time: a second delivery waits until the first run has ended, also when that has lost its lease; a panic, a timeout
//! or an undecodable message ends that one run and nothing else; a consumer that is lost and a worker that ends
//! unexpectedly are restarted after a capped, jittered delay; every delivery is settled or released; one that is
//! cancelled or loses its lease before its start does not run.
//!
//! # Stop order
//! Started by the token given to [`Workers::run`]; cancelling it again changes nothing.
//! 1. The consumer stops fetching ([`Settler::stop`]), the worker starts no further job.
//! 2. Running jobs may finish, for up to [`Workers::drain_timeout`].
//! 3. [`Interrupt::Shutdown`] is fired at the jobs still running, which then have [`SHUTDOWN_GRACE`].
//! 4. Runs that continue are dropped at their await points and settled with [`Settlement::Release`].
//! 5. [`Settler::close`] makes the settlements durable and releases jobs fetched and never started, without an attempt
//!    or a crash; bounded by [`CLOSE_MAX`].
//!
//! The token given to [`Workers::abort`] skips to step 4. Dropping the future of [`Workers::run`] counts as a crash:
//! the jobs are delivered again with their crash counter raised.
//!
//! # Gates
//! A queue given to [`Workers::queue_behind`] is consumed only while its gate is open. When the gate closes, the
//! consumer stops fetching, fetched jobs that were not started are released at once (no attempt, no crash), running
//! jobs end in their own time, and the consumer leaves after them; when the gate opens, a new consumer starts at once.
//!
//! # Sizes
//! The concurrency of a queue can be changed while it runs, for a process that is [listed](Workers::listed): by
//! [`WorkerNotes::set_size`], for all processes or one, over restarts until it is ended. The consumer of the queue
//! stops fetching, releases what it has not started, and the next one starts at once with the other prefetch; running
//! jobs end in their own time. With more slots, more jobs start then; with fewer, none until enough have ended.
//!
//! # Limits
//! Kinds with a [limit](Registry::limit) start in this process only with slots that it has leased from the store given
//! to [`Workers::limiter`]; a run that outlives the lease is dropped. See [`crate::limits`].
//!
//! # Lease and timeout
//! A job may run longer than [`Workers::lease`]: an engine renews leases while the consumer lives, so the lease only
//! says how soon the jobs of a dead process are taken over. How long a run may take is [`crate::Job::TIMEOUT`].
//!
//! # Tasks
//! Each job runs on a task of its own: one that computes without awaiting occupies a thread of the runtime, and its
//! neighbours run on the others. For long computations use `tokio::task::spawn_blocking`: a runtime has few threads,
//! and neither timeout nor stop interrupt code that does not await.
//!
//! Does not handle signals of the operating system. Does not use apalis' `Monitor`, which reports success when its
//! workers have died (1.0). Read on in `supervise`, `session`, `runner` and `layers`.

mod ack;
mod backend;
mod counts;
mod error;
mod gate;
mod health;
pub(crate) mod layers;
mod listing;
pub(crate) mod run;
mod runner;
mod running;
mod session;
pub(crate) mod settlement;
mod shared;
mod supervise;

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::Ambient;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    counts::RunCounts,
    gate::Gate,
    health::QueueState,
    listing::{Lister, Listing},
    shared::{Stop, WorkerShared},
};
pub use self::{
    counts::{KindRuns, OTHER_KIND, RELEASED},
    error::WorkerError,
    health::{QueueHealth, WorkersHealth},
    settlement::ROLLOUT_ATTEMPTS,
    shared::{CLOSE_MAX, SHUTDOWN_GRACE, prefetch_for},
};
#[cfg(doc)]
use crate::engine::{Interrupt, Settlement, Settler};
use crate::{
    engine::{Admin, Consume, Weights},
    job_store::{SharedLimits, WorkerNotes},
    limits::{self, Keeper, Limiter},
    recorder::Recorder,
    registry::Registry,
    reporter::Reporter,
};

/// The workers of one process: configured first, then run.
pub struct Workers<E> {
    shared: WorkerShared<E>,
    health: WorkersHealth,
    listing: Option<Listing>,
    limits: Option<(Arc<dyn SharedLimits>, Arc<dyn Admin>)>,
    limit_lease: Duration,
}

impl<E: Clone + Send + Sync + 'static> Workers<E> {
    /// Workers that run the jobs of `registry` in `env`, with a lease of 60 s and a drain timeout of 30 s.
    pub fn new(engine: Arc<dyn Consume>, registry: Arc<Registry<E>>, env: E, ambient: Ambient) -> Self {
        // The shutdown token is replaced by that of `run`.
        let (shutdown, abort) = (CancellationToken::new(), CancellationToken::new());
        let shared = WorkerShared {
            engine,
            registry,
            env,
            ambient,
            recorder: None,
            reporter: None,
            lease: Duration::from_mins(1),
            name: format!("worker-{}", std::process::id()),
            stop: Stop { shutdown, abort, drain: Duration::from_secs(30) },
            running: Arc::default(),
            limiter: None,
            fair: HashMap::new(),
        };
        let (health, limit_lease) = (WorkersHealth::default(), limits::LEASE);
        Self { shared, health, listing: None, limits: None, limit_lease }
    }

    /// Adds a queue with up to `concurrency` jobs at a time; see [`prefetch_for`] for the number fetched ahead.
    #[must_use]
    pub fn queue(self, name: impl Into<String>, concurrency: usize) -> Self {
        let (_, always_open) = watch::channel(true);
        self.queue_behind(name, concurrency, always_open)
    }

    /// Adds a queue that is consumed only while `open` is true; see "Gates" above. When the sender is dropped, the gate
    /// is open.
    #[must_use]
    pub fn queue_behind(
        self,
        name: impl Into<String>,
        concurrency: usize,
        open: watch::Receiver<bool>,
    ) -> Self {
        let (name, registry): (String, _) = (name.into(), &self.shared.registry);
        let own: Vec<&str> = registry.timeouts(&name).map(|(kind, _)| kind).collect();
        let runs = RunCounts::new(registry.kinds(), &own);
        self.health.add(QueueState::new(name, concurrency, Gate(open), runs));
        self
    }

    /// Declares one of these queues as [fair](crate::engine::QueueSpec::fair()), with these weights of its
    /// [keys](crate::Job::fair_key). Without this call a queue stays as it was declared before.
    #[must_use]
    pub fn fair(mut self, queue: impl Into<String>, weights: Weights) -> Self {
        self.shared.fair.insert(queue.into(), weights);
        self
    }

    /// Records attempts with this recorder. The caller closes it after [`Workers::run`] has returned.
    #[must_use]
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.shared.recorder = Some(recorder);
        self
    }

    /// Stores what runs report with this reporter, see [`crate::JobContext::progress`]; without one it is dropped. The
    /// caller closes it after [`Workers::run`] has returned.
    #[must_use]
    pub fn reporter(mut self, reporter: Reporter) -> Self {
        self.shared.reporter = Some(reporter);
        self
    }

    /// Lists this process among the workers in a job store, under its name and with the version of its program, and
    /// lets its queues be resized there; see "Sizes" above.
    #[must_use]
    pub fn listed(mut self, store: Arc<dyn WorkerNotes>, release: impl Into<String>) -> Self {
        self.listing = Some(Listing { store, release: release.into() });
        self
    }

    /// Keeps the limits of the registry in this store, which all worker processes share; through the engine, that of
    /// the workers, jobs that wait for a limit are made ready. See [`crate::limits`].
    #[must_use]
    pub fn limiter(mut self, store: Arc<dyn SharedLimits>, engine: Arc<dyn Admin>) -> Self {
        self.limits = Some((store, engine));
        self
    }

    /// Time after which the slots of this process under limits go to others when it dies or cannot reach the store, and
    /// after which its runs end then: [`limits::LEASE`], unless set; at least a second.
    #[must_use]
    pub fn limit_lease(mut self, lease: Duration) -> Self {
        self.limit_lease = lease.max(Duration::from_secs(1));
        self
    }

    /// Time after which the jobs of this process are taken over when it dies.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.shared.lease = lease;
        self
    }

    /// Longest time running jobs may continue after the shutdown token is cancelled.
    #[must_use]
    pub fn drain_timeout(mut self, drain_timeout: Duration) -> Self {
        self.shared.stop.drain = drain_timeout;
        self
    }

    /// Name of this process in leases, connections and records; host and process id are a good choice.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.shared.name = name.into();
        self
    }

    /// A second token, which stops without waiting for running jobs.
    #[must_use]
    pub fn abort(mut self, abort: CancellationToken) -> Self {
        self.shared.stop.abort = abort;
        self
    }

    /// A health view that stays valid while the workers run.
    pub fn health(&self) -> WorkersHealth {
        self.health.clone()
    }

    /// Declares the queues and runs jobs until `shutdown` is cancelled and the stop order is complete.
    ///
    /// While the engine cannot be reached, at boot too, this waits; [`WorkersHealth`] shows it.
    ///
    /// # Errors
    /// An invalid configuration, or a final engine error of one queue; then the other queues are stopped in order.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let queues = self.health.states();
        self.check(&queues)?;
        let mut shared = self.shared;
        // A child token, so that one failed queue can stop the others without cancelling the caller's token.
        shared.stop.shutdown = shutdown.child_token();
        let ended = CancellationToken::new();
        let kinds = shared.registry.limits();
        let keeper = self.limits.filter(|_| !kinds.is_empty()).map(|limits| {
            let limiter = Limiter::new(kinds, shared.ambient.clone());
            shared.limiter = Some(Arc::clone(&limiter));
            let keeper = Keeper::new(limiter, limits, &shared.name, self.limit_lease);
            AbortOnDropHandle::new(tokio::spawn(keeper.run(ended.clone())))
        });
        let shared = Arc::new(shared);
        let lister = match self.listing {
            Some(listing) => {
                let lister = Lister::begin(listing, &shared.name, &queues, &shared.ambient).await;
                Some(AbortOnDropHandle::new(tokio::spawn(lister.run(ended.clone()))))
            }
            None => None,
        };
        let mut tasks = JoinSet::new();
        for queue in queues {
            tasks.spawn(supervise::run(Arc::clone(&shared), queue));
        }
        let mut first_error = None;
        while let Some(ended) = tasks.join_next().await {
            let error = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                // The supervisor runs no job code; a panic in it is a bug of this crate and is passed on.
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            tracing::error!(error = %crate::error::describe(&error), "queue worker failed, stopping all workers");
            shared.stop.shutdown.cancel();
            first_error.get_or_insert(error);
        }
        ended.cancel();
        if let Some(lister) = lister {
            // With its error: it panicked, and is no longer listed.
            let _ = lister.await;
        }
        if let Some(keeper) = keeper {
            // With its error: it panicked, and its leases end by themselves.
            let _ = keeper.await;
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Rejects configurations that cannot work, and logs one that may surprise.
    fn check(&self, queues: &[Arc<QueueState>]) -> Result<(), WorkerError> {
        if queues.is_empty() {
            return Err(WorkerError::NoQueues);
        }
        let WorkerShared { engine, registry, stop, .. } = &self.shared;
        if self.limits.is_none()
            && let Some((kind, limited)) = registry.limits().into_iter().min_by_key(|(kind, _)| *kind)
        {
            return Err(WorkerError::NoLimiter { kind, limit: limited.limit.name().to_owned() });
        }
        let known = registry.queues();
        for (index, state) in queues.iter().enumerate() {
            let queue = &state.name;
            if state.configured == 0 {
                return Err(WorkerError::NoSlots(queue.clone()));
            }
            if queues[..index].iter().any(|earlier| earlier.name == *queue) {
                return Err(WorkerError::DuplicateQueue(queue.clone()));
            }
            if !known.contains(&queue.as_str()) {
                return Err(WorkerError::NothingRegistered { queue: queue.clone(), known: known.join(", ") });
            }
            if let Some(limit) = engine.capabilities().longest_run
                && let Some((kind, timeout)) = registry.timeouts(queue).find(|(_, timeout)| *timeout > limit)
            {
                return Err(WorkerError::TimeoutTooLong { kind, timeout, engine: engine.name(), limit });
            }
            for (kind, timeout) in registry.timeouts(queue).filter(|(_, timeout)| *timeout > stop.drain) {
                // No warning: jobs usually end long before their timeout, and a repetition is harmless by contract.
                tracing::debug!(
                    job.kind = kind,
                    timeout_ms = timeout.as_millis(),
                    drain_ms = stop.drain.as_millis(),
                    "job timeout exceeds the drain timeout, a stop may interrupt and repeat it"
                );
            }
        }
        Ok(())
    }
}

//! One run of a job: its data, for layers, acknowledgement and records, and its future.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp, spans::SpanStart};
use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use tokio::time::{Instant, timeout};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::{Instrument, Span};

use super::running::RunningId;
use crate::{
    engine::{Delivery, Interrupt, JobSignal, Receipt, Settlement, Settler},
    envelope::Envelope,
    failure::Failure,
    job::JobContext,
    limits::{LimitSlot, while_leased},
    registry::{Policy, Registry},
    reporter::{Reporter, RunReporter, run::ReportsEnd},
    spans::run_span,
};

/// Data of a run, independent of the environment type.
pub(crate) struct Run {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) receipt: Receipt,
    pub(crate) signal: JobSignal,
    pub(crate) policy: Policy,
    pub(crate) started_at: Timestamp,
    pub(crate) started: Instant,
    /// The recorded span of the run.
    pub(crate) span: Span,
    /// The trace of what the run causes.
    pub(crate) traced: SpanStart,
    /// The settler of the delivery; `None` outside of a worker. Held until the run has ended: the engine does not
    /// consider the consumer lost while one of its jobs runs.
    pub(crate) settler: Option<RunSettler>,
}

/// The settler of a run's delivery, with the place of the run among those that its consumer waits for.
pub(crate) struct RunSettler {
    settler: Arc<dyn Settler>,
    _run: TaskTrackerToken,
}

impl RunSettler {
    pub(super) fn new(settler: &Arc<dyn Settler>, runs: &TaskTracker) -> Self {
        Self { settler: Arc::clone(settler), _run: runs.token() }
    }

    pub(super) fn settle(&self, receipt: Receipt, settlement: Settlement) {
        self.settler.settle(receipt, settlement);
    }
}

/// What a worker gives to a run: the settler of its delivery, the id taken for it, the slot of its limit, and the name
/// of the engine.
pub(crate) struct RunParts {
    pub(super) settler: RunSettler,
    pub(super) id: RunningId,
    pub(super) slot: Option<LimitSlot>,
    pub(super) engine: &'static str,
}

impl Run {
    /// Number of this attempt, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        attempt_of(&self.envelope)
    }

    pub(crate) fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.envelope.max_attempts
    }

    fn context<E: Clone>(&self, env: &E, ambient: &Ambient, reports: RunReporter) -> JobContext<E> {
        JobContext {
            env: env.clone(),
            id: self.envelope.id,
            attempt: self.attempt(),
            max_attempts: self.envelope.max_attempts,
            created_at: self.envelope.created_at,
            trace: self.traced.trace.clone(),
            signal: self.signal.clone(),
            ambient: ambient.clone(),
            reports,
        }
    }
}

/// The apalis task argument: a run and the future of its job.
pub(crate) struct Work {
    pub(crate) run: Arc<Run>,
    job: BoxFuture<'static, Result<(), Failure>>,
    reports: ReportsEnd,
    /// With the id the last fields: dropped after the job.
    slot: Option<LimitSlot>,
    id: Option<RunningId>,
}

impl Work {
    /// Prepares a run that starts now, in a worker with its parts, and with its reporter if there is one. The
    /// payload is decoded by the run, where a failure is an outcome like any other.
    pub(crate) fn new<E: Clone + Send + Sync + 'static>(
        delivery: Delivery,
        worker: Option<RunParts>,
        reporter: Option<&Reporter>,
        registry: &Registry<E>,
        env: &E,
        ambient: &Ambient,
    ) -> Self {
        let (settler, id, slot, engine) = match worker {
            Some(RunParts { settler, id, slot, engine }) => (Some(settler), Some(id), slot, Some(engine)),
            None => (None, None, None, None),
        };
        let entry = registry.entry(&delivery.envelope.kind);
        let (span, traced) = run_span(&delivery.envelope, attempt_of(&delivery.envelope), engine);
        let run = Run {
            envelope: delivery.envelope,
            receipt: delivery.receipt,
            signal: delivery.signal,
            policy: entry.map_or(Policy::OF_UNKNOWN, |entry| entry.policy),
            started_at: ambient.now(),
            started: Instant::now(),
            span,
            traced,
            settler,
        };
        let of_run = |reporter: &Reporter| reporter.of_run(run.envelope.id, run.attempt(), run.started_at);
        let reports = reporter.map(of_run).unwrap_or_default();
        let job = match entry {
            Some(entry) => {
                let context = run.context(env, ambient, reports.clone());
                (entry.run)(context, Arc::clone(&run.envelope))
            }
            None => ready(Err(Failure::UnknownKind(run.envelope.kind.clone()))).boxed(),
        };
        Self { run: Arc::new(run), job, reports: ReportsEnd(reports), slot, id }
    }

    /// Runs the job within its span; drops it at an await point once the timeout of its kind has passed, or the lease
    /// of its limit.
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let span = self.run.span.clone();
        self.run_in_time().instrument(span).await
    }

    async fn run_in_time(self) -> Result<(), Failure> {
        // Free once the job is dropped, whatever its end.
        let Self { run, job, reports: _reports, slot, id: _id } = self;
        let job = match slot {
            Some(slot) => while_leased(slot, run.signal.clone(), job).boxed(),
            None => job,
        };
        let limit = run.policy.timeout;
        let ended = match run.policy.soft_timeout {
            None => timeout(limit, job).await,
            Some(soft) => timeout(limit, warned(job, soft, &run.signal)).await,
        };
        ended.unwrap_or(Err(Failure::TimedOut(limit)))
    }
}

/// Number of the attempt that a delivery of this job starts, from 1.
fn attempt_of(envelope: &Envelope) -> u32 {
    envelope.attempt.saturating_add(1)
}

/// Runs the job, and fires its signal once the soft time-out has passed.
async fn warned(
    mut job: BoxFuture<'static, Result<(), Failure>>,
    soft: Duration,
    signal: &JobSignal,
) -> Result<(), Failure> {
    if let Ok(ended) = timeout(soft, &mut job).await {
        return ended;
    }
    tracing::debug!("job passed its soft time-out");
    signal.fire(Interrupt::SoftTimeout);
    job.await
}

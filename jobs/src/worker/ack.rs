//! Acknowledgement: settles a run by its final result, then counts, records and logs it.
//!
//! The outermost layer, so it sees the result after panic guard and timeout. [`Settler::settle`] does not wait, and
//! neither does this layer: the slot is free for the next job while the engine makes settlements durable in groups.
//! Records are written here, and not in a layer of their own, because they contain the settlement.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
};

use apalis_core::{error::BoxDynError, task::ExecutionContext, worker::ext::ack::Acknowledge};
use base::{Ambient, TraceContext};

use super::{
    health::QueueState,
    run::Run,
    settlement::{outcome_of, settlement_for},
    shared::WorkerShared,
};
#[cfg(doc)]
use crate::engine::Settler;
use crate::{
    engine::Settlement,
    recorder::{Recorder, keeps},
    records::{AttemptOutcome, AttemptRecord, RecordLevel},
    spans::record_outcome,
};

/// Settles the runs of one queue. apalis clones it for each run, hence one pointer.
#[derive(Clone)]
pub(super) struct Ack(Arc<AckParts>);

struct AckParts {
    queue: Arc<QueueState>,
    ambient: Ambient,
    worker: String,
    recording: Option<(Recorder, RecordLevel)>,
}

impl Acknowledge<()> for Ack {
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn ack(&mut self, result: &Result<(), BoxDynError>, context: &ExecutionContext) -> Self::Future {
        // The backend sets it for every task, and there is no other source of tasks.
        if let Some(run) = context.data().get::<Arc<Run>>() {
            self.0.finish(result, run);
        }
        ready(Ok(()))
    }
}

impl Ack {
    pub(super) fn new<E>(shared: &WorkerShared<E>, queue: &Arc<QueueState>) -> Self {
        let recorder = shared.recorder.clone();
        Self(Arc::new(AckParts {
            queue: Arc::clone(queue),
            ambient: shared.ambient.clone(),
            worker: shared.name.clone(),
            recording: recorder.map(|recorder| (recorder.clone(), recorder.level(&queue.name))),
        }))
    }
}

impl AckParts {
    fn finish(&self, result: &Result<(), BoxDynError>, run: &Run) {
        let settlement = settlement_for(result, run, &self.ambient);
        log(run, &settlement);
        let record = self.record_of(run, &settlement);
        let outcome = outcome_of(&settlement, run).map(|(outcome, _)| outcome);
        record_outcome(&run.span, outcome);
        let recorded = run.traced.recorded().map(|trace| (trace, self.ambient.now()));
        self.queue.runs.count(&run.envelope, run.started_at, outcome, run.started.elapsed(), recorded);
        if let Some(settler) = &run.settler {
            settler.settle(run.receipt, settlement);
        }
        self.queue.ended(run.receipt);
        if let (Some(record), Some((recorder, _))) = (record, &self.recording) {
            recorder.push(record);
        }
    }

    fn record_of(&self, run: &Run, settlement: &Settlement) -> Option<AttemptRecord> {
        let (_, level) = self.recording.as_ref()?;
        let (outcome, error) = outcome_of(settlement, run)?;
        if !keeps(*level, outcome) {
            return None;
        }
        let envelope = &run.envelope;
        Some(AttemptRecord {
            job: envelope.id,
            kind: envelope.kind.clone(),
            queue: envelope.queue.clone(),
            subject: envelope.subject.clone(),
            attempt: run.attempt(),
            worker: self.worker.clone(),
            created_at: envelope.created_at,
            started_at: run.started_at,
            duration: run.started.elapsed(),
            outcome,
            error: error.map(str::to_owned),
            trace: run.traced.trace.clone(),
        })
    }
}

/// The only place where a failed run is logged. The lines name its trace and span themselves: the run is over.
fn log(run: &Run, settlement: &Settlement) {
    let (id, kind, attempt) = (run.envelope.id, run.envelope.kind.as_str(), run.attempt());
    // Called only for a line that is written.
    let trace = || run.traced.trace.as_ref().map(TraceContext::trace_id);
    let span = run.traced.span_id();
    match outcome_of(settlement, run) {
        Some((AttemptOutcome::Completed | AttemptOutcome::Snoozed, _)) => {
            tracing::debug!(
                job.id = %id, job.kind = kind, job.attempt = attempt, trace.id = trace(), span.id = span,
                "job ended"
            );
        }
        Some((AttemptOutcome::Retried, error)) => {
            tracing::warn!(
                job.id = %id, job.kind = kind, job.attempt = attempt, trace.id = trace(), span.id = span,
                error, "job failed, will retry"
            );
        }
        Some((AttemptOutcome::Cancelled, error)) => {
            tracing::info!(
                job.id = %id, job.kind = kind, job.attempt = attempt, trace.id = trace(), span.id = span,
                error, "job cancelled"
            );
        }
        Some((AttemptOutcome::Dead, error)) => {
            tracing::error!(
                job.id = %id, job.kind = kind, job.attempt = attempt, trace.id = trace(), span.id = span,
                error, "job moved to the dead queue"
            );
        }
        Some((AttemptOutcome::Stale, error)) => {
            tracing::warn!(
                job.id = %id, job.kind = kind, job.attempt = attempt, trace.id = trace(), span.id = span,
                error, "job lost its lease, result dropped"
            );
        }
        None => tracing::info!(
            job.id = %id, job.kind = kind, trace.id = trace(), span.id = span,
            "job released, worker stopping"
        ),
    }
}

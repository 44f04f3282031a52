//! Changes of one job: the operations that were confirmed for it alone.
//!
//! Guarantees: looks at the operations that are kept, as the audit log does: of 90 days, and 900 of them at most. Those
//! over many jobs are left out, as they do not name each; so are commands that are no operations.

use base::Timestamp;
use jobs::{
    JobId,
    bulk::{JOB, Operation, OperationId, OperationState},
};
use serde::Serialize;

use crate::{error::ConsoleError, state::ConsoleState, timeline::TimelineEntry};

/// What was done to a job, by whom and why.
#[derive(Serialize)]
pub(super) struct JobChange {
    operation: OperationId,
    at: Timestamp,
    verb: &'static str,
    who: String,
    why: String,
    /// The state of the operation, or `failed` or `without effect` where the job was not changed.
    outcome: &'static str,
}

/// Changes of this job, newest first.
pub(super) async fn changes_of(console: &ConsoleState, id: JobId) -> Result<Vec<JobChange>, ConsoleError> {
    let id = id.to_string();
    let operations = console.operations().list().await?.into_iter();
    let its = operations.filter(|operation| {
        operation.plan.items == JOB && operation.plan.filter.id.as_deref() == Some(id.as_str())
    });
    Ok(its.filter_map(JobChange::of).collect())
}

impl JobChange {
    /// `None` for what was not confirmed: it changed nothing.
    fn of(operation: Operation) -> Option<Self> {
        let (at, counts, plan) = (operation.began_at?, operation.counts, operation.plan);
        let outcome = match operation.state {
            OperationState::Done if counts.failed > 0 => OperationState::Failed.as_str(),
            OperationState::Done if counts.done == 0 => "without effect",
            state => state.as_str(),
        };
        Some(Self {
            operation: operation.id,
            at,
            verb: plan.verb.name(),
            who: plan.who,
            why: plan.why,
            outcome,
        })
    }

    pub(super) fn text(&self) -> String {
        format!("{} by {}: {}", self.verb, self.who, self.outcome)
    }

    pub(super) fn entry(&self) -> TimelineEntry {
        let detail = format!("{}, {}", self.why, self.operation);
        TimelineEntry { detail, ..TimelineEntry::new(self.at, "operation", self.text()) }
    }
}

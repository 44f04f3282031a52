//! The contract of scheduled jobs: jobs that wait outside the broker, and the claims under which they are published.
//!
//! Guarantees of every implementation: as for [`super`].

use async_trait::async_trait;
use base::Timestamp;

use crate::{
    engine::{EngineError, JobFilter, page::Listed},
    envelope::{Envelope, JobId},
};

/// A job that waits outside the broker, for its earliest start or for its turn in a fair queue.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone)]
pub struct ScheduledJob {
    pub envelope: Envelope,
    /// Earliest publish; of a job that waits for its turn, the time since when it does.
    pub due_at: Timestamp,
    /// Whether it waits for its turn, see [`FairBacklog`](super::FairBacklog). Read only: the method that stores a job
    /// says how it waits.
    pub fair: bool,
    /// Whether it waits behind another job of its order key, see [`OrderKeys`](super::OrderKeys): then it is not due,
    /// and keeps waiting when it is stored again. Read only, too.
    pub behind: bool,
    /// Consumers the job has lost.
    pub crashes: u32,
    pub last_error: Option<String>,
    pub first_failed_at: Option<Timestamp>,
    /// Id of the claim under which the job was returned; see [`ScheduledJobs::unschedule`].
    pub claim: i64,
}

impl Listed for ScheduledJob {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

/// Jobs that wait for their earliest start outside the broker, and the claims under which they are published. Jobs of
/// [`FairBacklog`](super::FairBacklog) are among them for all methods but [`Self::claim_due`] and
/// [`Self::scheduled_count`], those behind another one of their order key for all but the former.
#[async_trait]
pub trait ScheduledJobs: Send + Sync + 'static {
    /// Stores jobs; rows with the same ids are replaced, but for an envelope with more attempts used: of two copies of
    /// a job, as a publish of unknown outcome leaves, one stays, and its attempts do not go back.
    async fn schedule(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError>;

    /// Claims up to `limit` due jobs, oldest first; a job that is not unscheduled is due again at `until`. A row that
    /// cannot be read is logged and set aside: it stays, counted, and is not claimed again.
    async fn claim_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError>;

    /// Claims one job, due or not; `None` when it does not exist or another claim is in force.
    async fn claim(
        &self,
        id: JobId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ScheduledJob>, EngineError>;

    /// Deletes published jobs, each only under its own claim.
    async fn unschedule(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError>;

    /// Lists scheduled jobs by id; of [`JobFilter::state`], `Ready` wants those that wait for their turn and `Delayed`
    /// those that wait for a time, all others mean both.
    async fn scheduled(&self, filter: &JobFilter) -> Result<Vec<ScheduledJob>, EngineError>;

    /// One scheduled job by id.
    async fn find(&self, id: JobId) -> Result<Option<ScheduledJob>, EngineError>;

    /// Number of scheduled jobs of a queue, counted up to `most`.
    async fn scheduled_count(&self, queue: &str, most: u64) -> Result<u64, EngineError>;

    /// Deletes the scheduled jobs of a queue and frees its unique keys that were reserved before this time, but for
    /// those of the `running` and of dead jobs, and for the rest of a period; and its order keys, but for those of the
    /// `running` jobs. Returns the number of jobs.
    async fn purge(&self, queue: &str, before: Timestamp, running: &[JobId]) -> Result<u64, EngineError>;

    /// Deletes a scheduled job and frees its keys (returns true), or else stores a cancel request (returns
    /// false).
    ///
    /// # Errors
    /// [`ErrorClass::Busy`](base::ErrorClass) when [`CANCELS_MAX`](super::CANCELS_MAX) requests of other jobs are in
    /// force.
    async fn cancel(&self, id: JobId, reason: &str, now: Timestamp) -> Result<bool, EngineError>;
}

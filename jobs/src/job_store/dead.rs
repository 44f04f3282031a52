//! The contract of dead jobs: kept here, so that listing them is a query.
//!
//! Guarantees of every implementation: as for [`super`]; storing a job again replaces its row and ends any claim on it,
//! so a job that dies again while it is being published is not deleted. The bytes of a page are bounded, see
//! [`crate::engine::page`]. Does not decode messages: the engine does.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Database, Encode, QueryBuilder, Type};

use crate::{
    engine::{
        DeadFilter, DeadInfo, EngineError, InspectedJob, JobFilter, JobState,
        page::{Listed, Page},
    },
    envelope::{Envelope, JobId},
};

/// A dead job.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone)]
pub struct DeadJob {
    /// The job; for a message that could not be decoded, a substitute.
    pub envelope: Envelope,
    /// Consumers the job has lost.
    pub crashes: u32,
    pub last_error: Option<String>,
    pub info: DeadInfo,
    /// The message itself if it could not be decoded; not part of listings.
    pub message: Option<DeadMessage>,
    /// Id of the claim under which the job was returned; see [`DeadJobs::remove_dead`].
    pub claim: i64,
}

/// A message that could not be decoded, as the engine needs it to publish it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadMessage {
    /// Properties and headers, content type included, in a form of the engine.
    pub properties: String,
    /// The raw body.
    pub body: Vec<u8>,
}

/// A page of a listing.
#[derive(Debug, Default)]
pub struct DeadPage {
    /// Jobs by id.
    pub jobs: Vec<DeadJob>,
    /// Whether the page ended by its limit or its size, so that others may follow.
    pub more: bool,
}

/// Dead jobs, and the claims under which they are published again.
#[async_trait]
pub trait DeadJobs: Send + Sync + 'static {
    /// Stores dead jobs and frees their unique and order keys; rows with the same ids are replaced.
    async fn add_dead(&self, jobs: Vec<DeadJob>) -> Result<(), EngineError>;

    /// Lists dead jobs by id, without their messages; [`JobFilter::state`] is ignored.
    async fn dead_jobs(&self, filter: &JobFilter) -> Result<DeadPage, EngineError>;

    /// One dead job by id, with its message.
    async fn find_dead(&self, id: JobId) -> Result<Option<DeadJob>, EngineError>;

    /// Ids of matching dead jobs, in their order, 1000 at most; [`DeadFilter::dry_run`] is ignored.
    async fn dead_ids(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError>;

    /// Claims those of the jobs that no other claim holds, and returns them by id, with their messages. A job that is
    /// not removed can be claimed again at `until`.
    async fn claim_dead(
        &self,
        ids: &[JobId],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<DeadJob>, EngineError>;

    /// Deletes jobs that were published again, each only under its own claim.
    async fn remove_dead(&self, claims: &[(JobId, i64)]) -> Result<(), EngineError>;

    /// Deletes matching dead jobs, those that died first, 1000 at most. Returns how many. A dry run deletes none and
    /// counts up to the filter's limit.
    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError>;

    /// Number of dead jobs of a queue, counted up to `most`.
    async fn dead_count(&self, queue: &str, most: u64) -> Result<u64, EngineError>;
}

impl DeadJob {
    /// The job as [`crate::Admin::list`] shows it.
    pub fn inspected(self) -> InspectedJob {
        let Self { envelope, crashes, last_error, info, .. } = self;
        InspectedJob { envelope, state: JobState::Dead, crashes, last_error, behind: None, dead: Some(info) }
    }
}

impl Listed for DeadJob {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

impl DeadPage {
    /// The id after which the next page begins, if others may follow.
    pub fn end(&self) -> Option<JobId> {
        self.jobs.last().map(|job| job.envelope.id).filter(|_| self.more)
    }
}

impl From<Page<DeadJob>> for DeadPage {
    fn from(Page { jobs, more }: Page<DeadJob>) -> Self {
        Self { jobs, more }
    }
}

/// Adds those conditions of the filter that are set and that every store writes alike. Texts pass through `storable`.
pub(super) fn push_conditions<DB: Database>(
    query: &mut QueryBuilder<DB>,
    filter: &DeadFilter,
    storable: impl Fn(&str) -> String,
) where
    String: for<'q> Encode<'q, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
{
    let reason = filter.reason.map(|reason| reason.as_str().to_owned());
    for (column, wanted) in [("queue", &filter.queue), ("kind", &filter.kind), ("reason", &reason)] {
        if let Some(wanted) = wanted {
            query.push(" AND ").push(column).push(" = ").push_bind(storable(wanted));
        }
    }
    for (condition, time) in [(" AND died_at >= ", filter.since), (" AND died_at < ", filter.died_before)] {
        if let Some(time) = time {
            query.push(condition).push_bind(time.as_millisecond());
        }
    }
}

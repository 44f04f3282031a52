//! The contract of unique keys: reserved before their jobs are published, kept as their jobs ask for.
//!
//! A key is reserved before its job is published, until a time; once the job is published, the reservation is
//! confirmed and lasts until the engine releases it: at the end of the job, or when a worker fetches it. One that is
//! never confirmed, as its process died, ends by itself. A released key with a period is held until the end of that;
//! the key of a dead job is released or kept, as the job asked for.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::{
    engine::{EngineError, HolderState, KeyHolder},
    envelope::{Envelope, JobId},
    unique::UniqueStates,
};

/// Most ended reservations deleted by one call of [`UniqueKeys::expire_keys`].
pub const KEYS_EXPIRED_MAX: u32 = 10_000;

/// A key that a job asks for.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone)]
pub struct KeyRequest {
    pub key: String,
    pub queue: String,
    pub job: JobId,
    /// Whether the job holds its key while it is dead.
    pub kept: bool,
    /// Time until which the key is held at least.
    pub period_end: Option<Timestamp>,
}

/// Answer to a [`KeyRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The job holds the key.
    Reserved,
    /// The job has held the key already and has ended, but the period lasts; or it is dead and keeps the key.
    Ended,
    /// Another job holds the key.
    Held(KeyHolder),
}

/// Unique keys of jobs.
#[async_trait]
pub trait UniqueKeys: Send + Sync + 'static {
    /// Reserves unique keys for jobs that exist, such as dead ones that are redriven: never [`Reservation::Ended`].
    async fn reserve(&self, keys: Vec<KeyRequest>, now: Timestamp) -> Result<Vec<Reservation>, EngineError> {
        self.reserve_until(keys, now, None).await
    }

    /// The same for jobs to be published: until this time, unless confirmed. Reserving again, by the same job and
    /// before it is confirmed, replaces that time.
    async fn reserve_until(
        &self,
        keys: Vec<KeyRequest>,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Vec<Reservation>, EngineError>;

    /// Makes the reservations of published jobs last until [`Self::release`].
    async fn confirm(&self, ids: &[JobId]) -> Result<(), EngineError>;

    /// Frees the keys of jobs that were certainly not published: those first reserved at this time and not confirmed.
    async fn withdraw(&self, ids: &[JobId], reserved_at: Timestamp) -> Result<(), EngineError>;

    /// Frees the unique keys of jobs, but for the rest of a period.
    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError>;

    /// Deletes reservations that have ended, [`KEYS_EXPIRED_MAX`] at most; returns how many. Their keys are free
    /// without it; it bounds the table.
    async fn expire_keys(&self, now: Timestamp) -> Result<u64, EngineError>;
}

impl KeyRequest {
    /// The request of a job; `None` without a unique key.
    pub fn of(envelope: &Envelope) -> Option<Self> {
        Some(Self {
            key: envelope.unique_key.clone()?,
            queue: envelope.queue.clone(),
            job: envelope.id,
            kept: envelope.unique.states() == UniqueStates::Kept,
            period_end: envelope.unique.period_end(envelope.created_at),
        })
    }
}

impl Reservation {
    /// The other job that holds the key.
    pub const fn holder(self) -> Option<KeyHolder> {
        match self {
            Self::Held(holder) => Some(holder),
            Self::Reserved | Self::Ended => None,
        }
    }
}

/// A stored key.
pub(super) struct KeyRow {
    pub(super) holder: KeyHolder,
    expires_at: Option<i64>,
}

/// What a request for a stored key leads to.
pub(super) enum KeyStep {
    Answer(Reservation),
    /// The own reservation gets a new end.
    Renew,
    /// The reservation of another job, or of an earlier period, has ended.
    Replace,
}

impl KeyRow {
    /// A row with the columns `held_as` and `expires_at`, of this job.
    pub(super) fn read<'r, R: Row>(row: &'r R, job: JobId) -> Self
    where
        &'static str: ColumnIndex<R>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
        String: Decode<'r, R::Database> + Type<R::Database>,
    {
        let state = HolderState::parse(&row.get::<String, _>("held_as")).unwrap_or(HolderState::Active);
        Self { holder: KeyHolder { id: job, state }, expires_at: row.get("expires_at") }
    }

    /// The step for a job that `publishes`, or that exists already.
    pub(super) fn step(&self, job: JobId, now: i64, publishes: bool) -> KeyStep {
        let is_own = self.holder.id == job;
        match (is_own, self.holder.state, self.expires_at) {
            (true, HolderState::Active, None) => KeyStep::Answer(Reservation::Reserved),
            (true, HolderState::Active, Some(_)) => KeyStep::Renew,
            (true, ..) if !publishes => KeyStep::Renew,
            (.., Some(at)) if at <= now => KeyStep::Replace,
            (true, ..) => KeyStep::Answer(Reservation::Ended),
            (false, ..) => KeyStep::Answer(Reservation::Held(self.holder)),
        }
    }
}

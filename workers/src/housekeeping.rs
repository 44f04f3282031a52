//! Collaborators and bounds of the housekeeping jobs, which the scheduler publishes by [`crate::schedules`] and runs
//! itself.
//!
//! Guarantees: of each kind one run waits or is running; a run ends after [`WORK_MAX`] for each thing it deletes, and
//! the next one goes on. A run that fails ends as cancelled with its cause: the next one does the same work, so it is
//! neither retried nor a dead letter. Nothing is cancelled or deleted while the clock differs from the order store's.
//! Each step may be repeated, also by two runs at once.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Timestamp, time::between};
use jobs::{
    Backoff, Engine, JobContext, JobError,
    error::{Cause, describe},
    records::RecordStore,
};
use store::{OrderStore, StoreError};

use crate::verify::{Summary, Verify};

/// Collaborators shared by all housekeeping runs of a process.
pub type HousekeepingEnv = Arc<HousekeepingParts>;

/// Context of a run of a housekeeping job.
pub type HousekeepingContext = JobContext<HousekeepingEnv>;

/// Stores, and the settings that say what is old.
pub struct HousekeepingParts {
    pub orders: Arc<dyn OrderStore>,
    pub sessions: Arc<dyn ExpireSessions>,
    pub records: Arc<dyn RecordStore>,
    pub records_keep: Duration,
    /// The engine whose dead jobs are dropped.
    pub engine: Arc<dyn Engine>,
    pub dead_keep: Duration,
    /// Dead jobs kept of each queue.
    pub dead_most: u64,
    /// `None` for stores without partitions.
    pub partitions: Option<Arc<dyn Partitions>>,
    /// Age at which an unpaid order is cancelled; `None`: never.
    pub pending_expires: Option<Duration>,
    /// The same of an order with a bank debit under way.
    pub debit_expires: Option<Duration>,
    /// `None`: audits on demand only.
    pub audit: Option<ScheduledAudit>,
}

/// The audit of changed orders, and what is done with its result.
pub struct ScheduledAudit {
    pub verify: Verify,
    /// Whole seconds.
    pub every: Duration,
    /// Orders that changed less than this ago are in progress.
    pub grace: Duration,
    /// Receives the totals of an audit that could look, and when it ended.
    pub report: AuditReport,
}

/// Receiver of the totals of audits.
pub type AuditReport = Box<dyn Fn(&Summary, Timestamp) + Send + Sync>;

/// A store whose ended sessions are deleted.
#[async_trait]
pub trait ExpireSessions: Send + Sync {
    /// Deletes ended sessions, at most `limit`; returns how many.
    async fn expire(&self, limit: u32) -> Result<u64, Cause>;
}

/// Partitioned tables.
#[async_trait]
pub trait Partitions: Send + Sync {
    /// Creates the coming partitions and drops the expired ones; logs what was done and what failed.
    ///
    /// # Errors
    /// The first failure, after everything was tried.
    async fn maintain(&self, now: Timestamp) -> Result<(), StoreError>;
}

/// Longest work on one thing in a run; the next run goes on.
pub const WORK_MAX: Duration = Duration::from_mins(4);
/// Longest run of a job that deletes up to four things, with room for a slow last slice.
pub(crate) const RUN_MAX: Duration = Duration::from_mins(20);
/// Runs of a job that panics or exceeds its time: all other failures end it.
pub(crate) const ATTEMPTS_MAX: u32 = 3;
pub(crate) const BACKOFF: Backoff = Backoff::Table(&[Duration::from_secs(10)]);
/// Rows per transaction, so that orders never wait long.
pub(crate) const SLICE: u32 = 500;

/// The unique key of every run of a kind: one at a time waits or is running.
pub(crate) const SINGLE_RUN: &str = "run";

/// The time by which a run decides what is old. Ends the run while the clock differs from that of the order store.
pub(crate) async fn checked_now(ctx: &HousekeepingContext) -> Result<Timestamp, JobError> {
    let checked = ctx.env.orders.check_clock(ctx.ambient.now()).await;
    checked.map(|()| ctx.ambient.now()).map_err(|error| {
        tracing::error!(error = describe(&error), alarm = true, "clocks differ; nothing is expired");
        JobError::cancel(error)
    })
}

/// Whether a run that began this work then may begin another slice of it.
pub(crate) fn may_go_on(ctx: &HousekeepingContext, began: Timestamp) -> bool {
    ctx.signal.interrupt().is_none() && between(began, ctx.ambient.now()) < WORK_MAX
}

/// Deletes slices until one is not full; returns how many rows.
pub(crate) async fn slices<F, E>(
    ctx: &HousekeepingContext,
    delete_some: impl Fn() -> F + Send,
) -> Result<u64, String>
where
    F: Future<Output = Result<u64, E>> + Send,
    E: Into<Cause>,
{
    let (began, mut total) = (ctx.ambient.now(), 0);
    while may_go_on(ctx, began) {
        let deleted = delete_some().await.map_err(|error| {
            let cause: Cause = error.into();
            describe(cause.as_ref())
        })?;
        total += deleted;
        if deleted < u64::from(SLICE) {
            break;
        }
    }
    Ok(total)
}

/// Result of [`end_due`].
#[derive(Default)]
pub(crate) struct EndedDue {
    /// Things that were ended.
    pub(crate) count: u64,
    /// The last outage. It kept one thing, or a page and those after it.
    pub(crate) outage: Option<StoreError>,
}

/// Ends all things that are due, page by page of this size, each by itself: one that cannot be ended keeps no other,
/// because an unavailable shard keeps its own things only. An error that is no outage goes to `report`.
pub(crate) async fn end_due<T, L, E>(
    ctx: &HousekeepingContext,
    page_size: u32,
    list_after: impl Fn(Option<T>) -> L + Send,
    end: impl Fn(T) -> E + Send,
    report: impl Fn(T, StoreError) + Send,
) -> EndedDue
where
    T: Copy + Send + Sync,
    L: Future<Output = Result<Vec<T>, StoreError>> + Send,
    E: Future<Output = Result<bool, StoreError>> + Send,
{
    let (began, mut after, mut ended) = (ctx.ambient.now(), None, EndedDue::default());
    while may_go_on(ctx, began) {
        let page = match list_after(after).await {
            Ok(page) => page,
            Err(error) => {
                ended.outage = Some(error);
                break;
            }
        };
        for due in &page {
            match end(*due).await {
                Ok(is_ended) => ended.count += u64::from(is_ended),
                Err(error) if error.class().is_transient() => ended.outage = Some(error),
                Err(error) => report(*due, error),
            }
        }
        after = page.last().copied();
        if page.len() < page_size as usize {
            break;
        }
    }
    ended
}

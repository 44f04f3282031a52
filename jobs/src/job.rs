//! The job trait: a serde struct whose fields are the payload, with constants that say how it is run.
//!
//! Put ids and tokens into the fields, never data: everyone with access to the queue can read payloads. Outcomes of a
//! run are in [`crate::error`].

use std::{
    fmt::{self, Display},
    future::Future,
    str::FromStr,
    time::Duration,
};

use base::{Ambient, Timestamp, TraceContext};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    engine::JobSignal,
    error::JobError,
    id::JobId,
    reporter::{ResultError, RunReporter},
    unique::Unique,
};

/// One kind of background work.
///
/// ```
/// use orderworks_jobs::{Job, JobContext, JobError};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greet { name: String }
///
/// impl Job for Greet {
///     type Env = ();
///     const KIND: &'static str = "greet";
///     async fn run(&self, ctx: &JobContext<()>) -> Result<(), JobError> {
///         tracing::info!(job.id = %ctx.id, "hello");
///         Ok(())
///     }
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The collaborators of a run, shared by all jobs of a registry.
    type Env: Clone + Send + Sync + 'static;

    /// Stable name, `[a-z0-9_]{1,60}`, unique in a registry. Queued messages carry it: never change it.
    const KIND: &'static str;
    /// Version of the payload's shape; raise it when payloads of an earlier release need [`Job::upcast`].
    const VERSION: u16 = 1;
    /// The queue of these jobs, `[a-z0-9_]{1,60}`.
    const QUEUE: &'static str = "default";
    /// Runs allowed before the job is dead, the first one included; at least 1.
    const MAX_ATTEMPTS: u32 = 20;
    /// Longest single run; a longer one is dropped at its next await point and counts as failed. At most
    /// [`crate::engine::Capabilities::longest_run`] of the engine.
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// Time after which the signal of a run fires with [`Interrupt::SoftTimeout`](crate::engine::Interrupt), so that it
    /// can save what it has and end in order; shorter than [`Job::TIMEOUT`]. `None`: never.
    const SOFT_TIMEOUT: Option<Duration> = None;
    /// Priority of the job in its queue, unless [`crate::envelope::EnqueueOptions::priority`] says otherwise.
    const PRIORITY: Priority = Priority::Default;
    /// Delay before the next attempt after a failure.
    const BACKOFF: Backoff = Backoff::STANDARD;
    /// How long a job holds its [`Job::unique_key`], unless
    /// [`crate::envelope::EnqueueOptions::unique`] says otherwise.
    const UNIQUE: Unique = Unique::WHILE_ACTIVE;

    /// While a job of this kind holds this key, which [`Job::UNIQUE`] says, a second one is rejected with
    /// [`crate::engine::Published::NotUnique`].
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// At most one job with this key runs at a time: over all processes where
    /// [`crate::engine::Capabilities::concurrency_keys`] is set, else in each process.
    fn concurrency_key(&self) -> Option<String> {
        None
    }

    /// The owner of the job, such as a tenant: a [fair](crate::engine::QueueSpec::fair()) queue divides its starts
    /// among owners, and jobs without a key have one together. Of no effect in other queues, and with engines without
    /// [`crate::engine::Capabilities::fair_share`].
    fn fair_key(&self) -> Option<String> {
        None
    }

    /// Jobs of one queue with the same order key run one after the other, in the order in which they were published,
    /// over all processes: the next one starts once this one is done, cancelled or dead, and waits through its retries.
    /// Priorities do not change that order. Needs [`crate::engine::Capabilities::order_keys`]; an engine without it
    /// refuses the job. At most 512 bytes.
    fn order_key(&self) -> Option<String> {
        None
    }

    /// Opaque id of the object the job is about, by which attempt records can be listed.
    fn subject(&self) -> Option<String> {
        None
    }

    /// Converts the payload of an older [`Job::VERSION`] to the current one; the default returns it unchanged.
    ///
    /// # Errors
    /// A payload that cannot be converted is moved to the dead queue with this error.
    fn upcast(_version: u16, payload: serde_json::Value) -> Result<serde_json::Value, JobError> {
        Ok(payload)
    }

    /// Does the work. At-least-once delivery may run it more than once: be idempotent by a key of your own.
    fn run(&self, ctx: &JobContext<Self::Env>) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// A run's view of its job, its environment and its signal.
#[derive(Clone)]
pub struct JobContext<E> {
    /// The registry's environment.
    pub env: E,
    /// Id of the job, the same over all its attempts.
    pub id: JobId,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// Time of the first publish.
    pub created_at: Timestamp,
    /// Trace context given by the publisher; where spans are recorded, that of the run, which continues it.
    pub trace: Option<TraceContext>,
    /// Fires when the run should end early: job cancelled, lease lost, worker shutting down, or [`Job::SOFT_TIMEOUT`]
    /// passed.
    pub signal: JobSignal,
    /// Clock, ids and randomness of the worker.
    pub ambient: Ambient,
    /// Takes the reports of the run; see [`JobContext::progress`].
    pub reports: RunReporter,
}

impl<E> JobContext<E> {
    /// Whether this is the last attempt allowed: a failure now makes the job dead.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// Reports how far the run has come, 0 to 100 percent (more counts as 100), with a text of at most
    /// [`MESSAGE_CHARS_MAX`](crate::reporter::run::MESSAGE_CHARS_MAX) characters for people. Replaces the last one.
    ///
    /// Never waits and never fails: reports are stored at most once a second and dropped in a worker without a
    /// [`Reporter`](crate::Reporter). Put ids into them, never data.
    pub fn progress(&self, percent: u8, message: impl Display) {
        self.reports.progress(percent, message);
    }

    /// Adds a line to the log of the run, as [`JobContext::progress`] reports. The last
    /// [`LOG_LINES_MAX`](crate::reporter::run::LOG_LINES_MAX) are kept, each up to
    /// [`LOG_LINE_BYTES_MAX`](crate::reporter::run::LOG_LINE_BYTES_MAX).
    pub fn log(&self, line: impl Display) {
        self.reports.log(line);
    }

    /// Reports the result of the run, JSON of at most
    /// [`RESULT_BYTES_MAX`](crate::reporter::run::RESULT_BYTES_MAX) bytes, as [`JobContext::progress`] reports. It is
    /// for people and programs that ask for it while it is kept; a result that must not be lost belongs into a store of
    /// your own.
    ///
    /// # Errors
    /// A larger result, or a value that does not serialise; the one before is kept.
    pub fn set_result<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ResultError> {
        self.reports.set_result(value)
    }
}

/// Priority of a job in its queue; of two ready jobs the one of higher priority is started first, but for the share of
/// the lower ones, see [`Priority::in_turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Work that a person or a request waits for.
    Critical,
    /// Ordinary work.
    #[default]
    Default,
    /// Work without urgency: imports, clean-up.
    Bulk,
}

// Highest first.
crate::names::names!(Priority { Critical: "critical", Default: "default", Bulk: "bulk" });

impl Priority {
    /// The order in which a consumer looks for the job of its start number `start`, counted from zero.
    ///
    /// Of eight starts one looks for default and one for bulk work first, so that lower priorities get a share while
    /// higher ones never run out; which start it is depends on the count alone.
    #[must_use]
    pub const fn in_turn(start: u64) -> [Self; 3] {
        match start % 8 {
            3 => [Self::Default, Self::Critical, Self::Bulk],
            7 => [Self::Bulk, Self::Critical, Self::Default],
            _ => [Self::Critical, Self::Default, Self::Bulk],
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("no priority `{text}`: use critical, default or bulk"))
    }
}

/// Rule for the delay before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// Full jitter: uniform in `0..=min(cap, base * 2^(failures - 1))`, which of the usual rules spreads simultaneous
    /// failures best (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    #[expect(missing_docs, reason = "the line above says what they mean")]
    FullJitter { base: Duration, cap: Duration },
    /// A fixed table: entry `n` after failure `n + 1`, the last entry repeated; jitter adds up to a tenth of each.
    Table(&'static [Duration]),
}

impl Backoff {
    /// One second doubling up to an hour.
    pub const STANDARD: Self =
        Self::FullJitter { base: Duration::from_secs(1), cap: Duration::from_hours(1) };

    /// Delay after the `failures`-th failure (from 1).
    pub fn delay(self, failures: u32, ambient: &Ambient) -> Duration {
        match self {
            Self::FullJitter { base, cap } => {
                let doublings = failures.saturating_sub(1).min(31);
                ambient.jitter(base.saturating_mul(1 << doublings).min(cap))
            }
            Self::Table(delays) => {
                let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
                let delay = delays.get(index).or(delays.last()).copied().unwrap_or_default();
                delay + ambient.jitter(delay / 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_jitter_stays_under_its_doubling_bound_and_its_cap() {
        let (ambient, _) = Ambient::steered(3, Timestamp::UNIX_EPOCH);
        let backoff = Backoff::FullJitter { base: Duration::from_secs(1), cap: Duration::from_secs(10) };
        for (failures, bound) in [(1, 1), (2, 2), (4, 8), (5, 10), (200, 10)] {
            let longest = (0..200).map(|_| backoff.delay(failures, &ambient)).max().unwrap();
            assert!(longest <= Duration::from_secs(bound));
            assert!(longest > Duration::from_secs(bound) / 2, "jitter uses its range");
        }
    }

    #[test]
    fn a_table_repeats_its_last_entry() {
        const DELAYS: &[Duration] = &[Duration::from_secs(5), Duration::from_mins(5)];
        let (ambient, _) = Ambient::steered(3, Timestamp::UNIX_EPOCH);
        let table = Backoff::Table(DELAYS);
        assert!((5.0..=5.5).contains(&table.delay(1, &ambient).as_secs_f64()));
        assert!((300.0..=330.0).contains(&table.delay(9, &ambient).as_secs_f64()));
    }
}

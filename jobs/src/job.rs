//! The job trait: a serde struct whose fields are the payload, with constants that say how it is run.
//!
//! Put ids and tokens into the fields, never data: payloads are visible to whoever may look into the queue.
//! Read on in [`crate::error`] for outcomes.

use std::{fmt, future::Future, str::FromStr, time::Duration};

use base::{Ambient, Timestamp, TraceContext};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{engine::JobSignal, envelope::JobId, error::JobError};

/// One kind of background work.
///
/// ```
/// use jobs::{Job, JobContext, JobError};
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
    /// The collaborators a run may use, the same for every job of a registry.
    type Env: Clone + Send + Sync + 'static;

    /// Stable name, `snake_case`, unique in a registry. Queued messages carry it: never change it.
    const KIND: &'static str;
    /// Version of the payload's shape; raise it when yesterday's payload needs [`Job::upcast`].
    const VERSION: u16 = 1;
    /// The queue it waits in.
    const QUEUE: &'static str = "default";
    /// Runs allowed before it is dead, the first one included.
    const MAX_ATTEMPTS: u32 = 20;
    /// Longest single run; the run is dropped at its next await point after that and counts as failed.
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// Which class it waits in.
    const PRIORITY: Priority = Priority::Default;
    /// Delay before the next attempt.
    const BACKOFF: Backoff = Backoff::STANDARD;

    /// While a job of this kind with this key waits or runs, another one is not accepted.
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// Of all jobs with this key, one runs at a time.
    fn concurrency_key(&self) -> Option<String> {
        None
    }

    /// What the job is about, an opaque id by which its records can be listed.
    fn subject(&self) -> Option<String> {
        None
    }

    /// Turns the payload of an older [`Job::VERSION`] into today's; the default accepts it unchanged.
    ///
    /// # Errors
    /// A payload that cannot be understood is parked in the dead queue with this error.
    fn upcast(_version: u16, payload: serde_json::Value) -> Result<serde_json::Value, JobError> {
        Ok(payload)
    }

    /// Does the work. May run more than once: be idempotent by a key of your own.
    fn run(&self, ctx: &JobContext<Self::Env>) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// What a run knows about itself.
#[derive(Clone)]
pub struct JobContext<E> {
    /// The collaborators.
    pub env: E,
    /// This job, the same over all its attempts.
    pub id: JobId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many there may be.
    pub max_attempts: u32,
    /// When it was first published.
    pub created_at: Timestamp,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// Fires when the run should end early: cancelled, lease lost, or the worker stops.
    pub signal: JobSignal,
    /// Clock, ids, randomness.
    pub ambient: Ambient,
}

impl<E> JobContext<E> {
    /// Whether a failure now would be the last one.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }
}

/// The class a job waits in; a higher class is started first when both wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for it.
    Critical,
    /// Ordinary work.
    #[default]
    Default,
    /// May wait: imports, redrives, clean-up.
    Bulk,
}

impl Priority {
    /// All classes, highest first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Default, Self::Bulk];

    /// The name in queue names, configuration and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Bulk => "bulk",
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
        let found = Self::ALL.into_iter().find(|p| p.as_str() == text);
        found.ok_or_else(|| format!("no priority class `{text}`: use critical, default or bulk"))
    }
}

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// Full jitter: uniform in `0..=min(cap, base * 2^(failures - 1))`, which spreads a crowd of failed jobs best
    /// (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    FullJitter {
        /// The upper bound after the first failure.
        base: Duration,
        /// The upper bound of all delays.
        cap: Duration,
    },
    /// A fixed table, entry `n` after failure `n + 1`, the last one repeated, each stretched by up to a tenth.
    Table(&'static [Duration]),
}

impl Backoff {
    /// One second doubling up to an hour.
    pub const STANDARD: Self =
        Self::FullJitter { base: Duration::from_secs(1), cap: Duration::from_hours(1) };

    /// The delay after the `failures`-th failure (from 1).
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

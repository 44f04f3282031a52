//! Errors of a job, named by what happens next rather than by what failed.

use std::{error::Error as StdError, fmt, time::Duration};

pub use base::error_class::describe;

/// Boxed cause of a failure.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// Longest error text stored with a job, in characters.
const ERROR_CHARS_MAX: usize = 2000;

/// Truncates an error text to [`ERROR_CHARS_MAX`].
pub(crate) fn bounded(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}

/// The outcome of a run that did not complete.
///
/// Any error converts into [`JobError::Retry`], so `?` in a handler means "retry with backoff", the default for a
/// failure without a rule of its own. Like `anyhow::Error` it does therefore not implement `Error` itself.
#[non_exhaustive]
pub enum JobError {
    /// Retry after the job's backoff; uses an attempt. Dead once all attempts are used.
    Retry(Cause),
    /// Retry no earlier than after this delay; uses an attempt.
    RetryAfter(Duration, Cause),
    /// No further attempt: retrying is pointless. Recorded as cancelled with its cause, not dead.
    Cancel(Cause),
    /// Run again after this delay, without using an attempt.
    Snooze(Duration),
}

impl JobError {
    /// [`JobError::Retry`] with a message.
    pub fn retry(message: impl Into<Cause>) -> Self {
        Self::Retry(message.into())
    }

    /// [`JobError::RetryAfter`] with a message.
    pub fn retry_after(delay: Duration, message: impl Into<Cause>) -> Self {
        Self::RetryAfter(delay, message.into())
    }

    /// [`JobError::Cancel`] with a message.
    pub fn cancel(message: impl Into<Cause>) -> Self {
        Self::Cancel(message.into())
    }

    /// The cause with all its sources in one line, `outer: inner: innermost`; stored in records as `error`.
    pub fn describe(&self) -> String {
        match self {
            Self::Retry(cause) | Self::RetryAfter(_, cause) | Self::Cancel(cause) => describe(cause.as_ref()),
            Self::Snooze(delay) => format!("snoozed for {delay:?}"),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::Retry(Box::new(error))
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Retry(_) => "Retry",
            Self::RetryAfter(..) => "RetryAfter",
            Self::Cancel(_) => "Cancel",
            Self::Snooze(_) => "Snooze",
        };
        write!(f, "{name}({})", self.describe())
    }
}

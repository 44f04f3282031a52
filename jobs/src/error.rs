//! What a job says when it does not simply finish: what happens next, not what broke.

use std::{error::Error as StdError, fmt, time::Duration};

pub use base::error_class::describe;

/// A boxed cause.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// The outcome of a run that did not complete.
///
/// Any error converts into [`JobError::Retry`], so `?` in a handler means "again later, with backoff":
/// the default after a failure nobody thought of. Like `anyhow::Error` it is therefore no `Error` itself.
#[non_exhaustive]
pub enum JobError {
    /// Again after the job's backoff; counts as an attempt. Dead once the attempts are used up.
    Retry(Cause),
    /// Again no earlier than after this delay; counts as an attempt.
    RetryAfter(Duration, Cause),
    /// Never again: going on is pointless. Recorded as cancelled with its cause, not dead.
    Cancel(Cause),
    /// Not yet: again after this delay, without using an attempt.
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

    /// The cause with all its sources in one line, `outer: inner: innermost`; what records keep as "last error".
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

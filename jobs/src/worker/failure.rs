//! Why a run did not complete, and what follows from it.
//!
//! The only place where a result becomes a [`Settlement`]; the acknowledge layer, the test kit and the records
//! all take their answer from here, so that they cannot disagree.

use std::{error::Error as StdError, fmt, time::Duration};

use apalis_core::error::BoxDynError;
use base::{Ambient, Timestamp};

use super::run::Run;
use crate::{
    engine::{DeadReason, Interrupt, Settlement},
    error::JobError,
    records::AttemptOutcome,
};

/// Longest error text kept with a job, in bytes; the cause stands at its front.
pub(crate) const ERROR_BYTES_MAX: usize = 4096;

/// How long a job is put off while something of our own is away: short, as outages mostly are, and spread, so that its
/// end is not met by all jobs at once.
const OUTAGE_PAUSE_MIN: Duration = Duration::from_secs(1);
const OUTAGE_PAUSE_SPREAD: Duration = Duration::from_secs(4);

/// A run that did not complete, in the form tower layers pass along.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The job said what follows.
    Job(JobError),
    /// It panicked with this message.
    Panicked(String),
    /// It ran longer than its kind allows.
    TimedOut(Duration),
    /// Nothing here runs this kind.
    UnknownKind(String),
    /// Its payload cannot be read, for this reason.
    Undecodable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(error) => f.write_str(&error.describe()),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::TimedOut(limit) => write!(f, "timed out after {limit:?}"),
            Self::UnknownKind(kind) => write!(f, "no job of kind `{kind}` is registered in this worker"),
            Self::Undecodable(why) => f.write_str(why),
        }
    }
}

impl StdError for Failure {}

/// What becomes of a delivery that ended like this.
pub(crate) fn settlement_for(result: &Result<(), BoxDynError>, run: &Run, ambient: &Ambient) -> Settlement {
    let Err(error) = result else { return Settlement::Done };
    match run.signal.interrupt() {
        Some(Interrupt::Cancelled) => return Settlement::Cancelled { error: text(error) },
        // Whatever it said, it may have said because it was told to stop: run it again in full elsewhere.
        Some(Interrupt::Shutdown) => return Settlement::Release,
        // After a lost lease the engine drops the outcome; no need to invent another one here.
        Some(Interrupt::LeaseLost) | None => {}
    }
    let dead = |reason| Settlement::Dead { reason, error: text(error) };
    let after = |delay| if run.is_last_attempt() { None } else { Some(later(ambient, delay)) };
    let retry = |delay| match after(delay) {
        Some(at) => Settlement::Retry { at, error: text(error) },
        None => dead(DeadReason::Exhausted),
    };
    match error.downcast_ref::<Failure>() {
        Some(Failure::UnknownKind(_)) => dead(DeadReason::UnknownKind),
        Some(Failure::Undecodable(_)) => dead(DeadReason::Undecodable),
        Some(Failure::Job(JobError::Cancel(_))) => Settlement::Cancelled { error: text(error) },
        Some(Failure::Job(JobError::Snooze(delay))) => Settlement::Snooze { at: later(ambient, *delay) },
        Some(Failure::Job(JobError::RetryAfter(delay, _))) => retry(*delay),
        Some(Failure::Job(JobError::Retry(cause))) => match (run.policy.classify)(cause.as_ref()) {
            Some(class) if class.is_transient() => {
                tracing::debug!(error = text(error), "job snoozed during an outage");
                Settlement::Snooze {
                    at: later(ambient, OUTAGE_PAUSE_MIN + ambient.jitter(OUTAGE_PAUSE_SPREAD)),
                }
            }
            class => {
                if class.is_some() {
                    tracing::error!(error = text(error), "job met a defect");
                }
                retry(run.policy.backoff.delay(run.attempt(), ambient))
            }
        },
        _ => retry(run.policy.backoff.delay(run.attempt(), ambient)),
    }
}

/// How a settlement reads in the log of attempts; `None` for a run that does not count.
pub(crate) fn outcome_of(settlement: &Settlement) -> Option<(AttemptOutcome, Option<&str>)> {
    match settlement {
        Settlement::Done => Some((AttemptOutcome::Completed, None)),
        Settlement::Retry { error, .. } => Some((AttemptOutcome::Retried, Some(error))),
        Settlement::Snooze { .. } => Some((AttemptOutcome::Snoozed, None)),
        Settlement::Cancelled { error } => Some((AttemptOutcome::Cancelled, Some(error))),
        Settlement::Dead { error, .. } => Some((AttemptOutcome::Dead, Some(error))),
        Settlement::Release => None,
    }
}

/// The error in one line of bounded length.
fn text(error: &BoxDynError) -> String {
    let mut text = crate::error::describe(error.as_ref());
    if text.len() > ERROR_BYTES_MAX {
        let cut = (0..=ERROR_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
    }
    text
}

/// Now plus a delay, rounded up to the stored millisecond: rounding down would run it early.
fn later(ambient: &Ambient, delay: Duration) -> Timestamp {
    let millis = i64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
    let at = ambient.now().as_millisecond().saturating_add(millis);
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX)
}

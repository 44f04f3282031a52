//! Settlements, as they follow from the results of runs.
//!
//! The only place where a result becomes a [`Settlement`]; acknowledgement, test kit and records all use it, so that
//! they cannot disagree.

use std::time::Duration;

use apalis_core::error::BoxDynError;
use base::{Ambient, Timestamp, time::ceil_span_ms};
use tokio::task::JoinError;

use super::run::Run;
use crate::{
    engine::{DeadReason, Interrupt, Settlement},
    error::JobError,
    failure::Failure,
    job::Backoff,
    records::AttemptOutcome,
};

/// Longest error text kept with a job, in bytes; the outermost cause stands first.
const ERROR_BYTES_MAX: usize = 4096;

/// Delay of a job during an outage, and after the loss of its limit's lease: short, as most outages are, and spread, so
/// that its end does not start all jobs at once.
const OUTAGE_PAUSE_MIN: Duration = Duration::from_secs(1);
const OUTAGE_PAUSE_SPREAD: Duration = Duration::from_secs(4);

/// Runs of a job of an unknown kind or a newer payload version before it is dead, if its own attempts are used up, too:
/// about a day, which outlives a rollout in which some workers are of the release before.
pub const ROLLOUT_ATTEMPTS: u32 = 19;
/// Short at first: with several workers, one of them is likely to be new.
const ROLLOUT_BACKOFF: Backoff = Backoff::Table(&[
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
]);

pub(crate) fn settlement_for(result: &Result<(), BoxDynError>, run: &Run, ambient: &Ambient) -> Settlement {
    let Err(error) = result else { return Settlement::Done };
    match run.signal.interrupt() {
        Some(Interrupt::Cancelled) => return Settlement::Cancelled { error: text(error) },
        // The error may be a consequence of the shutdown: run the job again in full elsewhere.
        Some(Interrupt::Shutdown) => return Settlement::Release,
        // After a lost lease the engine drops any settlement; the soft time-out was a warning.
        Some(Interrupt::LeaseLost | Interrupt::SoftTimeout) | None => {}
    }
    // The runtime ends and drops the tasks of jobs with all others.
    if error.downcast_ref::<JoinError>().is_some_and(JoinError::is_cancelled) {
        return Settlement::Release;
    }
    let dead = |reason| Settlement::Dead { reason, error: text(error) };
    let after = |delay| if run.is_last_attempt() { None } else { Some(later(ambient, delay)) };
    let retry = |delay| match after(delay) {
        Some(at) => Settlement::Retry { at, error: text(error) },
        None => dead(DeadReason::Exhausted),
    };
    let until_rolled_out = |reason| {
        if run.attempt() >= ROLLOUT_ATTEMPTS && run.is_last_attempt() {
            return dead(reason);
        }
        let at = later(ambient, ROLLOUT_BACKOFF.delay(run.attempt(), ambient));
        Settlement::Retry { at, error: text(error) }
    };
    match error.downcast_ref::<Failure>() {
        Some(Failure::UnknownKind(_)) => until_rolled_out(DeadReason::UnknownKind),
        Some(Failure::NewerVersion(_)) => until_rolled_out(DeadReason::Undecodable),
        Some(Failure::Undecodable(_)) => dead(DeadReason::Undecodable),
        // No fault of the job, so no attempt. Not a release: this process has no slot for it, and would meet it at
        // once.
        Some(Failure::LimitLost) => Settlement::Snooze { at: later(ambient, outage_pause(ambient)) },
        Some(Failure::Job(JobError::Cancel(_))) => Settlement::Cancelled { error: text(error) },
        Some(Failure::Job(JobError::Snooze(delay))) => Settlement::Snooze { at: later(ambient, *delay) },
        Some(Failure::Job(JobError::RetryAfter(delay, _))) => retry(*delay),
        Some(Failure::Job(JobError::Retry(cause))) => match (run.policy.classify)(cause.as_ref()) {
            Some(class) if class.is_transient() => {
                tracing::debug!(error = text(error), "job snoozed during an outage");
                Settlement::Snooze { at: later(ambient, outage_pause(ambient)) }
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

/// The outcome and error of a run for logs and attempt records; `None` for a run that does not count. A run that lost
/// its lease is stale however it ended: the engine drops its settlement, or, if only the lease of its limit was lost,
/// snoozes it.
pub(crate) fn outcome_of<'a>(
    settlement: &'a Settlement,
    run: &Run,
) -> Option<(AttemptOutcome, Option<&'a str>)> {
    let (outcome, error) = match settlement {
        Settlement::Done => (AttemptOutcome::Completed, None),
        Settlement::Retry { error, .. } => (AttemptOutcome::Retried, Some(error.as_str())),
        Settlement::Snooze { .. } => (AttemptOutcome::Snoozed, None),
        Settlement::Cancelled { error } => (AttemptOutcome::Cancelled, Some(error.as_str())),
        Settlement::Dead { error, .. } => (AttemptOutcome::Dead, Some(error.as_str())),
        Settlement::Release => return None,
    };
    let is_stale = run.signal.interrupt() == Some(Interrupt::LeaseLost);
    Some((if is_stale { AttemptOutcome::Stale } else { outcome }, error))
}

/// The error and its sources in one line, at most [`ERROR_BYTES_MAX`].
fn text(error: &BoxDynError) -> String {
    let mut text = crate::error::describe(error.as_ref());
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}

fn outage_pause(ambient: &Ambient) -> Duration {
    OUTAGE_PAUSE_MIN + ambient.jitter(OUTAGE_PAUSE_SPREAD)
}

/// Now plus a delay, rounded up to the stored millisecond: rounding down would start the job early.
fn later(ambient: &Ambient, delay: Duration) -> Timestamp {
    let at = ambient.now().as_millisecond().saturating_add(ceil_span_ms(delay));
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX)
}

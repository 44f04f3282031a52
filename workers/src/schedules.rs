//! Schedules of the housekeeping jobs, each of which bears the kind of its job as its name.
//!
//! All keep the default for missed runs: the last of them is made up for. A job that is switched off has no schedule;
//! the one that an earlier configuration stored is then orphaned.

use std::time::Duration;

use jobs::{
    Job,
    schedule::{Schedule, ScheduleError, Timing},
};

use crate::{
    housekeeping::HousekeepingParts,
    jobs::{AuditChanges, DeleteExpired, DropDeadJobs, ExpireOrders, ExpireReservations, MaintainPartitions},
};

/// Interval of deletions and of partitions.
const EVERY: Duration = Duration::from_mins(10);
/// Interval of the searches for stale orders and for reservations that ended, each of which uses an index of its own.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

/// The schedules that these settings ask for.
///
/// # Errors
/// [`ScheduleError::Interval`] for an interval of audits that is not a whole number of seconds up to a year.
pub fn schedules(parts: &HousekeepingParts) -> Result<Vec<Schedule>, ScheduleError> {
    let mut schedules = vec![
        scheduled(&DeleteExpired {}, EVERY)?,
        scheduled(&DropDeadJobs {}, EVERY)?,
        scheduled(&ExpireReservations {}, EXPIRE_EVERY)?,
    ];
    if parts.pending_expires.is_some() {
        schedules.push(scheduled(&ExpireOrders {}, EXPIRE_EVERY)?);
    }
    if parts.partitions.is_some() {
        schedules.push(scheduled(&MaintainPartitions {}, EVERY)?);
    }
    if let Some(audit) = &parts.audit {
        schedules.push(scheduled(&AuditChanges {}, audit.every)?);
    }
    Ok(schedules)
}

fn scheduled<J: Job>(job: &J, every: Duration) -> Result<Schedule, ScheduleError> {
    Schedule::new(J::KIND, job, Timing::every(every)?)
}

//! A schedule as the job store keeps it: timing and definition as JSON.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Missed, Schedule, ScheduleError};
use crate::{
    envelope::Envelope,
    job_store::{NewSchedule, ScheduleRow},
};

#[derive(Serialize, Deserialize)]
struct Definition {
    missed: Missed,
    job: Envelope,
}

impl Schedule {
    /// The row of a schedule that is stored now.
    pub(super) fn to_stored(&self, now: Timestamp) -> Result<NewSchedule, ScheduleError> {
        let corrupt = |source| ScheduleError::Corrupt { name: self.name.clone(), source };
        let definition = Definition { missed: self.missed, job: self.job.clone() };
        Ok(NewSchedule {
            name: self.name.clone(),
            timing: serde_json::to_string(&self.timing).map_err(corrupt)?,
            definition: serde_json::to_string(&definition).map_err(corrupt)?,
            paused: self.paused,
            next_fire_at: self.timing.next_after(now),
        })
    }

    /// The schedule of a row.
    ///
    /// # Errors
    /// [`ScheduleError::Corrupt`] for a row that this program cannot read, such as one with a time zone it does not
    /// know.
    pub fn from_stored(row: &ScheduleRow) -> Result<Self, ScheduleError> {
        let corrupt = |source| ScheduleError::Corrupt { name: row.name.clone(), source };
        let Definition { missed, job } = serde_json::from_str(&row.definition).map_err(corrupt)?;
        let timing = serde_json::from_str(&row.timing).map_err(corrupt)?;
        Ok(Self { name: row.name.clone(), timing, missed, paused: row.paused, job })
    }
}

//! Schedules and their leader.
//!
//! A write of the leader holds a share lock on its term, so that a new term begins before or after it.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{PgConnection, Row};

use super::PostgresJobStore;
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{
        Advance, NewSchedule, ScheduleRow, Schedules, Term,
        row::{self, schedule_columns},
    },
    postgres::{PostgresFault, column, text},
};

const LEADS: &str = "SELECT 1 FROM jobs.schedule_leader WHERE fence = $1 FOR SHARE";
const TAKE: &str = "
    UPDATE jobs.schedule_leader SET holder = $1, fence = fence + 1, beats = 0 WHERE fence = $2 AND beats = $3
    RETURNING fence";
const KEEP: &str = "UPDATE jobs.schedule_leader SET beats = beats + 1 WHERE fence = $1";
const LEAVE: &str = "UPDATE jobs.schedule_leader SET holder = NULL WHERE fence = $1";

const SYNC: &str = "
    INSERT INTO jobs.schedules AS held (name, timing, definition, paused, next_fire_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::bigint[])
    ON CONFLICT (name) DO UPDATE SET
      next_fire_at = CASE WHEN held.timing = EXCLUDED.timing THEN held.next_fire_at ELSE EXCLUDED.next_fire_at END,
      timing = EXCLUDED.timing, definition = EXCLUDED.definition, orphaned = false";
const ORPHAN: &str = "UPDATE jobs.schedules SET orphaned = true WHERE name <> ALL($1) AND NOT orphaned";

// Sorted by bytes, as in every implementation.
const LIST: &str =
    concat!("SELECT ", schedule_columns!(), " FROM jobs.schedules ORDER BY name COLLATE \"C\"");
const FIND: &str = concat!("SELECT ", schedule_columns!(), " FROM jobs.schedules WHERE name = $1");
const DUE: &str = concat!(
    "SELECT ",
    schedule_columns!(),
    " FROM jobs.schedules WHERE next_fire_at <= $1 AND NOT paused AND NOT orphaned
      ORDER BY next_fire_at, name COLLATE \"C\""
);
const ADVANCE: &str = "
    UPDATE jobs.schedules SET next_fire_at = $3, last_fire_at = coalesce($4, last_fire_at),
      last_job = coalesce($5, last_job)
    WHERE name = $1 AND next_fire_at = $2";
const PAUSE: &str = "UPDATE jobs.schedules SET paused = true WHERE name = $1";
const RESUME: &str = "UPDATE jobs.schedules SET paused = false, next_fire_at = $2 WHERE name = $1 AND paused";
const NOTE: &str = "UPDATE jobs.schedules SET last_fire_at = $2, last_job = $3 WHERE name = $1";

#[async_trait]
impl Schedules for PostgresJobStore {
    async fn leader(&self) -> Result<Term, EngineError> {
        let term = "SELECT holder, fence, beats FROM jobs.schedule_leader";
        self.run(async || {
            let row = self.database.row(sqlx::query(term)).await?.ok_or(sqlx::Error::RowNotFound)?;
            Ok(Term { holder: row.get("holder"), fence: row.get("fence"), beats: row.get("beats") })
        })
        .await
    }

    async fn take_lead(&self, holder: &str, seen: &Term) -> Result<Option<i64>, EngineError> {
        let take = || sqlx::query(TAKE).bind(text(holder)).bind(seen.fence).bind(seen.beats);
        Ok(self.rows(take).await?.first().map(|row| row.get("fence")))
    }

    async fn keep_lead(&self, fence: i64) -> Result<bool, EngineError> {
        self.run(async || Ok(self.database.run(sqlx::query(KEEP).bind(fence)).await? == 1)).await
    }

    async fn leave_lead(&self, fence: i64) -> Result<(), EngineError> {
        self.execute(|| sqlx::query(LEAVE).bind(fence)).await
    }

    async fn sync_schedules(&self, fence: i64, schedules: Vec<NewSchedule>) -> Result<bool, EngineError> {
        let names: Vec<String> = column(&schedules, |schedule| schedule.name.clone());
        self.run(async || {
            let mut tx = self.database.begin().await?;
            if !self.leads(&mut tx, fence).await? {
                return Ok(false);
            }
            let sync = self
                .database
                .query(SYNC)
                .bind(&names)
                .bind(column(&schedules, |schedule| schedule.timing.clone()))
                .bind(column(&schedules, |schedule| schedule.definition.clone()))
                .bind(column(&schedules, |schedule| schedule.paused))
                .bind(column(&schedules, |schedule| schedule.next_fire_at.map(Timestamp::as_millisecond)));
            sync.execute(&mut *tx).await?;
            self.database.query(ORPHAN).bind(&names).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, EngineError> {
        Ok(self.rows(|| sqlx::query(LIST)).await?.iter().map(row::schedule).collect())
    }

    async fn find_schedule(&self, name: &str) -> Result<Option<ScheduleRow>, EngineError> {
        Ok(self.rows(|| sqlx::query(FIND).bind(text(name))).await?.first().map(row::schedule))
    }

    async fn due_schedules(&self, now: Timestamp) -> Result<Vec<ScheduleRow>, EngineError> {
        let due = || sqlx::query(DUE).bind(now.as_millisecond());
        Ok(self.rows(due).await?.iter().map(row::schedule).collect())
    }

    async fn advance_schedule(&self, fence: i64, step: &Advance) -> Result<bool, EngineError> {
        self.run(async || {
            let mut tx = self.database.begin().await?;
            if !self.leads(&mut tx, fence).await? {
                return Ok(false);
            }
            let advance = self
                .database
                .query(ADVANCE)
                .bind(text(&step.name))
                .bind(step.from.as_millisecond())
                .bind(step.to.map(Timestamp::as_millisecond))
                .bind(step.run.map(|(at, _)| at.as_millisecond()))
                .bind(step.run.map(|(_, job)| job.to_string()));
            let is_moved = advance.execute(&mut *tx).await?.rows_affected() == 1;
            tx.commit().await?;
            Ok(is_moved)
        })
        .await
    }

    async fn pause_schedule(&self, name: &str) -> Result<bool, EngineError> {
        self.run(async || Ok(self.database.run(sqlx::query(PAUSE).bind(text(name))).await? == 1)).await
    }

    async fn resume_schedule(&self, name: &str, next: Option<Timestamp>) -> Result<bool, EngineError> {
        let next = next.map(Timestamp::as_millisecond);
        self.run(async || {
            let resume = sqlx::query(RESUME).bind(text(name)).bind(next);
            Ok(self.database.run(resume).await? == 1)
        })
        .await
    }

    async fn note_run(&self, name: &str, at: Timestamp, job: JobId) -> Result<(), EngineError> {
        let at = at.as_millisecond();
        self.execute(|| sqlx::query(NOTE).bind(text(name)).bind(at).bind(job.to_string())).await
    }
}

impl PostgresJobStore {
    /// Whether the term lasts, which it then does until the transaction ends.
    async fn leads(&self, c: &mut PgConnection, fence: i64) -> Result<bool, PostgresFault> {
        Ok(self.database.query(LEADS).bind(fence).fetch_optional(c).await?.is_some())
    }
}

//! Schedules and their leader.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteJobStore, engine_error};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{
        Advance, NewSchedule, ScheduleRow, Schedules, Term,
        row::{self, schedule_columns},
    },
    sqlite::fault::SqliteFault,
};

const SYNC: &str = "
    INSERT INTO schedules (name, timing, definition, paused, next_fire_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (name) DO UPDATE SET
      next_fire_at = iif(timing = excluded.timing, next_fire_at, excluded.next_fire_at),
      timing = excluded.timing, definition = excluded.definition, orphaned = 0";

const LIST: &str = concat!("SELECT ", schedule_columns!(), " FROM schedules ORDER BY name");
const FIND: &str = concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE name = ?1");
const DUE: &str = concat!(
    "SELECT ",
    schedule_columns!(),
    " FROM schedules WHERE next_fire_at <= ?1 AND paused = 0 AND orphaned = 0 ORDER BY next_fire_at, name"
);

#[async_trait]
impl Schedules for SqliteJobStore {
    async fn leader(&self) -> Result<Term, EngineError> {
        let term = sqlx::query("SELECT holder, fence, beats FROM schedule_leader");
        let row = term.fetch_one(self.database.readers()).await.map_err(engine_error)?;
        Ok(Term { holder: row.get("holder"), fence: row.get("fence"), beats: row.get("beats") })
    }

    async fn take_lead(&self, holder: &str, seen: &Term) -> Result<Option<i64>, EngineError> {
        let take = sqlx::query(
            "UPDATE schedule_leader SET holder = ?1, fence = fence + 1, beats = 0
             WHERE fence = ?2 AND beats = ?3 RETURNING fence",
        );
        let take = take.bind(holder.to_owned()).bind(seen.fence).bind(seen.beats);
        let taken = self.write(move |c| Box::pin(async move { Ok(take.fetch_optional(c).await?) })).await?;
        Ok(taken.map(|row| row.get("fence")))
    }

    async fn keep_lead(&self, fence: i64) -> Result<bool, EngineError> {
        let keep = sqlx::query("UPDATE schedule_leader SET beats = beats + 1 WHERE fence = ?1").bind(fence);
        self.changes(keep).await
    }

    async fn leave_lead(&self, fence: i64) -> Result<(), EngineError> {
        let leave = sqlx::query("UPDATE schedule_leader SET holder = NULL WHERE fence = ?1");
        self.execute(leave.bind(fence)).await
    }

    async fn sync_schedules(&self, fence: i64, schedules: Vec<NewSchedule>) -> Result<bool, EngineError> {
        self.write(move |c| Box::pin(sync(c, fence, schedules))).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, EngineError> {
        let rows = sqlx::query(LIST).fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().map(row::schedule).collect())
    }

    async fn find_schedule(&self, name: &str) -> Result<Option<ScheduleRow>, EngineError> {
        let found = sqlx::query(FIND).bind(name).fetch_optional(self.database.readers()).await;
        Ok(found.map_err(engine_error)?.as_ref().map(row::schedule))
    }

    async fn due_schedules(&self, now: Timestamp) -> Result<Vec<ScheduleRow>, EngineError> {
        let due = sqlx::query(DUE).bind(now.as_millisecond());
        let rows: Vec<SqliteRow> = due.fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().map(row::schedule).collect())
    }

    async fn advance_schedule(&self, fence: i64, step: &Advance) -> Result<bool, EngineError> {
        let advance = sqlx::query(
            "UPDATE schedules SET next_fire_at = ?3, last_fire_at = coalesce(?4, last_fire_at),
               last_job = coalesce(?5, last_job)
             WHERE name = ?1 AND next_fire_at = ?2 AND EXISTS (SELECT 1 FROM schedule_leader WHERE fence = ?6)",
        );
        let advance = advance.bind(step.name.clone()).bind(step.from.as_millisecond());
        let advance = advance.bind(step.to.map(Timestamp::as_millisecond));
        let advance = advance.bind(step.run.map(|(at, _)| at.as_millisecond()));
        let advance = advance.bind(step.run.map(|(_, job)| job.to_string()));
        self.changes(advance.bind(fence)).await
    }

    async fn pause_schedule(&self, name: &str) -> Result<bool, EngineError> {
        let pause = sqlx::query("UPDATE schedules SET paused = 1 WHERE name = ?1").bind(name.to_owned());
        self.changes(pause).await
    }

    async fn resume_schedule(&self, name: &str, next: Option<Timestamp>) -> Result<bool, EngineError> {
        let resume =
            sqlx::query("UPDATE schedules SET paused = 0, next_fire_at = ?2 WHERE name = ?1 AND paused = 1");
        let resume = resume.bind(name.to_owned()).bind(next.map(Timestamp::as_millisecond));
        self.changes(resume).await
    }

    async fn note_run(&self, name: &str, at: Timestamp, job: JobId) -> Result<(), EngineError> {
        let note = sqlx::query("UPDATE schedules SET last_fire_at = ?2, last_job = ?3 WHERE name = ?1");
        self.execute(note.bind(name.to_owned()).bind(at.as_millisecond()).bind(job.to_string())).await
    }
}

async fn sync(
    c: &mut SqliteConnection,
    fence: i64,
    schedules: Vec<NewSchedule>,
) -> Result<bool, SqliteFault> {
    let leads = sqlx::query("SELECT 1 FROM schedule_leader WHERE fence = ?1").bind(fence);
    if leads.fetch_optional(&mut *c).await?.is_none() {
        return Ok(false);
    }
    let names: serde_json::Value = schedules.iter().map(|schedule| schedule.name.clone()).collect();
    for NewSchedule { name, timing, definition, paused, next_fire_at } in schedules {
        let sync = sqlx::query(SYNC).bind(name).bind(timing).bind(definition).bind(paused);
        sync.bind(next_fire_at.map(Timestamp::as_millisecond)).execute(&mut *c).await?;
    }
    let orphan =
        sqlx::query("UPDATE schedules SET orphaned = 1 WHERE name NOT IN (SELECT value FROM json_each(?1))");
    orphan.bind(names.to_string()).execute(c).await?;
    Ok(true)
}

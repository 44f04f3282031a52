//! Unique keys of the file: who holds one, and the rows of periods.
//!
//! A job's row holds its key as the partial index `jobs_unique` says, by its state alone, so that no statement that
//! moves a job can forget it. A period is a row of its own from publishing on; it counts until its end, whatever has
//! become of the job.

use std::collections::HashMap;

use base::Timestamp;
use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{fault::SqliteFault, row};
use crate::{
    engine::{HolderState, KeyHolder, Published},
    envelope::{Envelope, JobId},
};

/// Ended periods deleted by one publish with a period: more than it adds, so that they do not pile up.
const EXPIRED_MAX: i64 = 2_000;

/// The condition of the index `jobs_unique` on a row that has a key; the planner asks for these words.
macro_rules! key_held {
    ($alias:literal) => {
        concat!(
            "CASE ",
            $alias,
            "unique_states WHEN 'waiting' THEN ",
            $alias,
            "fence = 0 AND ",
            $alias,
            "state <> 'dead' WHEN 'kept' THEN 1 ELSE ",
            $alias,
            "state <> 'dead' END"
        )
    };
}
pub(super) use key_held;

const HOLDERS: &str = concat!(
    "SELECT unique_key AS key, id, state FROM jobs
     WHERE unique_key IN (SELECT value FROM json_each(?1)) AND ",
    key_held!("")
);

const PERIODS: &str = "SELECT key, job AS id, 'period' AS state FROM unique_periods
    WHERE key IN (SELECT value FROM json_each(?1)) AND ends_at > ?2";

const HOLDER_OF: &str = concat!(
    "SELECT h.id AS id, h.state AS state FROM jobs AS d
     JOIN jobs AS h ON h.unique_key = d.unique_key AND h.id <> d.id AND ",
    key_held!("h."),
    " WHERE d.id = ?1 AND d.state = 'dead'
     UNION ALL
     SELECT p.job, 'period' FROM jobs AS d
     JOIN unique_periods AS p ON p.key = d.unique_key AND p.job <> d.id AND p.ends_at > ?2
     WHERE d.id = ?1 AND d.state = 'dead' LIMIT 1"
);

const ADD_RULES: &str =
    "UPDATE jobs SET unique_states = r.value->>'states', unique_period = r.value->>'period'
    FROM json_each(?1) AS r WHERE jobs.id = r.value->>'id'";

const ADD_PERIODS: &str = "INSERT INTO unique_periods (key, job, ends_at)
    SELECT value->>'key', value->>'id', value->>'ends_at' FROM json_each(?1) WHERE value->>'ends_at' IS NOT NULL
    ON CONFLICT (key) DO UPDATE SET job = excluded.job, ends_at = excluded.ends_at";

const EXPIRE_PERIODS: &str = "DELETE FROM unique_periods WHERE key IN (
    SELECT key FROM unique_periods WHERE ends_at <= ?1 ORDER BY ends_at LIMIT ?2)";

/// A published job that does not hold its key by the default rule.
#[derive(Serialize)]
struct Rule<'e> {
    id: String,
    key: &'e str,
    states: Option<&'static str>,
    period: Option<i64>,
    ends_at: Option<i64>,
}

/// The unique keys of these jobs, as JSON; `None` when they have none.
fn keys_of(unit: &[Envelope]) -> Option<String> {
    let keys: Vec<&str> = unit.iter().filter_map(|envelope| envelope.unique_key.as_deref()).collect();
    (!keys.is_empty()).then(|| serde_json::Value::from(keys).to_string())
}

/// Those keys of these jobs whose period lasts.
pub(super) async fn periods(
    c: &mut SqliteConnection,
    unit: &[Envelope],
    now: i64,
) -> Result<HashMap<String, KeyHolder>, SqliteFault> {
    let Some(keys) = keys_of(unit) else { return Ok(HashMap::new()) };
    let rows = sqlx::query(PERIODS).bind(keys).bind(now).fetch_all(c).await?;
    Ok(rows.iter().map(|row| (row::lossy(row, "key"), holder(row))).collect())
}

/// The jobs that hold keys of these jobs.
pub(super) async fn holders(
    c: &mut SqliteConnection,
    unit: &[Envelope],
) -> Result<HashMap<String, KeyHolder>, SqliteFault> {
    let Some(keys) = keys_of(unit) else { return Ok(HashMap::new()) };
    let rows = sqlx::query(HOLDERS).bind(keys).fetch_all(c).await?;
    Ok(rows.iter().map(|row| (row::lossy(row, "key"), holder(row))).collect())
}

/// The other job that holds the key of a dead job.
pub(super) async fn holder_of(
    c: &mut SqliteConnection,
    dead: JobId,
    now: i64,
) -> Result<Option<KeyHolder>, SqliteFault> {
    let found = sqlx::query(HOLDER_OF).bind(dead.to_string()).bind(now).fetch_optional(c).await?;
    Ok(found.as_ref().map(holder))
}

fn holder(row: &SqliteRow) -> KeyHolder {
    let state = match row.try_get::<&str, _>("state").unwrap_or_default() {
        "ready" | "delayed" => HolderState::Waiting,
        "running" => HolderState::Running,
        "dead" => HolderState::Dead,
        _ => HolderState::Period,
    };
    KeyHolder { id: row::id_of(&row::lossy(row, "id")), state }
}

/// Stores how the jobs of this unit that were accepted hold their keys, where the default rule does not say it.
pub(super) async fn add_rules(
    c: &mut SqliteConnection,
    unit: &[Envelope],
    answers: &[Published],
    now: i64,
) -> Result<(), SqliteFault> {
    let rules = rules(unit, answers);
    if rules.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_string(&rules)?;
    sqlx::query(ADD_RULES).bind(&json).execute(&mut *c).await?;
    if rules.iter().any(|rule| rule.ends_at.is_some()) {
        sqlx::query(ADD_PERIODS).bind(&json).execute(&mut *c).await?;
        sqlx::query(EXPIRE_PERIODS).bind(now).bind(EXPIRED_MAX).execute(c).await?;
    }
    Ok(())
}

fn rules<'e>(unit: &'e [Envelope], answers: &[Published]) -> Vec<Rule<'e>> {
    let rule = |(envelope, answer): (&'e Envelope, &Published)| {
        let key = envelope.unique_key.as_deref().filter(|_| !envelope.unique.is_default())?;
        (*answer == Published::Accepted).then(|| Rule {
            id: envelope.id.to_string(),
            key,
            states: envelope.unique.states_name(),
            period: envelope.unique.stored_period(),
            ends_at: envelope.unique.period_end(envelope.created_at).map(Timestamp::as_millisecond),
        })
    };
    unit.iter().zip(answers).filter_map(rule).collect()
}

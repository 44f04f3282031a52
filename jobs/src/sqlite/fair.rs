//! Clocks of fair queues, and how a queue becomes fair.
//!
//! Guarantees: a queue is fair once it was declared so, from then on and in every process; jobs that waited before
//! start first, in the order of publishing. The triggers of migration 0007 give each row its tag; a claim in this
//! module's queues moves the clock and deletes keys that are behind it.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{SqliteConnection, SqlitePool};

use super::fault::SqliteFault;
use crate::engine::{FAIR_COUNTED_MAX, FAIR_UNIT, FairKey, QueueSpec, with_weights};

/// Keys deleted by one claim: more than one claim leaves behind, so that they do not pile up.
const BEHIND_MAX: i64 = 5_000;

const DECLARE: &str =
    "INSERT INTO queues (name) SELECT value FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";

/// Jobs from before begin at time zero; those that do not wait get their tag when they become ready.
const ADOPT: &str = "UPDATE jobs SET tag = 0 WHERE queue = ?1 AND state = 'ready' AND tag IS NULL
    AND EXISTS (SELECT 1 FROM queues WHERE name = ?1 AND fair = 0)";

const ADD_WEIGHTS: &str = "INSERT INTO fair_weights (queue, key, weight)
    SELECT ?1, value->>'key', value->>'weight' FROM json_each(?2)";

/// The tag of the last job claimed; when none is left, one unit more, so that all keys begin equal.
const MOVE_ON: &str = "INSERT INTO fair_times (queue, priority, tag)
    SELECT queue, priority, max(tag) + ?2 FROM jobs
    WHERE sequence IN (SELECT value FROM json_each(?1)) AND tag IS NOT NULL GROUP BY queue, priority
    ON CONFLICT (queue, priority) DO UPDATE SET tag = max(tag, excluded.tag)";

/// A cross join, because the planner would look at every key.
const FORGET_BEHIND: &str = "DELETE FROM fair_keys WHERE rowid IN (
    SELECT k.rowid FROM fair_times AS t CROSS JOIN fair_keys AS k
    WHERE t.queue = ?1 AND k.queue = t.queue AND k.priority = t.priority AND k.next_tag <= t.tag LIMIT ?2)";

const WEIGHTS: &str = "SELECT key, weight FROM fair_weights WHERE queue = ?1";

/// Of each priority the first turns come first in the index; jobs that wait for a concurrency key are counted after
/// those that do not.
const WAITING_KEYS: &str = "SELECT coalesce(fair_key, '') AS key, count(*) AS waiting FROM (
      SELECT fair_key FROM jobs INDEXED BY jobs_fair
      WHERE queue = ?1 AND state = 'ready' AND tag IS NOT NULL ORDER BY blocked, priority, tag LIMIT ?2)
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?3";

#[derive(Serialize)]
struct KeyWeight<'k> {
    key: &'k str,
    weight: u32,
}

/// Adds the queues that do not exist, and makes those fair that are declared so.
pub(super) async fn declare(c: &mut SqliteConnection, queues: Vec<QueueSpec>) -> Result<(), SqliteFault> {
    let names: serde_json::Value = queues.iter().map(|queue| queue.name.as_str()).collect();
    sqlx::query(DECLARE).bind(names.to_string()).execute(&mut *c).await?;
    for QueueSpec { name, fair } in queues {
        let Some(weights) = fair else { continue };
        sqlx::query(ADOPT).bind(&name).execute(&mut *c).await?;
        sqlx::query("UPDATE queues SET fair = 1 WHERE name = ?1").bind(&name).execute(&mut *c).await?;
        sqlx::query("DELETE FROM fair_weights WHERE queue = ?1").bind(&name).execute(&mut *c).await?;
        let weights: Vec<KeyWeight> =
            weights.named().map(|(key, weight)| KeyWeight { key, weight }).collect();
        let json = serde_json::to_string(&weights)?;
        sqlx::query(ADD_WEIGHTS).bind(&name).bind(json).execute(&mut *c).await?;
    }
    Ok(())
}

/// Moves the clock of a fair queue on to the jobs that were claimed; `was_last` when no further job is ready.
pub(super) async fn move_on(
    c: &mut SqliteConnection,
    queue: &str,
    claimed: Vec<i64>,
    was_last: bool,
) -> Result<(), SqliteFault> {
    let claimed = serde_json::Value::from(claimed).to_string();
    let further = if was_last { FAIR_UNIT } else { 0 };
    sqlx::query(MOVE_ON).bind(claimed).bind(further).execute(&mut *c).await?;
    sqlx::query(FORGET_BEHIND).bind(queue).bind(BEHIND_MAX).execute(c).await?;
    Ok(())
}

/// Keys with most jobs waiting, of a queue that is fair.
pub(super) async fn waiting_keys(
    readers: &SqlitePool,
    queue: &str,
    most: u32,
) -> Result<Option<Vec<FairKey>>, SqliteFault> {
    let fair = sqlx::query_scalar("SELECT fair FROM queues WHERE name = ?1").bind(queue);
    let fair: Option<bool> = fair.fetch_optional(readers).await?;
    if fair != Some(true) {
        return Ok(None);
    }
    let weights: Vec<(String, i64)> = sqlx::query_as(WEIGHTS).bind(queue).fetch_all(readers).await?;
    let weights: HashMap<String, i64> = weights.into_iter().collect();
    let counts = sqlx::query_as(WAITING_KEYS).bind(queue).bind(FAIR_COUNTED_MAX).bind(most);
    let counts: Vec<(String, i64)> = counts.fetch_all(readers).await?;
    Ok(Some(with_weights(counts, &weights)))
}

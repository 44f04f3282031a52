//! Claiming: the next jobs of a queue become the consumer's, in one transaction.
//!
//! Guarantees: highest class first, then order of publishing; none before its time; none of a paused queue; one
//! per concurrency key over the whole file. A row that is no envelope is parked and never reaches the consumer.

use std::collections::HashSet;

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    fault::{QueueFault, bounded},
    row::{self, envelope_columns},
};
use crate::{engine::DeadReason, envelope::Envelope};

/// Looks at the queue at most so often in one transaction, when keys block or rows cannot be read.
const ROUNDS_MAX: usize = 8;
/// Delayed jobs made ready in one transaction.
const PROMOTED_MAX: i64 = 1000;

/// A job that is now the consumer's.
pub(super) struct Claimed {
    pub(super) envelope: Envelope,
    pub(super) sequence: i64,
    pub(super) crashes: u32,
}

/// What a claim found.
#[derive(Default)]
pub(super) struct Claim {
    pub(super) jobs: Vec<Claimed>,
    /// Drawn for this claim; greater than all before.
    pub(super) fence: i64,
    /// There may be further ready jobs.
    pub(super) more: bool,
    /// When the next delayed job is due.
    pub(super) next_due: Option<i64>,
    /// Rows parked because they could not be read, with what is wrong.
    pub(super) parked: Vec<(String, String)>,
}

/// Takes up to `free` jobs of `queue` for `session`.
pub(super) async fn claim(
    c: &mut SqliteConnection,
    queue: &str,
    session: i64,
    now: i64,
    free: usize,
) -> Result<Claim, QueueFault> {
    let mut claim = Claim::default();
    let (paused, mut due) = head(c, queue).await?;
    if paused {
        return Ok(claim);
    }
    if due.is_some_and(|at| at <= now) {
        promote(c, queue, now).await?;
        due = head(c, queue).await?.1;
    }
    claim.next_due = due;
    for _ in 0..ROUNDS_MAX {
        let wanted = free - claim.jobs.len();
        let rows = candidates(c, queue, wanted).await?;
        claim.more = rows.len() == wanted;
        if rows.is_empty() {
            break;
        }
        take(c, rows, session, now, &mut claim).await?;
        if claim.jobs.len() == free || !claim.more {
            break;
        }
    }
    Ok(claim)
}

async fn head(c: &mut SqliteConnection, queue: &str) -> Result<(bool, Option<i64>), QueueFault> {
    let head = sqlx::query_as(
        "SELECT paused, (SELECT min(run_at) FROM jobs WHERE queue = q.name AND state = 'delayed')
         FROM queues AS q WHERE name = ?1",
    );
    Ok(head.bind(queue).fetch_optional(c).await?.unwrap_or((true, None)))
}

async fn promote(c: &mut SqliteConnection, queue: &str, now: i64) -> Result<(), QueueFault> {
    let promote = sqlx::query(
        "UPDATE jobs SET state = 'ready', blocked = 0, ready_at = run_at WHERE sequence IN (
           SELECT sequence FROM jobs WHERE queue = ?1 AND state = 'delayed' AND run_at <= ?2
           ORDER BY run_at LIMIT ?3)",
    );
    promote.bind(queue).bind(now).bind(PROMOTED_MAX).execute(c).await?;
    Ok(())
}

async fn candidates(
    c: &mut SqliteConnection,
    queue: &str,
    wanted: usize,
) -> Result<Vec<SqliteRow>, QueueFault> {
    let candidates = sqlx::query(concat!(
        "SELECT ",
        envelope_columns!(),
        " FROM jobs WHERE queue = ?1 AND state = 'ready' AND blocked = 0 ORDER BY priority, sequence LIMIT ?2"
    ));
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    Ok(candidates.bind(queue).bind(wanted).fetch_all(c).await?)
}

/// Sorts candidates into those to run, those whose key is busy, and those that cannot be read.
async fn take(
    c: &mut SqliteConnection,
    rows: Vec<SqliteRow>,
    session: i64,
    now: i64,
    claim: &mut Claim,
) -> Result<(), QueueFault> {
    let mut busy = busy_keys(c, &rows).await?;
    let (mut run, mut blocked) = (Vec::new(), Vec::new());
    for row in &rows {
        let sequence: i64 = row.try_get("sequence")?;
        match row::envelope(row) {
            Ok(envelope) => {
                if envelope.concurrency_key.as_ref().is_some_and(|key| !busy.insert(key.clone())) {
                    blocked.push(sequence);
                    continue;
                }
                run.push(sequence);
                let crashes = row.try_get::<i64, _>("crashes")?;
                claim.jobs.push(Claimed { envelope, sequence, crashes: u32::try_from(crashes).unwrap_or(0) });
            }
            Err(error) => {
                let why = format!("the stored row cannot be read: {error}");
                park(c, row, sequence, &why, now).await?;
                claim.parked.push((row::lossy(row, "id"), why));
            }
        }
    }
    mark_blocked(c, blocked).await?;
    mark_running(c, run, session, claim).await
}

async fn busy_keys(c: &mut SqliteConnection, rows: &[SqliteRow]) -> Result<HashSet<String>, QueueFault> {
    let keys: HashSet<String> =
        rows.iter().filter_map(|row| row.try_get::<Option<String>, _>("concurrency_key").ok()?).collect();
    if keys.is_empty() {
        return Ok(keys);
    }
    let busy = sqlx::query_scalar(
        "SELECT DISTINCT concurrency_key FROM jobs
         WHERE state = 'running' AND concurrency_key IN (SELECT value FROM json_each(?1))",
    );
    let keys = serde_json::Value::from_iter(keys).to_string();
    Ok(busy.bind(keys).fetch_all(c).await?.into_iter().collect())
}

async fn mark_blocked(c: &mut SqliteConnection, sequences: Vec<i64>) -> Result<(), QueueFault> {
    if !sequences.is_empty() {
        sqlx::query("UPDATE jobs SET blocked = 1 WHERE sequence IN (SELECT value FROM json_each(?1))")
            .bind(serde_json::Value::from(sequences).to_string())
            .execute(c)
            .await?;
    }
    Ok(())
}

async fn mark_running(
    c: &mut SqliteConnection,
    sequences: Vec<i64>,
    session: i64,
    claim: &mut Claim,
) -> Result<(), QueueFault> {
    if sequences.is_empty() {
        return Ok(());
    }
    if claim.fence == 0 {
        claim.fence = sqlx::query_scalar("UPDATE fence SET value = value + 1 RETURNING value")
            .fetch_one(&mut *c)
            .await?;
    }
    sqlx::query(
        "UPDATE jobs SET state = 'running', consumer = ?2, fence = ?3
         WHERE sequence IN (SELECT value FROM json_each(?1)) AND state = 'ready'",
    )
    .bind(serde_json::Value::from(sequences).to_string())
    .bind(session)
    .bind(claim.fence)
    .execute(c)
    .await?;
    Ok(())
}

/// Parks a row that is no envelope. An id that is none either is replaced, so that people can name the job.
async fn park(
    c: &mut SqliteConnection,
    row: &SqliteRow,
    sequence: i64,
    why: &str,
    now: i64,
) -> Result<(), QueueFault> {
    sqlx::query(
        "UPDATE jobs SET state = 'dead', dead_reason = ?3, last_error = ?4,
           first_failed_at = coalesce(first_failed_at, ?5), died_at = ?5,
           id = iif(EXISTS (SELECT 1 FROM jobs AS other WHERE other.id = ?2), id, ?2)
         WHERE sequence = ?1 AND state = 'ready'",
    )
    .bind(sequence)
    .bind(row::id_of(&row::lossy(row, "id")).to_string())
    .bind(DeadReason::Undecodable.as_str())
    .bind(bounded(why))
    .bind(now)
    .execute(c)
    .await?;
    Ok(())
}

//! Claims: the next jobs of a queue are given to a consumer, in one transaction.
//!
//! Guarantees: highest priority first, but for the share of lower ones, then order of publishing, or in a fair queue of
//! tags; no job before its time; none of a paused queue; one per concurrency key over the whole file; a suspect only
//! alone in its process. A row that cannot be decoded is moved to the dead queue and never reaches the consumer.

use std::collections::{HashSet, VecDeque};

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    fair,
    fault::SqliteFault,
    row::{self, envelope_columns},
    suspect::{self, SuspectTurn},
};
use crate::{engine::DeadReason, envelope::Envelope, error::bounded, job::Priority};

/// Most reads of the queue in one transaction, when keys are busy or rows cannot be decoded.
const ROUNDS_MAX: usize = 8;
/// Most delayed jobs made ready in one transaction.
const PROMOTED_MAX: i64 = 1000;

/// Next ready rows of a queue that is not fair.
const NEXT: &str = concat!(
    "SELECT ",
    envelope_columns!(),
    " FROM jobs WHERE queue = ?1 AND state = 'ready' AND blocked = 0 ORDER BY priority, sequence LIMIT ?2"
);
const BEHIND: &str = concat!(
    "SELECT ",
    envelope_columns!(),
    " FROM jobs WHERE queue = ?1 AND state = 'ready' AND blocked = 0 AND priority = ?2 AND sequence > ?3
     ORDER BY sequence LIMIT ?4"
);

/// The same of a fair queue.
const NEXT_BY_TAG: &str = concat!(
    "SELECT tag, ",
    envelope_columns!(),
    " FROM jobs INDEXED BY jobs_fair WHERE queue = ?1 AND state = 'ready' AND blocked = 0 AND tag IS NOT NULL
     ORDER BY priority, tag, sequence LIMIT ?2"
);
const BEHIND_BY_TAG: &str = concat!(
    "SELECT tag, ",
    envelope_columns!(),
    " FROM jobs INDEXED BY jobs_fair WHERE queue = ?1 AND state = 'ready' AND blocked = 0 AND tag IS NOT NULL
       AND priority = ?2 AND (tag, sequence) > (?5, ?3)
     ORDER BY tag, sequence LIMIT ?4"
);

pub(super) struct Claimed {
    pub(super) envelope: Envelope,
    pub(super) sequence: i64,
    pub(super) crashes: u32,
}

#[derive(Default)]
pub(super) struct Claim {
    pub(super) jobs: Vec<Claimed>,
    /// Fencing token of this claim; greater than all before.
    pub(super) fence: i64,
    /// Whether there may be further ready jobs.
    pub(super) more: bool,
    /// Due time of the next delayed job, in milliseconds since 1970.
    pub(super) next_due: Option<i64>,
    /// Whether suspects allow no other claim now; see [`suspect`].
    pub(super) held_up: bool,
    /// Rows moved to the dead queue because they could not be decoded: job id and error.
    pub(super) undecodable: Vec<(String, String)>,
}

pub(super) async fn claim(
    c: &mut SqliteConnection,
    queue: &str,
    (session, process): (i64, &str),
    now: i64,
    free: usize,
    starts: u64,
) -> Result<Claim, SqliteFault> {
    let mut claim = Claim::default();
    let mut head = head_of(c, queue).await?;
    if head.paused {
        return Ok(claim);
    }
    if head.next_due.is_some_and(|at| at <= now) {
        promote(c, queue, now).await?;
        head = head_of(c, queue).await?;
    }
    claim.next_due = head.next_due;
    if head.suspects {
        match suspect::turn(c, process, queue).await? {
            SuspectTurn::Open => {}
            SuspectTurn::Wait => return Ok(Claim { held_up: true, ..claim }),
            SuspectTurn::Alone(suspect) => {
                claim.held_up = true;
                take(c, vec![suspect], session, now, &mut claim).await?;
                // One that cannot be read leaves the turn to the next.
                claim.more = claim.jobs.is_empty();
                return Ok(claim);
            }
        }
    }
    for _ in 0..ROUNDS_MAX {
        let wanted = free - claim.jobs.len();
        let from = starts + claim.jobs.len() as u64;
        let rows = candidates(c, (queue, head.fair), from, wanted).await?;
        claim.more = rows.len() == wanted;
        if rows.is_empty() {
            break;
        }
        take(c, rows, session, now, &mut claim).await?;
        if claim.jobs.len() == free || !claim.more {
            break;
        }
    }
    if head.fair && !claim.jobs.is_empty() {
        let sequences: Vec<i64> = claim.jobs.iter().map(|job| job.sequence).collect();
        fair::move_on(c, queue, sequences, !claim.more).await?;
    }
    Ok(claim)
}

struct QueueHead {
    paused: bool,
    next_due: Option<i64>,
    /// Whether any queue has suspects, ready or running.
    suspects: bool,
    fair: bool,
}

async fn head_of(c: &mut SqliteConnection, queue: &str) -> Result<QueueHead, SqliteFault> {
    let head = sqlx::query_as(
        "SELECT paused, (SELECT min(run_at) FROM jobs WHERE queue = q.name AND state = 'delayed'),
           EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_suspects WHERE blocked = 2 AND state IN ('ready', 'running')),
           fair
         FROM queues AS q WHERE name = ?1",
    );
    let head: Option<(bool, Option<i64>, bool, bool)> = head.bind(queue).fetch_optional(c).await?;
    let (paused, next_due, suspects, fair) = head.unwrap_or((true, None, false, false));
    Ok(QueueHead { paused, next_due, suspects, fair })
}

async fn promote(c: &mut SqliteConnection, queue: &str, now: i64) -> Result<(), SqliteFault> {
    let promote = sqlx::query(
        "UPDATE jobs SET state = 'ready', ready_at = run_at WHERE sequence IN (
           SELECT sequence FROM jobs WHERE queue = ?1 AND state = 'delayed' AND run_at <= ?2
           ORDER BY run_at LIMIT ?3)",
    );
    promote.bind(queue).bind(now).bind(PROMOTED_MAX).execute(c).await?;
    Ok(())
}

/// The next ready rows by priority. Where these alone would leave out the share of a lower priority, its rows are added
/// and all are picked in turn.
async fn candidates(
    c: &mut SqliteConnection,
    (queue, fair): (&str, bool),
    starts: u64,
    wanted: usize,
) -> Result<Vec<SqliteRow>, SqliteFault> {
    let candidates = sqlx::query(if fair { NEXT_BY_TAG } else { NEXT });
    let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
    let mut rows = candidates.bind(queue).bind(limit).fetch_all(&mut *c).await?;
    // Fewer rows than wanted are all there are.
    let Some(last) = rows.last().filter(|_| rows.len() == wanted).map(priority) else { return Ok(rows) };
    let mut behind = Vec::new();
    for lower in [Priority::Default, Priority::Bulk].into_iter().filter(|lower| *lower as i64 >= last) {
        let lower = lower as i64;
        let turns = (starts..).take(wanted).filter(|start| Priority::in_turn(*start)[0] as i64 == lower);
        let there = rows.iter().rev().take_while(|row| priority(row) == lower);
        let missing = turns.count().saturating_sub(there.count());
        if missing > 0 {
            let after =
                rows.last().filter(|_| lower == last).map_or((-1, 0), |row| (tag(row), sequence(row)));
            behind.extend(ready_of(c, (queue, fair), lower, after, missing).await?);
        }
    }
    if behind.is_empty() {
        return Ok(rows);
    }
    rows.extend(behind);
    Ok(in_turn(rows, starts, wanted))
}

/// Ready rows of one priority, behind the row with the tag and sequence `after`.
async fn ready_of(
    c: &mut SqliteConnection,
    (queue, fair): (&str, bool),
    priority: i64,
    (after_tag, after): (i64, i64),
    limit: usize,
) -> Result<Vec<SqliteRow>, SqliteFault> {
    let ready = sqlx::query(if fair { BEHIND_BY_TAG } else { BEHIND }).bind(queue).bind(priority).bind(after);
    let ready = ready.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let ready = if fair { ready.bind(after_tag) } else { ready };
    Ok(ready.fetch_all(c).await?)
}

/// Picks the rows of the next starts, each in the order of [`Priority::in_turn`].
fn in_turn(rows: Vec<SqliteRow>, starts: u64, wanted: usize) -> Vec<SqliteRow> {
    let mut waiting: [VecDeque<SqliteRow>; 3] = Default::default();
    for row in rows {
        // A priority that cannot be read is found when the row is decoded.
        let of = usize::try_from(priority(&row)).unwrap_or(0).min(2);
        waiting[of].push_back(row);
    }
    let next = |start| Priority::in_turn(start).into_iter().find_map(|of| waiting[of as usize].pop_front());
    (starts..).take(wanted).map_while(next).collect()
}

fn priority(row: &SqliteRow) -> i64 {
    row.try_get("priority").unwrap_or(i64::MAX)
}

fn tag(row: &SqliteRow) -> i64 {
    row.try_get("tag").unwrap_or(0)
}

fn sequence(row: &SqliteRow) -> i64 {
    row.try_get("sequence").unwrap_or(0)
}

/// Divides candidates into those to run, those whose key is busy, and those that cannot be decoded.
async fn take(
    c: &mut SqliteConnection,
    rows: Vec<SqliteRow>,
    session: i64,
    now: i64,
    claim: &mut Claim,
) -> Result<(), SqliteFault> {
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
                mark_dead(c, row, sequence, &why, now).await?;
                claim.undecodable.push((row::lossy(row, "id"), why));
            }
        }
    }
    mark_blocked(c, blocked).await?;
    mark_running(c, run, session, claim).await
}

async fn busy_keys(c: &mut SqliteConnection, rows: &[SqliteRow]) -> Result<HashSet<String>, SqliteFault> {
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

async fn mark_blocked(c: &mut SqliteConnection, sequences: Vec<i64>) -> Result<(), SqliteFault> {
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
) -> Result<(), SqliteFault> {
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

/// Moves a row that cannot be decoded to the dead queue. An invalid id is replaced, so that operators can name the job.
async fn mark_dead(
    c: &mut SqliteConnection,
    row: &SqliteRow,
    sequence: i64,
    why: &str,
    now: i64,
) -> Result<(), SqliteFault> {
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

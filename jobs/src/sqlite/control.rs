//! Transactions of operator actions: purge, cancel, retry, alter, redrive, drop.

use base::time::ceil_ms;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{
    fault::SqliteFault,
    row,
    unique::{self, key_held},
};
use crate::{
    engine::{Alteration, Cancelled, DROP_MAX, DeadFilter, DeadReason, EngineError},
    envelope::JobId,
};

/// Rows changed in one transaction by purge and redrive, which bounds how long other writers wait.
pub(super) const CHUNK_MAX: u32 = 1000;

/// Makes a dead row ready with fresh counters; one whose unique key another job holds, by its row or by a period, is
/// not changed. `?2` is the time. Without a fence, a key is held while its job waits. The next run links to its former
/// trace, see [`base::TraceContext::stored_state`].
macro_rules! revive {
    ($which:literal) => {
        concat!(
            "UPDATE OR IGNORE jobs SET state = 'ready', blocked = 0, run_at = NULL, ready_at = ?2, attempt = 0, \
             crashes = 0, lost = 0, alone = 0, fence = 0, dead_reason = NULL, first_failed_at = NULL, died_at = NULL, \
             trace = CASE WHEN instr(trace, ' ow-link=1') > 0 THEN trace \
               WHEN instr(trace, ' ') = 0 THEN trace || ' ow-link=1' \
               ELSE substr(trace, 1, instr(trace, ' ')) || 'ow-link=1,' || substr(trace, instr(trace, ' ') + 1) END \
             WHERE state = 'dead' AND NOT EXISTS (SELECT 1 FROM unique_periods AS p WHERE p.key = jobs.unique_key \
               AND p.job <> jobs.id AND p.ends_at > ?2) AND ",
            $which
        )
    };
}

// Two statements: with a bound state the planner could not use the partial indexes.
pub(super) const PURGE_READY: &str = "DELETE FROM jobs WHERE sequence IN (
    SELECT sequence FROM jobs WHERE queue = ?1 AND state = 'ready' LIMIT ?2)";
pub(super) const PURGE_DELAYED: &str = "DELETE FROM jobs WHERE sequence IN (
    SELECT sequence FROM jobs WHERE queue = ?1 AND state = 'delayed' LIMIT ?2)";

/// Result of the request, and for a running job its row and fencing token.
pub(super) async fn cancel(
    c: &mut SqliteConnection,
    id: JobId,
    reason: String,
) -> Result<(Cancelled, Option<(i64, i64)>), SqliteFault> {
    let removed = sqlx::query("DELETE FROM jobs WHERE id = ?1 AND state IN ('ready', 'delayed')");
    if removed.bind(id.to_string()).execute(&mut *c).await?.rows_affected() > 0 {
        return Ok((Cancelled::Removed, None));
    }
    let asked = sqlx::query_as(
        "UPDATE jobs SET cancel_requested = ?2 WHERE id = ?1 AND state = 'running' RETURNING sequence, fence",
    );
    let running = asked.bind(id.to_string()).bind(reason).fetch_optional(c).await?;
    let found = if running.is_some() { Cancelled::Requested } else { Cancelled::NotFound };
    Ok((found, running))
}

/// Returns the queue of the job made ready, if there was one.
pub(super) async fn retry_now(
    c: &mut SqliteConnection,
    id: JobId,
    now: i64,
) -> Result<Option<String>, SqliteFault> {
    let delayed = sqlx::query_scalar(
        "UPDATE jobs SET state = iif(blocked = 3, 'delayed', 'ready'), run_at = NULL, order_at = NULL, ready_at = ?2
         WHERE id = ?1 AND state = 'delayed' RETURNING queue",
    );
    if let Some(queue) = delayed.bind(id.to_string()).bind(now).fetch_optional(&mut *c).await? {
        return Ok(Some(queue));
    }
    let revived: Option<String> = sqlx::query_scalar(revive!("id = ?1 RETURNING queue"))
        .bind(id.to_string())
        .bind(now)
        .fetch_optional(&mut *c)
        .await?;
    if revived.is_some() {
        return Ok(revived);
    }
    match unique::holder_of(c, id, now).await? {
        Some(holder) => Err(EngineError::NotUnique { id, holder }.into()),
        None => Ok(None),
    }
}

/// Alters a ready or delayed row; returns its queue, if there was one. A row that no longer waits for its concurrency
/// key in its place is looked at again by the next claim. In a fair queue, a trigger gives a moved row another tag. One
/// behind another row of its order key stays there; in another queue, triggers put it behind its key.
pub(super) async fn alter(
    c: &mut SqliteConnection,
    id: JobId,
    alteration: Alteration,
    now: i64,
) -> Result<Option<String>, SqliteFault> {
    let alter = |sql: &'static str| sqlx::query_scalar::<Sqlite, String>(sql).bind(id.to_string());
    let altered = match alteration {
        Alteration::RunAt(at) => alter(
            "UPDATE jobs SET run_at = iif(blocked = 3, NULL, ?2), order_at = iif(blocked = 3, ?2, NULL),
               state = iif(blocked = 3 OR ?2 > ?3, 'delayed', 'ready'),
               ready_at = iif(state = 'delayed' AND ?2 <= ?3, ?3, ready_at), blocked = iif(blocked = 1, 0, blocked)
             WHERE id = ?1 AND state IN ('ready', 'delayed') RETURNING queue",
        )
        .bind(ceil_ms(at))
        .bind(now),
        Alteration::Queue(queue) => alter(
            "UPDATE jobs SET queue = ?2, tag = NULL, blocked = iif(blocked = 1, 0, blocked)
             WHERE id = ?1 AND state IN ('ready', 'delayed') RETURNING queue",
        )
        .bind(queue),
        Alteration::Priority(priority) => alter(
            "UPDATE jobs SET priority = ?2, tag = NULL
             WHERE id = ?1 AND state IN ('ready', 'delayed') RETURNING queue",
        )
        .bind(priority as u8),
    };
    Ok(altered.fetch_optional(c).await?)
}

/// One transaction of a redrive: the next dead jobs after `after`. Jobs whose unique key is held stay dead. Returns the
/// ids redriven, and the last one looked at.
pub(super) async fn redrive_chunk(
    c: &mut SqliteConnection,
    filter: DeadFilter,
    after: String,
    limit: u32,
    now: i64,
) -> Result<(Vec<String>, Option<String>), SqliteFault> {
    let mut select = QueryBuilder::<Sqlite>::new(concat!(
        "SELECT id FROM jobs AS d WHERE state = 'dead' AND NOT EXISTS (
           SELECT 1 FROM jobs AS h WHERE h.unique_key = d.unique_key AND h.id <> d.id AND ",
        key_held!("h."),
        ") AND NOT EXISTS (
           SELECT 1 FROM unique_periods AS p WHERE p.key = d.unique_key AND p.job <> d.id AND p.ends_at > "
    ));
    select.push_bind(now).push(") AND id > ").push_bind(after);
    conditions(&mut select, &filter);
    select.push(" ORDER BY id LIMIT ").push_bind(limit);
    let found: Vec<String> = select.build_query_scalar().fetch_all(&mut *c).await?;
    let last = found.last().cloned();
    if filter.dry_run {
        return Ok((found, last));
    }
    let revived = sqlx::query(revive!("id IN (SELECT value FROM json_each(?1)) RETURNING id"));
    let json = serde_json::Value::from(found).to_string();
    let revived = revived.bind(json).bind(now).fetch_all(c).await?;
    let mut ids: Vec<String> = revived.iter().map(|row| row.get("id")).collect();
    ids.sort_unstable();
    Ok((ids, last))
}

/// Deletes matching dead jobs, those that died first; returns how many.
pub(super) async fn drop_dead(c: &mut SqliteConnection, filter: DeadFilter) -> Result<u64, SqliteFault> {
    let mut delete = QueryBuilder::<Sqlite>::new(
        "DELETE FROM jobs WHERE sequence IN (SELECT sequence FROM jobs WHERE state = 'dead'",
    );
    conditions(&mut delete, &filter);
    delete.push(" ORDER BY died_at LIMIT ").push_bind(filter.limit.min(DROP_MAX)).push(")");
    Ok(delete.build().execute(c).await?.rows_affected())
}

/// The statement that counts matching dead jobs.
pub(super) fn count_dead(filter: &DeadFilter) -> QueryBuilder<Sqlite> {
    let mut select = QueryBuilder::new("SELECT count(*) FROM jobs WHERE state = 'dead'");
    conditions(&mut select, filter);
    select
}

/// Adds the conditions of the filter, but for its page start.
fn conditions(query: &mut QueryBuilder<Sqlite>, filter: &DeadFilter) {
    let reason = filter.reason.map(DeadReason::as_str);
    let (queue, kind) = (filter.queue.as_deref(), filter.kind.as_deref());
    row::only(query, &[("queue", queue), ("kind", kind), ("dead_reason", reason)]);
    if let Some(id) = filter.id {
        query.push(" AND id = ").push_bind(id.to_string());
    }
    if let Some(text) = &filter.error_contains {
        query.push(" AND instr(last_error, ").push_bind(text.clone()).push(") > 0");
    }
    if let Some(since) = filter.since {
        query.push(" AND died_at >= ").push_bind(since.as_millisecond());
    }
    if let Some(before) = filter.died_before {
        query.push(" AND died_at < ").push_bind(before.as_millisecond());
    }
}

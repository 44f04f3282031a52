//! Ownership of running jobs: a row in `consumers`, renewed while its consumer lives.
//!
//! Guarantees: a job goes to another consumer only after its owner's row is deleted, in the same transaction; from then
//! on the fencing token no longer matches and the old owner's settlement has no effect.

use sqlx::SqliteConnection;

use super::fault::SqliteFault;
use crate::engine::{CRASH_PAUSE, CRASHES_MAX, DeadReason, LOST_MAX};

/// Registers a consumer; returns its session, a number never used before in this file.
pub(super) async fn open(
    c: &mut SqliteConnection,
    name: &str,
    queue: &str,
    process: &str,
    until: i64,
) -> Result<i64, SqliteFault> {
    let open = sqlx::query_scalar(
        "INSERT INTO consumers (name, queue, process, lease_until) VALUES (?1, ?2, ?3, ?4) RETURNING session",
    );
    Ok(open.bind(name).bind(queue).bind(process).bind(until).fetch_one(c).await?)
}

/// Renews the lease on all jobs of the session. Returns false when it was lost.
pub(super) async fn renew(c: &mut SqliteConnection, session: i64, until: i64) -> Result<bool, SqliteFault> {
    let renew = sqlx::query("UPDATE consumers SET lease_until = ?2 WHERE session = ?1");
    Ok(renew.bind(session).bind(until).execute(c).await?.rows_affected() == 1)
}

/// Extends the leases of the handle's own sessions (a JSON array), before expired ones are released: after a suspend or
/// a step of the clock all are overdue, and the first to look must not take the others for dead.
pub(super) async fn extend(c: &mut SqliteConnection, sessions: &str, until: i64) -> Result<(), SqliteFault> {
    let extend = sqlx::query(
        "UPDATE consumers SET lease_until = ?2
         WHERE session IN (SELECT value FROM json_each(?1)) AND lease_until < ?2",
    );
    extend.bind(sessions).bind(until).execute(c).await?;
    Ok(())
}

/// Whether the session still owns its jobs.
pub(super) async fn holds(c: &mut SqliteConnection, session: i64) -> Result<bool, SqliteFault> {
    let holds = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM consumers WHERE session = ?1)");
    Ok(holds.bind(session).fetch_one(c).await?)
}

/// Releases the jobs of consumers whose lease has expired. Returns how many.
pub(super) async fn release_expired(c: &mut SqliteConnection, now: i64) -> Result<u64, SqliteFault> {
    let silent =
        sqlx::query("DELETE FROM consumers WHERE lease_until < ?1").bind(now).execute(&mut *c).await?;
    if silent.rows_affected() == 0 { Ok(0) } else { release_orphans(c, now).await }
}

/// Ends all sessions but these and releases their jobs, with a crash counted. Returns how many.
pub(super) async fn release_others(
    c: &mut SqliteConnection,
    sessions: Vec<i64>,
    now: i64,
) -> Result<u64, SqliteFault> {
    let others = sqlx::query("DELETE FROM consumers WHERE session NOT IN (SELECT value FROM json_each(?1))");
    others.bind(serde_json::Value::from(sessions).to_string()).execute(&mut *c).await?;
    release_orphans(c, now).await
}

/// Releases, with a crash counted, running jobs whose consumer is no longer registered.
async fn release_orphans(c: &mut SqliteConnection, now: i64) -> Result<u64, SqliteFault> {
    let cancelled = sqlx::query(
        "DELETE FROM jobs WHERE state = 'running' AND cancel_requested IS NOT NULL
           AND coalesce(consumer, 0) NOT IN (SELECT session FROM consumers)",
    );
    cancelled.execute(&mut *c).await?;
    let crashed = sqlx::query(CRASHED).bind(now).bind(CRASHES_MAX).bind(DeadReason::Crashed.as_str());
    let (pause, longest) = (CRASH_PAUSE.0.as_millis(), CRASH_PAUSE.1.as_millis());
    let millis = |pause: u128| i64::try_from(pause).unwrap_or(i64::MAX);
    let crashed = crashed.bind(LOST_MAX).bind(millis(pause)).bind(millis(longest));
    Ok(crashed.execute(c).await?.rows_affected())
}

/// Every crash makes a job more suspect; one that ran alone (`blocked = 2`) is charged with it and pauses, or is dead.
const CRASHED: &str = "UPDATE jobs SET consumer = NULL, crashes = crashes + 1, lost = lost + 1,
    alone = alone + (blocked = 2), blocked = iif(lost < ?4, 0, 2), ready_at = ?1,
    state = iif(blocked <> 2, 'ready', iif(alone < ?2, 'delayed', 'dead')),
    run_at = iif(blocked <> 2, run_at, ?1 + min(?5 << alone, ?6)),
    dead_reason = iif(blocked = 2 AND alone >= ?2, ?3, NULL), died_at = iif(blocked = 2 AND alone >= ?2, ?1, NULL),
    first_failed_at = coalesce(first_failed_at, ?1),
    last_error = iif(blocked = 2 AND alone >= ?2, 'lost its consumer ' || (alone + 1) || ' times, running alone',
                     last_error)
  WHERE state = 'running' AND coalesce(consumer, 0) NOT IN (SELECT session FROM consumers)";

/// Ends a session and releases its jobs, each charged one crash when it `crashed`.
pub(super) async fn close(
    c: &mut SqliteConnection,
    queue: &str,
    session: i64,
    crashed: bool,
    now: i64,
) -> Result<(), SqliteFault> {
    if !crashed {
        keep_only(c, queue, session, "[]", now).await?;
    }
    sqlx::query("DELETE FROM consumers WHERE session = ?1").bind(session).execute(&mut *c).await?;
    if crashed {
        release_orphans(c, now).await?;
    }
    Ok(())
}

/// Releases, without a crash counted, jobs of the session that are not among the `held` pairs of sequence and fencing
/// token (a JSON array): jobs of a claim whose commit was reported as failed and yet succeeded. No consumer would run
/// them, and the heartbeat would keep them for ever. By the token, too, as such a claim may be of a row held before.
pub(super) async fn keep_only(
    c: &mut SqliteConnection,
    queue: &str,
    session: i64,
    held: &str,
    now: i64,
) -> Result<(), SqliteFault> {
    let cancelled = sqlx::query(
        "DELETE FROM jobs WHERE state = 'running' AND queue = ?1 AND consumer = ?2 AND cancel_requested IS NOT NULL
           AND (sequence, fence) NOT IN (SELECT value->>0, value->>1 FROM json_each(?3))",
    );
    cancelled.bind(queue).bind(session).bind(held).execute(&mut *c).await?;
    let released = sqlx::query(
        "UPDATE jobs SET state = 'ready', consumer = NULL, ready_at = ?4
         WHERE state = 'running' AND queue = ?1 AND consumer = ?2
           AND (sequence, fence) NOT IN (SELECT value->>0, value->>1 FROM json_each(?3))",
    );
    released.bind(queue).bind(session).bind(held).bind(now).execute(c).await?;
    Ok(())
}

/// Running jobs of the session with a cancel request, by `sequence`.
pub(super) async fn cancel_requests(c: &mut SqliteConnection, session: i64) -> Result<Vec<i64>, SqliteFault> {
    let asked =
        sqlx::query_scalar("SELECT sequence FROM jobs WHERE consumer = ?1 AND cancel_requested IS NOT NULL");
    Ok(asked.bind(session).fetch_all(c).await?)
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;
    use crate::{
        engine::{Consume, ConsumeOptions, Publish, QueueSpec},
        envelope::{EnqueueOptions, Envelope},
        job::{Job, JobContext},
        sqlite::SqliteEngine,
    };

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Pack;

    impl Job for Pack {
        type Env = ();
        const KIND: &'static str = "pack";
        async fn run(&self, _ctx: &JobContext<()>) -> Result<(), crate::JobError> {
            Ok(())
        }
    }

    /// A row that was released and claimed again in one exchange, whose commit was reported as failed: the consumer
    /// holds the row, under the token of the claim before.
    #[tokio::test]
    async fn a_row_under_a_token_that_is_not_held_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let ambient = Ambient::system();
        let engine = SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await.unwrap();
        engine.declare(&[QueueSpec::new("default")]).await.unwrap();
        engine
            .publish(vec![Envelope::new(&Pack, EnqueueOptions::default(), &ambient).unwrap()])
            .await
            .unwrap();
        let lease = std::time::Duration::from_mins(10);
        let options = ConsumeOptions { name: "test".to_owned(), prefetch: 1, lease };
        let mut consumer = engine.consume("default", options).await.unwrap();
        let receipt = consumer.deliveries.recv().await.unwrap().receipt;
        let (session, fence) = (receipt.session.cast_signed(), receipt.tag.cast_signed());
        for (held, state) in [(fence, "running"), (fence - 1, "ready")] {
            let kept = engine.file.write(move |c| {
                Box::pin(async move {
                    keep_only(c, "default", session, &format!("[[1,{held}]]"), 0).await?;
                    Ok(sqlx::query_scalar::<_, String>("SELECT state FROM jobs").fetch_one(c).await?)
                })
            });
            assert_eq!(kept.await.unwrap(), state);
        }
    }
}

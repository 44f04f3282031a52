//! Suspects: jobs that lost their consumer more than [`LOST_MAX`] times in a row. Each runs alone in its process, and
//! only what crashes alone counts towards the dead queue, see [`crate::engine`].
//!
//! In the file a suspect has `blocked = 2`, which other claims skip. While one is ready, the process claims nothing
//! until all its jobs have ended; then the consumer of the suspect's queue takes it, and the others wait for its end.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{fault::SqliteFault, row::envelope_columns};
#[cfg(doc)]
use crate::engine::LOST_MAX;

/// What the suspects of the file allow a consumer to claim.
pub(super) enum SuspectTurn {
    /// Any job but suspects.
    Open,
    /// Nothing: another job of the process has to end first.
    Wait,
    /// This suspect, alone.
    Alone(SqliteRow),
}

/// The next suspect that a consumer of this process could run: not of a paused queue, nor one whose key is in use in
/// another process.
const NEXT: &str = concat!(
    "SELECT ",
    envelope_columns!(),
    " FROM jobs AS s INDEXED BY jobs_suspects WHERE blocked = 2 AND state = 'ready'
       AND queue IN (SELECT c.queue FROM consumers AS c JOIN queues AS q ON q.name = c.queue
                     WHERE c.process = ?1 AND q.paused = 0)
       AND NOT EXISTS (SELECT 1 FROM jobs AS o WHERE o.state = 'running' AND o.concurrency_key = s.concurrency_key
                       AND o.consumer NOT IN (SELECT session FROM consumers WHERE process = ?1))
     ORDER BY priority, sequence LIMIT 1"
);

/// Jobs that the process runs, and how many of them are suspects.
const RUNNING: &str = "SELECT count(*), count(*) FILTER (WHERE blocked = 2) FROM jobs
    WHERE state = 'running' AND consumer IN (SELECT session FROM consumers WHERE process = ?1)";

/// For a consumer of this queue; asked only when the file has suspects.
pub(super) async fn turn(
    c: &mut SqliteConnection,
    process: &str,
    queue: &str,
) -> Result<SuspectTurn, SqliteFault> {
    let (running, alone): (i64, i64) = sqlx::query_as(RUNNING).bind(process).fetch_one(&mut *c).await?;
    if alone > 0 {
        return Ok(SuspectTurn::Wait);
    }
    let Some(suspect) = sqlx::query(NEXT).bind(process).fetch_optional(c).await? else {
        return Ok(SuspectTurn::Open);
    };
    let here = suspect.try_get::<&str, _>("queue")? == queue;
    Ok(if here && running == 0 { SuspectTurn::Alone(suspect) } else { SuspectTurn::Wait })
}

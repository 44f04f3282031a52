//! Order keys of the file: published rows are put behind their key.
//!
//! Guarantees: of the rows of a queue and key that wait or run, one is at the head, and all others are marked
//! (`blocked` 3), which claims skip. Publishing enters rows here; all else that moves the head is in the triggers of
//! migration 0008.

use serde::Serialize;
use sqlx::SqliteConnection;

use super::fault::SqliteFault;
use crate::{engine::Published, envelope::Envelope};

const ENTER: &str =
    "UPDATE jobs SET order_key = r.value->>'key', blocked = 3, order_at = run_at, run_at = NULL
    FROM json_each(?1) AS r WHERE jobs.id = r.value->>'id'";

/// Makes the first row of each key that has no head its head.
const START: &str = "UPDATE jobs SET blocked = 0, state = iif(order_at > ?2, 'delayed', 'ready'), run_at = order_at,
      order_at = NULL
    WHERE sequence IN (
      SELECT (SELECT sequence FROM jobs INDEXED BY jobs_order
              WHERE queue = k.queue AND order_key = k.key AND state <> 'dead' AND blocked = 3
              ORDER BY sequence LIMIT 1)
      FROM (SELECT DISTINCT value->>'queue' AS queue, value->>'key' AS key FROM json_each(?1)) AS k
      WHERE NOT EXISTS (
        SELECT 1 FROM jobs AS head INDEXED BY jobs_order
        WHERE head.queue = k.queue AND head.order_key = k.key AND head.state <> 'dead' AND head.blocked < 3))";

/// A published job with an order key.
#[derive(Serialize)]
struct Ordered<'e> {
    id: String,
    queue: &'e str,
    key: &'e str,
}

/// Puts the jobs of this unit that were accepted and have an order key, whose rows are delayed, behind their keys.
pub(super) async fn line_up(
    c: &mut SqliteConnection,
    unit: &[Envelope],
    answers: &[Published],
    now: i64,
) -> Result<(), SqliteFault> {
    let ordered = ordered(unit, answers);
    if ordered.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_string(&ordered)?;
    sqlx::query(ENTER).bind(&json).execute(&mut *c).await?;
    sqlx::query(START).bind(&json).bind(now).execute(c).await?;
    Ok(())
}

fn ordered<'e>(unit: &'e [Envelope], answers: &[Published]) -> Vec<Ordered<'e>> {
    let row = |(envelope, answer): (&'e Envelope, &Published)| {
        let key = envelope.order_key.as_deref()?;
        let queue = envelope.queue.as_str();
        (*answer == Published::Accepted).then(|| Ordered { id: envelope.id.to_string(), queue, key })
    };
    unit.iter().zip(answers).filter_map(row).collect()
}

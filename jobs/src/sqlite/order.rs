//! Order keys of the file: published rows are put behind their key.
//!
//! Guarantees: of the rows of a queue and key that wait or run, one is the head that `order_keys` names, and all others
//! are marked (`blocked` 3), which claims skip. Publishing enters rows here; all else that moves a head is in the
//! triggers of migration 0008.

use serde::Serialize;
use sqlx::SqliteConnection;

use super::fault::SqliteFault;
use crate::{engine::Published, envelope::Envelope};

const ENTER: &str = "UPDATE jobs SET order_key = r.value->>'key', blocked = 3,
      order_at = iif(run_at > ?2, run_at, NULL), run_at = NULL
    FROM json_each(?1) AS r WHERE jobs.id = r.value->>'id'";

/// Makes the first row of each key that has no head its head; a trigger starts it.
const START: &str = "INSERT INTO order_keys (queue, key, head, since)
    SELECT k.queue, k.key, (
        SELECT sequence FROM jobs INDEXED BY jobs_order
        WHERE jobs.queue = k.queue AND jobs.order_key = k.key AND jobs.blocked = 3 ORDER BY sequence LIMIT 1), ?2
    FROM (SELECT DISTINCT value->>'queue' AS queue, value->>'key' AS key FROM json_each(?1)) AS k
    WHERE NOT EXISTS (SELECT 1 FROM order_keys AS known WHERE known.queue = k.queue AND known.key = k.key)";

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
    for statement in [ENTER, START] {
        sqlx::query(statement).bind(&json).bind(now).execute(&mut *c).await?;
    }
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

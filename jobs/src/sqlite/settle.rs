//! Settlements made durable: one statement per kind of settlement, for any number of jobs.
//!
//! Guarantees: a settlement takes effect only on a row that still runs under the same fencing token. A cancel request
//! takes precedence over any settlement that would keep the job.

use std::collections::{BTreeMap, HashMap};

use base::time::ceil_ms;
use serde::Serialize;
use sqlx::SqliteConnection;

use super::fault::SqliteFault;
use crate::{engine::Settlement, error::bounded};

#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) sequence: i64,
    pub(super) fence: i64,
    pub(super) settlement: Settlement,
}

impl Settled {
    /// Whether the row is deleted.
    pub(super) fn ends(&self) -> bool {
        matches!(self.settlement, Settlement::Done | Settlement::Cancelled { .. })
    }
}

/// Parameters for a row that stays.
#[derive(Serialize)]
struct SettledRow {
    s: i64,
    f: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Default)]
struct Sorted {
    /// Sequences by fencing token.
    ended: HashMap<i64, Vec<i64>>,
    /// Rows by statement.
    kept: BTreeMap<&'static str, Vec<SettledRow>>,
}

/// Applies the settlements; returns how many took effect.
pub(super) async fn apply(
    c: &mut SqliteConnection,
    settled: &[Settled],
    now: i64,
) -> Result<u64, SqliteFault> {
    let sorted = sort(settled);
    let mut applied = 0;
    for (fence, sequences) in sorted.ended {
        // One statement per fencing token, that is per claim: JSON pairs would cost a lookup and two extractions a row.
        let ended = sqlx::query(
            "DELETE FROM jobs
             WHERE sequence IN (SELECT value FROM json_each(?1)) AND fence = ?2 AND state = 'running'",
        );
        let sequences = serde_json::Value::from(sequences).to_string();
        applied += ended.bind(sequences).bind(fence).execute(&mut *c).await?.rows_affected();
    }
    for (statement, kept) in sorted.kept {
        let json = serde_json::to_string(&kept).map_err(|error| sqlx::Error::Encode(error.into()))?;
        applied += sqlx::query(CANCEL).bind(&json).execute(&mut *c).await?.rows_affected();
        applied += sqlx::query(statement).bind(&json).bind(now).execute(&mut *c).await?.rows_affected();
    }
    Ok(applied)
}

fn sort(settled: &[Settled]) -> Sorted {
    let mut sorted = Sorted::default();
    for Settled { sequence, fence, settlement } in settled {
        let (statement, at, error, reason) = match settlement {
            Settlement::Done | Settlement::Cancelled { .. } => {
                sorted.ended.entry(*fence).or_default().push(*sequence);
                continue;
            }
            Settlement::Retry { at, error } => (RETRY, Some(ceil_ms(*at)), Some(bounded(error)), None),
            Settlement::Snooze { at } => (SNOOZE, Some(ceil_ms(*at)), None, None),
            Settlement::Dead { reason, error } => (DEAD, None, Some(bounded(error)), Some(reason.as_str())),
            Settlement::Release => (RELEASE, None, None, None),
        };
        sorted.kept.entry(statement).or_default().push(SettledRow {
            s: *sequence,
            f: *fence,
            at,
            error,
            reason,
        });
    }
    sorted
}

const CANCEL: &str = "DELETE FROM jobs WHERE sequence IN (
    SELECT j.sequence FROM json_each(?1) AS r
    JOIN jobs AS j ON j.sequence = r.value->>'s' AND j.fence = r.value->>'f'
    WHERE j.state = 'running' AND j.cancel_requested IS NOT NULL)";

const RETRY: &str = "UPDATE jobs SET state = 'delayed', consumer = NULL, lost = 0, alone = 0, blocked = 0,
    attempt = attempt + 1,
    run_at = r.value->>'at', last_error = r.value->>'error', first_failed_at = coalesce(first_failed_at, ?2)
  FROM json_each(?1) AS r
  WHERE jobs.sequence = r.value->>'s' AND jobs.fence = r.value->>'f' AND jobs.state = 'running'";

const SNOOZE: &str = "UPDATE jobs SET state = 'delayed', consumer = NULL, lost = 0, alone = 0, blocked = 0,
    run_at = r.value->>'at', ready_at = ?2
  FROM json_each(?1) AS r
  WHERE jobs.sequence = r.value->>'s' AND jobs.fence = r.value->>'f' AND jobs.state = 'running'";

// Only an exhausted job has used an attempt: jobs dead for other reasons were not run to a result.
const DEAD: &str = "UPDATE jobs SET state = 'dead', consumer = NULL, dead_reason = r.value->>'reason',
    attempt = attempt + (r.value->>'reason' = 'exhausted'),
    last_error = r.value->>'error', first_failed_at = coalesce(first_failed_at, ?2), died_at = ?2
  FROM json_each(?1) AS r
  WHERE jobs.sequence = r.value->>'s' AND jobs.fence = r.value->>'f' AND jobs.state = 'running'";

const RELEASE: &str = "UPDATE jobs SET state = 'ready', consumer = NULL, ready_at = ?2
  FROM json_each(?1) AS r
  WHERE jobs.sequence = r.value->>'s' AND jobs.fence = r.value->>'f' AND jobs.state = 'running'";
